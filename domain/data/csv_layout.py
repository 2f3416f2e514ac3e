"""How a CSV file is laid out: its separator, its names, and what comes before them."""

from __future__ import annotations

import codecs
import csv
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from pandas.io.common import get_handle

from domain.errors import DataError

_SEPARATORS = (",", ";", "\t", "|")  # tried in this order
_SAMPLE = 2**16  # bytes
_BLOCK = 2**20  # bytes
_ROWS = 50
_BINARY = {  # first bytes of files that are not text
    b"PAR1": "Parquet: rename it so that it ends in .parquet",
    b"PK\x03\x04": "an Excel file or a renamed .zip: rename it so that it ends in .xlsx or .zip",
    b"\xd0\xcf\x11\xe0": "an old Excel file: save it as CSV",
    b"\x1f\x8b": "compressed: rename it so that it ends in .gz",
}
_ENCODINGS = ("big5", "gb18030", "shift_jis", "cp1252")  # tried in this order
_FEW_ACCENTS = 0.1  # share of bytes that are not ASCII
_BYTE_ORDER_MARKS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


@dataclass(frozen=True)
class CsvLayout:
    """What to know before the rows of a CSV file can be read.

    Attributes:
        separator: between two fields.
        names: of the columns, without blanks around them; empty where a name is missing.
        skipped: lines before that of the names: one, if it is ``sep=;``, as Excel writes it.
    """

    separator: str
    names: list[str]
    skipped: int = 0


def csv_layout(path: Path) -> CsvLayout:
    """The layout of a file, which may be compressed, from its first 64 KiB.

    The separator is the first of comma, semicolon, tab and bar with which all rows have as many
    fields as the line of the names; otherwise the first that occurs in this line.

    Raises:
        DataError: the file is not text, not UTF-8, or its names are not in the first line.
        OSError: it cannot be read.
    """
    with _opened(path) as file:
        start = file.read(_SAMPLE)
    for magic, kind in _BINARY.items():
        if start.startswith(magic):
            raise DataError(f"{path} is not CSV but {kind}")
    text = _decoded(start, path)
    lines = text.splitlines(keepends=True)
    if len(start) == _SAMPLE and len(lines) > 1:
        lines.pop()  # cut off
    skipped, separators = 0, [*_SEPARATORS]
    if lines and lines[0].lower().startswith("sep=") and len(lines[0].strip()) == 5:
        skipped, separators = 1, [lines[0][4]]
    found = {each: list(_rows(lines[skipped:], each)) for each in separators}
    for separator, rows in found.items():
        if len(rows) and len({len(row) for _, row in rows}) == 1 and len(rows[0][1]) > 1:
            return _layout(separator, rows, skipped)
    for separator, rows in found.items():
        if (line := _line_of_names(rows)) is not None:
            raise DataError(
                f"{path}: the first line must have the names of the columns; they seem to be in "
                f"line {line + skipped}: remove the lines before it"
            )
    for separator, rows in found.items():
        if rows and len(rows[0][1]) > 1:
            return _layout(separator, rows, skipped)
    return _layout(separators[0], found[separators[0]], skipped)


def may_have_leading_zeros(path: Path, separator: str) -> bool:
    """Whether a field may be a whole number with leading zeros; faster than reading the rows.

    Raises:
        OSError: the file cannot be read.
    """
    ends, blank = np.zeros((2, 256), bool)
    ends[[*b'\r\n"', separator.encode()[-1]]] = True
    blank[[*b" \t"]] = True
    with _opened(path) as file:
        last = b"\n\n\n"
        while block := file.read(_BLOCK):
            text = np.frombuffer(last + block, np.uint8)
            last = (last + block)[-3:]
            zeros = (text[2:-1] == ord("0")) & (text[3:] >= ord("0")) & (text[3:] <= ord("9"))
            before, previous = (text[np.flatnonzero(zeros) + at] for at in (0, 1))
            if (ends[previous] | blank[previous] & (ends | blank)[before]).any():
                return True
    return False


@contextmanager
def _opened(path: Path) -> Iterator[IO[bytes]]:
    with get_handle(path, "rb", compression="infer", is_text=False) as opened:
        yield opened.handle


def _decoded(start: bytes, path: Path) -> str:
    try:
        return codecs.getincrementaldecoder("utf-8-sig")().decode(start)
    except UnicodeDecodeError as error:
        guess = _BYTE_ORDER_MARKS.get(start[:2]) or _guess(start)
        advice = "save it as UTF-8"
        if guess:
            command = f"iconv -f {guess} -t utf-8 {path.name} > utf8.csv"
            advice = f"it looks like {guess}; convert it: {command}"
        raise DataError(f"{path} is not UTF-8: {advice}") from error


def _guess(start: bytes) -> str | None:
    """The first encoding in which all of it is text; Western ones first if most is ASCII."""
    western = sum(byte > 127 for byte in start) < _FEW_ACCENTS * len(start)
    for encoding in sorted(_ENCODINGS, key=lambda each: (each != "cp1252") == western):
        with suppress(UnicodeDecodeError):
            codecs.getincrementaldecoder(encoding)().decode(start)
            return encoding
    return None


def _rows(lines: list[str], separator: str) -> Iterator[tuple[int, list[str]]]:
    """The first rows that are not empty, each with the number of its last line."""
    reader = csv.reader(lines, delimiter=separator, skipinitialspace=True)
    try:
        for row in reader:
            if row:
                yield reader.line_num, row
            if reader.line_num >= _ROWS:
                return
    except csv.Error:  # reading will say what is wrong
        return


def _layout(separator: str, rows: list[tuple[int, list[str]]], skipped: int) -> CsvLayout:
    return CsvLayout(separator, [name.strip() for name in rows[0][1]] if rows else [], skipped)


def _line_of_names(rows: list[tuple[int, list[str]]]) -> int | None:
    """The line from which on all rows have several fields, and the lines before it one field."""
    widths = [len(row) for _, row in rows]
    if len(widths) < 3 or widths[0] != 1:
        return None
    width = Counter(widths).most_common(1)[0][0]
    first = widths.index(width)
    if width == 1 or set(widths[:first]) != {1} or set(widths[first:]) != {width}:
        return None
    return rows[first][0]
