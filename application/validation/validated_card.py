"""The model card after validation, and the verdict alone."""

from __future__ import annotations

import re

from application.training.card import markdown_table
from application.validation.judgement import Judgement, Validation
from domain.evaluation.measures import format_score

_SLICES = 10


def validated_card(validation: Validation) -> str:
    """The package's card with the results of validation, in Markdown; the figures are in the
    report."""
    judgement = validation.judgement
    word = "Accepted" if judgement.accepted else "Refused"
    verdicts = ((verdict.gate, verdict.word, verdict.reason) for verdict in judgement.verdicts)
    card = re.sub(r"^!\[.*\n\n?", "", validation.card, flags=re.MULTILINE)
    return f"""{card.rstrip()}

## Verdicts

{word} as {validation.package_version}.

{markdown_table(("gate", "verdict", "reason"), verdicts)}

## Against the champion

{_comparison(judgement)}

## Worst slices

{_slices(judgement)}
"""


def verdict_page(validation: Validation) -> str:
    """The verdict in Markdown, for the summary of a CI run or a comment on a pull request."""
    judgement = validation.judgement
    refused = ", ".join(verdict.gate for verdict in judgement.refused)
    word = "accepted" if judgement.accepted else f"refused by {refused}"
    verdicts = [(verdict.gate, verdict.word, verdict.reason) for verdict in judgement.verdicts]
    quality = f"On the hold-out: {judgement.report}." if judgement.report else "Not measured."
    return f"""### {validation.model_name} {validation.package_version}: {word}

{quality} {_comparison(judgement)}

<details><summary>{len(verdicts)} gates</summary>

{markdown_table(("gate", "verdict", "reason"), verdicts)}

</details>
"""


def _comparison(judgement: Judgement) -> str:
    if judgement.champion is None:
        return "There was no champion to compare it with."
    if judgement.comparison is None:
        return f"Not compared with the champion {judgement.champion}: see the verdicts."
    return f"Compared with {judgement.champion}: {judgement.comparison}."


def _slices(judgement: Judgement) -> str:
    if not judgement.slices:
        return "No slice was measured."
    rows = (
        (
            found.name,
            str(found.rows),
            f"{format_score(found.score)}",
            f"{format_score(found.low)} to {format_score(found.high)}",
        )
        for found in judgement.slices[:_SLICES]
    )
    return markdown_table(("slice", "rows", _measure_of(judgement), "95 % interval"), rows)


def _measure_of(judgement: Judgement) -> str:
    return judgement.report.measure if judgement.report else "score"
