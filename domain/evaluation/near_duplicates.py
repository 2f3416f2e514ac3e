"""Hold-out rows that are nearly in training: typed differently, or copies with small changes."""

from __future__ import annotations

import numpy as np
from scipy.spatial import cKDTree
from sklearn.neighbors import KDTree

from domain.contract import ModelSpec, Text
from domain.evaluation.robustness import spreads

COPIES = 0.25  # a hold-out with this share of copies, beyond chance, is not unseen
_ROWS = 10_000
_VALUES = 10_000_000  # of each side, that are searched for near-duplicates at most
_COMPARISONS = 1_000_000_000  # of values, in the search for copies
_QUERIES = 500  # hold-out rows that are searched for copies at most
_TYPED = 1e-3  # standard deviations between two spellings of a number
_COPIED = 0.1  # standard deviations between a row and its changed copy
_REACH = 3 * _COPIED  # all copies of a row are nearer than this
_FEWEST_NEAR, _MOST_NEAR = 10, 200  # neighbours that may be copies
_BY_CHANCE = 0.01
_MIXTURES = 5  # of each hold-out row


def near_duplicates(spec: ModelSpec, holdout: np.ndarray, training: np.ndarray) -> int:
    """Number of hold-out rows that are nearly, but not exactly, equal to a training row.

    Numbers and the values of tensors differ by at most 0.001 standard deviations; categories and
    missing values are the same. Texts differ in case and whitespace only. This finds duplicates
    that were rounded or typed differently. With few inputs and many rows, rows are also this near
    by chance: `copied_share` takes that into account.

    Args:
        holdout, training: encoded rows, shape (n_rows, width). Except for texts, at most 10,000
            rows and 10 million values of each are compared, drawn with a fixed seed; with more rows
            the result is a lower bound.
    """
    if len(holdout) == 0 or len(training) == 0:
        return 0
    if isinstance(spec.inputs[0], Text):
        return _similar_texts(holdout[:, 0], training[:, 0])
    queries, rows = _scaled(spec, _sample(holdout, _ROWS), _sample(training, _ROWS))
    tree = KDTree(rows, metric="chebyshev")
    near, equal = (tree.query_radius(queries, r, count_only=True) for r in (_TYPED, 0))
    return int((near > equal).sum())


def copied_share(spec: ModelSpec, holdout: np.ndarray, training: np.ndarray) -> float:
    """Share of the hold-out rows that are copies of a training row, beyond what chance explains.

    Copies are rows of the same customer, patient or machine, or one row with noise added. Their
    categories are equal and their numbers at most 0.1 standard deviations apart. That also happens
    by chance, so a copy must stand out twice:

    - It is far nearer than the k-th neighbour, the first one that cannot be a copy: farther than
      0.3 standard deviations, from the tenth to the 200th. The local dimension d of the data,
      estimated from neighbours k to 2k (Levina and Bickel), says how near the first one is by
      chance: nearer than r_k (0.01 / (k − 1))^(1/d) in 1 % of the rows.
    - Mixtures are not as near. A mixture takes a random half of its inputs from one of neighbours
      k to 2k. It is a likely row where inputs are lumpy or few, but a copy of nothing.

    The result is the share of such hold-out rows minus that of such mixtures, at least 0. Copies of
    which training has more than 200 are not found.

    Args:
        holdout, training: encoded rows, shape (n_rows, width). Except for texts, of which the share
            of `near_duplicates` is returned, at most 500 and 10,000 rows are compared, drawn with
            a fixed seed; fewer if they are wide.

    References:
        E. Levina and P. Bickel, "Maximum likelihood estimation of intrinsic dimension", 2004.
    """
    if len(holdout) == 0 or len(training) < 2 * _FEWEST_NEAR:
        return 0.0
    if isinstance(spec.inputs[0], Text):
        return _similar_texts(holdout[:, 0], training[:, 0]) / len(holdout)
    training = _sample(training, _ROWS)
    most = min(_QUERIES, _COMPARISONS // training.size)
    queries, rows = _scaled(spec, _sample(holdout, most), training)
    tree = cKDTree(rows)
    nearest, _ = tree.query(queries, p=np.inf, distance_upper_bound=_REACH)
    if (nearest <= _COPIED).mean() < COPIES:
        return 0.0
    close = tree.query_ball_point(queries, _REACH, p=np.inf, return_length=True)
    ranks = np.clip(close + 1, _FEWEST_NEAR, min(_MOST_NEAR, len(rows) // 2))
    distances, neighbours = tree.query(queries, 2 * ranks.max(), p=np.inf)
    near = np.minimum(_COPIED, _nearest_by_chance(distances, ranks))
    rng = np.random.default_rng(0)
    by_chance = []
    for _ in range(_MIXTURES):
        chosen = neighbours[np.arange(len(queries)), rng.integers(ranks, 2 * ranks)]
        mixtures = _mixtures(queries, rows[chosen], rng)
        nearest, _ = tree.query(mixtures, p=np.inf, distance_upper_bound=_REACH)
        by_chance.append((nearest <= near).mean())
    copied = (distances[:, 0] > 0) & (distances[:, 0] <= near)
    return max(0.0, float(copied.mean() - np.mean(by_chance)))


def _nearest_by_chance(distances: np.ndarray, ranks: np.ndarray) -> np.ndarray:
    """The distance to the nearest neighbour that is not reached by chance in 99 % of the rows,
    shape (n_rows,).

    Args:
        distances: to the neighbours, in ascending order, shape (n_rows, n_neighbours).
        ranks: of the first neighbour that cannot be a copy, shape (n_rows,).
    """
    first = distances[np.arange(len(ranks)), ranks - 1]
    outer = [row[rank - 1 : 2 * rank] for row, rank in zip(distances, ranks) if row[rank - 1] > 0]
    if not outer:
        return first
    inverse_dimension = np.mean([_inverse_dimension(each) for each in outer])
    return first * (_BY_CHANCE / (ranks - 1)) ** inverse_dimension


def _inverse_dimension(distances: np.ndarray) -> float:
    """1/d, if these are the distances to neighbours k to 2k of a row, shape (k + 1,): the mean of
    log(r_2k / r_j) over j, as a multiple of what it is in one dimension."""
    k = len(distances) - 1
    in_one_dimension = (np.arange(1, k + 1) / np.arange(k, 2 * k)).mean()
    return float(np.log(distances[-1] / distances[:-1]).mean() / in_one_dimension)


def _mixtures(rows: np.ndarray, others: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows with a random half of their values from the other ones, shape (n_rows, 2 width).

    Args:
        rows, others: scaled rows, shape (n_rows, 2 width): values, and which of them are missing.
    """
    count, width = len(rows), rows.shape[1] // 2
    swapped = np.tile(rng.random((count, width)) < 0.5, 2)
    return np.where(swapped, others, rows)


def _similar_texts(holdout: np.ndarray, training: np.ndarray) -> int:
    originals: dict[str, set[str]] = {}
    for text in training:
        originals.setdefault(_normalized(text), set()).add(text)
    return sum(bool(originals.get(_normalized(text), set()) - {text}) for text in holdout)


def _normalized(text: str) -> str:
    return " ".join(text.casefold().split())


def _sample(rows: np.ndarray, most: int) -> np.ndarray:
    most = max(1, min(most, _VALUES // rows.shape[1]))
    if len(rows) <= most:
        return rows
    return rows[np.random.default_rng(0).choice(len(rows), most, replace=False)]


def _scaled(
    spec: ModelSpec, holdout: np.ndarray, training: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Both in standard deviations, each followed by as many columns that mark missing values."""
    spread = spreads(spec, np.concatenate([holdout, training]))
    scale = np.where(spread > 0, spread, 1)  # codes of categories are 1 apart
    parts = [(np.isnan(rows), rows / scale) for rows in (holdout, training)]
    queries, rows = (
        np.concatenate([np.where(missing, 0, scaled), missing], axis=1) for missing, scaled in parts
    )
    return queries, rows
