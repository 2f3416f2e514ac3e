"""JSON schemas of requests and answers, in the dialect of OpenAPI 3.0, derived from a contract."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from application.monitoring.feedback import are_numbered
from domain.models.contract import (
    Category,
    Classes,
    Input,
    ModelSpec,
    Number,
    Quantity,
    Tensor,
    as_word,
)

EXAMPLES = 2
MOST_HOURS = 24 * 366  # of a summary

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
    """What ``/predict_json`` takes: one object by names, or `takes_instances`."""
    one = _object({item.name: _value(item) for item in spec.inputs}, _required(spec))
    many = _object({"instances": {"type": "array", "items": one, "minItems": 1}})
    forms = [one, many] if takes_instances(spec) else [one]
    return {"oneOf": forms, "example": dict(zip(spec.input_names, rows[0]))}


def feedback_schema(spec: ModelSpec) -> Schema:
    """What ``/feedback`` takes: the identity of a prediction, or its inputs, and what was true."""
    truth = _truth(spec)
    predicted, actual = truth_names(spec)
    row = {"type": "integer", "minimum": 0, "default": 0}
    by_identity = _object(
        {"request_id": {"type": "string"}, "row": row, actual: truth}, ["request_id", actual]
    )
    inputs = {item.name: _value(item) for item in spec.inputs}
    confidence = {"confidence": {"type": "number", "nullable": True}} if spec.classes else {}
    by_inputs = _object(
        {**inputs, predicted: truth, actual: truth, **confidence},
        [*_required(spec), predicted, actual],
    )
    forms = [by_identity, by_inputs] if takes_feedback_by_inputs(spec) else [by_identity]
    return {"oneOf": forms}


def period_schema() -> Schema:
    """What ``/get_metrics_summary`` takes."""
    hours = {"type": "number", "minimum": 0, "exclusiveMinimum": True, "maximum": MOST_HOURS}
    return {**_object({"hours": {**hours, "default": 1.0}}, []), "example": {"hours": 1}}


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


def takes_instances(spec: ModelSpec) -> bool:
    """Whether ``/predict_json`` takes ``{"instances": [{…}, …]}``: not where it is an input."""
    return "instances" not in spec.input_names


def takes_feedback_by_inputs(spec: ModelSpec) -> bool:
    """Whether ``/feedback`` takes inputs: not where one has the name of another field of it, or
    one that JSON escapes."""
    others = {"request_id", "confidence", *truth_names(spec)}
    return not others & set(spec.input_names) and has_plain_names(spec)


def has_plain_names(spec: ModelSpec) -> bool:
    """Whether no input's name has a sign that JSON escapes, so that msgspec can decode it."""
    return all(name.isprintable() and not set(name) & set('"\\') for name in spec.input_names)


def with_refusals(
    document: Schema, statuses: Mapping[str, Mapping[int, str]], bodiless: Collection[str]
) -> Schema:
    """An OpenAPI document that says how requests are refused, and that they need a body.

    Args:
        statuses: for each path, the reasons by their HTTP status; others are left as they are.
        bodiless: paths that need none.
    """
    text = {"type": "string"}
    body = {"application/json": {"schema": _object({"error": text, "request_id": text})}}
    paths = dict(document["paths"])
    for path, reasons in statuses.items():
        post = paths[path]["post"]
        refusals = {code: {"description": why, "content": body} for code, why in reasons.items()}
        post = {**post, "responses": post["responses"] | refusals}
        if path not in bodiless:
            post["requestBody"] = {**post.get("requestBody", {}), "required": True}
        paths[path] = {**paths[path], "post": post}
    return {**document, "paths": paths}


def with_query(document: Schema, path: str) -> Schema:
    """An OpenAPI document with a path that takes no body, by GET as well as by POST."""
    post = {
        key: told for key, told in document["paths"][path]["post"].items() if key != "requestBody"
    }
    get = {**post, "operationId": f"get_{post['operationId']}"} if "operationId" in post else post
    paths = {**document["paths"], path: {**document["paths"][path], "get": get, "post": post}}
    return {**document, "paths": paths}


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
    classes = list(spec.classes)
    if not classes:
        return {"type": "number"}
    name = {"type": "string", "enum": classes}
    if are_numbered(classes):
        place = {"type": "integer", "minimum": 0, "maximum": len(classes) - 1}
        return {"oneOf": [name, place], "description": "a class by its name or its number"}
    whole = [number for number in _numbers(classes) if isinstance(number, int)]
    forms = [name, {"type": "integer", "enum": whole}] if whole else [name]
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
    else:
        schema = {"type": "string"}
    if item.kind == "text":
        schema["maxLength"] = getattr(item, "max_length")
    if item.nullable and "oneOf" not in schema:
        schema["nullable"] = True
    schema["description"] = _told(item)
    return schema


def _category(item: Category) -> Schema:
    """Words; and booleans and numbers, where the words are theirs."""
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
    if item.nullable:  # in OpenAPI 3.0 it stands beside a type, and one of the forms only may fit
        forms[0]["nullable"] = True
    return {"oneOf": forms}


def _numbers(words: Sequence[str]) -> list[int | float]:
    """The numbers that are these words when a request has them as numbers."""
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
