"""What is wrong with JSON, in the words of the contract instead of the decoder's."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import TypeVar

import msgspec

from application.inference.protocols.rows import decode_untyped
from domain.contract import json_unicode_fault, unknown_faults
from domain.errors import InputError

_PATH = re.compile(r"^(?P<words>.*?)(?: - at `\$\.?(?P<path>.*)`)?$", re.DOTALL)
_TYPES = re.compile(r"^Expected `(?P<expected>[^`]*)`, got `(?P<found>[^`]*)`$")
_FIELD = re.compile(r"^Object (?P<what>contains unknown|missing required) field `(?P<name>.*)`$")
_BYTE = re.compile(r"\(byte (\d+)\)$")
_KINDS = {
    "array": "a list",
    "bool": "a boolean",
    "float": "a number",
    "int": "a whole number",
    "null": "null",
    "object": "an object",
    "str": "a text",
}
_NO_NUMBERS = (b"NaN", b"Infinity")  # which Python and JavaScript write
_SHOWN = 200  # characters of a path
Body = TypeVar("Body", bound=msgspec.Struct)


def body_decoder(kind: type[Body], hint: str = "") -> Callable[[bytes], Body]:
    """A decoder of bodies of one form.

    It raises InputError for JSON of another form, and msgspec.DecodeError for what is not JSON.

    Args:
        hint: what to send, for a body that is not an object or lacks a field.
    """
    decode = msgspec.json.Decoder(kind).decode

    def decode_body(body: bytes) -> Body:
        try:
            return decode(body)
        except msgspec.ValidationError as error:
            decode_untyped(body)  # what is not JSON at all is reported first
            raise InputError(form_fault(error, kind.__struct_fields__, hint)) from error

    return decode_body


def json_fault(error: Exception, document: bytes) -> str:
    """Why a document could not be decoded.

    Args:
        error: of the decoder; the message of any other error is returned as it is.

    >>> json_fault(msgspec.DecodeError("Input data was truncated"), b"[1,")
    'JSON is malformed: it ends too early (byte 3)'
    """
    match error:
        case RecursionError():
            return "the JSON is nested too deeply"
        case UnicodeDecodeError():
            return utf8_fault(document) or str(error)
        case msgspec.ValidationError():
            return form_fault(error)
        case msgspec.DecodeError():
            return _syntax_fault(str(error), document)
    return str(error)


def _syntax_fault(message: str, document: bytes) -> str:
    if not document or document.isspace():
        return "the body is empty: send JSON; /docs.json has examples"
    if fault := json_unicode_fault(document):  # which the decoder calls truncated data
        return fault
    if "truncated" in message:
        return f"JSON is malformed: it ends too early (byte {len(document)})"
    found = _BYTE.search(message)
    if found and document[int(found[1]) :].startswith(_NO_NUMBERS):
        return (
            f"JSON is malformed: it has no NaN or Infinity {found[0]}: send null for a missing "
            "value"
        )
    return message


def form_fault(error: msgspec.ValidationError, fields: Sequence[str] = (), hint: str = "") -> str:
    """How a document differs from its expected form.

    Args:
        fields: the known ones of the document itself.
        hint: what to do about a fault of the document as a whole.

    >>> form_fault(msgspec.ValidationError("Expected `array | null`, got `int` - at `$.instances`"))
    'instances: expected a list, got a number'
    """
    parts = _PATH.match(str(error))
    words, path = (parts["words"], parts["path"]) if parts else (str(error), None)
    place = f"{path[:_SHOWN]}: " if path else ""
    hint = f": {hint}" if hint and not path else ""
    if types := _TYPES.match(words):
        expected = [kind for kind in types["expected"].split(" | ") if kind != "null"]
        described = " or ".join(_KINDS.get(kind, kind) for kind in sorted(expected))
        return f"{place}expected {described}, got {_found(types['found'], expected)}{hint}"
    if field := _FIELD.match(words):
        if field["what"] == "missing required":
            return f"{place}the field {field['name']} is missing{hint}"
        if fields and not path:
            return unknown_faults([field["name"]], fields, what="field")[0]
        return f"{place}unknown field {field['name']!r}"
    if words == "Number out of range":
        return f"{place}the number is too large"
    return place + words


def utf8_fault(document: bytes) -> str | None:
    """Where a document is not UTF-8; None if it is."""
    try:
        document.decode()
    except UnicodeDecodeError as error:
        return f"byte {error.start} is not valid UTF-8: send UTF-8"
    return None


def _found(kind: str, expected: Sequence[str]) -> str:
    if kind == "float" and "int" in expected:
        return "a number with decimals"
    return "a number" if kind == "int" else _KINDS.get(kind, kind)
