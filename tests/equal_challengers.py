"""Error rates of the champion gate, simulated with challengers of known quality."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from math import log, pi, sqrt
from typing import Any

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binomtest, norm

from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.evaluation.comparison import MARGIN_SHARE, compare
from domain.evaluation.measures import Measure, repeat
from domain.gates import not_worse_than_champion

_INPUTS = (Number("x", "", 0, 1),)
_CLASSES = ModelSpec("classes", _INPUTS, Classes(("no", "yes")))
_QUANTITY = ModelSpec("quantity", _INPUTS, Quantity("y"))
RUNS = 500
MAX_ERROR_RATE = 0.05  # bound for false promotions, and for equal challengers called better
_ACCURACY = 0.9  # of the champion; the classes are equally frequent
_ERROR = 0.7  # standard deviation of the champion's error, of values with 1; R² is about 0.5
_MEAN_OF_NORMAL = sqrt(2 / pi)  # mean of |x|
_POSITIVE = 0.1  # share of rows whose probability is measured
_SEPARATION = 1.5  # of the champion's scores of both classes, in standard deviations: AUC 0.86
_ROWS = 1000  # on which probabilities are measured
_NORMAL = norm.ppf((np.arange(20_000) + 0.5) / 20_000)  # stands for all possible rows
_MEAN = 5.0  # of quantities, so that none is near 0
_VALUES = _NORMAL + _MEAN
_MEDIAN_OF_NORMAL = float(norm.ppf(0.75))  # median of |x|
_OF_ERRORS: dict[str, Callable[[float], float]] = {  # scores by the error's standard deviation
    "r2": lambda deviation: 1 - deviation**2,
    "neg_mean_absolute_error": lambda deviation: -deviation * _MEAN_OF_NORMAL,
    "neg_root_mean_squared_error": lambda deviation: -deviation,
    "neg_median_absolute_error": lambda deviation: -deviation * _MEDIAN_OF_NORMAL,
    "neg_mean_absolute_percentage_error": lambda deviation: (
        -deviation * _MEAN_OF_NORMAL * float((1 / _VALUES).mean())
    ),
    "neg_mean_pinball_loss": lambda deviation: -deviation * _MEAN_OF_NORMAL / 2,
}
_RESAMPLED = {
    "neg_root_mean_squared_error",
    "neg_median_absolute_error",
    "average_precision",
    "balanced_accuracy",
    "f1",
    "f1_macro",
    "recall_at_precision",
    "precision_at_top",
}
_OPTIONS: dict[str, dict[str, Any]] = {
    "recall_at_precision": {"precision": 0.5},
    "neg_expected_cost": {"costs": {"yes": {"no": 5.0}, "no": {"yes": 1.0}}},
}

Draw = tuple[np.ndarray, np.ndarray, np.ndarray]  # predictions of both models, and the truth


@dataclass(frozen=True)
class Rates:
    """Error rates of the gate, as shares of the runs.

    Attributes:
        false_refusal: refused challengers among those as good as the champion.
        false_better: challengers called better among those as good as the champion.
        false_promotion: accepted challengers among those worse by the margin.
    """

    false_refusal: float
    false_better: float
    false_promotion: float


@dataclass(frozen=True)
class Setting:
    """Simulated challengers, and the bound of their false refusals.

    Attributes:
        similarity: for accuracy, the share of rows that only one model classifies correctly; for
            quantities, the correlation of the errors; for probabilities, that of the scores of
            rows of the same class.
        margin: in the unit of the measure; None for the default.
        refusals: bound of false refusals.
    """

    measure: str
    rows: int
    similarity: float
    margin: float | None
    refusals: float

    @property
    def description(self) -> str:
        """Measure and `similarity` in words."""
        if self.measure == "accuracy":
            return f"`accuracy`, {100 * self.similarity:g} % of rows disagree"
        what = "errors" if self.measure in _OF_ERRORS else "scores"
        return f"`{self.measure}`, {what} correlate by {self.similarity:g}"

    @property
    def is_resampled(self) -> bool:
        """Whether a comparison takes a bootstrap of scores, some tenths of a second."""
        return self.measure in _RESAMPLED


SETTINGS = (  # docs/decisions/0011-champion-against-challenger.md
    Setting("accuracy", 30, 0.04, 0.15, 0.15),
    Setting("accuracy", 143, 0.1, 0.05, 0.45),
    Setting("accuracy", 143, 0.04, 0.05, 0.2),
    Setting("accuracy", 360, 0.1, 0.05, 0.15),
    Setting("accuracy", 1000, 0.1, 0.05, 0.01),
    Setting("accuracy", 360, 0.1, None, 0.01),
    Setting("neg_mean_absolute_error", 30, 0.9, 0.1, 0.5),
    Setting("neg_mean_absolute_error", 111, 0.9, 0.05, 0.45),
    Setting("neg_mean_absolute_error", 111, 0.98, 0.05, 0.05),
    Setting("neg_mean_absolute_error", 1000, 0.9, 0.05, 0.01),
    Setting("r2", 360, 0.9, None, 0.01),
    Setting("neg_root_mean_squared_error", 360, 0.9, None, 0.01),
    Setting("neg_median_absolute_error", 1000, 0.9, None, 0.15),
    Setting("neg_mean_absolute_percentage_error", 360, 0.9, None, 0.01),
    Setting("neg_mean_pinball_loss", 360, 0.9, None, 0.01),
    Setting("roc_auc", 1000, 0.9, None, 0.01),
    Setting("roc_auc", 1000, 0.9, 0.02, 0.5),
    Setting("average_precision", 1000, 0.9, None, 0.05),
    Setting("neg_log_loss", 1000, 0.9, None, 0.05),
    Setting("neg_brier_score", 1000, 0.9, None, 0.1),
    Setting("balanced_accuracy", 1000, 0.9, None, 0.55),
    Setting("f1", 1000, 0.9, None, 0.8),
    Setting("f1_macro", 1000, 0.9, None, 0.4),
    Setting("neg_expected_cost", 1000, 0.9, None, 0.6),
    Setting("recall_at_precision", 1000, 0.9, None, 0.85),
    Setting("precision_at_top", 1000, 0.9, None, 0.25),
)


def rates(setting: Setting, fewest: int = 20, runs: int = RUNS, seed: int = 0) -> Rates:
    """Compare `runs` challengers as good as the champion, and as many worse by the margin."""
    rng = np.random.default_rng(seed)
    spec = _QUANTITY if setting.measure in _OF_ERRORS else _CLASSES
    measure = Measure(spec, setting.measure, **_OPTIONS.get(setting.measure, {}))
    baseline = measure.constant(_actual(setting.rows) if spec.classes else _VALUES)
    draw, worse_by, quality = _quantities, _margin_of_errors, _deviation
    if setting.measure == "accuracy":
        draw, worse_by, quality = _classes, _margin_of_classes, _share
        baseline = np.array([1.0, 0.0])
    elif spec.classes:
        draw, worse_by, quality = _probabilities, _margin_of_probabilities, _separation
    as_good = quality(measure, 0.0)
    worse_one = quality(measure, setting.margin or worse_by(measure))
    refused = better = promoted = 0
    for _ in range(runs):
        equal = compare(measure, *draw(rng, setting, as_good), baseline)
        refused += not not_worse_than_champion(equal, setting.margin, fewest).accepted
        better += equal.low > 0
        worse = compare(measure, *draw(rng, setting, worse_one), baseline)
        promoted += not_worse_than_champion(worse, setting.margin, fewest).accepted
    return Rates(refused / runs, better / runs, promoted / runs)


def exceeded_bounds(setting: Setting, found: Rates, runs: int = RUNS) -> list[str]:
    """The bounds that the rates exceed significantly, at 1 %."""
    bounds = {
        "worse and accepted": (found.false_promotion, MAX_ERROR_RATE),
        "equal and called better": (found.false_better, MAX_ERROR_RATE),
        "equal and refused": (found.false_refusal, setting.refusals),
    }
    return [
        f"{setting.description}, {setting.rows} rows: "
        f"{name} in {100 * rate:.1f} % ({100 * bound:g} %)"
        for name, (rate, bound) in bounds.items()
        if binomtest(round(rate * runs), runs, bound, alternative="greater").pvalue <= 0.01
    ]


# classes


def _margin_of_classes(_: Measure) -> float:
    return MARGIN_SHARE * (_ACCURACY - 0.5)


def _share(_: Measure, worse: float) -> float:
    return worse


def _classes(rng: np.random.Generator, setting: Setting, worse: float) -> Draw:
    """Certain predictions of champion and challenger, shape (n_rows, 2) each; `worse` is the
    share of rows by which the challenger has fewer right."""
    lost = max((setting.similarity + worse) / 2, worse)
    won = lost - worse
    shares = [_ACCURACY - lost, lost, won, 1 - _ACCURACY - won]
    case, actual = rng.choice(4, size=setting.rows, p=shares), rng.integers(2, size=setting.rows)
    champion, challenger = case <= 1, case % 2 == 0
    return np.eye(2)[actual ^ ~champion], np.eye(2)[actual ^ ~challenger], actual


# quantities


def _margin_of_errors(measure: Measure) -> float:
    baseline = measure.score(_VALUES, repeat(measure.constant(_VALUES), len(_VALUES)))
    return MARGIN_SHARE * (_OF_ERRORS[measure.name](_ERROR) - baseline)


def _deviation(measure: Measure, worse: float) -> float:
    """Standard deviation of the challenger's errors if its score is worse by so much."""
    score = _OF_ERRORS[measure.name]
    return float(brentq(lambda each: score(each) - score(_ERROR) + worse, _ERROR, 10))


def _quantities(rng: np.random.Generator, setting: Setting, deviation: float) -> Draw:
    """Predictions of champion and challenger, shape (n_rows, 3) each."""
    actual = rng.normal(size=setting.rows)
    actual = (actual - actual.mean()) / actual.std() + _MEAN
    common, *own = rng.normal(size=(3, setting.rows))
    errors = sqrt(setting.similarity) * common + sqrt(1 - setting.similarity) * np.array(own)
    errors *= np.array([[_ERROR], [deviation]])
    champion, challenger = (actual[:, None] + error[:, None] + [0, -1, 1] for error in errors)
    return champion, challenger, actual


# probabilities


def _actual(rows: int) -> np.ndarray:
    """Classes with a fixed share of positive ones, shape (rows,)."""
    return (np.arange(rows) < _POSITIVE * rows).astype(int)


def _calibrated(scores: np.ndarray, separation: float) -> np.ndarray:
    """Probabilities of normal scores whose means differ by `separation`, shape (n_rows, 2)."""
    logits = separation * scores - separation**2 / 2 + log(_POSITIVE / (1 - _POSITIVE))
    positive = 1 / (1 + np.exp(-logits))
    return np.stack([1 - positive, positive], axis=1)


def _expected(measure: Measure, separation: float) -> float:
    """The score on all possible rows."""
    actual = np.repeat([0, 1], len(_NORMAL))
    scores = np.concatenate([_NORMAL, _NORMAL + separation])
    weights = np.repeat([1 - _POSITIVE, _POSITIVE], len(_NORMAL)) * _ROWS / len(_NORMAL)
    return measure.score(actual, _calibrated(scores, separation), weights)


def _margin_of_probabilities(measure: Measure) -> float:
    actual = _actual(_ROWS)
    baseline = measure.score(actual, repeat(measure.constant(actual), _ROWS))
    return MARGIN_SHARE * (_expected(measure, _SEPARATION) - baseline)


def _separation(measure: Measure, worse: float) -> float:
    """Separation of the challenger's scores if its expected score is worse by so much."""
    wanted = _expected(measure, _SEPARATION) - worse
    return float(brentq(lambda each: _expected(measure, each) - wanted, 0.01, _SEPARATION + 0.1))


def _probabilities(rng: np.random.Generator, setting: Setting, separation: float) -> Draw:
    """Calibrated probabilities of champion and challenger, shape (n_rows, 2) each."""
    common, *own = rng.normal(size=(3, setting.rows))
    noise = sqrt(setting.similarity) * common + sqrt(1 - setting.similarity) * np.array(own)
    actual = _actual(setting.rows)
    champion, challenger = (
        _calibrated(each + apart * actual, apart)
        for each, apart in zip(noise, (_SEPARATION, separation))
    )
    return champion, challenger, actual
