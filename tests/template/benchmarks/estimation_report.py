"""The second part of `make monitoring-report`: quality that is estimated without labels.

Coverage: how many of 1,000 windows of 1,000 rows have a score in the 95 % interval. Comparison:
NannyML's CBPE, in an environment of its own, estimates the same windows of four tables.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from sklearn.datasets import load_breast_cancer, load_digits, load_wine
from sklearn.ensemble import RandomForestClassifier
from sklearn.model_selection import train_test_split
from tqdm import tqdm

from domain.contract import Classes, ModelSpec, Number
from domain.evaluation.estimation import Estimate, estimable, estimate
from domain.evaluation.isotonic import calibrate
from domain.evaluation.measures import Measure
from tests.template.benchmarks.models_report import write_table
from tests.template.benchmarks.monitoring_report import PAGE, in_environment

NANNYML = ("nannyml==0.13.1", "statsmodels")  # which it imports, but does not require
RUNS = 1_000
WINDOW = 1_000
SYNTHETIC_ROWS = 20_000
TOLERANCE = 0.1  # validation.calibration_error by default
MEASURES = ("accuracy", "roc_auc")
_CBPE = """
import json, os, sys, warnings
os.environ["NML_DISABLE_USAGE_LOGGING"] = "1"
warnings.filterwarnings("ignore")
from pathlib import Path
import nannyml, pandas as pd

found = []
for folder in sorted(Path(sys.argv[1]).iterdir()):
    reference, current = (pd.read_parquet(folder / f"{part}.parquet") for part in ("r", "c"))
    columns = {int(name[2:]): name for name in reference if name.startswith("p_")}
    binary = len(columns) == 2
    estimator = nannyml.CBPE(
        y_true="actual", y_pred="predicted", y_pred_proba=columns[1] if binary else columns,
        problem_type="classification_binary" if binary else "classification_multiclass",
        metrics=["accuracy", "roc_auc"], chunk_size=len(current),
    ).fit(reference)
    result = estimator.estimate(current).filter(period="analysis").to_df()
    found.append([float(result[name]["value"].iloc[0]) for name in ("accuracy", "roc_auc")])
print(json.dumps(found))
"""

Rows = tuple[np.ndarray, np.ndarray]
"""Probabilities of shape (n_rows, n_classes), and the actual classes."""


@dataclass(frozen=True)
class Source:
    """Draws the predictions of a model, of a hold-out or of a window."""

    name: str
    classes: int
    draw: Callable[[np.random.Generator, int, bool], Rows]


def spec_of(classes: int) -> ModelSpec:
    """A contract with so many classes."""
    names = tuple(f"class {code}" for code in range(classes))
    return ModelSpec("drawn", (Number("x", "", -99, 99),), Classes(names))


def two_classes(
    rng: np.random.Generator, rows: int, mean: float = 0.0, hidden: float = 0.0
) -> Rows:
    """Overconfident probabilities of two classes.

    Args:
        mean: of the input; 0 in the hold-out.
        hidden: by how much the logit has changed for another reason.
    """
    logit = 2 * rng.normal(mean, 1, rows) - 0.5
    actual = (rng.random(rows) < 1 / (1 + np.exp(-logit - hidden))).astype(np.int64)
    positive = 1 / (1 + np.exp(-2 * logit))
    return np.column_stack([1 - positive, positive]), actual


def four_classes(rng: np.random.Generator, rows: int, mean: float = 0.0) -> Rows:
    """Overconfident probabilities of four classes, the others being equally probable."""
    logit = 2 * rng.normal(mean, 1, rows) + 2.5
    confidence = 0.25 + 0.75 / (1 + np.exp(-2 * logit))
    code = rng.integers(4, size=rows)
    probabilities = np.repeat((1 - confidence[:, None]) / 3, 4, axis=1)
    probabilities[np.arange(rows), code] = confidence
    wrong = rng.random(rows) >= 1 / (1 + np.exp(-logit))
    return probabilities, np.where(wrong, (code + rng.integers(1, 4, rows)) % 4, code)


SOURCES = (
    Source("two classes, as the hold-out", 2, lambda rng, n, _: two_classes(rng, n)),
    Source("two classes, input shifted by 1 σ", 2, two_classes),
    Source("four classes, as the hold-out", 4, lambda rng, n, _: four_classes(rng, n)),
    Source(
        "four classes, input shifted by −1 σ", 4, lambda rng, n, new: four_classes(rng, n, -new)
    ),
    Source("two classes, concept drift", 2, lambda rng, n, new: two_classes(rng, n, 0, new)),
)


def estimates_of(spec: ModelSpec, holdout: Rows, window: Rows) -> dict[str, Estimate]:
    """What a service would estimate for a window, by measure."""
    calibration = calibrate(spec, *holdout, TOLERANCE)
    predicted = spec.decide(window[0])
    confidence = window[0][np.arange(len(predicted)), predicted]
    counts = calibration.count(spec, predicted, confidence)
    return {each.name: estimate(calibration, each, counts) for each in estimable(spec)}


def coverage(source: Source, holdout_rows: int, runs: int) -> str:
    """The row of a source: how many windows have their score in the interval."""
    rng, spec = np.random.default_rng(0), spec_of(source.classes)
    inside: dict[str, list[bool]] = {name: [] for name in MEASURES}
    widths = []
    for _ in range(runs):
        holdout = source.draw(rng, holdout_rows, False)
        probabilities, actual = source.draw(rng, WINDOW, True)
        found = estimates_of(spec, holdout, (probabilities, actual))
        for name, each in found.items():
            if each.interval:
                score = Measure(spec, name).score(actual, probabilities)
                inside[name].append(each.interval[0] <= score <= each.interval[1])
        low, high = found["accuracy"].interval or (np.nan, np.nan)
        widths.append((high - low) / 2)
    shares = [f"{np.mean(each):.1%}" if each else "–" for each in inside.values()]
    return (
        f"| {source.name} | {holdout_rows:,} | {' | '.join(shares)} | ± {np.nanmean(widths):.3f} |"
    )


def tables() -> Iterator[tuple[str, int, Rows, Rows]]:
    """Hold-out and window of a forest on each table, with the number of classes."""
    for name, read in (
        ("breast_cancer", load_breast_cancer),
        ("wine", load_wine),
        ("digits", load_digits),
    ):
        rows, target = read(return_X_y=True)
        later = np.zeros(len(rows), bool)
        later[np.random.default_rng(0).permutation(len(rows))[: len(rows) // 4]] = True
        yield name, int(target.max()) + 1, *_predicted(rows, target, later)
    for name, shift in (("synthetic", 0.0), ("synthetic, shifted", 0.75)):
        rng = np.random.default_rng(0)
        later = np.arange(SYNTHETIC_ROWS) >= SYNTHETIC_ROWS * 3 // 4
        rows = rng.normal(size=(SYNTHETIC_ROWS, 5)) + shift * later[:, None]
        logit = 1.5 * rows[:, 0] - rows[:, 1] * rows[:, 2] + np.abs(rows[:, 3]) - 1
        target = (rng.random(len(rows)) < 1 / (1 + np.exp(-logit))).astype(np.int64)
        yield name, 2, *_predicted(rows, target, later)


def _predicted(rows: np.ndarray, target: np.ndarray, later: np.ndarray) -> tuple[Rows, Rows]:
    """A forest learns two thirds of the earlier rows and predicts the others and the later ones."""
    fit_rows, held_rows, fit_target, held_target = train_test_split(
        rows[~later], target[~later], test_size=1 / 3, random_state=0, stratify=target[~later]
    )
    forest = RandomForestClassifier(200, min_samples_leaf=2, random_state=0)
    forest.fit(fit_rows, fit_target)
    return (forest.predict_proba(held_rows), held_target), (
        forest.predict_proba(rows[later]),
        target[later],
    )


def frame(rows: Rows) -> pd.DataFrame:
    """Rows as NannyML reads them."""
    probabilities, actual = rows
    names = [f"p_{code}" for code in range(probabilities.shape[1])]
    made = pd.DataFrame(probabilities, columns=names)
    return made.assign(actual=actual, predicted=probabilities.argmax(axis=1))


def comparison(folder: Path) -> str:
    """The table of estimates by this project and by NannyML."""
    lines, kept = [], list(tables())
    for number, (_, _, *parts) in enumerate(kept):
        (folder / f"{number}").mkdir()
        for part, rows in zip("rc", parts, strict=True):
            frame(rows).to_parquet(folder / f"{number}" / f"{part}.parquet")
    theirs: list[list[float]] = json.loads(in_environment(NANNYML, _CBPE, folder))
    for (name, classes, holdout, window), values in zip(kept, theirs, strict=True):
        spec = spec_of(classes)
        ours = estimates_of(spec, holdout, window)
        for measure, value in zip(MEASURES, values, strict=True):
            if measure in ours:
                actual = Measure(spec, measure).score(window[1], window[0])
                lines.append(
                    f"| {name} | {len(holdout[1]):,} | {len(window[1]):,} | {measure} | "
                    f"{actual:.3f} | {_cell(ours[measure])} | {value:.3f} |"
                )
    head = "| table | hold-out | window | measure | actual | estimate | NannyML |"
    return f"{head}\n|{'---|' * 7}\n" + "\n".join(lines) + "\n"


def _cell(found: Estimate) -> str:
    if found.score is None or found.interval is None:
        return found.reason
    low, high = found.interval
    return f"{found.score:.3f} [{low:.3f}, {high:.3f}]"


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help=f"default {RUNS}; less only prints")
    runs = parser.parse_args(arguments).runs
    rows = [
        coverage(source, holdout, runs)
        for source in tqdm(SOURCES, "coverage", disable=None)
        for holdout in (150, 2_000)
    ]
    head = "| window | hold-out | accuracy | ROC AUC | interval of the accuracy |"
    covered = f"{head}\n|{'---|' * 5}\n" + "\n".join(rows) + "\n"
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "windows"
        folder.mkdir()
        compared = comparison(folder)
    print(covered, compared, sep="\n")
    if runs >= RUNS:
        write_table(PAGE, covered, "estimates-coverage")
        write_table(PAGE, compared, "estimates")
    return 0


if __name__ == "__main__":
    sys.exit(main())
