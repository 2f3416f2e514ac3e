"""A contract encodes valid rows for the model, and refuses others."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.contract import (
    Category,
    Classes,
    HashedText,
    Input,
    ModelSpec,
    Number,
    Quantity,
    Tensor,
    Text,
)
from domain.errors import ContractError, InputError
from tests.contracts import FLAT, GOOD, IMAGE, REVIEW, SOLD, SPEECH, refusal
from tests.strength import examples

# one input of each kind that a row can combine, with names that are not identifiers
RENT = ModelSpec(
    "rent",
    (
        Number("floor area (m²)", "m²", 5.0, 500.0, nullable=True),
        Category("class", ("east", "north", "west"), nullable=True, unseen="missing"),
        Tensor("plan", (2, 3), -1.0, 1.0),
        Category("is furnished?", ("false", "true")),
        Number("2nd price", "EUR", 0.0, 1e6),
    ),
    Quantity("rent", "EUR", 0.8),
)
PLAN = [[0.0, 0.5, -1.0], [1.0, 0.25, -0.5]]
RENT_ROWS: list[list[Any]] = [
    [50.5, "east", PLAN, True, 12],
    [None, None, PLAN, "false", 0.0],
    [math.nan, "moon", PLAN, False, 1e6],
    [500, "west", PLAN, "true", 3],
]
RENT_CODES = [[50.5, 0, 1], [math.nan, math.nan, 0], [math.nan, math.nan, 0], [500, 2, 1]]


def columns(spec: ModelSpec, rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    """The rows as columns."""
    return dict(zip(spec.input_names, map(list, zip(*rows, strict=True)), strict=True))


# rows of several kinds


def test_an_empty_request_is_refused_with_the_expected_format() -> None:
    assert refusal() == "there are no rows: send at least one"
    assert refusal(spec=RENT) == "there are no rows: send at least one"


@pytest.mark.parametrize("row", [[], [80.0], [80.0, 3.0], [80.0, 3.0, 35.0, 1.0]])
def test_a_row_of_the_wrong_width_is_refused_with_the_names_of_the_inputs(row: list[float]) -> None:
    values = "1 value" if len(row) == 1 else f"{len(row)} values"
    message = f"row 1 has {values}, expected 3: area, rooms, altitude"
    assert refusal(GOOD, row, GOOD) == message


def test_rows_of_the_wrong_width_are_told_with_the_values_of_the_others() -> None:
    message = refusal([80.0], GOOD, [80.0, "a", 35.0], [])
    assert message.startswith("row 0 has 1 value, expected 3: area, rooms, altitude; row 2, rooms:")
    assert message.endswith("; row 3 has 0 values, expected 3: area, rooms, altitude")


def test_inputs_of_several_kinds_share_a_row() -> None:
    encoded = RENT.encode_rows(RENT_ROWS)
    assert encoded.shape == (4, RENT.width) == (4, 10)
    assert encoded.dtype == np.float32 and encoded.flags.c_contiguous
    np.testing.assert_array_equal(encoded[:, [0, 1, 8]], RENT_CODES)
    assert (encoded[:, 2:8] == np.ravel(PLAN)).all()
    assert encoded[:, 9].tolist() == [12, 0, 1e6, 3]


def test_columns_of_any_type_are_encoded_like_rows() -> None:
    expected = RENT.encode_rows(RENT_ROWS)
    by_name = columns(RENT, RENT_ROWS)
    for form in (
        by_name,
        dict(reversed(by_name.items())),
        {**by_name, "not an input": [0, 0, 0, 0]},
        pd.DataFrame(by_name),
        pd.DataFrame(by_name).convert_dtypes()[[*reversed(RENT.input_names)]],
        {name: pd.Series(values, dtype=object).array for name, values in by_name.items()},
    ):
        np.testing.assert_array_equal(RENT.encode(form), expected)


def test_the_words_of_a_column_do_not_depend_on_their_neighbours() -> None:
    spec = ModelSpec("s", (Category("c", ("1", "true", "x"), nullable=True),), SOLD)
    values = [True, 1.0, "x", None, math.nan, 1, "true"]
    expected = [1, 0, 2, math.nan, math.nan, 0, 1]
    np.testing.assert_array_equal(spec.encode({"c": values})[:, 0], expected)
    for value, code in zip(values, expected, strict=True):
        np.testing.assert_array_equal(spec.encode({"c": [value]}), [[code]])


@pytest.mark.parametrize("spec", [FLAT, RENT, REVIEW, IMAGE], ids=lambda spec: spec.name)
def test_a_missing_column_is_named_with_the_expected_ones(spec: ModelSpec) -> None:
    with pytest.raises(InputError) as refused:
        spec.encode({name: [] for name in spec.input_names[1:]})
    expected = ", ".join(spec.input_names)
    assert str(refused.value) == f"the input {spec.input_names[0]} is missing: expected {expected}"


def test_columns_of_different_lengths_are_named_with_their_lengths() -> None:
    with pytest.raises(InputError) as refused:
        FLAT.encode({"area": [80.0, 90.0], "rooms": np.ones(3), "altitude": [1.0, 2.0]})
    assert str(refused.value) == (
        "the columns differ in length: area has 2 values, rooms has 3 values, altitude has 2 values"
    )


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (0, 4, "floor area (m²): 4 m² is outside [5, 500]"),
        (2, [[2]], "plan: expected 2 × 3 numbers, got 1 × 1"),
        (3, "perhaps", "is furnished?: 'perhaps' is not one of false, true"),
        (3, None, "is furnished?: a value is missing"),
        (4, None, "2nd price: a value is missing"),
        (4, [1.0], "2nd price: [1.0] is not a number"),
    ],
)
def test_a_bad_value_among_other_kinds_is_named(place: int, value: Any, reason: str) -> None:
    bad = list(RENT_ROWS[0])
    bad[place] = value
    assert refusal(*RENT_ROWS, bad, spec=RENT) == f"row 4, {reason}"


def test_positions_of_a_kind_refer_to_the_encoded_row() -> None:
    assert RENT.columns_of(Number) == [0, 9]
    assert RENT.columns_of(Category) == [1, 8]
    assert RENT.columns_of(Tensor) == [2, 3, 4, 5, 6, 7]
    assert RENT.columns_of(Number, Tensor) == [0, 2, 3, 4, 5, 6, 7, 9]
    assert RENT.columns_of(Text) == []


# monitored variables


def test_numbers_and_categories_are_monitored_directly_and_tensors_by_mean_and_spread() -> None:
    names = ("floor area (m²)", "class", "plan_mean", "plan_spread", "is furnished?", "2nd price")
    assert RENT.monitored_names == names
    monitored = RENT.monitored(RENT.encode_rows(RENT_ROWS))
    assert monitored.shape == (4, len(names)) and monitored.dtype == np.float64
    np.testing.assert_array_equal(monitored[:, [0, 1, 4]], RENT_CODES)
    assert monitored[:, 2] == pytest.approx([np.mean(PLAN)] * 4)
    assert monitored[:, 3] == pytest.approx([np.std(PLAN)] * 4)


def test_numbers_are_monitored_directly() -> None:
    assert FLAT.monitored_names == FLAT.input_names
    monitored = FLAT.monitored(FLAT.encode_rows([GOOD]))
    assert monitored.tolist() == [GOOD] and monitored.dtype == np.float64


def test_a_text_is_monitored_by_its_length() -> None:
    assert REVIEW.monitored_names == ("what they said",)
    assert REVIEW.monitored(REVIEW.encode_rows([["four"], ["a"]])).tolist() == [[4], [1]]


@pytest.mark.parametrize("spec", [FLAT, RENT, REVIEW], ids=["flat", "rent", "review"])
def test_an_input_that_is_not_logged_is_nan_in_the_log_only(spec: ModelSpec) -> None:
    rows = {"flat": [GOOD], "rent": RENT_ROWS}.get(spec.name, [["four"]])
    encoded = spec.encode_rows(rows)
    np.testing.assert_array_equal(spec.logged(encoded), spec.monitored(encoded))
    assert not spec.unlogged_names
    for item in spec.inputs:
        inputs = [replace(each, logged=each is not item) for each in spec.inputs]
        private = replace(spec, inputs=tuple(inputs))
        assert private.unlogged_names == (item.name,)
        monitored, logged = private.monitored(encoded), private.logged(encoded)
        np.testing.assert_array_equal(monitored, spec.monitored(encoded))
        left_out = np.array([each.name == item.name for each in private.monitored_inputs])
        assert left_out.any() and np.isnan(logged[:, left_out]).all()
        np.testing.assert_array_equal(logged[:, ~left_out], monitored[:, ~left_out])
        assert ModelSpec.from_dict(json.loads(json.dumps(private.to_dict()))) == private


def test_inputs_of_contracts_that_do_not_say_so_are_logged() -> None:
    written = RENT.to_dict()
    for item in written["inputs"]:
        del item["logged"]
    assert ModelSpec.from_dict(written) == RENT


# the contract itself


def test_the_inputs_of_a_contract_have_unique_names() -> None:
    with pytest.raises(ContractError, match="twice: the inputs contain 'area' twice"):
        ModelSpec("twice", (FLAT.inputs[0], FLAT.inputs[0]), SOLD)
    with pytest.raises(ContractError, match="none: a contract needs at least one input"):
        ModelSpec("none", (), SOLD)


@pytest.mark.parametrize("item", [REVIEW.inputs[0], SPEECH.inputs[0]], ids=["text", "audio"])
def test_text_and_recordings_are_alone(item: Input) -> None:
    with pytest.raises(ContractError, match="text and audio must be the only input; .* HashedText"):
        ModelSpec("both", (FLAT.inputs[0], item), SOLD)


def test_a_hashed_text_is_next_to_other_inputs_and_monitored_by_its_number_of_words() -> None:
    note = HashedText("note", features=8, nullable=True)
    spec = ModelSpec("both", (FLAT.inputs[0], note, Number("last", "", 0, 9)), SOLD)
    assert (spec.width, spec.columns_of(HashedText)) == (10, list(range(1, 9)))
    rows = spec.encode_rows([[50, "a fine flat", 1], [60, None, 2]])
    assert rows[:, [0, 9]].tolist() == [[50, 1], [60, 2]]
    assert spec.monitored_names == (FLAT.input_names[0], "note", "last")
    assert spec.monitored(rows).tolist() == [[50, 3, 1], [60, 0, 2]]
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_a_hashed_text_has_features() -> None:
    with pytest.raises(ContractError, match="none: note has no features"):
        ModelSpec("none", (HashedText("note", features=0),), SOLD)


@pytest.mark.parametrize(
    ("low", "high"),
    [(1, 0), (math.nan, 1), (0, math.nan), (-math.inf, 0), (0, math.inf), (0, 3.1e38), (-1e300, 0)],
)
def test_a_range_must_fit_into_float32(low: float, high: float) -> None:
    for item in (Number("x", "", low, high), Tensor("x", (2, 2), low, high)):
        with pytest.raises(ContractError, match="bad: the range of x, .* is empty or exceeds"):
            ModelSpec("bad", (item,), SOLD)


def test_the_widest_and_the_narrowest_range_are_accepted() -> None:
    spec = ModelSpec("m", (Number("a", "", -3e38, 3e38), Number("b", "", 2, 2)), SOLD)
    assert np.isfinite(spec.encode_rows([[3e38, 2], [-3e38, 2]])).all()


def test_a_duplicate_category_or_class_is_refused_by_name() -> None:
    with pytest.raises(ContractError, match="bad: the categories of side contain 'east' twice"):
        ModelSpec("bad", (Category("side", ("east", "west", "east")),), SOLD)
    with pytest.raises(ContractError, match="bad: the classes contain 'let' twice"):
        ModelSpec("bad", FLAT.inputs, Classes(("sold", "let", "let")))


@pytest.mark.parametrize("coverage", [0, 1, -0.1, 90, math.nan])
def test_a_coverage_outside_0_and_1_is_refused(coverage: float) -> None:
    with pytest.raises(ContractError, match="bad: the coverage of rent .* between 0 and 1"):
        ModelSpec("bad", FLAT.inputs, Quantity("rent", "EUR", coverage))


@pytest.mark.parametrize("name", ["image_mean", "image_spread"])
def test_monitored_variables_have_unique_names(name: str) -> None:
    with pytest.raises(ContractError, match=f"the monitored variables contain '{name}' twice"):
        ModelSpec("bad", (IMAGE.inputs[0], Number(name, "", 0, 1)), SOLD)


@pytest.mark.parametrize(
    ("spec", "task", "names"),
    [
        (FLAT, "classification", ("sold", "let")),
        (RENT, "regression", ("prediction", "lower", "upper")),
    ],
)
def test_the_output_determines_the_task_and_the_output_columns(
    spec: ModelSpec, task: str, names: tuple[str, ...]
) -> None:
    assert spec.task == task
    assert spec.output_columns == names
    assert spec.classes == (names if task == "classification" else ())


@pytest.mark.parametrize("spec", [FLAT, RENT, REVIEW, IMAGE, SPEECH], ids=lambda spec: spec.name)
def test_a_contract_survives_being_written_as_json(spec: ModelSpec) -> None:
    read = ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict(), allow_nan=False)))
    assert read == spec
    assert read.to_dict() == spec.to_dict()
    assert read.monitored_names == spec.monitored_names


def test_a_contract_read_from_json_encodes_like_the_original() -> None:
    read = ModelSpec.from_dict(json.loads(json.dumps(RENT.to_dict())))
    np.testing.assert_array_equal(read.encode_rows(RENT_ROWS), RENT.encode_rows(RENT_ROWS))


def test_unknown_keys_in_a_contract_file_are_ignored() -> None:
    written = FLAT.to_dict()
    written["inputs"][0]["added later"] = 1
    assert ModelSpec.from_dict({**written, "added later": 1}) == FLAT


MEASURED = ModelSpec(
    "measured",
    (
        Number("share", "", 0.0, 0.1),
        Number("count", "", -(2.0**53), 2.0**53, nullable=True),
        Number("large", "", 1e-40, 3e38),
    ),
    SOLD,
)
EDGES = [0.0, -0.0, 0.1, 2**53, 2**53 + 1, -(2**53) - 1, 3e38, 1e-40, 1e-46, 1, 0, 10**400]
NUMBERS = st.one_of(
    st.sampled_from([*EDGES, *(math.nextafter(edge, math.inf) for edge in EDGES[:3])]),
    st.floats(0, 0.2),
    st.floats(),
    st.integers(-(2**60), 2**60),
)
VALUES = st.one_of(
    NUMBERS, st.none(), st.booleans(), st.sampled_from(["1", [1], np.float64(0.1), np.float32(0.1)])
)


def encoding_of(spec: ModelSpec, rows: Sequence[Sequence[Any]]) -> list[bytes] | str:
    """The bytes of the encoded rows, or why they are refused."""
    try:
        encoded = spec.encode_rows(rows)
    except InputError as error:
        return str(error)
    assert encoded.dtype == np.float32 and encoded.flags.c_contiguous
    return [row.tobytes() for row in encoded]


@settings(max_examples=examples(500))
@given(st.lists(st.lists(st.one_of(NUMBERS, VALUES), min_size=3, max_size=3), max_size=21))
@example([[0.1, None, 1]])
@example([[0.1, 2**53 + 1, 1]])
@example([[0, 1, 1], [0.1, 0.5]])
@example([[True, 1, 1]])
def test_few_numbers_are_encoded_and_refused_like_many(rows: list[list[Any]]) -> None:
    few, many = encoding_of(MEASURED, rows), encoding_of(MEASURED, rows * 22)
    if isinstance(many, str) and isinstance(few, str):
        assert many.startswith(few.removesuffix("; and further rows"))
    else:
        assert few == many[: len(rows)]


def test_every_fault_of_the_first_rows_is_told() -> None:
    rows: list[list[Any]] = [[80.0, 3.0, 35.0]] * 30
    rows[3], rows[5] = [1.0, "x", 35.0], [80.0, None, 35.0]
    expected = (
        "row 3, area: 1 m² is outside [5, 500]; rooms: 'x' is not a number; "
        "row 5, rooms: a value is missing"
    )
    assert refusal(*rows) == expected
    with pytest.raises(InputError) as refused:
        FLAT.encode(dict(zip(FLAT.input_names, map(list, zip(*rows)))))
    assert str(refused.value) == expected


def test_the_faults_of_ten_rows_are_told() -> None:
    message = refusal(*[[80.0, 99.0, 35.0]] * 300)
    assert message.count("rooms: 99 is outside [1, 20]") == 10
    assert message.endswith("row 9, rooms: 99 is outside [1, 20]; and further rows")


@given(st.data())
def test_encoded_values_are_valid_as_columns(data: st.DataObject) -> None:
    low = data.draw(st.floats(-1e30, 1e30))
    high = data.draw(st.floats(low, 1e31))
    spec = ModelSpec("any", (Number("x", "", low, high),), SOLD)
    encoded = spec.encode_rows([[value] for value in (low, high, data.draw(st.floats(low, high)))])
    assert spec.encode({"x": encoded[:, 0]}).tobytes() == encoded.tobytes()


# the decision of a classifier


def decided_by(names: tuple[str, ...], positive: str, threshold: float | None) -> ModelSpec:
    """A contract with this decision."""
    return ModelSpec("m", FLAT.inputs, Classes(names, "outcome", positive, threshold))


@pytest.mark.parametrize(
    ("names", "positive", "threshold", "message"),
    [
        (("a", "b"), "c", None, "m: the positive class 'c' of outcome is not one of a, b"),
        (("a", "b"), "", 0.0, "m: the threshold of outcome is 0; it must be between 0 and 1"),
        (("a", "b"), "", 1.0, "m: the threshold of outcome is 1; it must be between 0 and 1"),
        (("a", "b"), "a", math.nan, "m: the threshold of outcome is nan; it must be between"),
        (("a", "b", "c"), "", 0.5, "m: outcome has 3 classes; only two classes can have"),
        (("a", "b", "c"), "c", None, "m: outcome has 3 classes; only two classes can have"),
    ],
)
def test_a_decision_that_cannot_be_is_refused(
    names: tuple[str, ...], positive: str, threshold: float | None, message: str
) -> None:
    with pytest.raises(ContractError, match=message):
        decided_by(names, positive, threshold)


def test_the_decision_survives_being_written_as_json() -> None:
    spec = decided_by(("a", "b"), "a", 0.3)
    assert ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_a_contract_written_without_a_decision_predicts_the_most_probable_class() -> None:
    data = FLAT.to_dict()
    for key in ("positive", "threshold"):
        del data["output"][key]
    assert ModelSpec.from_dict(data) == FLAT


def test_a_contract_decides_classes_and_takes_values_as_they_are() -> None:
    spec = decided_by(("a", "b"), "", 0.3)
    assert spec.decide(np.array([[0.7, 0.3], [0.8, 0.2]])).tolist() == [1, 0]
    assert RENT.decide(np.array([[700.0, 600.0, 800.0]])).tolist() == [700.0]


def test_no_class_has_the_name_of_the_result() -> None:
    with pytest.raises(ContractError, match="a class of kind cannot be called 'prediction'"):
        ModelSpec("m", (Number("x", "", 0, 1),), Classes(("other", "prediction"), "kind"))


# IDs of rows


def test_faults_of_ids_are_told_with_those_of_the_values() -> None:
    rows = [[50, "east", PLAN, True, 1], [4, "east", PLAN, True, 1], [50, "east", PLAN, True, -1]]
    for encode in (
        lambda ids: RENT.encode_rows(rows, ids),
        lambda ids: RENT.encode(columns(RENT, rows), ids),
    ):
        with pytest.raises(InputError) as refused:
            encode([1.5, "b", ""])
        first, second, *third = str(refused.value).split("; row")
        assert first.startswith("row 0, id: 1.5 is not an ID")
        assert second == " 1, floor area (m²): 4 m² is outside [5, 500]"
        assert " 2, id: '' is not an ID" in third[0] and "2nd price: -1 EUR is outside" in third[0]


@pytest.mark.parametrize("times", [1, 100])
def test_numbers_with_ids_are_encoded_as_without(times: int) -> None:
    rows = [GOOD] * times
    assert (FLAT.encode_rows(rows, ["a"] * times) == FLAT.encode_rows(rows)).all()
    with pytest.raises(InputError, match=f"^row {times - 1}, id: true is not an ID"):
        FLAT.encode_rows(rows, ["a"] * (times - 1) + [True])


def test_ids_and_columns_have_one_length() -> None:
    table = columns(FLAT, [GOOD, GOOD])
    with pytest.raises(InputError, match="differ in length: .*id has 1 value"):
        FLAT.encode(table, ["a"])


def test_the_reasons_of_a_row_include_its_id() -> None:
    found = FLAT.reasons(columns(FLAT, [GOOD, GOOD]), ["a", False])
    assert list(found) == [1] and found[1].startswith("id: false is not an ID")


def test_a_contract_that_uses_the_name_has_no_ids() -> None:
    named = ModelSpec("m", (Number("id", "", 0, 1),), Quantity("q"))
    of_class = ModelSpec("m", FLAT.inputs, Classes(("id", "other")))
    assert FLAT.takes_ids
    assert not named.takes_ids and not of_class.takes_ids
