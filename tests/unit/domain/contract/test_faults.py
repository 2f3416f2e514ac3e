"""What is wrong with rows, as messages say it."""

from __future__ import annotations

import pytest

from domain.contract import (
    Category,
    Number,
    WholeRow,
    describe_faults,
    join_faults,
    length_fault,
    unknown_faults,
)
from domain.contract.faults import refusals

NAMES = ("sepal_length", "petal_width", "Total Area")


def test_the_faults_of_rows_are_joined_in_the_order_of_the_rows() -> None:
    faults = {7: ["a: 9 is wrong", "b: 3 is wrong"], 2: [WholeRow("is a number")]}
    assert describe_faults(faults) == "row 2 is a number; row 7, a: 9 is wrong; b: 3 is wrong"


def test_the_first_ten_rows_are_shown() -> None:
    ten = {row: ["x: wrong"] for row in range(10)}
    assert describe_faults(ten).endswith("row 9, x: wrong")
    message = describe_faults({**ten, 10: ["x: wrong"]})
    assert message.endswith("row 9, x: wrong; and further rows") and "row 10" not in message


def test_the_first_twenty_faults_of_a_row_are_shown() -> None:
    faults = [f"x{number}" for number in range(20)]
    assert join_faults(faults) == "; ".join(faults)
    assert join_faults([*faults, "x20"]) == "; ".join(faults) + "; and further faults"


def test_an_input_whose_name_begins_like_a_verb_is_an_input() -> None:
    assert describe_faults({0: ["is open: wrong"]}) == "row 0, is open: wrong"
    assert describe_faults({0: [length_fault(2, ["a"])]}) == "row 0 has 2 values, expected 1: a"


@pytest.mark.parametrize("name", ["petal_widht", "PetalWidth", "Petal Width", "PETAL_WIDTH"])
def test_a_name_like_that_of_an_input_suggests_it(name: str) -> None:
    fault = f"unknown input {name!r}: did you mean 'petal_width'?"
    assert unknown_faults([name], NAMES) == [fault]


@pytest.mark.parametrize("name", ["ID", "Id", "customer_id", "customer-id", "customerId", "rowID"])
def test_a_name_like_that_of_a_key_is_told_what_the_key_is_called(name: str) -> None:
    fault = f"unknown input {name!r}: a row's own key is called 'id'"
    assert unknown_faults([name], NAMES, takes_ids=True) == [fault]
    assert "key" not in unknown_faults([name], NAMES)[0]


@pytest.mark.parametrize("name", ["valid", "paid", "identity", "colour"])
def test_other_unknown_names_get_the_known_ones(name: str) -> None:
    fault = f"unknown field {name!r}, expected sepal_length, petal_width, Total Area"
    assert unknown_faults([name], NAMES, takes_ids=True, what="field") == [fault]


def test_unknown_names_are_told_together_and_not_without_end() -> None:
    names = [f"{'z' * 100}{number}" for number in range(1_000)]
    fault = "".join(unknown_faults(names, NAMES))
    assert fault.startswith("unknown inputs 'zzz") and len(fault) < 2_000
    assert " …, expected sepal_length" in fault


def test_every_row_that_an_input_refuses_is_found_over_blocks() -> None:
    values = [1.0] * 600
    for row, value in ((0, 10.0), (255, None), (256, -1.0), (599, 11.0)):
        values[row] = value  # type: ignore[call-overload]
    assert dict(refusals(Number("x", "m", 0, 9), values)) == {
        0: "x: 10 m is outside [0, 9]",
        255: "x: a value is missing",
        256: "x: -1 m is outside [0, 9]",
        599: "x: 11 m is outside [0, 9]",
    }


def test_a_type_and_a_range_in_one_block_are_both_found() -> None:
    found = dict(refusals(Number("x", "", 0, 9), [99, 1, "a"]))
    assert found == {0: "x: 99 is outside [0, 9]", 2: "x: 'a' is not a number"}
    words = dict(refusals(Category("c", ("a",)), ["b", "a", ["a"]]))
    assert words == {0: "c: 'b' is not one of a", 2: 'c: ["a"] is not a word'}
