"""The output folder of a validation: report.html, card.md, verdict.md and verdicts.json."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from application.ports.progress import Progress
from application.validation.judgement import Validation
from application.validation.validated_card import validated_card, verdict_page
from domain.gates import Verdict
from infrastructure.compute.receipts import write_receipt
from infrastructure.reporting.validation_report import write_report
from shared.files import write_atomically


@dataclass(frozen=True)
class ValidationFolder:
    """Writes the results of a validation.

    Attributes:
        path: the folder.
        progress: reports a link to each file that people read.
    """

    path: Path
    progress: Progress

    def write_report(self, validation: Validation) -> None:
        """Write the report, the card and the verdict."""
        card = self.path / "card.md"
        write_atomically(card, validated_card(validation))
        write_atomically(self.path / "verdict.md", verdict_page(validation))
        self.progress("report", write_report(validation, self.path).as_uri())
        self.progress("card", card.as_uri())

    def write_verdicts(self, verdict: str, verdicts: Sequence[Verdict]) -> None:
        """Write all verdicts as JSON."""
        contents = [verdict.to_dict() for verdict in verdicts]
        write_receipt(self.path / "verdicts.json", verdict=verdict, verdicts=contents)
