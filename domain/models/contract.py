"""The contract of a model: what goes in and what comes out.

Input checks, the MLflow signature, the service's schema, the drift monitors, the golden requests
and the card are derived from it. It needs numpy only, since it travels into the serving image.

What a model gets is one array of shape (n_rows, width): float32, with categories as their position
in the contract, tensors flattened in C order and missing values as NaN; or, for text, strings.
Training, batches and requests are all encoded by `ModelSpec.encode`, so they cannot differ.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from functools import cached_property
from itertools import chain
from typing import Any, ClassVar, Literal

import numpy as np

from domain.errors import ContractError, InputError


@dataclass(frozen=True, slots=True)
class Number:
    """A number with a unit and a range.

    Attributes:
        name: the name it has in data and requests.
        unit: the unit of its values, such as ``cm``; empty where it has none.
        minimum: smallest value that can be true; a smaller one is an error, not an outlier.
        maximum: largest value that can be true.
        description: what it measures, for people.
        nullable: whether it may be missing; the model then sees NaN.
    """

    kind: ClassVar[str] = "number"
    width: ClassVar[int] = 1

    name: str
    unit: str
    minimum: float
    maximum: float
    description: str = ""
    nullable: bool = False

    def encode(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """float32 of shape (n_rows, 1) from numbers; None and NaN are missing.

        Raises:
            InputError: a value is no number, not finite, out of range, or missing and must not be.
        """
        return _check_numbers(_floats(self.name, values)[:, None], (self,))


@dataclass(frozen=True, slots=True)
class Category:
    """One of a few words.

    Attributes:
        name: the name it has in data and requests.
        categories: the words; the model sees a word's position, as a float.
        description: what it says, for people.
        nullable: whether it may be missing; the model then sees NaN.
        unseen: what becomes of a word that is none of the categories: it is refused, or it counts
            as missing.
    """

    kind: ClassVar[str] = "category"
    width: ClassVar[int] = 1

    name: str
    categories: tuple[str, ...]
    description: str = ""
    nullable: bool = False
    unseen: Literal["refuse", "missing"] = "refuse"

    def encode(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """float32 of shape (n_rows, 1) from words; None and NaN are missing.

        Booleans are the words ``true`` and ``false``, and whole numbers are their digits.

        Raises:
            InputError: a word is none of the categories, or missing and must not be.
        """
        codes = {word: float(code) for code, word in enumerate(self.categories)}
        encoded = np.full((len(values), 1), np.nan, dtype=np.float32)
        for row, value in enumerate(values):
            if _is_missing(value):
                if not self.nullable:
                    raise InputError(f"row {row}, {self.name}: a value is missing")
                continue
            if isinstance(value, list | dict | np.ndarray):
                raise InputError(f"row {row}, {self.name}: {_shown(value)} is not a word")
            try:
                word = as_word(value)
            except ValueError as error:  # of more digits than Python is willing to write
                raise InputError(
                    f"row {row}, {self.name}: {_shown(value)} is not a word"
                ) from error
            code = codes.get(word)
            if code is not None:
                encoded[row] = code
            elif self.unseen == "refuse":
                raise InputError(
                    f"row {row}, {self.name}: {_shown(value)} is none of {_list(self.categories)}"
                )
        return encoded


@dataclass(frozen=True, slots=True)
class Tensor:
    """Numbers in a fixed shape, such as the pixels of an image.

    Attributes:
        name: the name it has in data and requests.
        shape: length of each axis, such as (height, width).
        minimum, maximum: range of every number.
        unit: the unit of the numbers.
        description: what it shows, for people.
    """

    kind: ClassVar[str] = "tensor"
    nullable: ClassVar[bool] = False

    name: str
    shape: tuple[int, ...]
    minimum: float
    maximum: float
    unit: str = ""
    description: str = ""

    @property
    def width(self) -> int:
        """How many numbers it has."""
        return int(np.prod(self.shape))

    def encode(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """float32 of shape (n_rows, width) from nested lists or arrays of the shape.

        Raises:
            InputError: another shape, or a value that is no number, not finite or out of range.
        """
        encoded = np.empty((len(values), self.width), dtype=np.float32)
        for row, value in enumerate(values):
            expected = f"row {row}, {self.name}: expected {_by(self.shape)} numbers, got"
            try:
                array = np.asarray(value)
            except ValueError as error:
                raise InputError(f"{expected} lists of different lengths") from error
            if array.shape != self.shape:
                raise InputError(f"{expected} {_by(array.shape) or 'a single value'}")
            if array.dtype.kind not in "iuf" or _holds_a_boolean(value, len(self.shape)):
                raise InputError(f"{expected} values that are none")
            bad = ~((array >= self.minimum) & (array <= self.maximum))
            if bad.any():
                first = array[bad][0]
                raise InputError(
                    f"row {row}, {self.name}: {first:g} is out of range "
                    f"[{self.minimum:g}, {self.maximum:g}] {self.unit}".rstrip()
                )
            encoded[row] = array.reshape(-1)
        return encoded


@dataclass(frozen=True, slots=True)
class Text:
    """Running text; it is a model's only input.

    Attributes:
        name: the name it has in data and requests.
        max_length: most characters.
        description: what it says, for people.
        nullable: whether it may be missing; the model then sees an empty text.
    """

    kind: ClassVar[str] = "text"
    width: ClassVar[int] = 1

    name: str
    max_length: int = 10_000
    description: str = ""
    nullable: bool = False

    def encode(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Object array of str of shape (n_rows, 1).

        Raises:
            InputError: a value is no text, is too long, or missing and must not be.
        """
        encoded = np.full((len(values), 1), "", dtype=object)
        for row, value in enumerate(values):
            if _is_missing(value):
                if not self.nullable:
                    raise InputError(f"row {row}, {self.name}: a value is missing")
            elif not isinstance(value, str):
                raise InputError(f"row {row}, {self.name}: {_shown(value)} is not text")
            elif len(value) > self.max_length:
                raise InputError(
                    f"row {row}, {self.name}: {len(value)} characters are too many, "
                    f"at most {self.max_length}"
                )
            else:
                encoded[row] = str(value)
        return encoded


@dataclass(frozen=True, slots=True)
class Audio:
    """A recording; it is a model's only input.

    Attributes:
        name: the name it has in data and requests.
        sample_rate: samples a second that the model takes, in Hz; others are resampled.
        max_seconds: longest recording.
        description: what is heard, for people.
    """

    kind: ClassVar[str] = "audio"
    nullable: ClassVar[bool] = False
    width: ClassVar[int] = 1

    name: str
    sample_rate: int
    max_seconds: float
    description: str = ""

    def encode(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Recordings are no rows: a service of their own decodes them.

        Raises:
            ContractError: always.
        """
        raise ContractError(f"{self.name} is a recording, which no row can hold")


Input = Number | Category | Tensor | Text | Audio


@dataclass(frozen=True, slots=True)
class Classes:
    """The answer is one of some classes, with a probability for each.

    Attributes:
        names: names of the classes; a class's number is its position.
        name: what the classes are classes of, such as ``species``.
    """

    task: ClassVar[str] = "classification"

    names: tuple[str, ...]
    name: str = "class"


@dataclass(frozen=True, slots=True)
class Quantity:
    """The answer is a number with an interval.

    Attributes:
        name: what is predicted.
        unit: its unit; empty where it has none.
        coverage: share of the true values that the interval is to hold.
    """

    task: ClassVar[str] = "regression"

    name: str
    unit: str = ""
    coverage: float = 0.9


@dataclass(frozen=True, slots=True)
class Transcript:
    """The answer is what was said: text, language, and segments with their times."""

    task: ClassVar[str] = "transcription"

    name: str = "text"


Output = Classes | Quantity | Transcript

_INPUTS = {cls.kind: cls for cls in (Number, Category, Tensor, Text, Audio)}
_OUTPUTS = {cls.task: cls for cls in (Classes, Quantity, Transcript)}
_ALONE = (Text, Audio)
_FEW = 64  # numbers that are checked one by one
_PLAIN = frozenset((float, int))
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
    def answer_names(self) -> tuple[str, ...]:
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
                raise InputError(f"{name} is not there: expected {_list(self.input_names)}")
        values = {name: _column(columns[name]) for name in self.input_names}
        lengths = {name: len(column) for name, column in values.items()}
        if len(set(lengths.values())) > 1:
            told = _list([f"{name} has {length} values" for name, length in lengths.items()])
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
                    f"{_list(self.input_names)}"
                )
        if self.is_numeric and _are_plain(chain.from_iterable(rows)):
            with suppress(OverflowError):  # below it is told where that number is
                return _check_numbers(np.asarray(rows, dtype=np.float64), self.inputs)
        parts = [item.encode(column) for item, column in zip(self.inputs, zip(*rows))]
        return np.ascontiguousarray(np.concatenate(parts, axis=1))

    def _are_right(self, rows: Sequence[Sequence[Any]]) -> bool:
        """Whether rows of numbers surely keep the contract; of a few, sooner told than by NumPy."""
        for row in rows:
            if len(row) != len(self._ranges):
                return False
            for value, (low, high) in zip(row, self._ranges):
                if type(value) not in _PLAIN or not low <= value <= high:
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


def as_word(value: Any) -> str:
    """A value as a category: ``true`` and ``false`` for booleans, digits for whole numbers."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool | np.bool_):
        return "true" if value else "false"
    if isinstance(value, float | np.floating) and float(value).is_integer():
        return str(int(value))
    return str(value)


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


def _check_numbers(values: np.ndarray, inputs: Sequence[Any]) -> np.ndarray:
    """float32 of the same shape, (n_rows, len(inputs)), where every value keeps its contract."""
    # a float32 is compared with the range as float32 has it
    kind = np.float32 if values.dtype == np.float32 else np.float64
    low = np.array([item.minimum for item in inputs], kind)
    high = np.array([item.maximum for item in inputs], kind)
    bad = ~((values >= low) & (values <= high))  # NaN compares false, so it is bad too
    if bad.any():
        nullable = np.array([item.nullable for item in inputs])
        bad &= ~(np.isnan(values) & nullable)
        for row, column in np.argwhere(bad)[:1]:
            item, value = inputs[column], values[row, column]
            place = f"row {row}, {item.name}"
            if np.isnan(value):
                raise InputError(f"{place}: a value is missing")
            if np.isinf(value):
                raise InputError(f"{place}: {value} is not a finite number")
            raise InputError(
                f"{place}: {value:g} is out of range [{item.minimum:g}, {item.maximum:g}] "
                f"{item.unit}".rstrip()
            )
    return np.ascontiguousarray(values, dtype=np.float32)


def _floats(name: str, values: Sequence[Any] | np.ndarray) -> np.ndarray:
    """float64, or float32 where they are that, of shape (n_rows,).

    None is NaN, and what float64 cannot hold is infinite.
    """
    if isinstance(values, np.ndarray) and values.dtype.kind in "iuf":
        return values if values.dtype == np.float32 else values.astype(np.float64)
    with suppress(OverflowError):
        if _are_plain(values):
            return np.asarray(values, dtype=np.float64)
    numbers = np.full(len(values), np.nan)
    for row, value in enumerate(values):
        if _is_missing(value):
            continue
        if isinstance(value, bool) or not isinstance(value, (int, float, np.number)):
            raise InputError(f"row {row}, {name}: {_shown(value)} is not a number")
        try:
            numbers[row] = value
        except OverflowError:
            numbers[row] = np.inf if value > 0 else -np.inf
    return numbers


def _are_plain(values: Iterable[Any]) -> bool:
    """Whether they are Python's own numbers, or None: no words or booleans that NumPy converts."""
    return set(map(type, values)) <= {*_PLAIN, type(None)}


def _column(values: Any) -> Sequence[Any] | np.ndarray:
    """The values of a column one by one; NumPy would make words of a list that holds one."""
    return values if isinstance(values, list | tuple) else np.asarray(values)


def _is_missing(value: Any) -> bool:
    if value is None or type(value).__name__ in ("NAType", "NaTType"):  # pandas' own, unimported
        return True
    return isinstance(value, float | np.floating) and bool(np.isnan(value))


def _holds_a_boolean(value: Any, depth: int) -> bool:
    """Whether lists of this depth hold one: among numbers NumPy makes a number of it."""
    if not isinstance(value, list | tuple):
        return False
    flat: Iterable[Any] = value
    for _ in range(depth - 1):
        flat = chain.from_iterable(flat)
    return not {bool, np.bool_}.isdisjoint(map(type, flat))


def _check_words(what: str, words: Sequence[str]) -> None:
    """Raise ContractError where a word is there twice."""
    twice = [word for word, times in Counter(words).items() if times > 1]
    if twice:
        raise ContractError(f"{what} have {twice[0]!r} twice")


def _shown(value: Any) -> str:
    try:
        return repr(value.item() if isinstance(value, np.generic) else value)[:60]
    except ValueError:
        return "a whole number of too many digits"


def _by(shape: Sequence[int]) -> str:
    return " × ".join(map(str, shape))


def _list(names: Sequence[str]) -> str:
    return ", ".join(names[:20]) + (" …" if len(names) > 20 else "")
