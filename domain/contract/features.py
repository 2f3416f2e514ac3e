"""The inputs of a model: what each may hold, and how it is encoded."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise, repeat
from typing import Any, ClassVar, Literal
from zlib import crc32

import numpy as np

from domain.contract.datetimes import Datetime
from domain.contract.encoding import (
    RepeatedValues,
    as_word,
    check_numbers,
    contains_boolean,
    format_shape,
    is_blank,
    join_names,
    outside_range,
    parse_formatted,
    parse_number,
    parse_word,
    short_repr,
    to_floats,
    unicode_fault,
)
from domain.errors import ContractError, InputError


@dataclass(frozen=True, slots=True)
class Number:
    """A number with a unit and a range.

    Attributes:
        name: its name in data and requests.
        unit: the unit of its values, such as ``cm``; empty if there is none.
        minimum: smallest possible value.
        maximum: largest possible value.
        description: what it measures, for people.
        nullable: whether it may be missing; the model then sees NaN.
        outside: whether a number outside the range is refused as an error, replaced by the nearer
            end of the range, or accepted as it is.
        decimal: decimal mark, ``.`` or ``,``, of text in files that is read as a number although it
            has signs or separators, such as ``$1,234.50``; empty to refuse such text. JSON has
            numbers, and no such text.
        logged: whether the prediction log has it; if not, it is not watched for drift either.
    """

    kind: ClassVar[str] = "number"
    width: ClassVar[int] = 1

    name: str
    unit: str
    minimum: float
    maximum: float
    description: str = ""
    nullable: bool = False
    outside: Literal["refuse", "clip", "accept"] = "refuse"
    decimal: Literal["", ".", ","] = ""
    logged: bool = True

    def parse(self, field: str) -> float | str | None:
        """The value in a field of a CSV file, as `encode` takes it."""
        return parse_formatted(field, self.decimal) if self.decimal else parse_number(field)

    def encode(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """float32 of shape (n_rows, 1) from numbers; None and NaN are missing.

        Raises:
            InputError: a value is not a number, infinite, outside a range that refuses it, or
                missing but required.
        """
        return check_numbers(to_floats(self.name, values)[:, None], (self,))

    def count_outside(self, values: Sequence[Any] | np.ndarray) -> int:
        """How many of these valid values are outside the range, in float32 as the model sees
        them."""
        numbers = to_floats(self.name, values).astype(np.float32)
        low, high = np.float32(self.minimum), np.float32(self.maximum)
        return int(((numbers < low) | (numbers > high)).sum())


@dataclass(frozen=True)
class Category:
    """One of a fixed set of words.

    Attributes:
        name: its name in data and requests.
        categories: the words; the model sees a word's position, as a float.
        description: what it means, for people.
        nullable: whether it may be missing; the model then sees NaN.
        unseen: whether an unknown word is refused or counts as missing.
        logged: whether the prediction log has it; if not, it is not watched for drift either.
    """

    kind: ClassVar[str] = "category"
    width: ClassVar[int] = 1

    name: str
    categories: tuple[str, ...]
    description: str = ""
    nullable: bool = False
    unseen: Literal["refuse", "missing"] = "refuse"
    logged: bool = True

    def parse(self, field: str) -> str | None:
        """The value in a field of a CSV file, as `encode` takes it."""
        return parse_word(field, self._codes)

    def encode(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """float32 of shape (n_rows, 1) from words; None and NaN are missing.

        Booleans are the words ``true`` and ``false``, whole numbers are their digits, and a blank
        text is missing unless it is one of the words.

        Raises:
            InputError: a word is unknown, not Unicode, or missing but required.
        """
        if isinstance(values, np.ndarray) and values.dtype.kind in "biuf":
            values = RepeatedValues.of(values)
        if isinstance(values, RepeatedValues):
            with suppress(InputError):  # the code below finds the row
                return self.encode(values.distinct)[values.positions]
        encoded = np.full((len(values), 1), np.nan, dtype=np.float32)
        with suppress(TypeError):  # a list has no hash; the code below finds it
            found = map(self._codes.get, values, repeat(np.nan))
            encoded[:, 0] = np.fromiter(found, np.float32, len(values))
        for row in np.flatnonzero(np.isnan(encoded)).tolist():
            encoded[row] = self._code(values[row], f"row {row}, {self.name}")
        return encoded

    def count_unknown(self, values: Sequence[Any] | np.ndarray) -> int:
        """How many of these valid values are unknown words, which count as missing."""
        if isinstance(values, RepeatedValues):
            counts = np.bincount(values.positions, minlength=len(values.distinct))
            pairs = zip(values.distinct, counts.tolist())
            return sum(count * self.count_unknown([value]) for value, count in pairs)
        rows = np.flatnonzero(np.isnan(self.encode(values))).tolist()
        return sum(not is_blank(values[row]) for row in rows)

    @cached_property
    def _codes(self) -> dict[str, float]:
        return {word: float(code) for code, word in enumerate(self.categories)}

    def _code(self, value: Any, place: str) -> float:
        """The code of a single value, NaN if it is missing or counts as such."""
        if is_blank(value):  # but for a blank category, which has a code
            if not self.nullable:
                raise InputError(f"{place}: a value is missing")
            return np.nan
        if isinstance(value, list | dict | np.ndarray):
            raise InputError(f"{place}: {short_repr(value)} is not a word")
        try:
            word = as_word(value)
        except ValueError as error:  # Python limits the digits of an integer that it prints
            raise InputError(f"{place}: {short_repr(value)} is not a word") from error
        if fault := unicode_fault(word):
            raise InputError(f"{place}: {fault}")
        if word not in self._codes and self.unseen == "refuse":
            words = join_names(self.categories)
            raise InputError(f"{place}: {short_repr(value)} is not one of {words}")
        return self._codes.get(word, np.nan)


@dataclass(frozen=True, slots=True)
class Tensor:
    """Numbers in a fixed shape, such as the pixels of an image.

    Attributes:
        name: its name in data and requests.
        shape: length of each axis, such as (height, width).
        minimum, maximum: range of every number.
        unit: the unit of the numbers.
        description: what it shows, for people.
        logged: whether the prediction log has its mean and spread, as for `Number`.
    """

    kind: ClassVar[str] = "tensor"
    nullable: ClassVar[bool] = False

    name: str
    shape: tuple[int, ...]
    minimum: float
    maximum: float
    unit: str = ""
    description: str = ""
    logged: bool = True

    @property
    def width(self) -> int:
        """Number of values."""
        return int(np.prod(self.shape))

    def parse(self, field: str) -> Any:
        """The value in a field of a CSV file, JSON, as `encode` takes it; else the text."""
        try:
            return json.loads(field)
        except (ValueError, RecursionError):
            return field

    def encode(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """float32 of shape (n_rows, width) from nested lists or arrays of `shape`.

        Raises:
            InputError: the shape differs, or a value is not a number or outside the range.
        """
        encoded = np.empty((len(values), self.width), dtype=np.float32)
        for row, value in enumerate(values):
            expected = f"row {row}, {self.name}: expected {format_shape(self.shape)} numbers, got"
            try:
                array = np.asarray(value)
            except ValueError as error:
                raise InputError(f"{expected} lists of different lengths") from error
            if array.shape != self.shape:
                raise InputError(f"{expected} {format_shape(array.shape) or 'a single value'}")
            if array.dtype.kind not in "iuf" or contains_boolean(value, len(self.shape)):
                raise InputError(f"{expected} values that are not numbers")
            bad = ~((array >= self.minimum) & (array <= self.maximum))
            if bad.any():
                raise InputError(f"row {row}, {self.name}: {outside_range(array[bad][0], self)}")
            encoded[row] = array.reshape(-1)
        return encoded


@dataclass(frozen=True, slots=True)
class Text:
    """Free text. A model with such an input has no other input; see `HashedText`.

    Attributes:
        name: its name in data and requests.
        max_length: maximum number of characters.
        description: what it contains, for people.
        nullable: whether it may be missing; the model then sees an empty text.
        logged: whether the prediction log has its length, as for `Number`.
    """

    kind: ClassVar[str] = "text"
    width: ClassVar[int] = 1

    name: str
    max_length: int = 10_000
    description: str = ""
    nullable: bool = False
    logged: bool = True

    def parse(self, field: str) -> str | None:
        """The value in a field of a CSV file, as `encode` takes it."""
        return field.strip() or None

    def encode(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Object array of str of shape (n_rows, 1); None, NaN and a blank text are missing.

        Raises:
            InputError: a value is not text, not Unicode, too long, or missing but required.
        """
        encoded = np.full((len(values), 1), "", dtype=object)
        for row, value in enumerate(values):
            encoded[row] = _checked_text(self, row, value)
        return encoded


def _checked_text(item: Text | HashedText, row: int, value: Any) -> str:
    """The text of a row, empty if it is missing.

    Raises:
        InputError: the value is not text, not Unicode, too long, or missing but required.
    """
    place = f"row {row}, {item.name}"
    if is_blank(value):
        if item.nullable:
            return ""
        raise InputError(f"{place}: a value is missing")
    if not isinstance(value, str):
        raise InputError(f"{place}: {short_repr(value)} is not text")
    if len(value) > item.max_length:
        raise InputError(
            f"{place}: the text has {len(value)} characters, "
            f"at most {item.max_length} are allowed"
        )
    if fault := unicode_fault(value):
        raise InputError(f"{place}: {fault}")
    return str(value)


@dataclass(frozen=True, slots=True)
class HashedText:
    """Free text next to other inputs. The model sees how often words occur in it, in columns that a
    hash of the word chooses ("hashing trick", Weinberger et al., 2009).

    A word is a run of letters and digits, in lower case. Where a script has no blanks, such as
    Chinese, Japanese or Thai, words are the characters and the pairs of neighbouring ones.

    Attributes:
        name: its name in data and requests.
        max_length: maximum number of characters.
        features: number of columns. With few, several words share one.
        description: what it contains, for people.
        nullable: whether it may be missing; the model then sees no words.
        logged: whether the prediction log has its number of words, as for `Number`.
    """

    kind: ClassVar[str] = "hashed_text"

    name: str
    max_length: int = 10_000
    features: int = 256
    description: str = ""
    nullable: bool = False
    logged: bool = True

    @property
    def width(self) -> int:
        """Number of columns."""
        return self.features

    def parse(self, field: str) -> str | None:
        """The value in a field of a CSV file, as `encode` takes it."""
        return field.strip() or None

    def encode(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Counts of words, float32 of shape (n_rows, features); None, NaN and a blank text are
        missing.

        Raises:
            InputError: a value is not text, not Unicode, too long, or missing but required.
        """
        encoded = np.zeros((len(values), self.features), dtype=np.float32)
        for row, value in enumerate(values):
            words = words_in(_checked_text(self, row, value))
            columns = [crc32(word.encode()) % self.features for word in words]
            if columns:
                encoded[row] = np.bincount(columns, minlength=self.features)
        return encoded


# Thai to Burmese, kana, and Chinese characters
_NO_BLANKS = "\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
_RUN = re.compile(rf"([{_NO_BLANKS}]+)|[^\W_{_NO_BLANKS}]+")


def words_in(text: str) -> Iterator[str]:
    """The words of a text as `HashedText` counts them, repeated as they are in the text."""
    for run in _RUN.finditer(text.lower()):
        if run[1]:
            yield from run[1]
            yield from map("".join, pairwise(run[1]))
        else:
            yield run[0]


@dataclass(frozen=True, slots=True)
class Audio:
    """A recording. A model with an audio input has no other input.

    Attributes:
        name: its name in data and requests.
        sample_rate: of the model's input, in Hz; other recordings are resampled.
        max_seconds: longest recording.
        description: what it contains, for people.
    """

    kind: ClassVar[str] = "audio"
    nullable: ClassVar[bool] = False
    logged: ClassVar[bool] = False
    width: ClassVar[int] = 1

    name: str
    sample_rate: int
    max_seconds: float
    description: str = ""

    def parse(self, field: str) -> str:
        """The field as it is; see `encode`."""
        return field

    def encode(self, values: Sequence[Any] | np.ndarray) -> np.ndarray:
        """Not supported: recordings are not rows; the transcription service decodes them.

        Raises:
            ContractError: always.
        """
        raise ContractError(f"{self.name} is a recording, which cannot be encoded as a row")


Input = Number | Category | Datetime | Tensor | Text | HashedText | Audio
