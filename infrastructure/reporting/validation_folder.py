"""The folder of a validation: report.html, card.md and verdicts.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from application.ports.progress import Progress
from application.validation.judgement import Validation
from application.validation.validated_card import validated_card
from domain.gates import Verdict
from infrastructure.compute.receipts import write_receipt
from infrastructure.reporting.validation_report import write_report
from shared.files import write_atomically


@dataclass(frozen=True)
class ValidationFolder:
    """Writes what a validation found.

    Attributes:
        progress: is given a link to what was written.
    """

    path: Path
    progress: Progress

    def write_report(self, validation: Validation) -> None:
        """Write the report and the card."""
        card = self.path / "card.md"
        write_atomically(card, validated_card(validation))
        self.progress("report", write_report(validation, self.path).as_uri())
        self.progress("card", card.as_uri())

    def write_verdicts(self, verdict: str, verdicts: Sequence[Verdict]) -> None:
        """Write all verdicts for programs."""
        each = [verdict.to_dict() for verdict in verdicts]
        write_receipt(self.path / "verdicts.json", verdict=verdict, verdicts=each)
