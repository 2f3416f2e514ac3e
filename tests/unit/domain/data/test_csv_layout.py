"""Layout of CSV files: separators, first lines, and files that are not CSV."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from domain.data.csv_layout import CsvLayout, csv_layout, may_have_leading_zeros
from domain.errors import DataError

AGES = "age{0}team\n26{0}Tech\n46{0}Sales\n"


def written(folder: Path, content: str | bytes) -> Path:
    """A file with this content."""
    path = folder / "in.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
def test_the_separator_is_the_one_with_which_all_rows_have_as_many_fields(
    separator: str, tmp_path: Path
) -> None:
    path = written(tmp_path, AGES.format(separator))
    assert csv_layout(path) == CsvLayout(separator, ["age", "team"])


@pytest.mark.parametrize(
    ("content", "layout"),
    [
        ("price, EUR;area\n3;4\n5;6\n", CsvLayout(";", ["price, EUR", "area"])),
        ("review;stars\ngood, nice;5\nbad;1\n", CsvLayout(";", ["review", "stars"])),
        ('a,b\n"x,\ny",1\n', CsvLayout(",", ["a", "b"])),
        ("sep=;\na;b,c\n1;2\n", CsvLayout(";", ["a", "b,c"], skipped=1)),
        ("SEP=|\r\na|b\r\n1|2\r\n", CsvLayout("|", ["a", "b"], skipped=1)),
        (" a ,, b\n1,2,3\n", CsvLayout(",", ["a", "", "b"])),
        ("\ufeffa,b\n1,2\n", CsvLayout(",", ["a", "b"])),
        ("only\n1\n2\n", CsvLayout(",", ["only"])),
        ("a,b\n1,2\n3\n", CsvLayout(",", ["a", "b"])),
        ("", CsvLayout(",", [])),
    ],
)
def test_first_lines_are_understood(content: str, layout: CsvLayout, tmp_path: Path) -> None:
    assert csv_layout(written(tmp_path, content)) == layout


def test_a_compressed_file_is_looked_into(tmp_path: Path) -> None:
    path = tmp_path / "in.csv.gz"
    path.write_bytes(gzip.compress(AGES.format(";").encode()))
    assert csv_layout(path).separator == ";"


def test_rows_after_the_sample_do_not_count(tmp_path: Path) -> None:
    long = "a;b\n" + "1;2\n" * 20_000 + "3;4;5\n"
    assert csv_layout(written(tmp_path, long)).separator == ";"


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("a,b\n1,007\n", True),
        ("a,b\r\n007,1\r\n", True),
        ('a,b\n1,"01"\n', True),
        ("a,b\n1, \t 01\n", True),
        ("a,b\n1,07", True),
        ("a,b\n0,0.5\n10,1e05\n", False),
        ("a,b\n2024-01-02 05:00,-05\n", False),
        ("a;b\n1;,01\n", False),
    ],
)
def test_leading_zeros_are_found(content: str, found: bool, tmp_path: Path) -> None:
    separator = content[1]
    assert may_have_leading_zeros(written(tmp_path, content), separator) == found
    path = tmp_path / "in.csv.gz"
    path.write_bytes(gzip.compress(content.encode()))
    assert may_have_leading_zeros(path, separator) == found


def test_leading_zeros_are_found_where_two_blocks_meet(tmp_path: Path) -> None:
    for length in range(2**20 - 5, 2**20 + 1):
        path = written(tmp_path, f"{'x' * length}\n 07\n")
        assert may_have_leading_zeros(path, ",")


def test_names_that_are_not_in_the_first_line_are_refused(tmp_path: Path) -> None:
    path = written(tmp_path, "Export of 2026-11-29\nsource: CRM\n\n" + AGES.format(","))
    with pytest.raises(DataError, match="they seem to be in line 4: remove the lines before it"):
        csv_layout(path)


@pytest.mark.parametrize("encoding", ["big5", "cp1252", "utf-16"])
def test_another_encoding_is_named_with_the_command_that_converts_it(
    encoding: str, tmp_path: Path
) -> None:
    text = "名稱,價格\n臺北,3\n" if encoding == "big5" else "Straße,Preis\nHöhe,3\nCafé,4\n"
    with pytest.raises(DataError, match=f"iconv -f {encoding} -t utf-8 in.csv"):
        csv_layout(written(tmp_path, text.encode(encoding)))


@pytest.mark.parametrize(
    ("start", "kind"),
    [
        (b"PAR1", "Parquet"),
        (b"PK\x03\x04", "an Excel file or a renamed .zip"),
        (b"\xd0\xcf\x11\xe0", "an old Excel file"),
        (b"\x1f\x8b", "compressed"),
    ],
)
def test_a_file_that_is_not_text_is_named(start: bytes, kind: str, tmp_path: Path) -> None:
    with pytest.raises(DataError, match=f"in.csv is not CSV but {kind}"):
        csv_layout(written(tmp_path, start + b"\x00\x01"))
