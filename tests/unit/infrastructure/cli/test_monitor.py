"""`make monitor` writes the configuration, and says what is missing."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import yaml

from infrastructure.cli.__main__ import main
from tests.served import free_port


@pytest.fixture(autouse=True)
def _places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine without programs, where nothing is deployed."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.setenv("RELEASES_DIR", str(tmp_path / "releases"))
    monkeypatch.setenv("RECEIPTS_DIR", str(tmp_path / "build"))
    monkeypatch.setenv("ALERT_WEBHOOK_URL", "http://127.0.0.1:9/alerts")
    for name in ("PROMETHEUS_PORT", "ALERTMANAGER_PORT", "GRAFANA_PORT"):
        monkeypatch.setenv(name, str(free_port()))


def program(folder: Path, name: str, script: str = "exit 0") -> None:
    """Install a program."""
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / name).chmod(0o755)


def test_only_the_files_are_written_if_nothing_else_is_wanted(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["monitor", "--env", "production", "--port", "3001", "--files-only"]) == 0
    folder = tmp_path / "build" / "monitor"
    assert str(folder) in capsys.readouterr().out
    config = yaml.safe_load((folder / "prometheus.yml").read_text(encoding="utf-8"))
    (target,) = config["scrape_configs"][0]["static_configs"]
    assert target == {"targets": ["127.0.0.1:3001"], "labels": {"environment": "production"}}
    assert "http://127.0.0.1:9/alerts" in (folder / "alertmanager.yml").read_text(encoding="utf-8")


def test_without_any_program_the_error_says_what_to_install(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["monitor"]) == 1
    message = capsys.readouterr().err
    assert "apt install prometheus prometheus-alertmanager" in message
    assert message.count("\n") == 1


def test_a_wanted_engine_must_work_and_have_compose(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["monitor", "--engine", "docker"]) == 1
    assert "the container engine docker does not work" in capsys.readouterr().err
    program(tmp_path / "bin", "docker", '[ "$1" = info ]')
    assert main(["monitor", "--engine", "docker"]) == 1
    assert "docker has no compose: install its compose plugin" in capsys.readouterr().err


def test_an_engine_with_compose_runs_all_three(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("GRAFANA_PORT", "3131")
    program(tmp_path / "bin", "docker", f'echo "$@" >> {tmp_path}/calls')
    assert main(["monitor", "--port", str(free_port())]) == 0
    *_, last = (tmp_path / "calls").read_text(encoding="utf-8").splitlines()
    assert last == f"compose --project-name monitor --file {tmp_path}/build/monitor/compose.yml up"
    output = capsys.readouterr().out
    assert "http://127.0.0.1:3131" in output and "where nothing listens yet" in output
    assert "sent to ALERT_WEBHOOK_URL" in output


def test_a_port_in_use_is_reported(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    program(tmp_path / "bin", "prometheus")
    program(tmp_path / "bin", "alertmanager")
    with socket.create_server(("127.0.0.1", 0)) as server:
        monkeypatch.setenv("ALERTMANAGER_PORT", str(server.getsockname()[1]))
        assert main(["monitor"]) == 1
    assert "set ALERTMANAGER_PORT to another port" in capsys.readouterr().err
