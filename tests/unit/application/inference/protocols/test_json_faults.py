"""JSON that is malformed or has another form is refused in plain words."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from application.inference.protocols.json_faults import (
    body_decoder,
    form_fault,
    json_fault,
    utf8_fault,
)
from domain.errors import InputError


class Item(msgspec.Struct):
    """A part of a body."""

    name: str
    shape: list[int]


class Body(msgspec.Struct, forbid_unknown_fields=True):
    """A body with a field of each kind."""

    instances: list[Any]
    hours: float = 1.0
    table: list[Any] | dict[str, Any] | None = None
    items: list[Item] = []


decode_body = body_decoder(Body, "send instances")


def fault_of(document: bytes) -> str:
    """Why a document is not JSON, or why it has another form."""
    try:
        decode_body(document)
    except (InputError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        return json_fault(error, document)
    raise AssertionError("it has been accepted")


def test_a_body_of_the_right_form_is_decoded() -> None:
    assert decode_body(b'{"instances": [1], "hours": 2}') == Body([1], 2.0)


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        (b"[]", "expected an object, got a list: send instances"),
        (b"null", "expected an object, got null: send instances"),
        (b"{}", "the field instances is missing: send instances"),
        (b'{"instance": []}', "unknown field 'instance': did you mean 'instances'?"),
        (b'{"instances": 5}', "instances: expected a list, got a number"),
        (b'{"instances": true}', "instances: expected a list, got a boolean"),
        (b'{"instances": [], "hours": "x"}', "hours: expected a number, got a text"),
        (b'{"instances": [], "hours": 1e999}', "hours: the number is too large"),
        (b'{"instances": [], "table": 5}', "table: expected a list or an object, got a number"),
        (b'{"instances": [], "items": [5]}', "items[0]: expected an object, got a number"),
        (b'{"instances": [], "items": [{}]}', "items[0]: the field name is missing"),
        (
            b'{"instances": [], "items": [{"name": "a", "shape": [1.5]}]}',
            "items[0].shape[0]: expected a whole number, got a number with decimals",
        ),
    ],
)
def test_another_form_is_refused_with_its_place_and_both_kinds(document: bytes, fault: str) -> None:
    assert fault_of(document) == fault


@pytest.mark.parametrize(
    ("document", "fault"),
    [
        (b"", "the body is empty: send JSON; /docs.json has examples"),
        (b" \n", "the body is empty: send JSON; /docs.json has examples"),
        (b"[1,", "JSON is malformed: it ends too early (byte 3)"),
        (b'{"instances": ["\\u12', "JSON is malformed: it ends too early (byte 20)"),
        (b"[1,]", "JSON is malformed: trailing comma in array (byte 3)"),
        (
            b"[NaN]",
            "JSON is malformed: it has no NaN or Infinity (byte 1): send null for a missing value",
        ),
        (
            b'{"hours": -Infinity}',
            "JSON is malformed: it has no NaN or Infinity (byte 11): send null for a missing value",
        ),
        (b'["a \xff"]', "byte 4 is not valid UTF-8: send UTF-8"),
        (rb'["\ud800"]', r"\ud800 is half of a surrogate pair: send valid Unicode"),
        (b"[" * 5000, "the JSON is nested too deeply"),
    ],
)
def test_what_is_not_json_is_refused_with_the_byte_before_its_form(
    document: bytes, fault: str
) -> None:
    assert fault_of(document) == fault


def test_the_message_of_another_error_stays() -> None:
    assert json_fault(InputError("there are no rows"), b"[]") == "there are no rows"
    assert form_fault(msgspec.ValidationError("Expected `str` matching regex")) == (
        "Expected `str` matching regex"
    )


def test_what_is_utf8_has_no_fault() -> None:
    assert utf8_fault("große".encode()) is None
