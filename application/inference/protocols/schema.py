"""JSON schemas of requests and responses in OpenAPI 3.0, derived from a contract."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from application.inference.protocols.openapi import TEXT, Schema, list_of, object_of
from application.monitoring.feedback import LONGEST_ID, are_numbered
from domain.contract import (
    ID,
    ISO_8601,
    LARGEST_ROW_ID,
    LONGEST_ROW_ID,
    ROW_ID_PATTERN,
    Category,
    Classes,
    Datetime,
    Input,
    ModelSpec,
    Number,
    Quantity,
    Tensor,
    as_word,
    format_shape,
)

EXAMPLES = 2
MOST_HOURS = 24 * 366  # of a summary
LAST_ROW = 2**31 - 1  # largest integer in the database
REQUEST_ID: Schema = {**TEXT, "pattern": "^[A-Za-z0-9._-]+$", "maxLength": LONGEST_ID}

ROW_ID: Schema = {
    "oneOf": [
        {**TEXT, "minLength": 1, "maxLength": LONGEST_ROW_ID, "pattern": ROW_ID_PATTERN},
        {"type": "integer", "minimum": -LARGEST_ROW_ID, "maximum": LARGEST_ROW_ID},
    ],
    "description": "your own key of the row; it comes back with the prediction, and `/feedback` "
    "takes it",
}


def rows_schema(spec: ModelSpec, rows: Sequence[Sequence[Any]]) -> Schema:
    """What ``/predict`` takes: rows in the contract's order, or one flat row.

    Args:
        rows: rows as requests have them; the first ones are the example.
    """
    row = row_schema(spec)
    many = list_of(row)
    return {"oneOf": [many, row], "example": [list(row) for row in rows[:EXAMPLES]]}


def row_schema(spec: ModelSpec) -> Schema:
    """A row in the contract's order."""
    kinds = {item.kind for item in spec.inputs}
    row = {
        "type": "array",
        "minItems": len(spec.inputs),
        "maxItems": len(spec.inputs),
        # OpenAPI 3.0 has one schema for all items of a list, not one for each position
        "items": {"type": "number"} if kinds == {"number"} else {},
        "description": "In this order: " + "; ".join(map(_describe_input, spec.inputs)),
    }
    if any(item.nullable for item in spec.inputs) and row["items"]:
        row["items"] = {"type": "number", "nullable": True}
    return row


def named_row_schema(spec: ModelSpec, ignore_unknown: bool = False) -> Schema:
    """An object with named inputs.

    Args:
        ignore_unknown: whether it may have other names too.
    """
    row = object_of({item.name: _value(item) for item in spec.inputs}, _required(spec))
    row = with_id(spec, row, nullable=True)
    return {**row, "additionalProperties": True} if ignore_unknown else row


def with_id(spec: ModelSpec, row: Schema, nullable: bool = False) -> Schema:
    """A row or a prediction that may have an ``id``, unless the contract uses that name.

    Args:
        nullable: whether it may be null, which is the same as none.
    """
    if not spec.takes_ids:
        return row
    text = {**ROW_ID["oneOf"][0], "nullable": True} if nullable else ROW_ID["oneOf"][0]
    found = {**ROW_ID, "oneOf": [text, *ROW_ID["oneOf"][1:]]}
    return {**row, "properties": {**row["properties"], ID: found}}


def any_row_schema(spec: ModelSpec, ignore_unknown: bool = False) -> Schema:
    """A row as `RowReader` reads it: a list, an object, or the value of a single input.

    Args:
        ignore_unknown: whether an object may have other names too.
    """
    forms = [row_schema(spec), named_row_schema(spec, ignore_unknown)]
    return {"anyOf": [*forms, *map(_value, spec.inputs if len(spec.inputs) == 1 else ())]}


def objects_schema(spec: ModelSpec, rows: Sequence[Sequence[Any]]) -> Schema:
    """What ``/predict_json`` takes: one object with named inputs, or several as ``instances``."""
    one = named_row_schema(spec)
    many = object_of({"instances": list_of(one)})
    forms = [one, many] if takes_instances(spec) else [one]
    return {"oneOf": forms, "example": dict(zip(spec.input_names, rows[0]))}


def feedback_schema(spec: ModelSpec) -> Schema:
    """What ``/feedback`` takes: the identity, ID or inputs of a prediction, and the truth."""
    truth = _truth(spec)
    predicted, actual = truth_names(spec)
    row = {"type": "integer", "minimum": 0, "maximum": LAST_ROW, "default": 0}
    by_identity = object_of(
        {"request_id": REQUEST_ID, "row": row, actual: truth}, ["request_id", actual]
    )
    by_id = object_of({ID: ROW_ID, actual: truth})
    inputs = {item.name: _value(item) for item in spec.inputs}
    confidence = (
        {"confidence": {"type": "number", "minimum": 0, "maximum": 1, "nullable": True}}
        if spec.classes
        else {}
    )
    by_inputs = object_of(
        {**inputs, predicted: truth, actual: truth, **confidence},
        [*_required(spec), predicted, actual],
    )
    forms = [by_identity]
    forms += [by_id] if spec.takes_ids else []
    forms += [by_inputs] if takes_feedback_by_inputs(spec) else []
    return {"oneOf": forms}


def period_schema() -> Schema:
    """What ``/get_metrics_summary`` takes."""
    hours = {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": MOST_HOURS}
    return {**object_of({"hours": {**hours, "default": 1.0}}, []), "example": {"hours": 1}}


def response_schema(spec: ModelSpec) -> Schema:
    """What ``/predict`` and ``/predict_json`` return."""
    details = {"request_id": TEXT, "model_name": TEXT, "version": TEXT}
    if isinstance(spec.output, Quantity):
        details |= {"coverage": {"type": "number"}, "unit": TEXT}
    return object_of({"predictions": predictions_schema(spec), **details})


def predictions_schema(spec: ModelSpec) -> Schema:
    """The objects that a `ResponseBuilder` makes, one for each row."""
    number = {"type": "number"}
    row: dict[str, Schema] = {"row": {"type": "integer", "description": "position in the request"}}
    if isinstance(spec.output, Quantity):
        unit = f", in {spec.output.unit}" if spec.output.unit else ""
        row["prediction"] = {"type": "number", "description": f"{spec.output.name}{unit}"}
        row |= {"lower": number, "upper": number}
    else:
        row["prediction"] = {"type": "string", "enum": list(spec.classes)}
        row["prediction_id"] = {"type": "integer", "description": "number of the class"}
        row["confidence"] = {"type": "number", "description": "probability of that class"}
        row["probabilities"] = object_of({name: number for name in spec.classes})
    return list_of(with_id(spec, object_of(row)))


def truth_names(spec: ModelSpec) -> tuple[str, str]:
    """The fields of feedback for the predicted and the actual class or value."""
    return ("predicted_class", "actual_class") if spec.classes else ("predicted", "actual")


def takes_instances(spec: ModelSpec) -> bool:
    """Whether ``/predict_json`` takes ``{"instances": [{…}, …]}``: not if that names an input."""
    return "instances" not in spec.input_names


def takes_feedback_by_inputs(spec: ModelSpec) -> bool:
    """Whether ``/feedback`` takes inputs: not if the name of an input is that of another field, or
    contains characters that JSON escapes."""
    others = {"request_id", "confidence", *truth_names(spec)}
    return not others & set(spec.input_names) and has_plain_names(spec)


def has_plain_names(spec: ModelSpec) -> bool:
    """Whether JSON escapes no character of any input's name, so that msgspec can decode it."""
    return all(name.isprintable() and not set(name) & set('"\\') for name in spec.input_names)


def describe(spec: ModelSpec) -> str:
    """The contract in Markdown, for the page of the service."""
    output = spec.output
    if isinstance(output, Classes):
        result = f"{output.description}."
    else:
        result = f"{output.name}."
    if isinstance(output, Quantity):
        unit = f" in {output.unit}" if output.unit else ""
        result = f"{output.name}{unit}, with an interval covering {output.coverage:.0%} of cases."
    inputs = "\n".join(f"- {_describe_input(item)}" for item in spec.inputs)
    return f"# {spec.name}\n\n{spec.description}\n\nInputs:\n\n{inputs}\n\nOutput: {result}\n"


def _required(spec: ModelSpec) -> list[str]:
    return [item.name for item in spec.inputs if not item.nullable]


def _truth(spec: ModelSpec) -> Schema:
    classes = list(spec.classes)
    if not classes:
        return {"type": "number"}
    name = {"type": "string", "enum": classes}
    booleans = [value for value in (False, True) if as_word(value) in classes]
    forms: list[Schema] = [name]
    forms += [{"type": "boolean", "enum": booleans}] if booleans else []
    if are_numbered(classes):
        number = {"type": "integer", "minimum": 0, "maximum": len(classes) - 1}
        return {"oneOf": [*forms, number], "description": "a class by its name or its number"}
    integers = [value for value in _numbers(classes) if isinstance(value, int)]
    forms += [{"type": "integer", "enum": integers}] if integers else []
    return {"oneOf": forms, "description": "a class by its name, which may be written as a number"}


def _value(item: Input) -> Schema:
    schema: Schema
    if isinstance(item, Number):
        schema = _number(item)
    elif isinstance(item, Tensor):
        schema = _number(item)
        for length in reversed(item.shape):
            schema = {"type": "array", "items": schema, "minItems": length, "maxItems": length}
    elif isinstance(item, Category):
        schema = _category(item)
    elif isinstance(item, Datetime):
        schema = {"type": "string", "pattern": f"^{ISO_8601}$"}
    else:
        schema = {"type": "string"}
    if item.kind in ("text", "hashed_text"):
        schema["maxLength"] = getattr(item, "max_length")
        if not item.nullable:
            schema["pattern"] = r"\S"  # a blank text is a missing value
    if item.nullable and "oneOf" not in schema:
        schema["nullable"] = True
    schema["description"] = _describe_input(item)
    return schema


def _category(item: Category) -> Schema:
    """The categories as words, and as booleans or numbers if that is how they read."""
    null = [None] if item.nullable else []
    booleans = [value for value in (False, True) if as_word(value) in item.categories]
    numbers = _numbers(item.categories)
    kind = "integer" if all(isinstance(number, int) for number in numbers) else "number"
    forms: list[Schema] = [
        {"type": name, "enum": values} if item.unseen == "refuse" else {"type": name}
        for name, values in (
            ("string", [*item.categories, *null]),
            ("boolean", booleans),
            (kind, numbers),
        )
        if values
    ]
    if len(forms) == 1:
        return forms[0]
    if item.nullable:  # in OpenAPI 3.0 it belongs to a type, and exactly one of them may match
        forms[0]["nullable"] = True
    return {"oneOf": forms}


def _numbers(words: Sequence[str]) -> list[int | float]:
    """The numbers that read as these words, as a request may write them."""
    found: list[int | float] = []
    for word in words:
        try:
            number = float(word)
        except ValueError:
            continue
        if math.isfinite(number) and as_word(number) == word:
            found.append(int(number) if number.is_integer() else number)
    return found


def _number(item: Number | Tensor) -> Schema:
    if isinstance(item, Number) and item.outside != "refuse":
        return {"type": "number"}
    return {"type": "number", "minimum": item.minimum, "maximum": item.maximum}


def _describe_input(item: Input) -> str:
    """Name, meaning, unit, and range or categories of an input."""
    text = f"{item.name}: {item.description}" if item.description else item.name
    if isinstance(item, Number | Tensor):
        shape = f"{format_shape(item.shape)} numbers, " if isinstance(item, Tensor) else ""
        text += f" ({shape}{item.minimum:g} to {item.maximum:g} {item.unit}".rstrip()
        outside = item.outside if isinstance(item, Number) else "refuse"
        text += {
            "refuse": ")",
            "clip": "; others are clipped)",
            "accept": "; others are accepted)",
        }[outside]
    elif isinstance(item, Category):
        other = "; any other counts as missing" if item.unseen == "missing" else ""
        text += f" (one of {', '.join(item.categories)}{other})"
    elif isinstance(item, Datetime):
        text += f" ({item.describe()})"
    return f"{text}, or null" if item.nullable else text
