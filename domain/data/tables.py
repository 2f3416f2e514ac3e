"""Tables in local files: CSV or Parquet."""

from __future__ import annotations

import lzma
import re
import warnings
import zipfile
import zlib
from collections.abc import Callable, Hashable, Mapping
from contextlib import suppress
from datetime import date
from decimal import Decimal
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from domain.contract import (
    MISSING_WORDS,
    Classes,
    ModelSpec,
    Number,
    Quantity,
    as_word,
    format_names,
)
from domain.data.csv_layout import csv_layout, may_have_leading_zeros
from domain.data.dataset import Dataset
from domain.errors import DataError
from shared.digests import sha256_of
from shared.paths import ROOT
from shared.wording import inflected

_PARQUET = (".parquet", ".pq")
_READ_ERRORS = (  # of the parsers and of decompression
    OSError,
    ValueError,
    ImportError,
    EOFError,
    lzma.LZMAError,
    zipfile.BadZipFile,
    zlib.error,
)
Parser = Callable[[str], Any]
_BOOLEANS = {"true": True, "false": False}


def read_table(path: str, spec: ModelSpec, drop_unlabelled: bool = False) -> Dataset:
    """Read a table: the inputs and the target that a contract names, and the other columns.

    Args:
        path: of a local file; relative paths start at the root of the clone. A name that ends in
            ``.parquet`` or ``.pq`` is Parquet; any other is CSV, which may be compressed.
        drop_unlabelled: leave out rows without a target.

    Raises:
        DataError: the file cannot be read, a column is missing, or a row has no target.
    """
    parsers: dict[str, Parser] = {
        item.name: item.parse for item in spec.inputs if not isinstance(item, Number)
    }
    if isinstance(spec.output, Classes):
        parsers[spec.output.name] = spec.output.parse
    formatted = {
        item.name: item.parse
        for item in (*spec.inputs, spec.output)
        if isinstance(item, Number | Quantity) and item.decimal
    }
    frame = read_frame(path, parsers | formatted)
    for name in formatted.keys() & set(frame.columns):
        frame[name] = parse_text(frame[name], formatted[name])
    names = [*spec.input_names, spec.output.name]
    absent = [name for name in names if name not in frame.columns]
    if absent:
        raise DataError(
            f"{path}: missing columns of the contract of {spec.name}: {format_names(absent)}; "
            f"it has {format_names(frame.columns)}"
        )
    if drop_unlabelled:
        frame = frame[frame[spec.output.name].notna()].reset_index(drop=True)
    target = check_target(frame[spec.output.name], path)
    if spec.classes:
        target = as_words(target)
    elif not pd.api.types.is_numeric_dtype(target):
        raise DataError(f"{path}: {target.name} must be numbers, its type is {target.dtype}")
    file = _local(path)
    source = f"{path}, sha256 {sha256_of(file)}"
    inputs, others = frame[list(spec.input_names)], frame.drop(columns=names)
    return Dataset(spec.name, source, inputs, target, (file,), others)


def read_frame(path: str, parsers: Mapping[str, Parser] | None = None) -> pd.DataFrame:
    """Read all columns of a table.

    In CSV blanks around a field do not count, and an empty field is a missing value. In columns of
    numbers and booleans so are words such as ``NA``; in columns of words they stay words, as in
    requests. Whole numbers with leading zeros are codes, so such a column is read as words.

    Args:
        parsers: how to read the fields of a CSV file, by column; None, or without a parser, as the
            fields of a column suggest.

    Returns:
        Columns of integers, float64, bool, str or object; a missing value is NaN or None. Times
        keep their type, dates become times, decimals float64. A named index becomes a column.

    Raises:
        DataError: the file is missing, empty or malformed, or two columns have the same name.
    """
    file = _local(path)
    try:
        if _is_parquet(path):
            frame = _parquet(file)
        else:
            frame = _csv(file, parsers or {})
    except FileNotFoundError as error:
        raise DataError(f"there is no file {file}") from error
    except pd.errors.EmptyDataError as error:
        raise DataError(f"{path} is empty") from error
    except UnicodeDecodeError as error:
        raise DataError(f"{path} is not UTF-8; save it as UTF-8: {error}") from error
    except _READ_ERRORS as error:
        raise DataError(f"cannot read {path}: {error}") from error
    if frame.empty:
        raise DataError(f"{path} has no rows")
    return frame.apply(_to_simple_type)


def parse_text(column: pd.Series, parser: Parser) -> pd.Series:
    """The column with its text parsed, each distinct one once; other values stay."""
    parsed = {v: parser(v) if isinstance(v, str) else v for v in column.dropna().unique().tolist()}
    return column.astype(object).map(parsed).infer_objects()


def check_target(target: pd.Series, path: str) -> pd.Series:
    """Return the target unchanged if every row has one value.

    Raises:
        DataError: rows have no target, or several values.
    """
    objects = target if target.dtype == object else target.iloc[:0]
    several = [value for value in objects.tolist() if not isinstance(value, Hashable)]
    if several:
        raise DataError(
            f"{path}: {target.name} has several values in one row, such as "
            f"{str(several[0])[:40]}; a target is one word or one number"
        )
    missing = int(target.isna().sum())
    if missing:
        raise DataError(
            f"{path}: {missing} of {len(target)} rows {inflected(missing, 'has', 'have')} no "
            f"{target.name}: remove these rows from the file, or leave them out: DROP_UNLABELLED=1 "
            '(--drop-unlabelled) of make new-model, or "drop_unlabelled": true in `data` of the '
            "configuration"
        )
    return target


def as_words(column: pd.Series) -> pd.Series:
    """Values as words of the contract: True is ``true``, 1 and 1.0 are ``1``; missing ones stay."""
    words = {value: as_word(value) for value in column.dropna().unique().tolist()}
    return column.astype(object).map(words)


def _local(path: str) -> Path:
    file = ROOT / Path(path).expanduser()
    if "://" in path or file.is_dir():
        raise DataError(
            f"{path} is not a local file: write it as data.source.address in the configuration, in "
            "place of data.path; load then gets the path of a snapshot"
        )
    return file


def _is_parquet(path: str) -> bool:
    return path.lower().endswith(_PARQUET)


def _parquet(path: Path) -> pd.DataFrame:
    try:
        frame = pd.read_parquet(path)
    except ValueError as error:
        if found := re.match(r"Multiple matches for FieldRef.Name\((.*?)\) in ", str(error)):
            raise ValueError(f"several columns have the name {found[1]}: rename them") from error
        raise
    if frame.columns.nlevels > 1:
        raise ValueError(
            f"its columns have names of {frame.columns.nlevels} levels: give each column one name"
        )
    named = [level for level, name in enumerate(frame.index.names) if name is not None]
    frame = frame.reset_index(level=named).reset_index(drop=True)
    _check_names([str(name) for name in frame.columns])
    return frame.rename(columns=str)


def _csv(path: Path, parsers: Mapping[str, Parser]) -> pd.DataFrame:
    layout = csv_layout(path)
    _check_names([name for name in layout.names if name])  # pandas would rename a duplicate
    options: dict[str, Any] = {
        "sep": layout.separator,
        "skiprows": layout.skipped,
        "skipinitialspace": True,
        "header": 0,
        "names": [name or f"Unnamed: {at}" for at, name in enumerate(layout.names)],
        "index_col": False,
        "keep_default_na": False,
        "na_values": [""],
    }
    text = dict.fromkeys(parsers, "str")
    with warnings.catch_warnings(action="error", category=pd.errors.ParserWarning):
        try:
            frame = pd.read_csv(path, low_memory=False, dtype=text, **options)
            frame = frame.apply(lambda column: _read_fields(column, parsers.get(str(column.name))))
            whole = [
                name for name in frame.columns if name not in text and _may_be_codes(frame[name])
            ]
            if whole and may_have_leading_zeros(
                path, layout.separator
            ):  # only text shows leading zeros
                as_text = pd.read_csv(path, usecols=whole, dtype="str", **options)
                codes = [name for name in whole if as_text[name].str.fullmatch(r"0\d+").any()]
                frame[codes] = as_text[codes]
            return frame
        except pd.errors.ParserWarning as warning:
            raise ValueError("its rows have more values than the first line has names") from warning
        except pd.errors.ParserError as error:
            if found := re.search(r"Expected (\d+) fields in line (\d+), saw (\d+)", str(error)):
                names, line, values = found.groups()
                raise ValueError(
                    f"line {line} has {values} values, and the first line has {names} names"
                ) from error
            raise


def _read_fields(column: pd.Series, parser: Parser | None) -> pd.Series:
    if parser:
        values = {field: parser(field) for field in column.dropna().unique()}
        return column.astype(object).map(values)
    if isinstance(column.dtype, pd.StringDtype):
        column = column.str.strip()
        return _parse_missing_words(column.mask(column == ""))
    return column


def _parse_missing_words(column: pd.Series) -> pd.Series:
    """Numbers or booleans, if all other words of the column mean a missing value."""
    known = column.mask(column.isin(MISSING_WORDS))
    if len(known.dropna()) == len(column.dropna()):
        return column
    if set(known.dropna().str.lower().unique()) <= set(_BOOLEANS):
        return known.astype(object).map(lambda word: _BOOLEANS.get(str(word).lower(), np.nan))
    with suppress(ValueError):
        return pd.to_numeric(known)
    return column


def _may_be_codes(column: pd.Series) -> bool:
    """Whether its numbers may be codes that have lost their leading zeros."""
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return False
    known = column.dropna()
    return bool(((known >= 0) & (known % 1 == 0)).all())


def _check_names(names: list[str]) -> None:
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"several columns have the name {format_names(twice)}: rename them")


def _to_simple_type(column: pd.Series) -> pd.Series:
    """The same values without pandas' nullable and categorical types."""
    if isinstance(column.dtype, pd.CategoricalDtype):
        column = column.astype(column.cat.categories.dtype)
    if isinstance(column.dtype, pd.StringDtype):
        return column.astype("str")
    if column.dtype == object:
        return _convert_objects(column)
    if not isinstance(column.dtype, pd.api.extensions.ExtensionDtype):
        return column
    if pd.api.types.is_bool_dtype(column.dtype):
        return column.astype(object).where(column.notna(), None).infer_objects()
    if pd.api.types.is_numeric_dtype(column.dtype):
        return column.astype(np.float64) if column.hasnans else column.astype(column.dtype.type)
    return column


def _convert_objects(column: pd.Series) -> pd.Series:
    """Decimals as float64 and dates as times; other objects are left as they are."""
    kinds = set(map(type, column.dropna()))
    if kinds == {Decimal}:
        return column.astype(np.float64)
    return pd.to_datetime(column) if kinds == {date} else column
