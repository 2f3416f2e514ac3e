"""The logs of an environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from infrastructure.cli.__main__ import main
from tests.local_environment import release_of, write_state


@pytest.fixture(name="folder")
def _folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RELEASES_DIR", str(tmp_path))
    return tmp_path / "staging"


@pytest.mark.parametrize("state", ["current.json", "previous.json"])
def test_the_last_lines_of_each_log_are_shown_under_its_name_even_after_a_stop(
    folder: Path, capfd: pytest.CaptureFixture[str], state: str
) -> None:
    release = write_state(folder, release_of(psutil.Process()), state)
    logs = [Path(release.folder) / "service.log", folder / "front.log"]
    for log in logs:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text(f"first\nsecond of {log.stem}\nlast of {log.stem}\n", encoding="utf-8")
    assert main(["logs", "--lines", "2"]) == 0
    shown = [line for line in capfd.readouterr().out.splitlines() if line]
    assert shown == [
        *(f"==> {logs[0]} <==", "second of service", "last of service"),
        *(f"==> {logs[1]} <==", "second of front", "last of front"),
    ]


def test_following_shows_new_lines(folder: Path) -> None:
    release = write_state(folder, release_of(psutil.Process()))
    log = Path(release.folder) / "service.log"
    log.parent.mkdir(parents=True)
    log.write_text("old\n", encoding="utf-8")
    command = [sys.executable, "-m", "infrastructure.cli", "logs", "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        while process.stdout.readline() != "old\n":
            assert process.poll() is None
        with log.open("a", encoding="utf-8") as file:
            file.write("new\n")
        assert process.stdout.readline() == "new\n"
        for child in psutil.Process(process.pid).children():
            child.kill()


def test_without_a_deployment_there_are_no_logs(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["logs"]) == 1
    assert "nothing was deployed in staging: run make deploy" in capsys.readouterr().err
    assert not folder.exists()
