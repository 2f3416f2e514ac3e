"""The contract of a model: its inputs and its output, and how rows are encoded by them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import chain
from typing import Any

import numpy as np

from domain.contract.encoding import (
    PYTHON_NUMBERS,
    are_python_numbers,
    check_numbers,
    join_names,
)
from domain.contract.features import Audio, Category, Input, Number, Tensor, Text
from domain.contract.outputs import Classes, Output, Quantity, Transcript
from domain.errors import ContractError, InputError

_INPUTS = {cls.kind: cls for cls in (Number, Category, Tensor, Text, Audio)}
_OUTPUTS = {cls.task: cls for cls in (Classes, Quantity, Transcript)}
_ALONE = (Text, Audio)
_FEW = 64  # numbers that are checked one by one
_LARGEST = 3e38  # float32 holds a little more
_BLOCK = 256  # rows; those after a refused one are encoded again, but of its block only


@dataclass(frozen=True)
class ModelSpec:
    """Inputs and output of a model.

    Attributes:
        name: the model's name in the catalog.
        inputs: what goes in, in the order in which the model takes it.
        output: what comes out.
        description: what it predicts, for people.

    Raises:
        ContractError: there is no input; two inputs, categories, classes or watched values have
            one name; text or audio is not alone; a range is none that float32 holds; or the
            coverage is no share.
    """

    name: str
    inputs: tuple[Input, ...]
    output: Output
    description: str = ""

    def __post_init__(self) -> None:
        names = self.input_names
        if not names or len(set(names)) < len(names):
            raise ContractError(f"{self.name}: the inputs need names of their own: {names}")
        if len(names) > 1 and any(isinstance(item, _ALONE) for item in self.inputs):
            raise ContractError(f"{self.name}: text and audio must be the only input")
        for item in self.inputs:
            self._check(item)
        _check_words(f"{self.name}: the classes", self.classes)
        if isinstance(self.output, Quantity) and not 0 < self.output.coverage < 1:
            raise ContractError(
                f"{self.name}: the coverage of {self.output.name} is {self.output.coverage:g}; "
                "it must be between 0 and 1"
            )
        watched = self.monitored_names
        if len(set(watched)) < len(watched):
            raise ContractError(f"{self.name}: what is watched needs names of its own: {watched}")

    def _check(self, item: Input) -> None:
        """Raise ContractError where one input contradicts itself."""
        if isinstance(item, Category):
            _check_words(f"{self.name}: the categories of {item.name}", item.categories)
        elif isinstance(item, Number | Tensor):
            low, high = item.minimum, item.maximum
            if not -_LARGEST <= low <= high <= _LARGEST:
                raise ContractError(
                    f"{self.name}: the range of {item.name} is none that float32 holds: "
                    f"[{low:g}, {high:g}]"
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
        """Names of the classes; none where the output has none."""
        return self.output.names if isinstance(self.output, Classes) else ()

    @property
    def width(self) -> int:
        """Columns of the array that the model gets."""
        return sum(item.width for item in self.inputs)

    @property
    def output_columns(self) -> tuple[str, ...]:
        """Names of the columns of an answer: the classes, or a value and its interval."""
        return self.classes or ("prediction", "lower", "upper")

    @cached_property
    def is_numeric(self) -> bool:
        """Whether every input is a number."""
        return all(isinstance(item, Number) for item in self.inputs)

    def columns_of(self, *kinds: type[Input]) -> list[int]:
        """Positions of the inputs of these kinds in the array that the model gets."""
        found: list[int] = []
        start = 0
        for item in self.inputs:
            if isinstance(item, kinds):
                found += range(start, start + item.width)
            start += item.width
        return found

    def encode(self, columns: Mapping[str, Any]) -> np.ndarray:
        """Columns of values as the model takes them.

        Args:
            columns: n_rows values for each input, by name, in any order; a data frame will do.

        Returns:
            C-ordered float32 array of shape (n_rows, width), or an object array of str for text.

        Raises:
            InputError: an input is not there or breaks the contract, its row and name are told;
                or the columns differ in length.
        """
        for name in self.input_names:
            if name not in columns:
                raise InputError(f"{name} is not there: expected {join_names(self.input_names)}")
        values = {name: _column(columns[name]) for name in self.input_names}
        lengths = {name: len(column) for name, column in values.items()}
        if len(set(lengths.values())) > 1:
            told = join_names([f"{name} has {length} values" for name, length in lengths.items()])
            raise InputError(f"the columns differ in length: {told}")
        parts = [item.encode(values[item.name]) for item in self.inputs]
        return np.ascontiguousarray(np.concatenate(parts, axis=1))

    def reasons(self, columns: Mapping[str, Any]) -> dict[int, str]:
        """Why rows are none that `encode` takes; those that it takes are not there.

        Args:
            columns: as `encode` takes them, of one length.

        Returns:
            What is wrong with every input of a row, by the row's position from 0.
        """
        found: dict[int, list[str]] = {}
        for item in self.inputs:
            values = _column(columns[item.name])
            for start in range(0, len(values), _BLOCK):
                end = min(start + _BLOCK, len(values))
                for row, reason in _refused(item, values, start, end):
                    found.setdefault(row, []).append(reason)
        return {row: "; ".join(found[row]) for row in sorted(found)}

    def encode_rows(self, rows: Sequence[Sequence[Any]]) -> np.ndarray:
        """Rows of values, as requests have them, as the model takes them.

        Args:
            rows: n_rows sequences of one value for each input, in the contract's order.

        Returns:
            As `encode`.

        Raises:
            InputError: no rows, a row of another length, or a value that breaks the contract.
        """
        if len(rows) == 0:
            raise InputError("there are no rows: send at least one")
        expected = len(self.inputs)
        if self.is_numeric and len(rows) * expected <= _FEW and self._are_right(rows):
            return np.array(rows, dtype=np.float32)
        for index, row in enumerate(rows):
            if len(row) != expected:
                raise InputError(
                    f"row {index} has {len(row)} values, expected {expected}: "
                    f"{join_names(self.input_names)}"
                )
        if self.is_numeric and are_python_numbers(chain.from_iterable(rows)):
            with suppress(OverflowError):  # below it is told where that number is
                return check_numbers(np.asarray(rows, dtype=np.float64), self.inputs)
        parts = [item.encode(column) for item, column in zip(self.inputs, zip(*rows))]
        return np.ascontiguousarray(np.concatenate(parts, axis=1))

    def _are_right(self, rows: Sequence[Sequence[Any]]) -> bool:
        """Whether rows of numbers surely keep the contract; of a few, sooner told than by NumPy."""
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
        return tuple(i for i in self.inputs for _ in range(2 if isinstance(i, Tensor) else 1))

    @cached_property
    def monitored_names(self) -> tuple[str, ...]:
        """What is watched for drift: every input, and mean and spread of a tensor."""
        names: list[str] = []
        for item in self.inputs:
            many = (f"{item.name}_mean", f"{item.name}_spread")
            names += many if isinstance(item, Tensor) else (item.name,)
        return tuple(names)

    def monitored(self, encoded: np.ndarray) -> np.ndarray:
        """float64 of shape (n_rows, len(monitored_names)) from what the model gets.

        A tensor counts with its mean and its standard deviation, a text with its length.
        """
        if encoded.dtype == object:
            return np.array([[float(len(text)) for text in row] for row in encoded])
        if not any(isinstance(item, Tensor) for item in self.inputs):
            return encoded.astype(np.float64)
        parts, start = [], 0
        for item in self.inputs:
            part = encoded[:, start : start + item.width].astype(np.float64)
            if isinstance(item, Tensor):
                part = np.stack([part.mean(axis=1), part.std(axis=1)], axis=1)
            parts.append(part)
            start += item.width
        return np.concatenate(parts, axis=1)

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


def _refused(
    item: Input, values: Sequence[Any] | np.ndarray, start: int, end: int
) -> Iterator[tuple[int, str]]:
    """Every row from `start` to `end` that an input does not take, with its reason."""
    while start < end:
        try:
            item.encode(values[start:end])
            return
        except InputError as error:  # an input's reason begins with its row
            place, _, reason = str(error).removeprefix("row ").partition(", ")
            row = start + int(place)
            yield from _refused(item, values, start, row)  # what is no number is told first
            yield row, reason
            start = row + 1


def _from_plain(cls: Any, data: Mapping[str, Any]) -> Any:
    known = {field.name for field in fields(cls)}
    return cls(**{k: tuple(v) if isinstance(v, list) else v for k, v in data.items() if k in known})


def _column(values: Any) -> Sequence[Any] | np.ndarray:
    """The values of a column one by one; NumPy would make words of a list that holds one."""
    return values if isinstance(values, list | tuple) else np.asarray(values)


def _check_words(what: str, words: Sequence[str]) -> None:
    """Raise ContractError where a word is there twice."""
    twice = [word for word, times in Counter(words).items() if times > 1]
    if twice:
        raise ContractError(f"{what} have {twice[0]!r} twice")
