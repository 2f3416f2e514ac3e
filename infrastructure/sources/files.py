"""Files in object stores, on the web and on this machine, as one Parquet or CSV file."""

from __future__ import annotations

import bz2
import fnmatch
import gzip
import json
import lzma
import re
import shutil
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, cast
from urllib.parse import unquote, urlsplit

import pyarrow as pa
import pyarrow.dataset as ds
import pyarrow.parquet as pq

from domain.data.addresses import is_pattern
from domain.errors import DataError, MissingExtraError
from infrastructure.sources.columns import check_columns, table_of
from infrastructure.sources.filesystems import open_filesystem

if TYPE_CHECKING:
    from pyarrow.fs import FileSystem

_PARQUET = (".parquet", ".pq")
_OLD_SHEETS = (".xls", ".xlsb", ".ods")
_SHEET = re.compile(r"(.*\.xls[xm])#(.+)", re.I)  # book.xlsx#sheet
_OPENERS: dict[str, Callable[..., Any]] = {".gz": gzip.open, ".bz2": bz2.open, ".xz": lzma.open}
_SECONDS = 30  # without a byte from a web server


def draft_of_files(
    address: str, shown: str, root: Path, folder: Path
) -> tuple[Path, tuple[str, ...]]:
    """Write what a file, a folder or a pattern has into one file of a folder.

    A folder or a pattern names Parquet files, whose partitions (``year=2026/``) become columns. A
    single file may be Parquet, CSV, Excel, JSON records or a .zip of one of these.

    Args:
        address: a path, or an address that starts with s3://, gs://, http:// or https://.
        shown: the address without secrets.
        root: the folder at which relative paths start.

    Returns:
        The file, and what to watch: `application.ports.snapshots.Fetched`.

    Raises:
        DataError: nothing is there, or it cannot be read.
        MissingExtraError: a library that reads the format is not installed.
    """
    with _readable():
        found = _SHEET.fullmatch(address)
        address, sheet = found.groups() if found else (address, None)
        if address.startswith(("http://", "https://")):
            return _convert(_download(address, folder), folder, sheet), (shown,)
        is_local = "://" not in address
        filesystem, path = open_filesystem(str(root / address) if is_local else address)
        base, paths = _find(filesystem, path)
        watched = (*_folders(base, paths), *paths) if is_local else (shown,)
        if len(paths) > 1 or base == path.rstrip("/"):
            return _combine(filesystem, base, paths, folder / "parts.parquet"), watched
        if is_local:
            return _convert(Path(paths[0]), folder, sheet), watched
        draft = folder / Path(paths[0]).name
        with filesystem.open_input_stream(paths[0], compression=None) as source:
            _save(source, draft)
        return _convert(draft, folder, sheet), watched


def _folders(base: str, paths: list[str]) -> list[str]:
    """Folders in which a new file would belong to a pattern or a folder."""
    return sorted({base, *(str(Path(path).parent) for path in paths)}) if len(paths) > 1 else []


@contextmanager
def _readable() -> Iterator[None]:
    try:
        yield
    except (pa.ArrowException, OSError, ValueError, EOFError, RuntimeError) as error:
        raise DataError(f"cannot be read: {' '.join(str(error).split())[:300]}") from error
    except (HTTPException, lzma.LZMAError, zipfile.BadZipFile, zlib.error) as error:
        raise DataError(f"cannot be read: {error!r}") from error


def _find(filesystem: FileSystem, path: str) -> tuple[str, list[str]]:
    """The folder of a path or pattern, which is the path if that is a folder, and its files."""
    # pylint: disable-next=import-outside-toplevel  # as in filesystems.py
    from pyarrow.fs import FileSelector, FileType

    path = path.rstrip("/")
    kind = filesystem.get_file_info(path).type
    if kind == FileType.File:
        return path.rpartition("/")[0], [path]
    base = path
    if kind == FileType.NotFound:
        if not is_pattern(path):
            raise DataError("there is no such file or folder")
        base = re.split(r"[*?\[]", path, maxsplit=1)[0].rpartition("/")[0]
    listed = filesystem.get_file_info(FileSelector(base, recursive=True, allow_not_found=True))
    files = sorted(info.path for info in listed if info.type == FileType.File)
    if base == path:
        files = [each for each in files if not re.search("/[._]", each.removeprefix(base))]
        files = [each for each in files if each.endswith(_PARQUET)]
        if not files:
            raise DataError("the folder has no Parquet files: name one file, or a pattern")
    else:
        depth = None if "**" in path else path.count("/")
        files = [
            each
            for each in files
            if fnmatch.fnmatchcase(each, path) and depth in (None, each.count("/"))
        ]
        if not files:
            raise DataError("no file matches the pattern")
    return base, files


def _combine(filesystem: FileSystem, base: str, paths: list[str], target: Path) -> Path:
    """Write Parquet files of one table to one file, ordered by path."""
    other = [path for path in paths if not path.endswith(_PARQUET)]
    if other:
        raise DataError(
            f"only Parquet files can be combined, and {other[0]} is not one: name one file, or "
            "convert them to Parquet"
        )
    dataset = ds.dataset(
        paths,
        format="parquet",
        filesystem=filesystem,
        partitioning=ds.partitioning(flavor="hive"),
        partition_base_dir=base,
    )
    parts = [fragment.physical_schema for fragment in dataset.get_fragments()]
    for part in parts:
        check_columns(part.names)
    schema = pa.unify_schemas([*parts, dataset.schema], promote_options="permissive")
    for position, field in enumerate(schema):
        if pa.types.is_dictionary(field.type):
            schema = schema.set(position, field.with_type(field.type.value_type))
    with pq.ParquetWriter(target, schema) as writer:
        for batch in dataset.replace_schema(schema).to_batches():
            writer.write_batch(batch)
    return target


def _convert(file: Path, folder: Path, sheet: str | None) -> Path:
    """Parquet from Excel or JSON, also inside a .zip; other files as they are."""
    suffixes = [suffix.lower() for suffix in file.suffixes]
    packed = suffixes.pop() if suffixes and suffixes[-1] in _OPENERS else ""
    suffix, target = suffixes[-1] if suffixes else "", folder / "converted.parquet"
    if suffix == ".zip":
        return _convert(_unzip(file, folder), folder, sheet)
    if suffix in _OLD_SHEETS:
        raise DataError(f"{suffix} is not supported: save it as .xlsx or CSV")
    if suffix in (".xlsx", ".xlsm"):
        pq.write_table(_excel_table(file, sheet), target)
        return target
    if suffix in (".json", ".jsonl", ".ndjson"):
        with _OPENERS.get(packed, open)(file, "rt", encoding="utf-8-sig") as stream:
            pq.write_table(_json_table(stream.read()), target)
        return target
    return file


def _unzip(file: Path, folder: Path) -> Path:
    with zipfile.ZipFile(file) as archive:
        members = [
            member
            for member in archive.infolist()
            if not member.is_dir() and not member.filename.startswith("__MACOSX/")
        ]
        if len(members) != 1:
            names = ", ".join(member.filename for member in members[:5])
            raise DataError(f"the .zip has {len(members)} files ({names}): leave one, or unpack it")
        target = folder / Path(members[0].filename).name
        if target.suffix.lower() == ".zip":
            raise DataError("the .zip has another .zip in it: unpack it")
        with archive.open(members[0]) as source:
            _save(source, target)
    return target


def _excel_table(file: Path, sheet: str | None) -> pa.Table:
    """A sheet of a workbook, whose first row has the names; empty rows and columns are left out."""
    try:
        from openpyxl import load_workbook  # pylint: disable=import-outside-toplevel  # an extra
    except ModuleNotFoundError as error:
        raise MissingExtraError(
            "Excel files need openpyxl, which is not installed: make install EXTRAS=excel"
        ) from error
    book = load_workbook(file, read_only=True, data_only=True)
    names = book.sheetnames
    if sheet is None and len(names) > 1 or sheet is not None and sheet not in names:
        raise DataError(
            f"the workbook has the sheets {', '.join(names)}: name one, as in "
            f"DATA='{file.name}#{names[0]}'"
        )
    rows = [row for row in book[sheet or names[0]].values if any(v is not None for v in row)]
    book.close()
    if not rows:
        raise DataError("the sheet is empty")
    header, *rows = rows
    used = [p for p, column in enumerate(zip(header, *rows)) if any(v is not None for v in column)]
    columns = [
        "" if header[position] is None else str(header[position]).strip() for position in used
    ]
    if "" in columns:
        raise DataError("a column of the sheet has values but no name in the first row: name it")
    check_columns(columns)
    return table_of(columns, [[row[position] for position in used] for row in rows])


def _json_table(text: str) -> pa.Table:
    """A list of records, or one record a line."""
    try:
        records = json.loads(text)
    except json.JSONDecodeError:
        records = [json.loads(line) for line in text.splitlines() if line.strip()]
    if isinstance(records, dict):
        records = [records]
    if not isinstance(records, list) or not all(isinstance(record, dict) for record in records):
        raise DataError(
            'the JSON is not a table: it must be a list of records, [{"age": 26}, …], or one '
            "record a line"
        )
    names = list(dict.fromkeys(name for record in records for name in record))
    nested = [name for name in names if any(isinstance(r.get(name), list | dict) for r in records)]
    if nested:
        raise DataError(
            f"the JSON is not a table: {', '.join(map(repr, nested[:5]))} has nested values; "
            "give each value a column of its own"
        )
    return table_of(names, [[record.get(name) for name in names] for record in records])


def _download(address: str, folder: Path) -> Path:
    name = Path(unquote(urlsplit(address).path)).name
    draft = folder / (name if Path(name).suffix else "data.csv")
    # the scheme was checked
    with urllib.request.urlopen(address, timeout=_SECONDS) as source:  # nosec B310
        _save(source, draft)
    return draft


def _save(source: Any, target: Path) -> None:
    with target.open("wb") as file:
        shutil.copyfileobj(cast(BinaryIO, source), file, 2**20)
