"""Contracts of every kind of input, and how they refuse values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from domain.contract import Audio, Classes, Input, ModelSpec, Number, Tensor, Text, Transcript
from domain.errors import InputError

SOLD = Classes(("sold", "let"), "outcome")
FLAT = ModelSpec(
    name="flat",
    inputs=(
        Number("area", "m²", 5.0, 500.0, "floor area"),
        Number("rooms", "", 1.0, 20.0),
        Number("altitude", "m", -400.0, 9000.0),
    ),
    output=SOLD,
    description="Whether a flat is sold or let.",
)
GOOD = [80.0, 3.0, 35.0]

REVIEW = ModelSpec("review", (Text("what they said", 12),), SOLD)
SPEECH = ModelSpec("speech", (Audio("recording", 16_000, 30.0),), Transcript())
IMAGE = ModelSpec("image", (Tensor("image", (2, 2), 0.0, 16.0, "grey"),), SOLD)


def refusal(*rows: Sequence[Any], spec: ModelSpec = FLAT) -> str:
    """The message with which the rows are refused."""
    with pytest.raises(InputError) as refused:
        spec.encode_rows(rows)
    return str(refused.value)


def input_refusal(item: Input, *values: Any) -> str:
    """The message with which an input refuses values; asserts that rows and columns agree."""
    spec = ModelSpec("alone", (item,), SOLD)
    in_rows = refusal(*([value] for value in values), spec=spec)
    with pytest.raises(InputError) as in_column:
        spec.encode({item.name: list(values)})
    assert in_rows == str(in_column.value)
    return in_rows
