"""Rows in JSON, put into the contract's order."""

from __future__ import annotations

from typing import Any

import pytest

from application.inference.protocols.rows import RowReader, decode_untyped, kind_of, known_ids
from domain.contract import Classes, ModelSpec, Number
from domain.errors import InputError
from tests import petals
from tests.kinds import KINDS

PETALS = RowReader(petals.SPEC)
ROW = [5.1, 3.5, 1.4, 0.2]
NAMED = dict(zip(petals.SPEC.input_names, ROW))
IMAGE = [[0, 1, 2, 3]] * 3


def test_lists_and_objects_in_any_order_are_rows_in_the_contracts_order() -> None:
    turned = dict(reversed(NAMED.items()))
    assert PETALS.read([ROW, NAMED, turned]) == [ROW] * 3


def test_absent_keys_of_an_object_are_missing_values() -> None:
    reader = RowReader(KINDS["regression"].SPEC)
    assert reader.row({"furnished": True}) == [None, None, True]


def test_unknown_names_are_ignored_if_allowed() -> None:
    assert RowReader(petals.SPEC, ignore_unknown=True).row({**NAMED, "note": 1}) == ROW


@pytest.mark.parametrize(
    ("kind", "value"), [("tensor", IMAGE), ("text", "a fine film"), ("text", None)]
)
def test_the_value_of_an_only_input_is_a_row(kind: str, value: Any) -> None:
    reader = RowReader(KINDS[kind].SPEC)
    name = KINDS[kind].SPEC.input_names[0]
    assert reader.read([value, [value], {name: value}]) == [[value]] * 3


def test_a_number_that_is_the_only_input_is_a_row() -> None:
    spec = ModelSpec("one", (Number("size", "", 0, 9),), Classes(("a", "b")))
    assert RowReader(spec).read([3, [3]]) == [[3], [3]]


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (ROW[:3], "row 1 has 3 values, expected 4: sepal_length, sepal_width"),
        ([], "row 1 has 0 values"),
        (5.1, "row 1 is a number, expected a list or object"),
        (None, "row 1 is null, expected a list or object"),
        ("ab", "row 1 is a text, expected a list or object"),
        ({**NAMED, "note": 1}, "row 1, unknown input 'note', expected sepal_length"),
    ],
)
def test_an_invalid_row_is_refused_with_its_position(item: Any, words: str) -> None:
    with pytest.raises(InputError) as refused:
        PETALS.read([ROW, item])
    assert str(refused.value).startswith(words)


@pytest.mark.parametrize(
    ("options", "item", "words"),
    [
        ({"objects": False}, NAMED, "row 1 is an object, expected a list of values; use /named"),
        ({"lists": False}, ROW, "row 1 is a list, expected an object; use /named"),
        ({"lists": False}, [], "row 1 is a list, expected an object; use /named"),
        ({"lists": False}, True, "row 1 is a boolean, expected an object"),
    ],
)
def test_rows_of_the_other_form_are_refused_with_the_hint(
    options: dict[str, bool], item: Any, words: str
) -> None:
    reader = RowReader(petals.SPEC, hint="use /named", **options)  # type: ignore[arg-type]
    fitting = ROW if "objects" in options else NAMED
    assert reader.read([fitting]) == [ROW]
    with pytest.raises(InputError) as refused:
        reader.read([fitting, item])
    assert str(refused.value) == words


def test_every_fault_of_the_first_ten_rows_is_told() -> None:
    wrong = [{**NAMED, "note": 1, "petal_width": 99}, ROW[:3], [*ROW[:3], "a"], {"id": ""}, ROW]
    with pytest.raises(InputError) as refused:
        PETALS.read(wrong)
    first, second, third, fourth = str(refused.value).split("; row ")
    assert first.startswith("row 0, unknown input 'note', expected sepal_length")
    assert first.endswith("; petal_width: 99 cm is outside [0.1, 30]")
    assert second.startswith("1 has 3 values")
    assert third == "2, petal_width: 'a' is not a number"
    assert fourth.startswith("3, id: '' is not an ID") and fourth.count("a value is missing") == 4
    with pytest.raises(InputError, match="row 9 is null.*; and further rows$"):
        PETALS.read([None] * 100_000)


def test_one_row_is_refused_with_all_its_faults_and_no_position() -> None:
    with pytest.raises(InputError) as refused:
        PETALS.row({**NAMED, "petal_with": 1, "petal_length": "long"})
    assert str(refused.value) == (
        "unknown input 'petal_with': did you mean 'petal_width'?; "
        "petal_length: 'long' is not a number"
    )


def test_what_is_written_1e999_is_infinite() -> None:
    assert decode_untyped(b"[1e999, -1e999, 1.5, 7]") == [float("inf"), -float("inf"), 1.5, 7]


@pytest.mark.parametrize(
    ("value", "kind"),
    [(None, "null"), (True, "a boolean"), (1, "a number"), (0.5, "a number"), ("a", "a text")],
)
def test_values_are_called_what_json_calls_them(value: Any, kind: str) -> None:
    assert kind_of(value) == kind


def test_the_ids_of_named_rows_are_apart_from_their_values() -> None:
    items = [{**NAMED, "id": "a"}, NAMED, ROW, {"id": 7, **NAMED}]
    assert PETALS.read(items) == [ROW] * 4
    assert PETALS.ids(items) == ["a", None, None, 7]
    for without in ([NAMED], [ROW], [NAMED, ROW, 3], [{**NAMED, "id": None}]):
        assert PETALS.ids(without) is None


def test_an_input_called_id_is_an_input() -> None:
    spec = ModelSpec("m", (Number("id", "", 0, 9), Number("x", "", 0, 9)), Classes(("a", "b")))
    reader = RowReader(spec)
    assert reader.read([{"id": 1, "x": 2}]) == [[1, 2]]
    assert reader.ids([{"id": 1, "x": 2}]) is None


def test_without_ids_the_name_is_unknown() -> None:
    reader = RowReader(ModelSpec("m", (Number("x", "", 0, 9),), Classes(("id", "b"))))
    with pytest.raises(InputError, match="unknown input 'id'"):
        reader.read([{"id": 1, "x": 2}])


def test_missing_ids_are_none_and_only_missing_ones_are_no_ids() -> None:
    assert known_ids([1, float("nan"), None, "a"]) == [1, None, None, "a"]
    assert known_ids([float("nan"), None]) is None
