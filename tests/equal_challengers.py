"""Error rates of the champion gate, simulated with challengers of known quality."""

from __future__ import annotations

from dataclasses import dataclass
from math import pi, sqrt

import numpy as np
from scipy.stats import binomtest

from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.evaluation.comparison import compare
from domain.gates import not_worse_than_champion

_INPUTS = (Number("x", "", 0, 1),)
_SPECS = {
    "classification": ModelSpec("classes", _INPUTS, Classes(("no", "yes"))),
    "regression": ModelSpec("quantity", _INPUTS, Quantity("y")),
}
RUNS = 500
MAX_ERROR_RATE = 0.05  # bound for false promotions, and for equal challengers called better
_BOTH_CORRECT = 0.85
_ERROR = 0.7  # standard deviation of the champion's error; R² is about 0.5
_MEAN_OF_NORMAL = sqrt(2 / pi)  # mean of |x|


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
        similarity: for classes, the share of rows that only one model classifies correctly; for
            quantities, the correlation of the errors.
        refusals: bound of false refusals.
    """

    task: str
    rows: int
    similarity: float
    margin: float
    refusals: float

    @property
    def description(self) -> str:
        """`similarity` in words."""
        if self.task == "classification":
            return f"classes, of which {100 * self.similarity:g} % disagree"
        return f"quantities, errors correlate by {self.similarity:g}"


SETTINGS = (  # docs/decisions/0011-champion-against-challenger.md
    Setting("classification", 30, 0.04, 0.15, 0.15),
    Setting("classification", 143, 0.1, 0.05, 0.45),
    Setting("classification", 143, 0.04, 0.05, 0.2),
    Setting("classification", 360, 0.1, 0.05, 0.15),
    Setting("classification", 1000, 0.1, 0.05, 0.01),
    Setting("regression", 30, 0.9, 0.15, 0.15),
    Setting("regression", 111, 0.9, 0.05, 0.45),
    Setting("regression", 111, 0.98, 0.05, 0.05),
    Setting("regression", 1000, 0.9, 0.05, 0.01),
)


def rates(
    task: str,
    rows: int,
    similarity: float,
    margin: float,
    fewest: int = 20,
    runs: int = RUNS,
    seed: int = 0,
) -> Rates:
    """Compare `runs` challengers as good as the champion, and as many worse by the margin.

    Args:
        task: ``classification`` or ``regression``.
        similarity: as in `Setting`.
    """
    spec, rng = _SPECS[task], np.random.default_rng(seed)
    draw = _classes if spec.classes else _quantities
    refused = better = promoted = 0
    for _ in range(runs):
        equal = compare(spec, *draw(rng, rows, similarity, 0.0))
        refused += not not_worse_than_champion(equal, margin, fewest).accepted
        better += equal.low > 0
        worse = compare(spec, *draw(rng, rows, similarity, margin))
        promoted += not_worse_than_champion(worse, margin, fewest).accepted
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


def _classes(
    rng: np.random.Generator, rows: int, disagreement: float, worse: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions of champion and challenger, shape (n_rows, 2) each, and the truth."""
    lost = max((disagreement + worse) / 2, worse)
    won = lost - worse
    shares = [_BOTH_CORRECT, lost, won, 1 - _BOTH_CORRECT - lost - won]
    case, actual = rng.choice(4, size=rows, p=shares), rng.integers(2, size=rows)
    champion, challenger = case <= 1, case % 2 == 0
    return np.eye(2)[actual ^ ~champion], np.eye(2)[actual ^ ~challenger], actual


def _quantities(
    rng: np.random.Generator, rows: int, correlation: float, worse: float
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Predictions of champion and challenger, shape (n_rows, 3) each, and the truth."""
    actual = rng.normal(size=rows)
    actual /= actual.std()
    common, *own = rng.normal(size=(3, rows))
    errors = sqrt(correlation) * common + sqrt(1 - correlation) * np.array(own)
    errors *= np.array([[_ERROR], [_ERROR + worse / _MEAN_OF_NORMAL]])
    champion, challenger = (actual[:, None] + error[:, None] + [0, -1, 1] for error in errors)
    return champion, challenger, actual
