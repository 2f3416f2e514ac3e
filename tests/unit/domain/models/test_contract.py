"""What a contract lets in, and how it names what it does not."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from domain.errors import InputError
from domain.models.contract import Feature, ModelSpec

SPEC = ModelSpec(
    name="flat",
    features=(
        Feature("area", "m²", 5.0, 500.0, "floor area"),
        Feature("rooms", "", 1.0, 20.0),
        Feature("altitude", "m", -400.0, 9000.0),
    ),
    classes=("sold", "let"),
    description="Whether a flat is sold or let.",
)
GOOD = [80.0, 3.0, 35.0]


def refusal(*rows: list[float]) -> str:
    """The message with which the rows are refused."""
    with pytest.raises(InputError) as refused:
        SPEC.check_rows(rows)
    return str(refused.value)


def test_good_rows_come_back_as_the_model_takes_them() -> None:
    checked = SPEC.check_rows([GOOD, [5, 1, -400], (500, 20, 9000)])
    assert checked.tolist() == [GOOD, [5, 1, -400], [500, 20, 9000]]
    assert checked.dtype == np.float32
    assert checked.flags.c_contiguous


def test_rows_in_range_pass_unchanged_but_for_their_precision() -> None:
    low, high = SPEC.bounds
    rows = np.random.default_rng(0).uniform(low, high, size=(500, 3))
    assert (SPEC.check_rows(rows.tolist()) == rows.astype(np.float32)).all()


def test_no_rows_are_refused_with_what_to_send() -> None:
    assert refusal() == "there are no rows: send at least one"


@pytest.mark.parametrize("row", [[], [80.0], [80.0, 3.0], [80.0, 3.0, 35.0, 1.0]])
def test_a_row_of_another_width_is_refused_with_the_names_of_the_inputs(row: list[float]) -> None:
    message = f"row 1 has {len(row)} values, expected 3: area, rooms, altitude"
    assert refusal(GOOD, row, GOOD) == message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused_with_its_row_and_input(value: float) -> None:
    message = refusal(GOOD, GOOD, [80.0, value, 35.0])
    assert message == f"row 2, rooms: {value} is not a finite number"


@pytest.mark.parametrize("value", [-1.0, 0.999, 20.001, 1e300])
def test_a_value_out_of_range_is_refused_with_its_row_input_and_range(value: float) -> None:
    message = refusal(GOOD, [80.0, value, 35.0])
    assert message.startswith(f"row 1, rooms: {value:g} is out of range [1, 20]")


def test_the_range_is_told_with_its_unit() -> None:
    assert refusal([4.0, 3.0, 35.0]) == "row 0, area: 4 is out of range [5, 500] m²"


def test_a_bad_value_is_named_wherever_it_stands() -> None:
    rng = np.random.default_rng(1)
    low, high = SPEC.bounds
    for bad in (math.nan, math.inf, -1e6, 1e6):
        rows = rng.uniform(low, high, size=(20, 3))
        row, column = int(rng.integers(20)), int(rng.integers(3))
        rows[row, column] = bad
        message = refusal(*rows.tolist())
        assert message.startswith(f"row {row}, {SPEC.feature_names[column]}: ")


def test_the_first_bad_value_is_the_one_that_is_named() -> None:
    assert refusal(GOOD, [80.0, 99.0, 1e9], [0.0, 3.0, 35.0]).startswith("row 1, rooms: 99 ")


def test_the_range_is_checked_before_the_precision_is_lost() -> None:
    just_above = float(np.nextafter(20.0, 21.0))
    assert np.float32(just_above) == 20
    assert refusal([80.0, just_above, 35.0]).startswith("row 0, rooms: ")


def test_an_array_is_checked_as_rows_are() -> None:
    values = np.asfortranarray([GOOD, [6.0, 2.0, 0.0]])
    checked = SPEC.check_values(values)
    assert checked.tolist() == values.tolist()
    assert checked.dtype == np.float32 and checked.flags.c_contiguous
    with pytest.raises(InputError, match=r"row 1, altitude: nan is not a finite number"):
        SPEC.check_values(np.array([GOOD, [6.0, 2.0, np.nan]]))


def test_the_names_of_the_inputs_are_in_the_models_order() -> None:
    assert SPEC.feature_names == ("area", "rooms", "altitude")


def test_the_bounds_are_those_of_the_inputs() -> None:
    assert SPEC.bounds.tolist() == [[5.0, 1.0, -400.0], [500.0, 20.0, 9000.0]]


def test_a_contract_survives_being_written_as_json() -> None:
    assert ModelSpec.from_dict(json.loads(json.dumps(SPEC.to_dict()))) == SPEC
