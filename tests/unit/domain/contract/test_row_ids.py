"""IDs of rows are short texts or whole numbers, and labels find rows by their text."""

from __future__ import annotations

import json
import math
import re
from typing import Any

import pytest

from domain.contract import LONGEST_ROW_ID, ROW_ID_PATTERN, ROW_IDS
from domain.errors import InputError

LARGEST = 2**63 - 1


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("order-17", "order-17"),
        (" 17 ", " 17 "),
        ("x" * LONGEST_ROW_ID, "x" * LONGEST_ROW_ID),
        ("訂單 17 👩‍👩‍👧 é", "訂單 17 👩‍👩‍👧 é"),
        (17, "17"),
        (-17, "-17"),
        (17.0, "17"),
        (float(2**53 - 1), "9007199254740991"),
        (2**53 + 1, "9007199254740993"),
        (LARGEST, str(LARGEST)),
        (None, None),
        (math.nan, None),
    ],
)
def test_an_id_has_a_text_and_a_number_has_its_digits(value: Any, text: str | None) -> None:
    assert ROW_IDS.encode([value]) == [text]


@pytest.mark.parametrize(
    "value",
    [
        *("", "a\x00", "a\nb", "\x7f", "\x85", "x" * (LONGEST_ROW_ID + 1)),
        *(1.5, math.inf, LARGEST + 1, -LARGEST - 1, 10**300, True, [], {}, b"a"),
    ],
)
def test_anything_else_is_refused_with_its_row_and_what_to_send(value: Any) -> None:
    with pytest.raises(InputError) as refused:
        ROW_IDS.encode(["a", value])
    message = str(refused.value)
    assert message.startswith("row 1, id: ") and len(message) < 250
    assert "is not an ID: send 1 to 200 characters without control characters, or a" in message


def test_texts_are_compared_as_they_were_sent() -> None:
    assert ROW_IDS.text("\u00e9") != ROW_IDS.text("e\u0301")
    assert ROW_IDS.encode(["A", "a"]) == ["A", "a"]


@pytest.mark.parametrize(
    "text", ["a", "é 訂", "a\x00", "a\nb", "\x7f", "\x9f", "\xa0", "\U0001f469"]
)
def test_the_pattern_of_the_schema_allows_the_same_characters(text: str) -> None:
    pattern = json.loads(json.dumps(ROW_ID_PATTERN))
    try:
        ROW_IDS.text(text)
    except InputError:
        assert not re.search(pattern, text)
    else:
        assert re.search(pattern, text)


@pytest.mark.parametrize("value", [float(2**53), float(2**53 + 1), -float(2**53), 1e18])
def test_a_float_that_may_stand_for_several_whole_numbers_is_refused(value: float) -> None:
    with pytest.raises(InputError) as refused:
        ROW_IDS.encode(["a", value])
    message = str(refused.value)
    assert message.startswith(
        f"row 1, id: {value!r} is a float, which may have lost the last digits"
    )
    assert "send it as text or as a whole number without a decimal point" in message


def test_an_id_that_is_not_unicode_is_refused_with_the_character() -> None:
    with pytest.raises(InputError) as refused:
        ROW_IDS.encode(["ab\udfff"])
    message = "character 3, '\\udfff', is half of a surrogate pair: send valid Unicode"
    assert str(refused.value) == f"row 0, id: {message}"
