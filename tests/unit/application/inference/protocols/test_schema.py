"""Schemas of requests and responses are derived from the contract."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from application.inference.protocols import schema
from application.inference.protocols.openapi import Schema
from domain.contract import (
    Category,
    Classes,
    Input,
    ModelSpec,
    Number,
    Quantity,
    Tensor,
    Text,
)
from tests import petals
from tests.kinds import KINDS

RENT = ModelSpec(
    "rent",
    (
        Number("Total Area", "m²", 5, 500, "living area", nullable=True),
        Category("district", ("east", "west"), nullable=True, unseen="missing"),
        Category("furnished", ("false", "true")),
        Category("heating", ("gas", "oil"), nullable=True),
        Tensor("plan", (2, 3), 0, 1),
    ),
    Quantity("rent", "EUR", 0.8),
    "Monthly rent.",
)
ROW = [50, "east", True, None, [[0, 1, 0], [1, 1, 1]]]


def test_each_kind_of_input_has_its_type_range_and_words() -> None:
    one, many = schema.objects_schema(RENT, [ROW])["oneOf"]
    assert many["properties"]["instances"]["items"] == one
    assert one["required"] == ["furnished", "plan"]
    assert one["additionalProperties"] is False
    found = {
        name: {key: value for key, value in item.items() if key != "description"}
        for name, item in one["properties"].items()
        if name != "id"
    }
    numbers = {"type": "number", "minimum": 0, "maximum": 1}
    rows = {"type": "array", "items": numbers, "minItems": 3, "maxItems": 3}
    assert found == {
        "Total Area": {"type": "number", "minimum": 5, "maximum": 500, "nullable": True},
        "district": {"type": "string", "nullable": True},
        "furnished": {
            "oneOf": [
                {"type": "string", "enum": ["false", "true"]},
                {"type": "boolean", "enum": [False, True]},
            ]
        },
        "heating": {"type": "string", "enum": ["gas", "oil", None], "nullable": True},
        "plan": {"type": "array", "items": rows, "minItems": 2, "maxItems": 2},
    }


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (RENT.inputs[0], "Total Area: living area (5 to 500 m²), or null"),
        (RENT.inputs[1], "district (one of east, west; any other counts as missing), or null"),
        (RENT.inputs[2], "furnished (one of false, true)"),
        (RENT.inputs[4], "plan (2 × 3 numbers, 0 to 1)"),
        (Text("review", 9, "the whole review"), "review: the whole review"),
    ],
)
def test_an_input_is_described_with_its_unit(item: Input, words: str) -> None:
    spec = ModelSpec("one", (item,), Quantity("q"))
    assert words in schema.describe(spec)
    rows = schema.rows_schema(spec, [[1]])["oneOf"][1]
    assert rows["description"] == f"In this order: {words}"


@pytest.mark.parametrize(
    ("item", "forms"),
    [
        (
            Category("rooms", ("1", "2", "many"), nullable=True),
            [
                {"type": "string", "enum": ["1", "2", "many", None], "nullable": True},
                {"type": "integer", "enum": [1, 2]},
            ],
        ),
        (
            Category("size", ("0.5", "2", "02", "nan")),
            [
                {"type": "string", "enum": ["0.5", "2", "02", "nan"]},
                {"type": "number", "enum": [0.5, 2]},
            ],
        ),
        (
            Category("pets", ("false", "true"), unseen="missing"),
            [{"type": "string"}, {"type": "boolean"}],
        ),
    ],
)
def test_words_that_booleans_and_numbers_count_as_may_be_sent_as_these(
    item: Category, forms: list[Schema]
) -> None:
    spec = ModelSpec("one", (item,), Quantity("q"))
    found = schema.objects_schema(spec, [[True]])["oneOf"][0]["properties"][item.name]
    assert found["oneOf"] == forms
    assert set(found) == {"oneOf", "description"}


@pytest.mark.parametrize(("outside", "words"), [("clip", "clipped"), ("accept", "accepted")])
def test_a_range_that_refuses_nothing_is_described_but_not_required(
    outside: Any, words: str
) -> None:
    item = Number("income", "EUR", 0, 100, outside=outside)
    spec = ModelSpec("m", (item,), Quantity("rent"))
    made = schema.named_row_schema(spec)["properties"]["income"]
    assert made.keys() == {"type", "description"}
    assert made["description"] == f"income (0 to 100 EUR; others are {words})"


def test_a_date_is_text_in_iso_8601() -> None:
    spec = KINDS["dates"].SPEC
    made = schema.named_row_schema(spec)["properties"]["at"]
    assert made["type"] == "string" and made["nullable"]
    for value in ("2024-01-31", "2024-01-31 13:45", "2024-01-31T13:45:00.5+01:00"):
        assert re.match(made["pattern"], value)
    for value in ("20240131", "31-1-2024", "2024-01-31T13:45:00 CET"):
        assert not re.match(made["pattern"], value)
    assert made["description"] == (
        "at: start of the hour (ISO 8601 date or time from 2020-01-01 to 2039-12-31, in "
        "Europe/Berlin if without an offset), or null"
    )


def test_a_text_has_its_greatest_length() -> None:
    spec = ModelSpec("review", (Text("review", 9),), Quantity("q"))
    properties = schema.objects_schema(spec, [["good"]])["oneOf"][0]["properties"]
    assert properties["review"] == {
        "type": "string",
        "maxLength": 9,
        "pattern": r"\S",
        "description": "review",
    }


def test_rows_have_one_item_per_input_and_are_numbers_if_all_are() -> None:
    many, row = schema.rows_schema(petals.SPEC, [[1, 2, 3, 4]])["oneOf"]
    assert many["items"] == row
    assert (row["minItems"], row["maxItems"], row["items"]) == (4, 4, {"type": "number"})
    assert "sepal_width: width of the sepal (0.1 to 30 cm)" in row["description"]
    mixed = schema.rows_schema(RENT, [ROW])["oneOf"][1]
    assert (mixed["minItems"], mixed["items"]) == (5, {})


def test_numbers_that_may_be_missing_may_be_null_in_rows() -> None:
    spec = ModelSpec(
        "n", (Number("a", "", 0, 1, nullable=True), Number("b", "", 0, 1)), RENT.output
    )
    row = schema.rows_schema(spec, [[None, 1]])["oneOf"][1]
    assert row["items"] == {"type": "number", "nullable": True}


def test_the_first_rows_are_the_examples() -> None:
    rows = [ROW, ROW, ROW]
    assert schema.rows_schema(RENT, rows)["example"] == rows[:2]
    example = schema.objects_schema(RENT, rows)["example"]
    assert example == dict(zip(RENT.input_names, ROW))


def test_feedback_identifies_a_prediction_by_request_id_id_or_inputs() -> None:
    by_identity, by_id, by_inputs = schema.feedback_schema(petals.SPEC)["oneOf"]
    assert by_identity["required"] == ["request_id", "actual_class"]
    assert by_inputs["required"] == [*petals.SPEC.input_names, "predicted_class", "actual_class"]
    assert by_id["required"] == ["id", "actual_class"]
    assert "nullable" not in by_id["properties"]["id"]["oneOf"][0]
    by_identity, _, by_inputs = schema.feedback_schema(RENT)["oneOf"]
    assert by_identity["properties"]["actual"] == {"type": "number"}
    assert by_inputs["required"] == ["furnished", "plan", "predicted", "actual"]


def test_a_class_has_a_number_only_if_its_name_is_not_a_number() -> None:
    def forms(*names: str) -> list[Schema]:
        spec = ModelSpec("m", petals.SPEC.inputs, Classes(names))
        properties = schema.feedback_schema(spec)["oneOf"][0]["properties"]
        found: list[Schema] = properties["actual_class"]["oneOf"]
        return found

    assert forms("no", "yes")[1] == {"type": "integer", "minimum": 0, "maximum": 1}
    assert forms("2", "3", "x")[1] == {"type": "integer", "enum": [2, 3]}
    assert forms("0.5", "1.5") == [{"type": "string", "enum": ["0.5", "1.5"]}]


def test_what_inputs_with_reserved_names_rule_out_is_not_promised() -> None:
    def forms(name: str) -> tuple[int, int]:
        spec = ModelSpec("m", (Number(name, "", 0, 1),), Classes(("no", "yes")))
        objects, feedback = schema.objects_schema(spec, [[1]]), schema.feedback_schema(spec)
        return len(objects["oneOf"]), len(feedback["oneOf"])

    assert forms("a") == forms("row") == (2, 3)
    assert forms("instances") == (1, 3)
    assert forms("id") == (2, 2)
    for name in ("request_id", "confidence", "actual_class", "predicted_class"):
        assert forms(name) == (2, 2)


def test_predictions_are_classes_with_probabilities_or_values_with_limits() -> None:
    row = schema.response_schema(petals.SPEC)["properties"]["predictions"]["items"]["properties"]
    assert row["prediction"]["enum"] == list(petals.SPEC.classes)
    assert list(row["probabilities"]["properties"]) == list(petals.SPEC.classes)
    response = schema.response_schema(RENT)["properties"]
    row = response["predictions"]["items"]["properties"]
    assert set(row) == {"row", "prediction", "lower", "upper", "id"}
    assert row["prediction"]["description"] == "rent, in EUR"
    assert {"coverage", "unit", "request_id"} <= set(response)


@pytest.mark.parametrize("spec", [petals.SPEC, RENT], ids=lambda spec: spec.name)
def test_a_schema_is_plain_json_without_empty_lists_of_names(spec: ModelSpec) -> None:
    schemas = [
        schema.objects_schema(spec, [ROW]),
        schema.rows_schema(spec, [ROW]),
        schema.feedback_schema(spec),
        schema.response_schema(spec),
    ]
    assert '"required": []' not in json.dumps(schemas, allow_nan=False)


def test_the_description_has_inputs_and_output() -> None:
    description = schema.describe(RENT)
    assert description.startswith("# rent\n\nMonthly rent.\n")
    assert "Output: rent in EUR, with an interval covering 80% of cases." in description
    two = ModelSpec("m", petals.SPEC.inputs, Classes(("yes", "no"), "verdict"))
    assert "Output: verdict, one of yes, no." in schema.describe(two)


def test_named_rows_and_predictions_may_have_an_id_unless_the_contract_uses_the_name() -> None:
    def rows(spec: ModelSpec) -> list[Schema]:
        response = schema.response_schema(spec)["properties"]["predictions"]["items"]
        return [schema.named_row_schema(spec), schema.named_row_schema(spec, True), response]

    for row in rows(petals.SPEC):
        text, number = row["properties"]["id"]["oneOf"]
        assert (text["minLength"], text["maxLength"], number["type"]) == (1, 200, "integer")
        assert "id" not in row["required"]
    assert [row["properties"]["id"]["oneOf"][0].get("nullable") for row in rows(petals.SPEC)] == [
        *(True, True, None)
    ]
    named = ModelSpec("m", (Number("id", "", 0, 1),), Quantity("q"))
    assert rows(named)[0]["properties"]["id"]["type"] == "number"
    assert "id" not in rows(named)[2]["properties"]
    assert len(schema.feedback_schema(named)["oneOf"]) == 2
