"""What a validation found: what its receipt, its report and the registry are told."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
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
    """What validation reads of a package."""

    @property
    def version(self) -> str:
        """The package's version."""

    def read_json(self, name: str) -> Any:
        """A JSON file of the package."""

    def load_native(self) -> Any:
        """The native model."""


@dataclass(frozen=True)
class Judgement:
    """Verdicts on one package, with what they were made from.

    What could not be measured, since an earlier gate had refused, is None or empty.

    Attributes:
        report: quality on the hold-out.
        answers: the served model's answers on the hold-out, shape (n_holdout, n_answers).
        actual: class numbers or values of the hold-out, shape (n_holdout,).
        calibration: of a classifier.
        slices: worst first.
        champion: version of the package that it was compared with; None where there is none.
        comparison: with the champion, on rows that neither has learned from.
        importances: by how much the mean loss grows when an input is shuffled, by input.
        drift: population stability index of the training rows against the champion's, by
            what is watched.
    """

    spec: ModelSpec
    verdicts: Sequence[Verdict]
    report: Report | None = None
    answers: np.ndarray = field(default_factory=lambda: np.empty((0, 0)))
    actual: np.ndarray = field(default_factory=lambda: np.empty(0))
    calibration: Calibration | None = None
    slices: Sequence[SliceReport] = ()
    champion: str | None = None
    comparison: Comparison | None = None
    importances: Mapping[str, float] = field(default_factory=dict)
    drift: Mapping[str, float] = field(default_factory=dict)

    @property
    def refused(self) -> list[Verdict]:
        """The verdicts that refuse."""
        return [verdict for verdict in self.verdicts if not verdict.accepted]

    @property
    def accepted(self) -> bool:
        """Whether gates were asked, and none refuses."""
        return bool(self.verdicts) and not self.refused

    def check_accepted(self, name: str) -> None:
        """Only what every gate accepts may go on.

        Args:
            name: what is judged, for the message.

        Raises:
            GateRefusal: a gate refuses, or none was asked; the message has every reason.
        """
        if not self.accepted:
            reasons = "; ".join(f"{verdict.gate}: {verdict.reason}" for verdict in self.refused)
            raise GateRefusal(f"{name} is refused: {reasons or 'no gate has judged it'}")


@dataclass(frozen=True)
class Validation:
    """A judgement with what people want to know of the package that was judged.

    Attributes:
        config: the configuration of the training, as plain data.
        provenance: ``provenance.json`` of the package.
        metrics: ``metrics.json`` of the package.
        cross_validation: the scores of the same recipe in words; None where it was left out.
        card: ``card.md`` of the package.
    """

    model_name: str
    package_version: str
    judgement: Judgement
    config: Mapping[str, object]
    provenance: Mapping[str, object]
    metrics: Mapping[str, object]
    card: str
    cross_validation: str | None = None
