"""The contract of a model: its inputs and its output, and how rows are encoded by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import chain, islice
from typing import Any

import numpy as np

from domain.contract.datetimes import FORWARD_PARTS, Datetime
from domain.contract.encoding import (
    LARGEST,
    PYTHON_NUMBERS,
    RepeatedValues,
    are_python_numbers,
    check_numbers,
    count_values,
    join_names,
)
from domain.contract.faults import (
    SHOWN_ROWS,
    Faults,
    describe_faults,
    join_faults,
    length_fault,
    refusals,
)
from domain.contract.features import Audio, Category, HashedText, Input, Number, Tensor, Text
from domain.contract.outputs import Classes, Output, Quantity, Transcript
from domain.contract.row_ids import ID, ROW_IDS
from domain.errors import ContractError, InputError

_INPUTS = {cls.kind: cls for cls in (Number, Category, Datetime, Tensor, Text, HashedText, Audio)}
_OUTPUTS = {cls.task: cls for cls in (Classes, Quantity, Transcript)}
_ALONE = (Text, Audio)
_FEW = 64  # up to so many numbers, checking in Python is faster than in NumPy
RESULT = "prediction"  # name of the result in responses and tables


@dataclass(frozen=True)
class ModelSpec:
    """Inputs and output of a model.

    Attributes:
        name: the model's name in the catalog.
        inputs: what goes in, in the model's order.
        output: what comes out.
        description: what it predicts, for people.

    Raises:
        ContractError: there is no input; two inputs, categories, classes or monitored variables
            have the same name; text or audio is not the only input; a range is empty or exceeds
            float32; a date has no parts, or an unknown time zone; the coverage or the decision
            threshold is not between 0 and 1; or there is a threshold or a positive class, but not
            two classes, of which it is one.
    """

    name: str
    inputs: tuple[Input, ...]
    output: Output
    description: str = ""

    def __post_init__(self) -> None:
        names = self.input_names
        if not names:
            raise ContractError(f"{self.name}: a contract needs at least one input")
        _check_unique(f"{self.name}: the inputs", names)
        if len(names) > 1 and any(isinstance(item, _ALONE) for item in self.inputs):
            raise ContractError(
                f"{self.name}: text and audio must be the only input; next to others, use "
                "HashedText for a text"
            )
        for item in self.inputs:
            self._check(item)
        _check_unique(f"{self.name}: the classes", self.classes)
        if RESULT in self.classes:
            raise ContractError(
                f"{self.name}: a class of {self.output.name} cannot be called {RESULT!r}, which is "
                "the name of the predicted class in responses: rename it in the data"
            )
        if isinstance(self.output, Classes):
            self._check_decision(self.output)
        if isinstance(self.output, Quantity) and not 0 < self.output.coverage < 1:
            raise ContractError(
                f"{self.name}: the coverage of {self.output.name} is {self.output.coverage:g}; "
                "it must be between 0 and 1"
            )
        _check_unique(f"{self.name}: the monitored variables", self.monitored_names)

    def _check(self, item: Input) -> None:
        """Raise ContractError if one input contradicts itself."""
        if isinstance(item, Category):
            _check_unique(f"{self.name}: the categories of {item.name}", item.categories)
        elif isinstance(item, Datetime) and item.fault:
            raise ContractError(f"{self.name}: {item.name}: {item.fault}")
        elif isinstance(item, HashedText) and item.features < 1:
            raise ContractError(f"{self.name}: {item.name} has no features")
        elif isinstance(item, Number | Tensor):
            low, high = item.minimum, item.maximum
            if not -LARGEST <= low <= high <= LARGEST:
                raise ContractError(
                    f"{self.name}: the range of {item.name}, [{low:g}, {high:g}], is empty or "
                    "exceeds float32"
                )

    def _check_decision(self, output: Classes) -> None:
        """Raise ContractError if the positive class or the threshold cannot be."""
        decides = output.positive or output.threshold is not None
        if decides and len(output.names) != 2:
            raise ContractError(
                f"{self.name}: {output.name} has {len(output.names)} classes; only two classes can "
                "have a positive class or a threshold"
            )
        if output.positive and output.positive not in output.names:
            raise ContractError(
                f"{self.name}: the positive class {output.positive!r} of {output.name} is not one "
                f"of {join_names(output.names)}"
            )
        if output.threshold is not None and not 0 < output.threshold < 1:
            raise ContractError(
                f"{self.name}: the threshold of {output.name} is {output.threshold:g}; it must be "
                "between 0 and 1"
            )

    @property
    def task(self) -> str:
        """``classification``, ``regression`` or ``transcription``."""
        return self.output.task

    @property
    def input_names(self) -> tuple[str, ...]:
        """Names of the inputs, in the model's order."""
        return tuple(item.name for item in self.inputs)

    @property
    def classes(self) -> tuple[str, ...]:
        """Names of the classes; empty unless the output is `Classes`."""
        return self.output.names if isinstance(self.output, Classes) else ()

    @property
    def width(self) -> int:
        """Number of columns of the model's input array."""
        return sum(item.width for item in self.inputs)

    @property
    def output_columns(self) -> tuple[str, ...]:
        """Names of the columns of a prediction: the classes, or a value and its interval."""
        return self.classes or (RESULT, "lower", "upper")

    def decide(self, predictions: np.ndarray) -> np.ndarray:
        """The number of the predicted class, or the predicted value, of each row, shape (n_rows,).

        Args:
            predictions: shape (n_rows, n_columns).
        """
        if isinstance(self.output, Classes):
            return self.output.decide(predictions)
        return predictions[:, 0]

    @cached_property
    def is_numeric(self) -> bool:
        """Whether every input is a number."""
        return all(isinstance(item, Number) for item in self.inputs)

    @cached_property
    def takes_ids(self) -> bool:
        """Whether a named row may have an ID: not if that is the name of an input or a class."""
        return ID not in (*self.input_names, *self.classes)

    def columns_of(self, *kinds: type[Input]) -> list[int]:
        """Positions of the inputs of these kinds in the model's input array."""
        found: list[int] = []
        start = 0
        for item in self.inputs:
            if isinstance(item, kinds):
                found += range(start, start + item.width)
            start += item.width
        return found

    def encode(self, columns: Mapping[str, Any], ids: Sequence[Any] | None = None) -> np.ndarray:
        """Encode columns of values for the model.

        Args:
            columns: n_rows values for each input, by name, in any order; may be a data frame.
            ids: the IDs of the rows, which are checked with them; None without IDs.

        Returns:
            C-ordered float32 array of shape (n_rows, width), or an object array of str for text.

        Raises:
            InputError: an input is missing, values or IDs violate the contract (the message has
                their rows and inputs, up to ten rows), or the columns differ in length.
        """
        missing = [name for name in self.input_names if name not in columns]
        if missing:
            what = "input {} is" if len(missing) == 1 else "inputs {} are"
            raise InputError(
                f"the {what.format(join_names(missing))} missing: "
                f"expected {join_names(self.input_names)}"
            )
        values = {name: _column(columns[name]) for name in self.input_names}
        lengths = {name: len(column) for name, column in values.items()}
        if ids is not None:
            lengths[ID] = len(ids)
        if len(set(lengths.values())) > 1:
            counts = join_names(
                [f"{name} has {count_values(length)}" for name, length in lengths.items()]
            )
            raise InputError(f"the columns differ in length: {counts}")
        return self._encode_columns([values[name] for name in self.input_names], ids)

    def _encode_columns(
        self, columns: Sequence[Sequence[Any] | np.ndarray], ids: Sequence[Any] | None
    ) -> np.ndarray:
        try:
            parts = [item.encode(values) for item, values in zip(self.inputs, columns)]
            ROW_IDS.encode(ids or ())
        except InputError as error:
            faults = self._faults(columns, ids, SHOWN_ROWS + 1)
            raise InputError(describe_faults(faults)) from error
        return np.ascontiguousarray(np.concatenate(parts, axis=1))

    def faults(self, rows: Sequence[Sequence[Any]], ids: Sequence[Any] | None = None) -> Faults:
        """What `encode_rows` would refuse in the first rows, at most one more than a message shows.

        Args:
            rows, ids: as for `encode_rows`; the values of a row of another length are not checked.
        """
        n_inputs = len(self.inputs)
        wrong = ((row, values) for row, values in enumerate(rows) if len(values) != n_inputs)
        found: Faults = {
            row: [length_fault(len(values), self.input_names)]
            for row, values in islice(wrong, SHOWN_ROWS + 1)
        }
        whole = [row for row, values in enumerate(rows) if len(values) == n_inputs]
        columns = list(zip(*(rows[row] for row in whole)))
        chosen = None if ids is None else [ids[row] for row in whole]
        for row, reasons in self._faults(columns, chosen, SHOWN_ROWS + 1).items():
            found[whole[row]] = reasons
        return found

    def reasons(
        self, columns: Mapping[str, Any], ids: Sequence[Any] | None = None
    ) -> dict[int, str]:
        """The reasons why `encode` would refuse each of these rows.

        Args:
            columns, ids: as for `encode`, of equal length.

        Returns:
            By the row's position from 0, what is wrong with each of its inputs; valid rows are left
            out.
        """
        found = self._faults([_column(columns[name]) for name in self.input_names], ids)
        return {row: join_faults(found[row]) for row in sorted(found)}

    def _faults(
        self,
        columns: Sequence[Sequence[Any] | np.ndarray],
        ids: Sequence[Any] | None,
        most: int | None = None,
    ) -> Faults:
        """What is wrong with each row that is refused.

        Args:
            columns: the values of each input.
            most: rows to find for each input; None for all.
        """
        found: Faults = {}
        for item, values in ((ROW_IDS, ids or ()), *zip(self.inputs, columns)):
            for row, reason in islice(refusals(item, values), most):
                found.setdefault(row, []).append(reason)
        return found

    def encode_rows(
        self, rows: Sequence[Sequence[Any]], ids: Sequence[Any] | None = None
    ) -> np.ndarray:
        """Encode rows of values, as in requests, for the model.

        Args:
            rows: n_rows sequences of one value for each input, in the contract's order.
            ids: as for `encode`.

        Returns:
            As `encode`.

        Raises:
            InputError: there are no rows, a row has another length, or a value or an ID violates
                the contract.
        """
        if len(rows) == 0:
            raise InputError("there are no rows: send at least one")
        expected = len(self.inputs)
        is_numeric = self.is_numeric and (ids is None or _are_ids(ids))
        if is_numeric and len(rows) * expected <= _FEW and self._are_valid(rows):
            return np.array(rows, dtype=np.float32)
        if set(map(len, rows)) != {expected}:
            raise InputError(describe_faults(self.faults(rows, ids)))
        if is_numeric and are_python_numbers(chain.from_iterable(rows)):
            with suppress(OverflowError, InputError):  # the code below finds what is wrong
                return check_numbers(np.asarray(rows, dtype=np.float64), self.inputs)
        return self._encode_columns(list(zip(*rows)), ids)

    def _are_valid(self, rows: Sequence[Sequence[Any]]) -> bool:
        """Whether rows are Python numbers within their ranges; for few rows faster than NumPy."""
        for row in rows:
            if len(row) != len(self._ranges):
                return False
            for value, (low, high) in zip(row, self._ranges):
                if type(value) not in PYTHON_NUMBERS or not low <= value <= high:
                    return False
        return True

    @cached_property
    def _ranges(self) -> list[tuple[float, float]]:
        return [(i.minimum, i.maximum) for i in self.inputs if isinstance(i, Number)]

    @cached_property
    def monitored_inputs(self) -> tuple[Input, ...]:
        """The input of each of `monitored_names`."""
        return tuple(item for item in self.inputs for _ in _monitored_of(item))

    @cached_property
    def monitored_names(self) -> tuple[str, ...]:
        """Monitored variables: every input; of a tensor its mean and its spread, of a date the
        parts that recur, such as ``<name>_weekday``, but none that only grows."""
        return tuple(name for item in self.inputs for name in _monitored_of(item))

    def monitored(self, encoded: np.ndarray) -> np.ndarray:
        """Monitored variables of encoded rows, float64 of shape (n_rows, len(monitored_names)).

        A tensor is represented by its mean and standard deviation, a text by its length, a hashed
        text by its number of words.
        """
        if encoded.dtype == object:
            return np.array([[float(len(text)) for text in row] for row in encoded])
        if not any(isinstance(item, Tensor | Datetime | HashedText) for item in self.inputs):
            return encoded.astype(np.float64)
        parts, start = [], 0
        for item in self.inputs:
            part = encoded[:, start : start + item.width].astype(np.float64)
            if isinstance(item, Tensor):
                part = np.stack([part.mean(axis=1), part.std(axis=1)], axis=1)
            elif isinstance(item, HashedText):
                part = part.sum(axis=1, keepdims=True)
            elif isinstance(item, Datetime):
                part = part[:, [name not in FORWARD_PARTS for name in item.parts]]
            parts.append(part)
            start += item.width
        return np.concatenate(parts, axis=1)

    @cached_property
    def unlogged_names(self) -> tuple[str, ...]:
        """Names of the inputs that the prediction log leaves out."""
        return tuple(item.name for item in self.inputs if not item.logged)

    def logged(self, encoded: np.ndarray) -> np.ndarray:
        """As `monitored`, but NaN where the prediction log leaves an input out."""
        values = self.monitored(encoded)
        if self.unlogged_names:
            values[:, [not item.logged for item in self.monitored_inputs]] = np.nan
        return values

    def to_dict(self) -> dict[str, Any]:
        """The contract as plain data, for ``contract.json``."""
        return {
            "name": self.name,
            "description": self.description,
            "task": self.task,
            "inputs": [{"kind": item.kind, **asdict(item)} for item in self.inputs],
            "output": asdict(self.output),
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> ModelSpec:
        """The inverse of `to_dict`."""
        return cls(
            name=data["name"],
            description=data["description"],
            inputs=tuple(_from_plain(_INPUTS[item["kind"]], item) for item in data["inputs"]),
            output=_from_plain(_OUTPUTS[data["task"]], data["output"]),
        )


def _monitored_of(item: Input) -> list[str]:
    """Names of the variables that represent an input in monitoring."""
    if isinstance(item, Tensor):
        return [f"{item.name}_mean", f"{item.name}_spread"]
    if isinstance(item, Datetime):
        return [f"{item.name}_{part}" for part in item.parts if part not in FORWARD_PARTS]
    return [item.name]


def _are_ids(ids: Sequence[Any]) -> bool:
    try:
        ROW_IDS.encode(ids)
    except InputError:
        return False
    return True


def _from_plain(cls: Any, data: Mapping[str, Any]) -> Any:
    known = {field.name for field in fields(cls)}
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known})


def _column(values: Any) -> Sequence[Any] | np.ndarray:
    """A list as it is: NumPy would convert its numbers to strings if one value is a string."""
    return values if isinstance(values, list | tuple | RepeatedValues) else np.asarray(values)


def _check_unique(what: str, names: Sequence[str]) -> None:
    """Raise ContractError if a name occurs twice."""
    twice = [name for name, times in Counter(names).items() if times > 1]
    if twice:
        raise ContractError(f"{what} contain {twice[0]!r} twice")
