"""What a contract lets in, what the model gets of it, and how it names what it refuses."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import pandas as pd
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from domain.errors import ContractError, InputError
from domain.models.contract import (
    Audio,
    Category,
    Classes,
    Input,
    ModelSpec,
    Number,
    Quantity,
    Tensor,
    Text,
    Transcript,
    as_word,
)
from tests.strength import examples

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

# one of each kind that a row can hold beside others, under names that are no identifiers
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

REVIEW = ModelSpec("review", (Text("what they said", 12),), SOLD)
SPEECH = ModelSpec("speech", (Audio("recording", 16_000, 30.0),), Transcript())
IMAGE = ModelSpec("image", (Tensor("image", (2, 2), 0.0, 16.0, "grey"),), SOLD)


def columns(spec: ModelSpec, rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    """The rows as columns."""
    return dict(zip(spec.input_names, map(list, zip(*rows, strict=True)), strict=True))


def refusal(*rows: Sequence[Any], spec: ModelSpec = FLAT) -> str:
    """The message with which the rows are refused."""
    with pytest.raises(InputError) as refused:
        spec.encode_rows(rows)
    return str(refused.value)


def refused_alone(item: Input, *values: Any) -> str:
    """The message with which one input refuses its values, in a row or in a column."""
    spec = ModelSpec("alone", (item,), SOLD)
    in_rows = refusal(*([value] for value in values), spec=spec)
    with pytest.raises(InputError) as in_column:
        spec.encode({item.name: list(values)})
    assert in_rows == str(in_column.value)
    return in_rows


# numbers


def test_good_rows_come_back_as_the_model_takes_them() -> None:
    encoded = FLAT.encode_rows([GOOD, [5, 1, -400], (500, 20, 9000)])
    assert encoded.tolist() == [GOOD, [5, 1, -400], [500, 20, 9000]]
    assert encoded.dtype == np.float32
    assert encoded.flags.c_contiguous


def test_rows_in_range_pass_unchanged_but_for_their_precision() -> None:
    low, high = np.array([[item.minimum, item.maximum] for item in numbers(FLAT)]).T
    rows = np.random.default_rng(0).uniform(low, high, size=(500, 3))
    assert (FLAT.encode_rows(rows.tolist()) == rows.astype(np.float32)).all()
    assert (FLAT.encode_rows(rows) == rows.astype(np.float32)).all()  # type: ignore[arg-type]


def numbers(spec: ModelSpec) -> list[Number]:
    """The inputs that are numbers."""
    return [item for item in spec.inputs if isinstance(item, Number)]


def test_no_rows_are_refused_with_what_to_send() -> None:
    assert refusal() == "there are no rows: send at least one"
    assert refusal(spec=RENT) == "there are no rows: send at least one"


@pytest.mark.parametrize("row", [[], [80.0], [80.0, 3.0], [80.0, 3.0, 35.0, 1.0]])
def test_a_row_of_another_width_is_refused_with_the_names_of_the_inputs(row: list[float]) -> None:
    message = f"row 1 has {len(row)} values, expected 3: area, rooms, altitude"
    assert refusal(GOOD, row, GOOD) == message


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused_with_its_row_and_input(value: float) -> None:
    message = refusal(GOOD, GOOD, [80.0, value, 35.0])
    assert message == f"row 2, rooms: {value} is not a finite number"


@pytest.mark.parametrize("value", [None, math.nan, np.float32("nan")])
def test_a_missing_value_is_refused_where_none_may_be_missing(value: Any) -> None:
    assert refusal(GOOD, [80.0, value, 35.0]) == "row 1, rooms: a value is missing"
    assert refused_alone(FLAT.inputs[1], 3.0, value) == "row 1, rooms: a value is missing"


@pytest.mark.parametrize("value", [None, math.nan, np.float64("nan")])
def test_a_missing_value_is_nan_to_the_model_where_it_may_be_missing(value: Any) -> None:
    number = Number("age", "years", 0, 120, nullable=True)
    assert np.isnan(number.encode([value, 30.0]))[:, 0].tolist() == [True, False]


@pytest.mark.parametrize("value", [math.inf, -1.0, "30", True])
def test_an_input_that_may_be_missing_must_be_right_where_it_is_there(value: Any) -> None:
    assert refused_alone(Number("age", "years", 0, 120, nullable=True), None, value).startswith(
        "row 1, age: "
    )


@pytest.mark.parametrize("value", [-1.0, 0.999, 20.001, 1e300, 10**30])
def test_a_value_out_of_range_is_refused_with_its_row_input_and_range(value: float) -> None:
    message = refusal(GOOD, [80.0, value, 35.0])
    assert message.startswith(f"row 1, rooms: {value:g} is out of range [1, 20]")


@pytest.mark.parametrize("spec", [FLAT, ModelSpec("one", FLAT.inputs[1:2], SOLD)])
@pytest.mark.parametrize("sign", [1, -1])
def test_a_whole_number_beyond_every_float_is_refused_and_no_fault(
    spec: ModelSpec, sign: int
) -> None:
    row = [sign * 10**400 if item.name == "rooms" else 100.0 for item in spec.inputs]
    assert refusal(row, spec=spec) == f"row 0, rooms: {sign * math.inf} is not a finite number"


@pytest.mark.parametrize("value", ["5", "five", True, np.True_, [5.0], [5.0, 6.0], {}, b"5"])
def test_what_is_no_number_is_refused_whatever_numpy_would_make_of_it(value: Any) -> None:
    shown = "True" if value is np.True_ else repr(value)
    message = f"row 1, rooms: {shown} is not a number"
    assert refusal(GOOD, [80.0, value, 35.0]) == message
    assert refused_alone(FLAT.inputs[1], 3.0, value) == message
    assert refused_alone(FLAT.inputs[1], value).startswith("row 0, rooms: ")


def test_a_long_value_is_told_by_its_beginning() -> None:
    assert len(refusal([80.0, "x" * 10_000, 35.0])) < 100


def test_the_range_is_told_with_its_unit() -> None:
    assert refusal([4.0, 3.0, 35.0]) == "row 0, area: 4 is out of range [5, 500] m²"


def test_a_bad_value_is_named_wherever_it_stands() -> None:
    rng = np.random.default_rng(1)
    for bad in (math.nan, math.inf, -1e6, 1e6):
        rows = np.tile(GOOD, (20, 1))
        row, column = int(rng.integers(20)), int(rng.integers(3))
        rows[row, column] = bad
        assert refusal(*rows.tolist()).startswith(f"row {row}, {FLAT.input_names[column]}: ")


def test_the_first_bad_value_is_the_one_that_is_named() -> None:
    assert refusal(GOOD, [80.0, 99.0, 1e9], [0.0, 3.0, 35.0]).startswith("row 1, rooms: 99 ")


def test_the_range_is_checked_before_the_precision_is_lost() -> None:
    just_above = float(np.nextafter(20.0, 21.0))
    assert np.float32(just_above) == 20
    assert refusal([80.0, just_above, 35.0]).startswith("row 0, rooms: ")


# categories


@pytest.mark.parametrize(
    ("value", "word"),
    [
        ("east", "east"),
        (np.str_("east"), "east"),
        (True, "true"),
        (np.False_, "false"),
        (1, "1"),
        (1.0, "1"),
        (np.int64(1), "1"),
        (np.float32(-2), "-2"),
        (0.5, "0.5"),
        (math.inf, "inf"),
    ],
)
def test_every_plain_value_is_a_word(value: Any, word: str) -> None:
    assert as_word(value) == word


def test_a_category_is_the_position_of_its_word() -> None:
    category = Category("size", ("s", "m", "1", "true"))
    assert category.encode(["true", "m", 1, True, "s", 1.0])[:, 0].tolist() == [3, 1, 2, 3, 0, 2]


@pytest.mark.parametrize("value", ["East", "", " east", "moon", 1, True, b"east"])
def test_a_word_that_is_none_of_the_categories_is_refused_with_those_there_are(value: Any) -> None:
    message = refused_alone(Category("side", ("east", "west")), "west", value)
    assert message == f"row 1, side: {value!r} is none of east, west"


@pytest.mark.parametrize("value", [["east"], [], {}, {"east": 1}])
def test_what_holds_several_values_is_no_word_not_even_an_unseen_one(value: Any) -> None:
    category = Category("side", ("east", "west"), nullable=True, unseen="missing")
    assert refused_alone(category, "west", value) == f"row 1, side: {value!r} is not a word"


def test_of_many_categories_the_first_are_told() -> None:
    many = Category("side", tuple(f"word_{number:03}" for number in range(500)))
    message = refused_alone(many, "moon")
    assert message.endswith("word_019 …")
    assert len(message) < 300


def test_an_unseen_word_counts_as_missing_where_the_contract_says_so() -> None:
    category = Category("side", ("east", "west"), nullable=True, unseen="missing")
    encoded = category.encode(["moon", None, math.nan, "west"])[:, 0]
    assert np.isnan(encoded).tolist() == [True, True, True, False]


@pytest.mark.parametrize("value", [None, math.nan])
def test_a_missing_word_is_refused_where_none_may_be_missing(value: Any) -> None:
    unseens: tuple[Literal["refuse", "missing"], ...] = ("refuse", "missing")
    for unseen in unseens:
        category = Category("side", ("east", "west"), unseen=unseen)
        assert refused_alone(category, value) == "row 0, side: a value is missing"


def test_a_word_that_may_be_missing_need_not_be_one_that_may_be_unseen() -> None:
    category = Category("side", ("east", "west"), nullable=True)
    assert np.isnan(category.encode([None])).all()
    assert "'moon' is none of" in refused_alone(category, "moon")


@pytest.mark.parametrize("item", [Category("side", ("a", "b"), unseen="missing"), Text("side")])
@pytest.mark.parametrize("value", [10**5000, [-(10**5000)]], ids=["number", "list"])
def test_a_whole_number_of_more_digits_than_python_writes_is_refused(
    item: Input, value: Any
) -> None:
    message = refused_alone(item, "a", value)
    assert message.startswith("row 1, side: a whole number of too many digits is not ")


# tensors


def test_a_tensor_is_flattened_row_by_row() -> None:
    encoded = IMAGE.encode_rows([[[[1, 2], [3, 4]]], [np.array([[5, 6], [7, 8]])]])
    assert encoded.tolist() == [[1, 2, 3, 4], [5, 6, 7, 8]]
    assert encoded.dtype == np.float32


def test_a_column_of_tensors_may_be_an_array_of_them() -> None:
    pixels = np.random.default_rng(0).integers(0, 17, size=(5, 2, 2))
    expected = pixels.reshape(5, 4).tolist()
    frame = pd.DataFrame({"image": list(pixels)})
    for column in (pixels, pixels.tolist(), list(pixels), frame["image"], frame["image"].array):
        assert IMAGE.encode({"image": column}).tolist() == expected


@pytest.mark.parametrize(
    ("value", "got"),
    [
        ([[1, 2]], "1 × 2"),
        ([1, 2, 3, 4], "4"),
        ([[[1, 2], [3, 4]]], "1 × 2 × 2"),
        ([], "0"),
        (3.0, "a single value"),
        (None, "a single value"),
        ("grey", "a single value"),
        ({}, "a single value"),
        ([[1, 2], [3]], "lists of different lengths"),
        ([[1, 2], 3], "lists of different lengths"),
        ([["a", "b"], ["c", "d"]], "values that are none"),
        ([[1, None], [3, 4]], "values that are none"),
        ([[True, False], [True, True]], "values that are none"),
        ([[True, 0.5], [0, 1]], "values that are none"),
        (((1, 2), [3, np.True_]), "values that are none"),
        ([np.array([True, False]), [0.5, 1]], "values that are none"),
        ([[1, 2], [3, 10**400]], "values that are none"),
    ],
)
def test_a_tensor_of_another_shape_or_of_no_numbers_is_refused(value: Any, got: str) -> None:
    good = [[0, 0], [0, 0]]
    message = f"row 1, image: expected 2 × 2 numbers, got {got}"
    assert refused_alone(IMAGE.inputs[0], good, value) == message


@pytest.mark.parametrize("value", [-0.5, 16.001, math.nan, math.inf, -math.inf, 1e300])
def test_a_tensor_with_a_value_out_of_range_is_refused_with_that_value(value: float) -> None:
    message = refused_alone(IMAGE.inputs[0], [[0, 0], [value, 0]])
    assert message == f"row 0, image: {value:g} is out of range [0, 16] grey"


def test_a_boolean_is_found_at_every_place_and_depth() -> None:
    for shape in ((3,), (2, 2), (2, 1, 2)):
        tensor = Tensor("x", shape, 0.0, 1.0)
        for place in range(tensor.width):
            grid = np.full(tensor.width, 0.5, dtype=object)
            grid[place] = True
            assert "values that are none" in refused_alone(tensor, grid.reshape(shape).tolist())


# text and recordings


def test_text_comes_as_it_is_in_one_column_of_strings() -> None:
    texts = ["", "so-so", "große Stadt", "nul \0 \0", "twelve chars", "🙂" * 12]
    encoded = REVIEW.encode_rows([[text] for text in texts])
    assert encoded.shape == (6, 1) and encoded.dtype == object
    for column in (texts, np.array(texts, dtype=object), pd.Series(texts)):
        assert (REVIEW.encode({"what they said": column}) == encoded).all()
    assert encoded[:, 0].tolist() == texts
    assert {type(text) for text in REVIEW.encode({"what they said": np.array(texts)})[:, 0]} == {
        str
    }


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("thirteen char", "13 characters are too many, at most 12"),
        (7, "7 is not text"),
        (True, "True is not text"),
        (["a"], "['a'] is not text"),
        (b"a", "b'a' is not text"),
        (None, "a value is missing"),
        (math.nan, "a value is missing"),
    ],
)
def test_what_is_no_text_or_too_long_a_one_is_refused(value: Any, reason: str) -> None:
    assert refused_alone(REVIEW.inputs[0], "fine", value) == f"row 1, what they said: {reason}"


def test_a_missing_text_is_an_empty_one_where_it_may_be_missing() -> None:
    assert Text("note", nullable=True).encode([None, math.nan, "x"])[:, 0].tolist() == ["", "", "x"]


def test_a_recording_is_no_row() -> None:
    with pytest.raises(ContractError, match="recording is a recording, which no row can hold"):
        SPEECH.encode_rows([[b"RIFF"]])


# rows of several kinds


def test_every_kind_finds_its_place_among_others() -> None:
    encoded = RENT.encode_rows(RENT_ROWS)
    assert encoded.shape == (4, RENT.width) == (4, 10)
    assert encoded.dtype == np.float32 and encoded.flags.c_contiguous
    np.testing.assert_array_equal(encoded[:, [0, 1, 8]], RENT_CODES)
    assert (encoded[:, 2:8] == np.ravel(PLAN)).all()
    assert encoded[:, 9].tolist() == [12, 0, 1e6, 3]


def test_columns_are_encoded_as_rows_are_in_whatever_form_they_come() -> None:
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
def test_a_column_that_is_not_there_is_named_with_those_that_are_expected(spec: ModelSpec) -> None:
    with pytest.raises(InputError) as refused:
        spec.encode({name: [] for name in spec.input_names[1:]})
    expected = ", ".join(spec.input_names)
    assert str(refused.value) == f"{spec.input_names[0]} is not there: expected {expected}"


def test_columns_of_different_lengths_are_named_with_their_lengths() -> None:
    with pytest.raises(InputError) as refused:
        FLAT.encode({"area": [80.0, 90.0], "rooms": np.ones(3), "altitude": [1.0, 2.0]})
    assert str(refused.value) == (
        "the columns differ in length: area has 2 values, rooms has 3 values, altitude has 2 values"
    )


@pytest.mark.parametrize("missing", [pd.NA, pd.NaT])
def test_what_is_missing_to_pandas_is_missing(missing: Any) -> None:
    values = [missing, None]
    assert np.isnan(Number("age", "", 0, 120, nullable=True).encode(values)).all()
    assert np.isnan(Category("side", ("east",), nullable=True).encode(values)).all()
    assert Text("note", nullable=True).encode(values)[:, 0].tolist() == ["", ""]
    for item in (FLAT.inputs[1], Category("side", ("<NA>", "NaT")), REVIEW.inputs[0]):
        assert refused_alone(item, missing) == f"row 0, {item.name}: a value is missing"


@pytest.mark.parametrize(
    ("place", "value", "reason"),
    [
        (0, 4, "floor area (m²): 4 is out of range [5, 500] m²"),
        (2, [[2]], "plan: expected 2 × 3 numbers, got 1 × 1"),
        (3, "perhaps", "is furnished?: 'perhaps' is none of false, true"),
        (3, None, "is furnished?: a value is missing"),
        (4, None, "2nd price: a value is missing"),
        (4, [1.0], "2nd price: [1.0] is not a number"),
    ],
)
def test_a_bad_value_among_other_kinds_is_named(place: int, value: Any, reason: str) -> None:
    bad = list(RENT_ROWS[0])
    bad[place] = value
    assert refusal(*RENT_ROWS, bad, spec=RENT) == f"row 4, {reason}"


def test_positions_of_a_kind_are_those_in_what_the_model_gets() -> None:
    assert RENT.columns_of(Number) == [0, 9]
    assert RENT.columns_of(Category) == [1, 8]
    assert RENT.columns_of(Tensor) == [2, 3, 4, 5, 6, 7]
    assert RENT.columns_of(Number, Tensor) == [0, 2, 3, 4, 5, 6, 7, 9]
    assert RENT.columns_of(Text) == []


# what is watched


def test_numbers_and_categories_are_watched_as_they_are_and_tensors_by_mean_and_spread() -> None:
    names = ("floor area (m²)", "class", "plan_mean", "plan_spread", "is furnished?", "2nd price")
    assert RENT.monitored_names == names
    watched = RENT.monitored(RENT.encode_rows(RENT_ROWS))
    assert watched.shape == (4, len(names)) and watched.dtype == np.float64
    np.testing.assert_array_equal(watched[:, [0, 1, 4]], RENT_CODES)
    assert watched[:, 2] == pytest.approx([np.mean(PLAN)] * 4)
    assert watched[:, 3] == pytest.approx([np.std(PLAN)] * 4)


def test_numbers_alone_are_watched_as_they_are() -> None:
    assert FLAT.monitored_names == FLAT.input_names
    watched = FLAT.monitored(FLAT.encode_rows([GOOD]))
    assert watched.tolist() == [GOOD] and watched.dtype == np.float64


def test_a_text_is_watched_by_its_length() -> None:
    assert REVIEW.monitored_names == ("what they said",)
    assert REVIEW.monitored(REVIEW.encode_rows([["four"], [""]])).tolist() == [[4], [0]]


# the contract itself


def test_the_inputs_of_a_contract_have_names_of_their_own() -> None:
    with pytest.raises(ContractError, match="names of their own"):
        ModelSpec("twice", (FLAT.inputs[0], FLAT.inputs[0]), SOLD)
    with pytest.raises(ContractError, match="names of their own"):
        ModelSpec("none", (), SOLD)


@pytest.mark.parametrize("item", [REVIEW.inputs[0], SPEECH.inputs[0]], ids=["text", "audio"])
def test_text_and_recordings_are_alone(item: Input) -> None:
    with pytest.raises(ContractError, match="text and audio must be the only input"):
        ModelSpec("both", (FLAT.inputs[0], item), SOLD)


@pytest.mark.parametrize(
    ("low", "high"),
    [(1, 0), (math.nan, 1), (0, math.nan), (-math.inf, 0), (0, math.inf), (0, 3.1e38), (-1e300, 0)],
)
def test_a_range_is_one_that_float32_holds(low: float, high: float) -> None:
    for item in (Number("x", "", low, high), Tensor("x", (2, 2), low, high)):
        with pytest.raises(ContractError, match="bad: the range of x is none that float32 holds"):
            ModelSpec("bad", (item,), SOLD)


def test_the_widest_and_the_narrowest_range_are_accepted() -> None:
    spec = ModelSpec("m", (Number("a", "", -3e38, 3e38), Number("b", "", 2, 2)), SOLD)
    assert np.isfinite(spec.encode_rows([[3e38, 2], [-3e38, 2]])).all()


def test_a_category_or_a_class_that_is_there_twice_is_refused_by_its_name() -> None:
    with pytest.raises(ContractError, match="bad: the categories of side have 'east' twice"):
        ModelSpec("bad", (Category("side", ("east", "west", "east")),), SOLD)
    with pytest.raises(ContractError, match="bad: the classes have 'let' twice"):
        ModelSpec("bad", FLAT.inputs, Classes(("sold", "let", "let")))


@pytest.mark.parametrize("coverage", [0, 1, -0.1, 90, math.nan])
def test_a_coverage_that_is_no_share_is_refused(coverage: float) -> None:
    with pytest.raises(ContractError, match="bad: the coverage of rent .* between 0 and 1"):
        ModelSpec("bad", FLAT.inputs, Quantity("rent", "EUR", coverage))


@pytest.mark.parametrize("name", ["image_mean", "image_spread"])
def test_what_is_watched_has_names_of_its_own(name: str) -> None:
    with pytest.raises(ContractError, match="bad: what is watched needs names of its own"):
        ModelSpec("bad", (IMAGE.inputs[0], Number(name, "", 0, 1)), SOLD)


@pytest.mark.parametrize(
    ("spec", "task", "answers"),
    [
        (FLAT, "classification", ("sold", "let")),
        (RENT, "regression", ("prediction", "lower", "upper")),
    ],
)
def test_the_output_says_the_task_and_the_names_of_the_answer(
    spec: ModelSpec, task: str, answers: tuple[str, ...]
) -> None:
    assert spec.task == task
    assert spec.answer_names == answers
    assert spec.classes == (answers if task == "classification" else ())


@pytest.mark.parametrize("spec", [FLAT, RENT, REVIEW, IMAGE, SPEECH], ids=lambda spec: spec.name)
def test_a_contract_survives_being_written_as_json(spec: ModelSpec) -> None:
    read = ModelSpec.from_dict(json.loads(json.dumps(spec.to_dict(), allow_nan=False)))
    assert read == spec
    assert read.to_dict() == spec.to_dict()
    assert read.monitored_names == spec.monitored_names


def test_a_contract_that_was_read_encodes_as_the_one_that_was_written() -> None:
    read = ModelSpec.from_dict(json.loads(json.dumps(RENT.to_dict())))
    np.testing.assert_array_equal(read.encode_rows(RENT_ROWS), RENT.encode_rows(RENT_ROWS))


def test_further_keys_of_a_written_contract_are_passed_over() -> None:
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


def said(spec: ModelSpec, rows: Sequence[Sequence[Any]]) -> list[bytes] | str:
    """What rows are encoded as, bit by bit, or why they are refused."""
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
def test_a_few_numbers_are_taken_and_refused_as_many_are(rows: list[list[Any]]) -> None:
    few, many = said(MEASURED, rows), said(MEASURED, rows * 22)
    assert few == (many if isinstance(many, str) else many[: len(rows)])


def test_a_column_of_float32_is_measured_by_the_range_as_float32_has_it() -> None:
    spec = ModelSpec("share", (Number("x", "", 0, 0.1),), SOLD)
    assert float(np.float32(0.1)) > 0.1
    for value in (np.float32(0.1), np.float32(0)):
        column = np.array([value, 0], np.float32)
        assert spec.encode({"x": column})[:, 0].tolist() == column.tolist()
    above = np.nextafter(np.float32(0.1), np.float32(1))
    with pytest.raises(InputError, match="row 1, x: 0.1 is out of range"):
        spec.encode({"x": np.array([0, above], np.float32)})
    with pytest.raises(InputError, match="row 0, x"):
        spec.encode({"x": np.array([above], np.float64)})
    with pytest.raises(InputError, match="row 0, x: -1.4013e-45 is out of range"):
        spec.encode({"x": np.array([np.nextafter(np.float32(0), np.float32(-1))], np.float32)})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_column_of_float32_with_no_finite_number_is_refused(value: float) -> None:
    spec = ModelSpec("share", (Number("x", "", 0, 0.1),), SOLD)
    with pytest.raises(InputError, match="row 1, x: "):
        spec.encode({"x": np.array([0, value], np.float32)})


@given(st.data())
def test_what_a_row_was_encoded_as_is_taken_again_as_a_column(data: st.DataObject) -> None:
    low = data.draw(st.floats(-1e30, 1e30))
    high = data.draw(st.floats(low, 1e31))
    spec = ModelSpec("any", (Number("x", "", low, high),), SOLD)
    encoded = spec.encode_rows([[value] for value in (low, high, data.draw(st.floats(low, high)))])
    assert spec.encode({"x": encoded[:, 0]}).tobytes() == encoded.tobytes()
