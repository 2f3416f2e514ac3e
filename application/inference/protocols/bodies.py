"""Bodies of the JSON endpoints: rows in the contract's order, named rows, and feedback.

A body is decoded by types that fit the contract, which is fast. If that fails, it is decoded
without types, and the contract says what is wrong with it, in its own words and of every row.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from enum import Enum
from functools import partial
from typing import Annotated, Any

import msgspec

from application.inference.protocols.rows import RowReader, decode_untyped, kind_of, known_ids
from application.inference.protocols.schema import (
    LAST_ROW,
    has_plain_names,
    takes_feedback_by_inputs,
    takes_instances,
    truth_names,
)
from domain.contract import (
    ID,
    ROW_IDS,
    Datetime,
    HashedText,
    Input,
    ModelSpec,
    Number,
    Tensor,
    Text,
    join_faults,
    short_repr,
    unknown_faults,
)
from domain.errors import InputError

_OPTIONAL = ("row", "confidence")  # fields of feedback
CheckRows = Callable[[int], None]
"""Raises TooManyRowsError for so many rows."""


class PositionalRows:  # pylint: disable=too-few-public-methods
    """Reads rows in the contract's order, or one flat row.

    Args:
        check: called before faults of rows are searched for.
    """

    def __init__(self, spec: ModelSpec, check: CheckRows) -> None:
        number = float | None if any(item.nullable for item in spec.inputs) else float
        rows = list[list[number] | number] if spec.is_numeric else list[Any]  # type: ignore[valid-type]
        self._decode: Callable[[bytes], Any] = msgspec.json.Decoder(rows).decode
        self._check = check
        self._hint = f"send objects to {_paths(spec, '_json')}"
        self._reader = RowReader(spec, objects=False, hint=self._hint)
        self._is_value = RowReader(spec).is_value

    def read(self, body: bytes) -> list[Any]:
        """The rows in a body.

        Raises:
            InputError: the body is not a list of rows.
            TooManyRowsError: there are too many rows.
            msgspec.DecodeError: it is not JSON.
        """
        try:
            rows = self._decode(body)
        except msgspec.ValidationError:
            rows = decode_untyped(body)
            if not isinstance(rows, list):
                raise InputError(
                    f"expected a list of rows, got {kind_of(rows)}{self._hint_for(rows)}"
                ) from None
        if rows and not isinstance(rows[0], dict) and self._is_value(rows[0]):  # a flat row
            return [rows]
        if set(map(type, rows)) <= {list}:
            return rows
        self._check(len(rows))
        return self._reader.read(rows)

    def _hint_for(self, body: Any) -> str:
        if not isinstance(body, dict):
            return ""
        match body.get("instances"):
            case [list(), *_]:  # which are rows for this path
                return ": send the list under instances by itself, as [[…], …]"
        return f": {self._hint}"


class NamedRows:  # pylint: disable=too-few-public-methods
    """Reads one object with named inputs, or several as ``instances``, and their IDs.

    Args:
        check: called before faults of rows are searched for.
    """

    def __init__(self, spec: ModelSpec, check: CheckRows) -> None:
        self._several = takes_instances(spec)
        self._keys = msgspec.json.Decoder(dict[str, msgspec.Raw])
        self._check = check
        self._hint = f"send lists of values to {_paths(spec)}"
        self._reader = RowReader(spec, lists=False, hint=self._hint)
        self._typed = has_plain_names(spec)
        inputs, names = _input_fields(spec)
        fields = {False: inputs}
        if spec.takes_ids:
            fields[True] = [*inputs, (ID, Any, None)]
        self._decoders = {}
        for with_ids, chosen in fields.items():
            row = _struct("Row", chosen, names) if self._typed else dict[str, Any]
            several: list[Any] = [("instances", list[row])]  # type: ignore[valid-type]
            decoders = (row, _struct("Instances", several, {}))
            self._decoders[with_ids] = [msgspec.json.Decoder(kind).decode for kind in decoders]

    def read(self, body: bytes) -> tuple[list[Any], list[Any] | None]:
        """The rows in a body, and their IDs; None if no row has one.

        Raises:
            InputError: the body has another form, or an object has unknown names; or their values
                are wrong, too.
            TooManyRowsError: there are too many rows.
            msgspec.DecodeError: it is not JSON.
        """
        if self._typed:
            with suppress(msgspec.ValidationError):
                return self._read_typed(body)
        items = decode_untyped(body)
        if not isinstance(items, dict):
            hint = self._hint_for(items) if isinstance(items, list) else ""
            raise InputError(f"expected an object of inputs, got {kind_of(items)}{hint}")
        items = self._instances(items) if self._several and "instances" in items else [items]
        self._check(len(items))
        return self._reader.read(items), self._reader.ids(items)

    def _read_typed(self, body: bytes) -> tuple[list[Any], list[Any] | None]:
        several = self._several and "instances" in self._keys.decode(body)
        with_ids = False
        try:
            found = self._decoders[False][several](body)
        except msgspec.ValidationError:  # decoding without IDs is faster
            if True not in self._decoders:
                raise
            with_ids, found = True, self._decoders[True][several](body)
        objects = found.instances if several else [found]
        rows: list[Any] = list(map(msgspec.structs.astuple, objects))
        if not with_ids:
            return rows, None
        return [row[:-1] for row in rows], known_ids([row[-1] for row in rows])

    def _hint_for(self, items: list[Any]) -> str:
        if self._several and items and isinstance(items[0], dict):
            return ': send several objects as {"instances": [{…}, …]}'
        return f": {self._hint}"

    def _instances(self, body: dict[str, Any]) -> list[Any]:
        """The items under ``instances``, next to which nothing else is allowed."""
        items = body.pop("instances")
        faults = unknown_faults(body, ("instances",), what="field")
        if not isinstance(items, list):
            faults.append(f"instances: expected a list of objects, got {kind_of(items)}")
        if faults:
            raise InputError(join_faults(faults))
        return items


class FeedbackForm(Enum):
    """By what feedback names its prediction."""

    PREDICTION = "request_id"
    ID = "id"
    INPUTS = "inputs"


_Check = Callable[[Any], object]  # raises InputError for a wrong value of a field


class FeedbackBodies:  # pylint: disable=too-few-public-methods
    """Reads feedback: the identity, ID or inputs of a prediction, and the truth.

    Args:
        check_truth: raises InputError if a class or value is invalid; its first argument is
            ``predicted`` or ``actual``.
    """

    def __init__(self, spec: ModelSpec, check_truth: Callable[[str, Any], object]) -> None:
        self._spec = spec
        self._by_inputs = takes_feedback_by_inputs(spec)
        self._keys = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
        self._predicted, self._actual = truth_names(spec)
        inputs, names = _input_fields(spec)
        names |= {"predicted": self._predicted, "actual": self._actual}
        truth: Any = str | float | int | bool if spec.classes else float
        actual: list[Any] = [("actual", truth)]
        labels = [("predicted", truth), *actual]
        probability = Annotated[float, msgspec.Meta(ge=0, le=1)] | None
        confidence = [("confidence", probability, None)] if spec.classes else []
        row_number = Annotated[int, msgspec.Meta(ge=0, le=LAST_ROW)]
        fields = {
            FeedbackForm.PREDICTION: [("request_id", str), *actual, ("row", row_number, 0)],
            FeedbackForm.ID: [(ID, str | int | float), *actual],
        }
        if self._by_inputs:
            fields[FeedbackForm.INPUTS] = [*inputs, *labels, *confidence]
        self._decoders = {
            form: msgspec.json.Decoder(_struct("Feedback", chosen, names)).decode
            for form, chosen in fields.items()
        }
        check_actual = partial(check_truth, "actual")
        self._checks: dict[FeedbackForm, dict[str, _Check]] = {
            FeedbackForm.PREDICTION: {
                "request_id": _type_check("request_id", str, "a text"),
                self._actual: check_actual,
                "row": _type_check("row", row_number, f"a whole number from 0 to {LAST_ROW}"),
            },
            FeedbackForm.ID: {ID: ROW_IDS.text, self._actual: check_actual},
            FeedbackForm.INPUTS: {
                self._predicted: partial(check_truth, "predicted"),
                self._actual: check_actual,
                "confidence": _type_check("confidence", probability, "a number from 0 to 1"),
            },
        }
        if not spec.classes:
            del self._checks[FeedbackForm.INPUTS]["confidence"]

    def read(self, body: bytes) -> tuple[FeedbackForm, Any]:
        """How feedback names its prediction, and its fields as attributes; those of inputs first.

        Raises:
            InputError: the body has another form, or no or an invalid value in a field.
            msgspec.DecodeError: it is not JSON.
        """
        try:
            keys = self._keys(body)
        except msgspec.ValidationError:
            kind = kind_of(decode_untyped(body))
            raise InputError(f"expected an object, got {kind}: {self._how}") from None
        form = self._form_of(keys)
        if form is None:
            raise InputError(join_faults(self._unnamed_faults(decode_untyped(body))))
        try:
            return form, self._decoders[form](body)
        except msgspec.ValidationError as error:
            faults = self._faults(form, decode_untyped(body))
            raise (InputError(join_faults(faults)) if faults else error) from None

    def _form_of(self, keys: Collection[str]) -> FeedbackForm | None:
        if "request_id" in keys:
            return FeedbackForm.PREDICTION
        if self._spec.takes_ids and ID in keys:
            return FeedbackForm.ID
        if self._by_inputs and not set(self._spec.input_names).isdisjoint(keys):
            return FeedbackForm.INPUTS
        return None

    def _unnamed_faults(self, body: dict[str, Any]) -> list[str]:
        """Everything that is wrong with feedback that names no prediction."""
        checks = {
            name: check for form in self._decoders for name, check in self._checks[form].items()
        }
        if not self._spec.takes_ids:
            del checks[ID]
        known = [*checks, *(self._spec.input_names if self._by_inputs else ())]
        faults = unknown_faults((name for name in body if name not in known), known, what="field")
        faults += _value_faults(body, {name: checks[name] for name in checks.keys() & body.keys()})
        return [*faults, f"the prediction is not named: {self._how}"]

    @property
    def _how(self) -> str:
        """How feedback may name its prediction."""
        ways = [f"with {ID}"] if self._spec.takes_ids else []
        ways += ["with request_id and row"]
        ways += [f"with the inputs and {self._predicted}"] if self._by_inputs else []
        return f"send {self._actual} {', or '.join(ways)}"

    def _faults(self, form: FeedbackForm, body: dict[str, Any]) -> list[str]:
        """Everything that is wrong with feedback."""
        checks = self._checks[form]
        inputs = self._spec.input_names if form is FeedbackForm.INPUTS else ()
        known = (*inputs, *checks)
        faults = unknown_faults((name for name in body if name not in known), known, what="field")
        if inputs:
            faults += self._spec.faults([list(map(body.get, inputs))]).get(0, ())
        return faults + _value_faults(body, checks)


def _value_faults(body: Mapping[str, Any], checks: Mapping[str, _Check]) -> list[str]:
    """What is wrong with the values of fields."""
    faults = []
    for name, check in checks.items():
        if body.get(name) is None and name not in _OPTIONAL:
            faults.append(f"{name}: a value is missing")
        elif name in body:
            try:
                check(body[name])
            except InputError as error:
                faults.append(str(error))
    return faults


def _paths(spec: ModelSpec, suffix: str = "") -> str:
    """The paths that take rows of one form."""
    return f"/predict{suffix}" + (f" or /classify{suffix}" if spec.classes else "")


def _type_check(name: str, kind: Any, description: str) -> _Check:
    def check(value: Any) -> None:
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as error:
            raise InputError(f"{name}: {short_repr(value)} is not {description}") from error

    return check


def _input_fields(spec: ModelSpec) -> tuple[list[Any], dict[str, str]]:
    """Fields of a struct with the inputs, and their names in JSON, which may not be identifiers."""
    names = {f"input_{number}": item.name for number, item in enumerate(spec.inputs)}
    fields: list[Any] = [
        (field, _type_of(item), *([None] if item.nullable else []))
        for field, item in zip(names, spec.inputs)
    ]
    return fields, names


def _struct(name: str, fields: list[Any], names: Mapping[str, str]) -> Any:
    """A struct; `names` maps its fields to other names in JSON."""
    return msgspec.defstruct(name, fields, rename=names, forbid_unknown_fields=True, kw_only=True)


def _type_of(item: Input) -> Any:
    found: Any = str | int | float | bool
    if isinstance(item, Number):
        found = float
    elif isinstance(item, Datetime | Text | HashedText):
        found = str
    elif isinstance(item, Tensor):
        found = float
        for _ in item.shape:
            found = list[found]
    return found | None if item.nullable else found
