"""The result of a validation, for its receipt, its report and the registry."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from domain.contract import ModelSpec
from domain.errors import GateRefusal
from domain.evaluation.calibration import Calibration
from domain.evaluation.comparison import Comparison
from domain.evaluation.metrics import Report
from domain.evaluation.slices import SliceReport
from domain.gates import Verdict


class JudgedPackage(Protocol):
    """A package as validation reads it."""

    @property
    def version(self) -> str:
        """The package's version."""

    def read_json(self, name: str) -> Any:
        """A JSON file of the package."""

    def load_native(self) -> Any:
        """The native model."""


@dataclass(frozen=True)
class Judgement:
    """Verdicts on one package, with the measurements behind them.

    A measurement that an earlier refusal prevented is None or empty.

    Attributes:
        report: quality on the hold-out.
        predictions: the served model's predictions on the hold-out, shape (n_holdout, n_outputs).
        actual: class numbers or values of the hold-out, shape (n_holdout,).
        calibration: calibration of a classifier.
        slices: slices of the hold-out, worst first.
        champion: package version of the champion that it was compared with; None without one.
        comparison: comparison with the champion, on rows that neither was trained on.
        importances: decrease of the score when an input is shuffled, by input; from training.
        drift: population stability index of the training rows against the champion's, by monitored
            input, and for the predictions.
    """

    spec: ModelSpec
    verdicts: Sequence[Verdict]
    report: Report | None = None
    predictions: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    actual: np.ndarray = field(default_factory=lambda: np.empty(0))
    calibration: Calibration | None = None
    slices: Sequence[SliceReport] = ()
    champion: str | None = None
    comparison: Comparison | None = None
    importances: Mapping[str, float] = field(default_factory=dict)
    drift: Mapping[str, float] = field(default_factory=dict)

    @property
    def refused(self) -> list[Verdict]:
        """The refusals among the verdicts."""
        return [verdict for verdict in self.verdicts if not verdict.accepted]

    @property
    def accepted(self) -> bool:
        """Whether gates were run, and none refuses."""
        return bool(self.verdicts) and not self.refused

    def figure(self, gate: str, name: str) -> float | None:
        """A figure of the verdict of a gate, such as its margin; None if it has none."""
        found = (verdict.figures.get(name) for verdict in self.verdicts if verdict.gate == gate)
        return next(found, None)

    def check_accepted(self, name: str, report: Path) -> None:
        """Check that every gate accepts.

        Args:
            name: what was judged, for the message.
            report: where the reasons are, for the message.

        Raises:
            GateRefusal: a gate refuses, or no gate was run; the message has the gates.
        """
        if not self.accepted:
            raise refusal_of(name, self.refused, report)


def refusal_of(name: str, refused: Sequence[Verdict], report: Path) -> GateRefusal:
    """The error that names the gates that refuse, if any was run: `Judgement.check_accepted`."""
    if not refused:
        return GateRefusal(f"{name} is refused: no gate was run")
    gates = ", ".join(verdict.gate for verdict in refused)
    return GateRefusal(f"{name} is refused by {gates}: the reasons are above and in {report}")


@dataclass(frozen=True)
class Validation:
    """A judgement with the facts about the package that the report shows.

    Attributes:
        config: the configuration of the training, as plain data.
        provenance: ``provenance.json`` of the package.
        metrics: ``metrics.json`` of the package.
        cross_validation: the scores of the cross-validation as text; None without one.
        card: ``card.md`` of the package.
        looks: how many other versions of the model the hold-out has judged.
    """

    model_name: str
    package_version: str
    judgement: Judgement
    config: Mapping[str, object]
    provenance: Mapping[str, object]
    metrics: Mapping[str, object]
    card: str
    cross_validation: str | None = None
    looks: int = 0
