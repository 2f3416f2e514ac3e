"""JSON schemas of requests and answers, in the dialect of OpenAPI 3.0, derived from a contract."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from domain.models.contract import Category, Classes, Input, ModelSpec, Number, Quantity, Tensor

EXAMPLES = 2

Schema = dict[str, Any]


def rows_schema(spec: ModelSpec, rows: Sequence[Sequence[Any]]) -> Schema:
    """What ``/predict`` takes: rows in the contract's order, or one flat row.

    Args:
        rows: rows as requests have them; the first ones are the example.
    """
    kinds = {item.kind for item in spec.inputs}
    row = {
        "type": "array",
        "minItems": len(spec.inputs),
        "maxItems": len(spec.inputs),
        # what stands at which place cannot be said in OpenAPI 3.0, only what stands everywhere
        "items": {"type": "number"} if kinds == {"number"} else {},
        "description": "In this order: " + "; ".join(map(_told, spec.inputs)),
    }
    if any(item.nullable for item in spec.inputs) and row["items"]:
        row["items"] = {"type": "number", "nullable": True}
    many = {"type": "array", "items": row, "minItems": 1}
    return {"oneOf": [many, row], "example": [list(row) for row in rows[:EXAMPLES]]}


def objects_schema(spec: ModelSpec, rows: Sequence[Sequence[Any]]) -> Schema:
    """What ``/predict_json`` takes: one object by names, or several under ``instances``."""
    one = _object({item.name: _value(item) for item in spec.inputs}, _required(spec))
    many = _object({"instances": {"type": "array", "items": one, "minItems": 1}})
    return {"oneOf": [one, many], "example": dict(zip(spec.input_names, rows[0]))}


def feedback_schema(spec: ModelSpec) -> Schema:
    """What ``/feedback`` takes: the identity of a prediction, or its inputs, and what was true."""
    truth = _truth(spec)
    predicted, actual = truth_names(spec)
    row = {"type": "integer", "minimum": 0, "default": 0}
    by_identity = _object(
        {"request_id": {"type": "string"}, "row": row, actual: truth}, ["request_id", actual]
    )
    inputs = {item.name: _value(item) for item in spec.inputs}
    by_inputs = _object(
        {**inputs, predicted: truth, actual: truth}, [*_required(spec), predicted, actual]
    )
    return {"oneOf": [by_identity, by_inputs]}


def answers_schema(spec: ModelSpec) -> Schema:
    """What the predictions are answered with."""
    number, text = {"type": "number"}, {"type": "string"}
    row: dict[str, Schema] = {"row": {"type": "integer", "description": "position in the request"}}
    answer = {"request_id": text, "model_name": text, "version": text}
    if isinstance(spec.output, Quantity):
        unit = f", in {spec.output.unit}" if spec.output.unit else ""
        row["prediction"] = {"type": "number", "description": f"{spec.output.name}{unit}"}
        row |= {"lower": number, "upper": number}
        answer |= {"coverage": number, "unit": text}
    else:
        row["prediction"] = {"type": "string", "enum": list(spec.classes)}
        row["prediction_id"] = {"type": "integer", "description": "number of the class"}
        row["confidence"] = {"type": "number", "description": "probability of that class"}
        row["probabilities"] = _object({name: number for name in spec.classes})
    return _object({"predictions": {"type": "array", "items": _object(row)}, **answer})


def truth_names(spec: ModelSpec) -> tuple[str, str]:
    """What feedback calls what was predicted and what was true."""
    return ("predicted_class", "actual_class") if spec.classes else ("predicted", "actual")


def describe(spec: ModelSpec) -> str:
    """The contract in Markdown, for the service's page."""
    output = spec.output
    if isinstance(output, Classes):
        answer = f"{output.name}: one of {', '.join(output.names)}."
    else:
        answer = f"{output.name}."
    if isinstance(output, Quantity):
        unit = f" in {output.unit}" if output.unit else ""
        answer = f"{output.name}{unit}, with an interval that holds {output.coverage:.0%} of cases."
    inputs = "\n".join(f"- {_told(item)}" for item in spec.inputs)
    return f"# {spec.name}\n\n{spec.description}\n\nInputs:\n\n{inputs}\n\nAnswer: {answer}\n"


def _object(properties: dict[str, Schema], required: Sequence[str] | None = None) -> Schema:
    names = list(properties) if required is None else list(required)
    schema: Schema = {"type": "object", "properties": properties, "additionalProperties": False}
    return {**schema, "required": names} if names else schema  # an empty list is not allowed


def _required(spec: ModelSpec) -> list[str]:
    return [item.name for item in spec.inputs if not item.nullable]


def _truth(spec: ModelSpec) -> Schema:
    if not spec.classes:
        return {"type": "number"}
    return {"oneOf": [{"type": "string", "enum": list(spec.classes)}, {"type": "integer"}]}


def _value(item: Input) -> Schema:
    schema: Schema
    if isinstance(item, Number):
        schema = _number(item)
    elif isinstance(item, Tensor):
        schema = _number(item)
        for length in reversed(item.shape):
            schema = {"type": "array", "items": schema, "minItems": length, "maxItems": length}
    else:
        schema = {"type": "string"}
    if isinstance(item, Category) and item.unseen == "refuse":
        schema["enum"] = [*item.categories, *([None] if item.nullable else [])]
    if item.kind == "text":
        schema["maxLength"] = getattr(item, "max_length")
    if item.nullable:
        schema["nullable"] = True
    schema["description"] = _told(item)
    return schema


def _number(item: Number | Tensor) -> Schema:
    return {"type": "number", "minimum": item.minimum, "maximum": item.maximum}


def _told(item: Input) -> str:
    """An input in words: name, unit, range or categories."""
    told = f"{item.name}: {item.description}" if item.description else item.name
    if isinstance(item, Number | Tensor):
        shape = " × ".join(map(str, item.shape)) + " numbers, " if isinstance(item, Tensor) else ""
        told += f" ({shape}{item.minimum:g} to {item.maximum:g} {item.unit}".rstrip() + ")"
    elif isinstance(item, Category):
        other = "; any other counts as missing" if item.unseen == "missing" else ""
        told += f" (one of {', '.join(item.categories)}{other})"
    return f"{told}, or null" if item.nullable else told
