"""The ledger on disk: intact under many processes, and tampering is found."""

from __future__ import annotations

import getpass
import json
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from domain.errors import RegistryError
from infrastructure.registry.ledger import FIRST, FileLedger, hash_of
from shared.paths import ROOT

WRITER = """
import sys
from pathlib import Path
from infrastructure.registry.ledger import FileLedger

for number in range(25):
    FileLedger(Path(sys.argv[1])).append("train", "iris", f"{sys.argv[2]}-{number}")
"""


@pytest.fixture(name="ledger")
def _ledger(tmp_path: Path) -> FileLedger:
    """A ledger of five entries."""
    ledger = FileLedger(tmp_path / "state/ledger.jsonl")
    for number in range(5):
        ledger.append("train", "iris", f"1.0.{number}", accuracy=0.9)
    return ledger


def lines_of(ledger: FileLedger) -> list[str]:
    """The lines of its file."""
    return ledger.path.read_text("utf-8").splitlines()


def test_an_entry_records_who_did_what_and_when(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    ledger = FileLedger(tmp_path / "ledger.jsonl")
    made = ledger.append("deploy", "iris", "1.0.0-a", env="staging", port=3000, note=None)
    assert (made.number, made.who, made.event) == (1, "octocat", "deploy")
    assert (made.model_name, made.version) == ("iris", "1.0.0-a")
    assert made.details == {"env": "staging", "port": 3000, "note": None}
    assert made.previous == FIRST
    assert abs((datetime.now(UTC) - made.at).total_seconds()) < 3600
    assert ledger.entries() == [made]


def test_outside_of_ci_an_entry_names_the_user_or_unknown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("GITHUB_ACTOR", raising=False)
    ledger = FileLedger(tmp_path / "ledger.jsonl")
    assert ledger.append("train", "iris", "a").who == getpass.getuser()

    def no_user() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setattr(getpass, "getuser", no_user)
    assert ledger.append("train", "iris", "b").who == "unknown"


def test_every_entry_has_the_hash_of_the_previous_one(ledger: FileLedger) -> None:
    entries = ledger.entries()
    assert [entry.number for entry in entries] == [1, 2, 3, 4, 5]
    assert [entry.previous for entry in entries[1:]] == [entry.hash for entry in entries[:-1]]


def test_existing_lines_are_not_rewritten(ledger: FileLedger) -> None:
    before = ledger.path.read_bytes()
    ledger.append("train", "iris", "1.1.0")
    assert ledger.path.read_bytes().startswith(before)


def test_a_missing_ledger_has_no_entries(tmp_path: Path) -> None:
    assert not FileLedger(tmp_path / "ledger.jsonl").entries()


def test_non_finite_figures_are_written_as_words(ledger: FileLedger) -> None:
    ledger.append("verdict", "iris", "1.0.0", quality=float("nan"))
    assert ledger.entries()[-1].details == {"quality": "nan"}


def test_concurrent_processes_keep_the_chain_intact(tmp_path: Path) -> None:
    path = tmp_path / "ledger.jsonl"
    writers = [
        subprocess.Popen(  # pylint: disable=consider-using-with  # waited for below
            [sys.executable, "-c", WRITER, str(path), str(name)], cwd=ROOT
        )
        for name in range(4)
    ]
    assert [writer.wait(60) for writer in writers] == [0, 0, 0, 0]
    versions = [entry.version for entry in FileLedger(path).entries()]
    assert sorted(versions) == sorted(f"{name}-{n}" for name in range(4) for n in range(25))


def rehashed(line: str) -> str:
    """A changed entry with a matching hash."""
    content = json.loads(line) | {"version": "9.9.9"}
    del content["hash"]
    return json.dumps(content | {"hash": hash_of(content)})


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda lines: [line.replace("1.0.2", "9.9.9") for line in lines],
            "line 3: .* was changed",
        ),
        (lambda lines: lines[:2] + lines[3:], "line 3: entry 4 does not follow"),
        (lambda lines: lines[1:], "line 1: entry 2 does not follow"),
        (lambda lines: [lines[1], lines[0], *lines[2:]], "line 1: entry 2 does not follow"),
        (lambda lines: [*lines[:3], lines[1], *lines[3:]], "line 4: entry 2 does not follow"),
        (lambda lines: [*lines[:2], rehashed(lines[2]), *lines[3:]], "line 4: entry 4 does not"),
        (lambda lines: [*lines[:4], "{}", lines[4]], "line 5: not a ledger entry"),
        (lambda lines: [*lines[:4], "", lines[4]], "line 5: not a ledger entry"),
        (lambda lines: [*lines[:4], "[1]", lines[4]], "line 5: not a ledger entry"),
    ],
)
def test_tampering_is_found_and_located(
    ledger: FileLedger, damage: Callable[[list[str]], list[str]], message: str
) -> None:
    damaged = damage(lines_of(ledger))
    ledger.path.write_text("".join(f"{line}\n" for line in damaged), encoding="utf-8")
    with pytest.raises(RegistryError, match=message):
        ledger.entries()


def test_nothing_is_appended_after_a_modified_last_entry(ledger: FileLedger) -> None:
    changed = ledger.path.read_text("utf-8").replace("1.0.4", "9.9.9")
    ledger.path.write_text(changed, encoding="utf-8")
    with pytest.raises(RegistryError, match="line 5: entry 5 was changed"):
        ledger.append("train", "iris", "1.1.0")
    assert ledger.path.read_text("utf-8") == changed


@pytest.mark.parametrize("kept", [1, 100])
def test_a_truncated_last_line_is_ignored_and_reported_by_the_next_append(
    ledger: FileLedger, kept: int
) -> None:
    whole = ledger.entries()
    torn = lines_of(ledger)[-1][:kept]
    with ledger.path.open("a", encoding="utf-8") as file:
        file.write(torn)
    assert ledger.entries() == whole
    ledger.append("train", "iris", "1.1.0")
    *before, last = ledger.entries()
    assert before == whole
    assert last.details == {"cut": torn}


@pytest.mark.parametrize("content", [b'{"at"', b"\xff\x00", b"\xff\n", b"\n"])
def test_a_file_without_an_entry_is_not_a_ledger(tmp_path: Path, content: bytes) -> None:
    ledger = FileLedger(tmp_path / "ledger.jsonl")
    ledger.path.write_bytes(content)
    for use in (ledger.entries, ledger.check, lambda: ledger.append("train", "iris", "1.0.0")):
        with pytest.raises(RegistryError, match="line 1: not a ledger entry; .* move it away"):
            use()
    assert ledger.path.read_bytes() == content


def test_a_check_leaves_nothing(ledger: FileLedger) -> None:
    for checked in (ledger, FileLedger(ledger.path.parent / "new/ledger.jsonl")):
        before = list(checked.path.parent.glob("*"))
        checked.check()
        assert list(checked.path.parent.glob("*")) == before


@pytest.mark.parametrize("path", ["/proc/x/ledger.jsonl", "file/ledger.jsonl", "folder"])
def test_a_ledger_that_cannot_be_written_is_found_by_a_check(tmp_path: Path, path: str) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    with pytest.raises(RegistryError, match="is not writable .* set LEDGER to another path"):
        FileLedger(tmp_path / path).check()
