"""Valid and invalid values of each kind of input, and the error messages."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from typing import Any, Literal
from zlib import crc32

import numpy as np
import pandas as pd
import pytest

from domain.contract import (
    Category,
    HashedText,
    Input,
    ModelSpec,
    Number,
    Quantity,
    RangePolicy,
    Tensor,
    Text,
)
from domain.errors import ContractError, InputError
from tests.contracts import FLAT, GOOD, IMAGE, REVIEW, SOLD, SPEECH, input_refusal, refusal

# numbers


def test_valid_rows_are_encoded_for_the_model() -> None:
    encoded = FLAT.encode_rows([GOOD, [5, 1, -400], (500, 20, 9000)])
    assert encoded.tolist() == [GOOD, [5, 1, -400], [500, 20, 9000]]
    assert encoded.dtype == np.float32
    assert encoded.flags.c_contiguous


def test_rows_in_range_only_change_in_precision() -> None:
    low, high = np.array([[item.minimum, item.maximum] for item in numbers(FLAT)]).T
    rows = np.random.default_rng(0).uniform(low, high, size=(500, 3))
    assert (FLAT.encode_rows(rows.tolist()) == rows.astype(np.float32)).all()
    assert (FLAT.encode_rows(rows) == rows.astype(np.float32)).all()  # type: ignore[arg-type]


def numbers(spec: ModelSpec) -> list[Number]:
    """The inputs that are numbers."""
    return [item for item in spec.inputs if isinstance(item, Number)]


@pytest.mark.parametrize("value", [math.inf, -math.inf])
def test_a_value_that_is_not_finite_is_refused_with_its_row_and_input(value: float) -> None:
    message = refusal(GOOD, GOOD, [80.0, value, 35.0])
    assert message == "row 2, rooms: the number is infinite, or too large"


def lenient(outside: Any) -> ModelSpec:
    """A contract of an income and a number that refuses others."""
    income = Number("income", "EUR", 0, 100, nullable=True, outside=outside)
    return ModelSpec("lenient", (income, Number("rooms", "", 1, 20)), SOLD)


@pytest.mark.parametrize(
    ("outside", "low", "high"), [("clip", 0.0, 100.0), ("accept", -5.0, 1e9)], ids=str
)
def test_numbers_outside_the_range_are_clipped_or_accepted(
    outside: Any, low: float, high: float
) -> None:
    spec, rows = lenient(outside), [[50.0, 3], [-5, 3], [1e9, 3], [None, 3]]
    expected = np.array([[50, 3], [low, 3], [high, 3], [np.nan, 3]], np.float32)
    columns = dict(zip(spec.input_names, zip(*rows)))
    arrays = {name: np.array(column, np.float64) for name, column in columns.items()}
    singles = np.array(
        [numbers(spec)[0].encode([row[0]])[0] for row in rows]  # type: ignore[index]
    )
    for encoded in (spec.encode_rows(rows), spec.encode(columns), spec.encode(arrays)):
        np.testing.assert_array_equal(encoded, expected)
        assert encoded.dtype == np.float32 and encoded.flags.c_contiguous
    np.testing.assert_array_equal(singles, expected[:, :1])
    np.testing.assert_array_equal(spec.encode_rows(rows * 100), np.tile(expected, (100, 1)))


@pytest.mark.parametrize("outside", ["clip", "accept"])
def test_what_float32_cannot_hold_is_refused_whatever_the_range(outside: Any) -> None:
    spec = lenient(outside)
    assert refusal([1e39, 3], spec=spec) == "row 0, income: 1e+39 exceeds float32"
    assert (
        refusal([9, 3], [math.inf, 3], spec=spec)
        == "row 1, income: the number is infinite, or too large"
    )
    assert refusal([500, 99], spec=spec) == "row 0, rooms: 99 is outside [1, 20]"


def test_numbers_outside_the_range_are_counted() -> None:
    income = numbers(lenient("clip"))[0]
    assert income.count_outside([50, -1, 101.0, None, 100]) == 2
    assert income.count_outside(np.array([np.nan, 1e9], np.float32)) == 1


def test_numbers_are_outside_only_if_the_model_sees_them_outside() -> None:
    share = Number("share", "", 0.1, 0.7, outside="accept")
    spec = ModelSpec("m", (share,), Quantity("q"))
    values = np.array([0.0999999999, 0.09999999, 0.1, 0.7, 0.7000000001, 0.7000001])
    assert share.count_outside(values) == 2
    for kind in (np.float32, np.float64):
        encoded = spec.encode({"share": values.astype(kind)})
        assert RangePolicy(spec).count_outside(encoded) == {"share": 2}
        assert share.count_outside(values.astype(kind)) == 2


@pytest.mark.parametrize(
    "item",
    [
        Text("text"),
        HashedText("text", features=8),
        Category("text", ("a", "b")),
        Category("text", ("a", "b"), unseen="missing", nullable=True),
    ],
)
@pytest.mark.parametrize("half", ["\ud800", "\udfff"])
def test_a_text_that_is_not_unicode_is_refused_with_the_character(item: Any, half: str) -> None:
    with pytest.raises(InputError) as refused:
        item.encode(["a", f"a{half}😀"])
    message = f"character 2, {half!r}, is half of a surrogate pair: send valid Unicode"
    assert str(refused.value) == f"row 1, text: {message}"


@pytest.mark.parametrize("value", [None, math.nan, np.float32("nan")])
def test_a_missing_value_is_refused_by_a_required_input(value: Any) -> None:
    assert refusal(GOOD, [80.0, value, 35.0]) == "row 1, rooms: a value is missing"
    assert input_refusal(FLAT.inputs[1], 3.0, value) == "row 1, rooms: a value is missing"


@pytest.mark.parametrize("value", [None, math.nan, np.float64("nan")])
def test_a_missing_value_of_an_optional_input_is_nan_to_the_model(value: Any) -> None:
    number = Number("age", "years", 0, 120, nullable=True)
    assert np.isnan(number.encode([value, 30.0]))[:, 0].tolist() == [True, False]


@pytest.mark.parametrize("value", [math.inf, -1.0, "30", True])
def test_a_present_value_of_an_optional_input_must_be_valid(value: Any) -> None:
    assert input_refusal(Number("age", "years", 0, 120, nullable=True), None, value).startswith(
        "row 1, age: "
    )


@pytest.mark.parametrize("value", [-1.0, 0.999, 20.001, 1e300, 10**30])
def test_a_value_out_of_range_is_refused_with_its_row_input_and_range(value: float) -> None:
    message = refusal(GOOD, [80.0, value, 35.0])
    assert message.startswith(f"row 1, rooms: {value:g} is outside [1, 20]")


@pytest.mark.parametrize("spec", [FLAT, ModelSpec("one", FLAT.inputs[1:2], SOLD)])
@pytest.mark.parametrize("sign", [1, -1])
def test_an_integer_beyond_the_float_range_is_refused_without_a_crash(
    spec: ModelSpec, sign: int
) -> None:
    row = [sign * 10**400 if item.name == "rooms" else 100.0 for item in spec.inputs]
    assert refusal(row, spec=spec) == "row 0, rooms: the number is infinite, or too large"


@pytest.mark.parametrize("value", ["5", "five", [5.0], [5.0, 6.0], {}, b"5"])
def test_a_value_that_is_not_a_number_is_refused_even_if_numpy_would_convert_it(value: Any) -> None:
    message = f"row 1, rooms: {value!r} is not a number"
    assert refusal(GOOD, [80.0, value, 35.0]) == message
    assert input_refusal(FLAT.inputs[1], 3.0, value) == message
    assert input_refusal(FLAT.inputs[1], value).startswith("row 0, rooms: ")


@pytest.mark.parametrize(
    ("value", "shown"),
    [(True, "true"), (np.True_, "true"), ({"a": ["乙", None]}, '{"a": ["乙", null]}')],
)
def test_a_value_is_shown_as_json_has_it(value: Any, shown: str) -> None:
    assert refusal([80.0, value, 35.0]) == f"row 0, rooms: {shown} is not a number"


def test_a_long_value_is_shown_truncated() -> None:
    assert len(refusal([80.0, "x" * 10_000, 35.0])) < 100


def test_the_range_is_shown_with_its_unit() -> None:
    assert refusal([4.0, 3.0, 35.0]) == "row 0, area: 4 m² is outside [5, 500]"


def test_a_bad_value_is_named_at_any_position() -> None:
    rng = np.random.default_rng(1)
    for bad in (math.nan, math.inf, -1e6, 1e6):
        rows = np.tile(GOOD, (20, 1))
        row, column = int(rng.integers(20)), int(rng.integers(3))
        rows[row, column] = bad
        assert refusal(*rows.tolist()).startswith(f"row {row}, {FLAT.input_names[column]}: ")


def test_the_first_bad_value_is_named() -> None:
    assert refusal(GOOD, [80.0, 99.0, 1e9], [0.0, 3.0, 35.0]).startswith("row 1, rooms: 99 ")


def test_the_range_is_checked_before_the_precision_is_lost() -> None:
    just_above = float(np.nextafter(20.0, 21.0))
    assert np.float32(just_above) == 20
    assert refusal([80.0, just_above, 35.0]).startswith("row 0, rooms: ")


# categories


def test_a_category_is_the_position_of_its_word() -> None:
    category = Category("size", ("s", "m", "1", "true"))
    assert category.encode(["true", "m", 1, True, "s", 1.0])[:, 0].tolist() == [3, 1, 2, 3, 0, 2]


@pytest.mark.parametrize("value", ["East", " east", "moon", 1, b"east"])
def test_an_unknown_category_is_refused_with_the_known_ones(value: Any) -> None:
    message = input_refusal(Category("side", ("east", "west")), "west", value)
    assert message == f"row 1, side: {value!r} is not one of east, west"


@pytest.mark.parametrize("blank", ["", "  ", "\t"])
def test_a_blank_category_is_missing_unless_it_is_one_of_the_words(blank: str) -> None:
    side = Category("side", ("east", "west"))
    assert input_refusal(side, "west", blank) == "row 1, side: a value is missing"
    optional = Category("side", ("east", "west"), nullable=True, unseen="missing")
    assert np.isnan(optional.encode([blank])).all() and not optional.count_unknown([blank])
    assert Category("side", ("east", blank)).encode([blank]).tolist() == [[1]]


@pytest.mark.parametrize("value", [[1], [], {}, [1.5, 2]])
def test_a_list_is_not_a_word_not_even_an_unseen_one(value: Any) -> None:
    category = Category("side", ("east", "west"), nullable=True, unseen="missing")
    assert input_refusal(category, "west", value) == f"row 1, side: {value!r} is not a word"


def test_the_first_of_many_categories_are_shown() -> None:
    many = Category("side", tuple(f"word_{number:03}" for number in range(500)))
    message = input_refusal(many, "moon")
    assert message.endswith("word_019 …")
    assert len(message) < 300


def test_an_unseen_word_counts_as_missing_if_the_contract_allows_it() -> None:
    category = Category("side", ("east", "west"), nullable=True, unseen="missing")
    encoded = category.encode(["moon", None, math.nan, "west"])[:, 0]
    assert np.isnan(encoded).tolist() == [True, True, True, False]


@pytest.mark.parametrize("value", [None, math.nan])
def test_a_missing_word_is_refused_by_a_required_input(value: Any) -> None:
    unseens: tuple[Literal["refuse", "missing"], ...] = ("refuse", "missing")
    for unseen in unseens:
        category = Category("side", ("east", "west"), unseen=unseen)
        assert input_refusal(category, value) == "row 0, side: a value is missing"


def test_a_word_may_be_optional_without_allowing_unseen_ones() -> None:
    category = Category("side", ("east", "west"), nullable=True)
    assert np.isnan(category.encode([None])).all()
    assert "'moon' is not one of" in input_refusal(category, "moon")


@pytest.mark.parametrize("item", [Category("side", ("a", "b"), unseen="missing"), Text("side")])
@pytest.mark.parametrize("value", [10**5000, [-(10**5000)]], ids=["number", "list"])
def test_an_integer_with_more_digits_than_python_prints_is_refused(item: Input, value: Any) -> None:
    message = input_refusal(item, "a", value)
    assert message.startswith("row 1, side: an integer with too many digits is not ")


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
        ([["a", "b"], ["c", "d"]], "values that are not numbers"),
        ([[1, None], [3, 4]], "values that are not numbers"),
        ([[True, False], [True, True]], "values that are not numbers"),
        ([[True, 0.5], [0, 1]], "values that are not numbers"),
        (((1, 2), [3, np.True_]), "values that are not numbers"),
        ([np.array([True, False]), [0.5, 1]], "values that are not numbers"),
        ([[1, 2], [3, 10**400]], "values that are not numbers"),
    ],
)
def test_a_tensor_with_a_wrong_shape_or_values_that_are_not_numbers_is_refused(
    value: Any, got: str
) -> None:
    good = [[0, 0], [0, 0]]
    message = f"row 1, image: expected 2 × 2 numbers, got {got}"
    assert input_refusal(IMAGE.inputs[0], good, value) == message


@pytest.mark.parametrize("value", [-0.5, 16.001, math.nan, 1e300])
def test_a_tensor_with_a_value_out_of_range_is_refused_with_that_value(value: float) -> None:
    message = input_refusal(IMAGE.inputs[0], [[0, 0], [value, 0]])
    assert message == f"row 0, image: {value:g} grey is outside [0, 16]"


def test_a_boolean_is_found_at_every_place_and_depth() -> None:
    for shape in ((3,), (2, 2), (2, 1, 2)):
        tensor = Tensor("x", shape, 0.0, 1.0)
        for place in range(tensor.width):
            grid = np.full(tensor.width, 0.5, dtype=object)
            grid[place] = True
            assert "values that are not numbers" in input_refusal(
                tensor, grid.reshape(shape).tolist()
            )


# text and recordings


def test_text_is_passed_unchanged_in_one_column_of_strings() -> None:
    texts = [" so-so", "große Stadt", "nul \0 \0", "twelve chars", "🙂" * 12]
    encoded = REVIEW.encode_rows([[text] for text in texts])
    assert encoded.shape == (5, 1) and encoded.dtype == object
    for column in (texts, np.array(texts, dtype=object), pd.Series(texts)):
        assert (REVIEW.encode({"what they said": column}) == encoded).all()
    assert encoded[:, 0].tolist() == texts
    assert {type(text) for text in REVIEW.encode({"what they said": np.array(texts)})[:, 0]} == {
        str
    }


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("thirteen char", "the text has 13 characters, at most 12 are allowed"),
        (7, "7 is not text"),
        (True, "true is not text"),
        (["a"], '["a"] is not text'),
        (b"a", "b'a' is not text"),
        (None, "a value is missing"),
        (math.nan, "a value is missing"),
        ("", "a value is missing"),
        (" \n", "a value is missing"),
    ],
)
def test_a_value_that_is_not_a_text_or_is_too_long_is_refused(value: Any, reason: str) -> None:
    assert input_refusal(REVIEW.inputs[0], "fine", value) == f"row 1, what they said: {reason}"


def test_a_missing_optional_text_is_empty() -> None:
    assert Text("note", nullable=True).encode([None, math.nan, " ", "x"])[:, 0].tolist() == [
        *[""] * 3,
        "x",
    ]


NOTE = HashedText("note", 12, features=1000)


def columns_of(text: str) -> dict[int, int]:
    """Columns of a text that are not 0, with their values."""
    (encoded,) = NOTE.encode([text])
    return {int(column): int(encoded[column]) for column in np.flatnonzero(encoded)}


def test_a_hashed_text_counts_words_without_case_and_punctuation() -> None:
    encoded = NOTE.encode(["Tea, tea & x_1!"[:12], "tea"])
    assert encoded.shape == (2, 1000) and encoded.dtype == np.float32
    tea = crc32(b"tea") % 1000
    assert columns_of("Tea, TEA!") == {tea: 2}
    assert columns_of("x tea_1") == {crc32(b"x") % 1000: 1, tea: 1, crc32(b"1") % 1000: 1}
    assert columns_of("große") == {crc32("große".encode()) % 1000: 1}
    assert not columns_of("?! _")


@pytest.mark.parametrize("text", ["不能用", "ok,不能用!"])
def test_words_of_a_script_without_blanks_are_characters_and_their_pairs(text: str) -> None:
    words = ["不", "能", "用", "不能", "能用", *(["ok"] if "ok" in text else [])]
    assert columns_of(text) == Counter(crc32(word.encode()) % 1000 for word in words)


def test_few_features_are_shared_by_several_words() -> None:
    encoded = HashedText("note", features=1).encode(["a b c", "不能"])
    assert encoded.tolist() == [[3], [3]]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        ("thirteen char", "the text has 13 characters, at most 12 are allowed"),
        (7, "7 is not text"),
        (None, "a value is missing"),
    ],
)
def test_a_value_that_is_no_hashed_text_is_refused(value: Any, reason: str) -> None:
    assert input_refusal(NOTE, "fine", value) == f"row 1, note: {reason}"


def test_a_missing_optional_hashed_text_has_no_words() -> None:
    encoded = replace(NOTE, nullable=True).encode([None, math.nan, "", "x"])
    assert encoded.sum(axis=1).tolist() == [0, 0, 0, 1]


def test_a_recording_cannot_be_encoded_as_a_row() -> None:
    with pytest.raises(ContractError, match="recording is a recording, which cannot be encoded"):
        SPEECH.encode_rows([[b"RIFF"]])
