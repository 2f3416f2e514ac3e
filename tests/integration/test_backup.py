"""A backup of a clone that serves, restored on an empty machine."""

from __future__ import annotations

import json
import re
import stat
import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event

import httpx
import pytest

from application.inference.api_keys import entry_of, new_key
from tests.served import Home, free_port

ROW = [5.1, 3.5, 1.4, 0.2]
KEY = new_key()


@pytest.fixture(name="serving")
def _serving(home: Home, tmp_path: Path) -> Iterator[tuple[Home, int]]:
    made, port = home.copy(tmp_path / "own"), free_port()
    receipt = str(made.receipts / "bento-build.json")
    command = ("-m", "infrastructure.cli", "deploy", "--port", str(port), "--bento", receipt)
    done = made.run(made.interpreter, *command, SERVING_API_KEYS=entry_of("me", KEY))
    assert done.returncode == 0, done.stdout + done.stderr
    yield made, port
    made.python("-m", "infrastructure.cli", "stop")


def predict(port: int) -> httpx.Response:
    """Send a row."""
    headers = {"X-API-Key": KEY}
    return httpx.post(f"http://127.0.0.1:{port}/predict", json=[ROW], headers=headers)


def output_of(home: Home, *arguments: str) -> str:
    """What a command prints."""
    done = home.python("-m", "infrastructure.cli", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def without_ages(text: str) -> str:
    """The output of `registry` without how old versions are."""
    return re.sub("[0-9]+ (s|min)", "", text)


def test_a_backup_under_load_is_restored_on_an_empty_machine_and_serves_there(
    serving: tuple[Home, int], tmp_path: Path
) -> None:
    home, port = serving
    ended, statuses, backup = Event(), list[int](), tmp_path / "backups/today.tar.gz"

    def send() -> None:
        while not ended.is_set():
            statuses.append(predict(port).status_code)

    before = [predict(port).json()["request_id"] for _ in range(20)]
    rows = tmp_path / "rows.ndjson"
    while output_of(home, "predictions", "--output", str(rows)) and rows.read_text("utf-8").count(
        "\n"
    ) < len(before):
        pass  # they are written a moment later
    with ThreadPoolExecutor(1) as pool:
        sender = pool.submit(send)
        shown = output_of(home, "backup", "--output", str(backup))
        ended.set()
        sender.result()
    assert set(statuses) == {200}
    assert "keep it secret" in shown and stat.S_IMODE(backup.stat().st_mode) == 0o600
    registry = output_of(home, "registry")
    assert home.python("-m", "infrastructure.cli", "stop").returncode == 0
    home.folder.rename(tmp_path / "lost")

    empty = Home(tmp_path / "new", home.root, home.warm)
    shown = output_of(empty, "restore", "--backup", str(backup))
    assert "staging: restored; make start ENV=staging serves it again" in shown
    try:
        assert "serves version" in output_of(empty, "start")
        assert predict(port).status_code == 200
        assert httpx.post(f"http://127.0.0.1:{port}/predict", json=[ROW]).status_code == 401
        assert without_ages(output_of(empty, "registry")) == without_ages(registry)
        output_of(empty, "predictions", "--output", str(rows))
        logged = [json.loads(line)["request_id"] for line in rows.open(encoding="utf-8")]
        assert set(before) <= set(logged)
        again = output_of(empty, "restore", "--backup", str(backup))
        assert "staging: left as it is here" in again
        receipt = str(empty.receipts / "bento-build.json")
        assert "unchanged" in output_of(empty, "deploy", "--bento", receipt)
    finally:
        output_of(empty, "stop")


def test_a_file_that_is_no_backup_is_refused_and_changes_nothing(
    home: Home, tmp_path: Path
) -> None:
    empty, backup = Home(tmp_path / "new", home.root, home.warm), tmp_path / "backup.tar.gz"
    for content, message in ((None, "does not exist"), (b"text", "cannot be unpacked")):
        if content:
            backup.write_bytes(content)
        done = empty.python("-m", "infrastructure.cli", "restore", "--backup", str(backup))
        assert done.returncode == 1 and message in done.stderr
    with tarfile.open(backup, "w:gz") as archive:
        archive.addfile(tarfile.TarInfo("../outside"))
    assert empty.python("-m", "infrastructure.cli", "restore", "--backup", str(backup))
    assert not (tmp_path / "outside").exists() and not (empty.folder / "releases").exists()
