"""The card of a model: what it is for, what it takes, how good it is."""

from __future__ import annotations

from domain.data.dataset import Dataset
from domain.evaluation.metrics import Report
from domain.models.contract import (
    Audio,
    Category,
    Classes,
    Input,
    ModelSpec,
    Number,
    Output,
    Quantity,
    Tensor,
    Text,
)


def write_card(name: str, spec: ModelSpec, report: Report, dataset: Dataset, parity: float) -> str:
    """Markdown; `parity` is the largest difference between the served and the native model."""
    return f"""# {name}

{spec.description}

{describe_output(spec.output)}

{inputs_table(spec)}

## Quality

Measured on {report.rows} rows that the model never saw: {report}.

![Quality](figures/{'confusion_matrix' if spec.classes else 'predictions'}.png)

The served model differs from the native one by at most {parity:.1e}.

## Data

{dataset.source}: {len(dataset)} rows, fingerprint {dataset.fingerprint}.
"""


def inputs_table(spec: ModelSpec) -> str:
    """The inputs as a Markdown table."""
    cells = ((i.name, i.kind, describe_values(i), i.description) for i in spec.inputs)
    rows = "\n".join(f"| {' | '.join(map(_escaped, row))} |" for row in cells)
    return f"| input | kind | values | meaning |\n|---|---|---|---|\n{rows}"


def describe_values(item: Input) -> str:
    """What values an input may have, in a few words."""
    match item:
        case Number():
            words = f"{item.minimum:g} to {item.maximum:g} {item.unit}".strip()
        case Category():
            unseen = ", others count as missing" if item.unseen == "missing" else ""
            words = ", ".join(item.categories) + unseen
        case Tensor():
            shape = " × ".join(map(str, item.shape))
            words = f"{shape} of {item.minimum:g} to {item.maximum:g} {item.unit}".strip()
        case Text():
            words = f"at most {item.max_length} characters"
        case Audio():
            words = f"at most {item.max_seconds:g} s"
    return f"{words}, or missing" if item.nullable else words


def describe_output(output: Output) -> str:
    """What comes out, in a sentence."""
    match output:
        case Classes():
            return f"Answers {output.name}, one of {', '.join(output.names)}, with probabilities."
        case Quantity():
            unit = f" in {output.unit}" if output.unit else ""
            return (
                f"Answers {output.name}{unit}, with an interval that is to hold "
                f"{output.coverage:.0%} of the true values."
            )
        case _:
            return "Answers what was said: text, language, and segments with their times."


def _escaped(text: str) -> str:
    """Text as a cell of a table."""
    return " ".join(text.replace("|", "\\|").split())
