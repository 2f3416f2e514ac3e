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
_REACH = 2 * _COPIED  # a tree finds what is nearer than this
_NEIGHBOURS = 20
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

    - It is far nearer than the tenth neighbour. The local dimension d of the data, estimated from
      the tenth to twentieth neighbours (Levina and Bickel), says how near the first one is by
      chance: nearer than r₁₀ (0.01 / 9)^(1/d) in 1 % of the rows.
    - Mixtures are not as near. A mixture takes a random half of its inputs from a neighbour, the
      tenth to twentieth. It is a likely row where inputs are lumpy or few, but a copy of nothing.

    The result is the share of such hold-out rows minus that of such mixtures, at least 0.

    Args:
        holdout, training: encoded rows, shape (n_rows, width). Except for texts, of which the share
            of `near_duplicates` is returned, at most 500 and 10,000 rows are compared, drawn with
            a fixed seed; fewer if they are wide.

    References:
        E. Levina and P. Bickel, "Maximum likelihood estimation of intrinsic dimension", 2004.
    """
    if len(holdout) == 0 or len(training) < _NEIGHBOURS:
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
    distances, neighbours = tree.query(queries, _NEIGHBOURS, p=np.inf)
    near = np.minimum(_COPIED, distances[:, _NEIGHBOURS // 2 - 1] * _nearest_by_chance(distances))
    rng = np.random.default_rng(0)
    mixed = [_mixtures(queries, rows[neighbours], rng) for _ in range(_MIXTURES)]
    by_chance = [
        (tree.query(mixture, p=np.inf, distance_upper_bound=_REACH)[0] <= near).mean()
        for mixture in mixed
    ]
    copied = (distances[:, 0] > 0) & (distances[:, 0] <= near)
    return max(0.0, float(copied.mean() - np.mean(by_chance)))


def _nearest_by_chance(distances: np.ndarray) -> float:
    """The distance to the nearest neighbour, as a share of that to the middle one, that is not
    reached by chance in 99 % of the rows.

    Args:
        distances: to the neighbours, in ascending order, shape (n_rows, n_neighbours).
    """
    most = distances.shape[1]
    middle = most // 2
    outer = distances[distances[:, middle - 1] > 0, middle - 1 :]
    if len(outer) == 0:
        return 1.0
    ranks = range(middle, most)
    in_one_dimension = np.mean([sum(1 / rank for rank in range(first, most)) for first in ranks])
    logarithms = np.log(outer[:, -1:] / outer[:, :-1])
    return float((_BY_CHANCE / (middle - 1)) ** (logarithms.mean() / in_one_dimension))


def _mixtures(rows: np.ndarray, neighbours: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Rows with a random half of their values from a distant neighbour, shape (n_rows, 2 width).

    Args:
        rows: scaled rows, shape (n_rows, 2 width): values, and which of them are missing.
        neighbours: of each row, the nearest first, shape (n_rows, n_neighbours, 2 width).
    """
    count, width = len(rows), rows.shape[1] // 2
    chosen = rng.integers(neighbours.shape[1] // 2, neighbours.shape[1], count)
    swapped = np.tile(rng.random((count, width)) < 0.5, 2)
    return np.where(swapped, neighbours[np.arange(count), chosen], rows)


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
