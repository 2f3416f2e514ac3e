"""A labelled data set with a fingerprint of its content and a hash of every row."""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from domain.contract import Category, Datetime, ModelSpec, RepeatedValues
from domain.data.split_keys import SplitKeys
from domain.errors import DataError, InputError

_HASHED_ROWS = 50_000  # at once: their texts are in memory


@dataclass(frozen=True)
class Dataset:
    """Inputs and the target that is predicted from them.

    Attributes:
        name: of the data set.
        source: where the data come from, for people.
        inputs: frame of shape (n_rows, n_inputs), one column per input; the column of a tensor
            contains arrays.
        target: series of length n_rows: class names, or numbers for a regression.
        files: files that were read; if one of them changes, the model is trained again.
        others: the columns that are not inputs, with the index of `inputs`; a split may use them.
        keys: time and group of each row, if the split follows them.
        from_log: which rows are labelled rows of a prediction log, bool of shape (n_rows,); None
            for none.
    """

    name: str
    source: str
    inputs: pd.DataFrame
    target: pd.Series
    files: tuple[Path, ...] = ()
    others: pd.DataFrame | None = None
    keys: SplitKeys | None = None
    from_log: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.inputs)

    @cached_property
    def row_hashes(self) -> np.ndarray:
        """Hash of the inputs of each row, 16 hex digits, shape (n_rows,).

        The target is left out, so that duplicate rows are recognised whatever their target. 1 and
        1.0 are equal, since a missing value turns a column of integers into floats. Where the split
        follows time, rows of different times differ.
        """
        inputs = self.inputs
        if self.keys is not None and self.keys.time is not None:
            inputs = pd.concat([inputs, pd.Series(self.keys.time, inputs.index)], axis=1)
        hashes: list[str] = []
        for start in range(0, len(self), _HASHED_ROWS):
            rows = inputs.iloc[start : start + _HASHED_ROWS]
            columns = [_reprs(rows.iloc[:, at]) for at in range(rows.shape[1])]
            end = ",)" if len(columns) == 1 else ")"  # as repr of a tuple
            hashes += [_digest(f"({', '.join(row)}{end}", size=8) for row in zip(*columns)]
        return np.array(hashes)

    @cached_property
    def fingerprint(self) -> str:
        """Digest of column names, inputs and target; the order of the rows does not matter."""
        rows = sorted(f"{row} {value}" for row, value in zip(self.row_hashes, self.target))
        return _digest("\n".join([*map(str, self.inputs.columns), *rows]), size=16)

    def rows(self) -> list[tuple[Any, ...]]:
        """All rows as in requests: Python values, lists for tensors, ISO 8601 for times, None
        for missing values."""
        columns = [_to_python(self.inputs[name]) for name in self.inputs.columns]
        return list(zip(*columns))

    def take(self, rows: np.ndarray) -> Dataset:
        """The rows at these positions, in this order, or where a mask is true."""
        taken = replace(
            self,
            inputs=self.inputs.iloc[rows],
            target=self.target.iloc[rows],
            others=None if self.others is None else self.others.iloc[rows],
            keys=None if self.keys is None else self.keys.take(rows),
            from_log=None if self.from_log is None else self.from_log[rows],
        )
        if "row_hashes" in self.__dict__:  # the cache of the property: a row keeps its hash
            taken.__dict__["row_hashes"] = self.row_hashes[rows]
        return taken

    def with_log_rows(self, labelled: Dataset, spec: ModelSpec) -> Dataset:
        """These rows, then labelled rows of a prediction log, which have no keys yet.

        The log has numbers as float32, and words where the data may have booleans. So a row of it
        that is the same to the model as one of these gets its inputs: a split must not separate
        them.

        Args:
            labelled: with the same inputs and the same target.

        Raises:
            DataError: a column that is not an input has numbers here and other values there.
        """
        others = None
        if self.others is not None and labelled.others is not None:
            here, there = self.others, labelled.others.reindex(columns=self.others.columns)
            for name in here.columns[there.notna().any()]:
                if pd.api.types.is_datetime64_any_dtype(here[name]):
                    here = here.assign(**{name: here[name].map(lambda at: at.isoformat())})
                elif _is_number(here[name]) and not _is_number(there[name]):
                    raise DataError(
                        f"{labelled.name}: {name} is a date, but a number in {self.name}"
                    )
            others = pd.concat([here, there], ignore_index=True)
        return replace(
            self,
            inputs=pd.concat([self.inputs, self._alike(labelled, spec)], ignore_index=True),
            target=pd.concat([self.target, labelled.target], ignore_index=True),
            files=(*self.files, *labelled.files),
            others=others,
            from_log=np.arange(len(self) + len(labelled)) >= len(self),
        )

    def _alike(self, labelled: Dataset, spec: ModelSpec) -> pd.DataFrame:
        """The inputs of rows, with those of this data set where they are the same to the model."""
        try:
            known, rows = self.encoded(spec), labelled.encoded(spec)
        except InputError:  # later checks name the row
            return labelled.inputs
        first = {row.tobytes(): position for position, row in reversed([*enumerate(known)])}
        found = np.array([first.get(row.tobytes(), -1) for row in rows])
        both = pd.concat([labelled.inputs, self.inputs], ignore_index=True)
        places = np.where(found < 0, np.arange(len(rows)), len(rows) + found)
        return both.iloc[places].reset_index(drop=True)

    def encoded(self, spec: ModelSpec) -> np.ndarray:
        """The inputs encoded for the model, array of shape (n_rows, spec.width).

        Raises:
            InputError: a value violates the contract.
        """
        kinds = {item.name: item for item in spec.inputs}
        columns: dict[str, Any] = {}
        for name in map(str, self.inputs.columns):
            column = self.inputs[name]
            repeated = isinstance(kinds.get(name), Category | Datetime) and _is_text(column)
            columns[name] = _repeated_words(column) if repeated else column.array
        return spec.encode(columns)

    def encoded_target(self, spec: ModelSpec) -> np.ndarray:
        """The target encoded for training, shape (n_rows,): int64 class numbers, or float64."""
        if spec.classes:
            return np.asarray(
                pd.Index(spec.classes).get_indexer(pd.Index(self.target)), dtype=np.int64
            )
        return self.target.to_numpy(np.float64)


_is_number = pd.api.types.is_numeric_dtype


def are_among(hashes: Collection[str], known: Collection[str]) -> np.ndarray:
    """Which of these hashes of rows are among the known ones, bool of shape (n_hashes,); faster
    than NumPy's `isin`, which sorts texts."""
    among = set(np.asarray(known).tolist())
    return np.array([each in among for each in np.asarray(hashes).tolist()], bool)


def _is_text(column: pd.Series) -> bool:
    """Whether all values are words, or missing."""
    return pd.api.types.infer_dtype(column) == "string"


def _repeated_words(column: pd.Series) -> RepeatedValues:
    positions, distinct = pd.factorize(column, use_na_sentinel=False)
    return RepeatedValues(_to_python(pd.Series(distinct, dtype=object)), positions)


def _reprs(column: pd.Series) -> list[str]:
    """repr of each value as `rows` has it, but of integers as floats; of equal ones once."""
    column = _integers_to_floats(column)
    if column.dtype == np.float64:
        positions, bits = pd.factorize(column.to_numpy().view(np.uint64))  # -0.0 is not 0.0
        values = RepeatedValues(_to_python(pd.Series(bits.view(np.float64))), positions)
    elif _is_text(column):
        values = _repeated_words(column)
    else:
        return list(map(repr, _to_python(column)))
    return np.array(list(map(repr, values.distinct)), object)[values.positions].tolist()


def _to_python(column: pd.Series) -> list[Any]:
    """Python values without NumPy types; None for missing values."""
    if pd.api.types.is_datetime64_any_dtype(column):
        column = column.map(lambda time: time.isoformat(), na_action="ignore").astype(object)
    if column.dtype != object:
        return column.astype(object).where(column.notna(), None).tolist()
    values = [v.tolist() if isinstance(v, np.ndarray | np.generic) else v for v in column.tolist()]
    if column.hasnans:
        return [None if not isinstance(v, list) and pd.isna(v) else v for v in values]
    return values


def _integers_to_floats(column: pd.Series) -> pd.Series:
    if pd.api.types.is_integer_dtype(column):
        return column.astype(np.float64)
    if column.dtype == object:
        return pd.Series([_as_float(value) for value in column], column.index, object)
    return column


def _as_float(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.astype(np.float64)
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return float(value) if whole else value


def _digest(text: str, size: int) -> str:
    return hashlib.blake2b(text.encode(), digest_size=size).hexdigest()
