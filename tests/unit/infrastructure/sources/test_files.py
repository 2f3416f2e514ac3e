"""Files of other formats and places, as one Parquet or CSV file."""

from __future__ import annotations

import json
import re
import shutil
import zipfile
from collections.abc import Iterator
from datetime import datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
import pandas as pd
import pytest
from openpyxl import Workbook

from domain.data.tables import read_frame
from domain.errors import DataError, MissingExtraError
from infrastructure.sources.files import draft_of_files
from tests.s3 import s3_server

FRAME = pd.DataFrame({"age": [26, 46, 71], "city": ["Oslo", "Bergen", None]})


def read(folder: Path, address: str) -> pd.DataFrame:
    """The table at an address."""
    draft = folder / "draft"
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir()
    return read_frame(str(draft_of_files(address, address, folder, draft)[0]))


def partitioned(folder: Path) -> Path:
    """A folder as Spark writes it, partitioned by year; the second part has one more column."""
    for year, frame in ((2025, FRAME), (2026, FRAME.assign(member=True))):
        (folder / f"orders/year={year}").mkdir(parents=True)
        frame.to_parquet(folder / f"orders/year={year}/part-00000-c000.snappy.parquet")
    (folder / "orders/_SUCCESS").touch()
    (folder / "orders/year=2025/.part.crc").touch()
    return folder / "orders"


@pytest.mark.parametrize("address", ["orders", "orders/", "orders/*/part-*.parquet"])
def test_partitions_of_a_folder_or_a_pattern_are_one_table(tmp_path: Path, address: str) -> None:
    partitioned(tmp_path)
    frame = read(tmp_path, address)
    assert frame["age"].tolist() == [26, 46, 71] * 2
    assert frame["year"].tolist() == [2025] * 3 + [2026] * 3
    assert frame["member"].isna().tolist() == [True] * 3 + [False] * 3


def test_a_new_part_is_noticed_because_folders_and_files_are_watched(tmp_path: Path) -> None:
    folder = partitioned(tmp_path)
    (tmp_path / "draft").mkdir()
    watched = draft_of_files("orders", "orders", tmp_path, tmp_path / "draft")[1]
    assert {str(folder), str(folder / "year=2026")} < set(watched)
    assert str(folder / "year=2026/part-00000-c000.snappy.parquet") in watched


def test_json_records_are_a_table(tmp_path: Path) -> None:
    records = [{"age": 26, "city": "Oslo"}, {"age": 46.5, "member": True}]
    (tmp_path / "t.json").write_text(json.dumps(records), encoding="utf-8")
    (tmp_path / "t.jsonl").write_text("\n".join(map(json.dumps, records)), encoding="utf-8")
    for name in ("t.json", "t.jsonl"):
        frame = read(tmp_path, name)
        assert frame["age"].tolist() == [26.0, 46.5]
        assert frame["member"].isna().tolist() == [True, False]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"a": {"b": 1}}]', "'a' has nested values"),
        ("[1, 2]", "not a table: it must be a list of records"),
        ('[{"a": 1}, {"a": "x"}]', "'a' cannot be read: it has values of type int, str"),
        ("{", "cannot be read"),
    ],
)
def test_other_json_is_refused(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "t.json").write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read(tmp_path, "t.json")


def workbook(folder: Path, sheets: int = 1) -> None:
    """A workbook with an empty row and an empty column."""
    book = Workbook()
    rows = [
        ["age", None, " day "],
        [26, None, datetime(2026, 1, 31)],
        [None] * 3,
        [46.5, None, None],
    ]
    for row in rows:
        book.active.append(row)
    for number in range(1, sheets):
        book.create_sheet(f"More {number}").append(["x"])
    book.save(folder / "t.xlsx")


def test_a_sheet_of_excel_is_a_table_without_its_empty_rows_and_columns(tmp_path: Path) -> None:
    workbook(tmp_path)
    frame = read(tmp_path, "t.xlsx")
    assert frame.columns.tolist() == ["age", "day"]
    assert frame["age"].tolist() == [26.0, 46.5]
    assert frame["day"][0] == pd.Timestamp(2026, 1, 31)


def test_of_several_sheets_one_must_be_named(tmp_path: Path) -> None:
    workbook(tmp_path, 2)
    for address in ("t.xlsx", "t.xlsx#Other"):
        with pytest.raises(DataError, match="the sheets Sheet, More 1: name one.*t.xlsx#Sheet"):
            read(tmp_path, address)
    assert len(read(tmp_path, "t.xlsx#Sheet")) == 2
    with pytest.raises(DataError, match="cannot read .* has no rows|has no rows"):
        read(tmp_path, "t.xlsx#More 1")


def test_without_openpyxl_the_extra_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workbook(tmp_path)
    monkeypatch.setitem(__import__("sys").modules, "openpyxl", None)
    with pytest.raises(MissingExtraError, match="make install EXTRAS=excel"):
        read(tmp_path, "t.xlsx")


def test_a_zip_of_one_file_is_read_and_one_of_several_is_refused(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "t.zip", "w") as archive:
        archive.writestr("folder/t.csv", "age,city\n026,Oslo\n")
        archive.writestr("__MACOSX/._t.csv", "")
    assert read(tmp_path, "t.zip").iloc[0].tolist() == ["026", "Oslo"]
    with zipfile.ZipFile(tmp_path / "t.zip", "a") as archive:
        archive.writestr("u.csv", "")
    with pytest.raises(DataError, match=r"has 2 files \(folder/t.csv, u.csv\): leave one"):
        read(tmp_path, "t.zip")


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("gone.json", "there is no such file or folder"),
        ("*.parquet", "no file matches the pattern"),
        ("*.csv", "only Parquet files can be combined"),
        (".", "the folder has no Parquet files"),
        ("t.xls", "not supported: save it as .xlsx or CSV"),
        ("broken.xlsx", "cannot be read: .*zip"),
    ],
)
def test_what_cannot_be_read_is_refused_with_the_reason(
    tmp_path: Path, address: str, message: str
) -> None:
    for name in ("a.csv", "b.csv", "t.xls", "broken.xlsx"):
        (tmp_path / name).write_text("x\n1\n", encoding="utf-8")
    with pytest.raises(DataError, match=message):
        read(tmp_path, address)


@pytest.fixture(name="web")
def _web(tmp_path: Path) -> Iterator[str]:
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def test_a_file_of_the_web_is_read_by_the_name_in_its_address(tmp_path: Path, web: str) -> None:
    (tmp_path / "t.csv").write_text("age,code\n26,007\n", encoding="utf-8")
    FRAME.to_parquet(tmp_path / "a b.parquet")
    assert read(tmp_path, f"{web}/t.csv")["code"].tolist() == ["007"]
    assert len(read(tmp_path, f"{web}/a%20b.parquet?version=1")) == 3
    with pytest.raises(DataError, match="404"):
        read(tmp_path, f"{web}/other.csv")


@pytest.fixture(scope="module", name="s3")
def _s3() -> Iterator[None]:
    with s3_server():
        yield


@pytest.mark.usefixtures("s3")
def test_files_folders_and_patterns_of_s3_are_read(tmp_path: Path) -> None:
    (tmp_path / "t.csv.gz").write_bytes(b"not unpacked on the way")
    FRAME.to_csv(tmp_path / "t.csv.gz", index=False)
    store = boto3.client("s3")
    store.upload_file(str(tmp_path / "t.csv.gz"), "shop", "t.csv.gz")
    folder = partitioned(tmp_path)
    for path in folder.rglob("*.parquet"):
        store.upload_file(str(path), "shop", path.relative_to(tmp_path).as_posix())
    assert read(tmp_path, "s3://shop/t.csv.gz")["age"].tolist() == [26, 46, 71]
    local = read(tmp_path, "orders")
    for address in ("s3://shop/orders/", "s3://shop/orders/*/part-*.parquet"):
        pd.testing.assert_frame_equal(read(tmp_path, address), local)
    (tmp_path / "watch").mkdir()
    address = "s3://shop/orders"
    assert draft_of_files(address, address, tmp_path, tmp_path / "watch")[1] == (address,)
    for address in ("s3://shop/gone.csv", "s3://nobody/t.csv"):
        with pytest.raises(DataError, match="no such file|cannot be read"):
            read(tmp_path, address)


class _Bucket(SimpleHTTPRequestHandler):
    """Google Cloud Storage's JSON API, as far as reading needs it, over the files of a folder."""

    def do_GET(self) -> None:  # pylint: disable=invalid-name  # as the base class names it
        folder, url = Path(self.directory), urlsplit(self.path)
        bucket, _, name = url.path.removeprefix("/storage/v1/b/").partition("/o")
        file, query = folder / unquote(name).lstrip("/"), parse_qs(url.query)
        if bucket != "shop" or name and not file.is_file():
            self.send_error(404)
        elif "media" in query.get("alt", ()):
            self._send(file.read_bytes())
        elif name:
            self._send(json.dumps(self._facts(file)).encode())
        else:
            prefix = query.get("prefix", [""])[0]
            found = [self._facts(each) for each in sorted(folder.rglob("*")) if each.is_file()]
            items = [each for each in found if each["name"].startswith(prefix)]
            self._send(json.dumps({"kind": "storage#objects", "items": items}).encode())

    def log_message(self, *_: object) -> None:  # pylint: disable=arguments-differ
        """Print nothing."""

    def _facts(self, file: Path) -> dict[str, str]:
        name = file.relative_to(self.directory).as_posix()
        facts = {"kind": "storage#object", "bucket": "shop", "name": name, "generation": "1"}
        return {**facts, "size": str(file.stat().st_size), "updated": "2026-01-31T12:00:00Z"}

    def _send(self, body: bytes) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("range", ""))
        if wanted:
            body = body[int(wanted[1]) : int(wanted[2] or len(body)) + 1]
        self.send_response(206 if wanted else 200)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


def test_files_folders_and_patterns_of_google_cloud_storage_are_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    FRAME.to_csv(tmp_path / "t.csv.gz", index=False)
    partitioned(tmp_path)
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Bucket, directory=str(tmp_path)))
    Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{server.server_port}")
    work = tmp_path / "work"
    work.mkdir()
    try:
        assert read(work, "gs://shop/t.csv.gz")["age"].tolist() == [26, 46, 71]
        local = read(tmp_path, "orders")
        for address in ("gs://shop/orders/", "gs://shop/orders/*/part-*.parquet"):
            pd.testing.assert_frame_equal(read(work, address), local)
        for address in ("gs://shop/gone.csv", "gs://nobody/t.csv"):
            with pytest.raises(DataError, match="no such file"):
                read(work, address)
    finally:
        server.shutdown()
        server.server_close()
