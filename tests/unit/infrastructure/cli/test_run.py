"""What `make run` starts, and its errors."""

from __future__ import annotations

import json
import os
import socket
import sys
from pathlib import Path

import pytest

from infrastructure.cli.__main__ import main
from tests.served import free_port


@pytest.fixture(name="champion")
def _champion(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """The receipt of a champion, in a clone where nothing is deployed."""
    monkeypatch.setenv("RELEASES_DIR", str(tmp_path / "releases"))
    receipt = tmp_path / "champion.json"
    receipt.write_text(json.dumps({"service": "a:B", "model_tag": "iris:1"}), encoding="utf-8")
    return str(receipt)


def test_the_champion_is_served_by_the_service_of_its_kind(
    champion: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(os, "execv", lambda *words: called.append(words))
    port = str(free_port())
    main(["run", "--champion", champion, "--port", port])
    program, command = called.pop()
    assert (program, command[0]) == (sys.executable, sys.executable)
    assert command[1:] == [
        *("-m", "bentoml", "serve", "a:B", "--arg", "model_tag=iris:1", "--development"),
        *("--reload", "--host", "127.0.0.1", "--port", port),
    ]


def test_a_port_in_use_is_reported_in_one_line_with_its_holder(
    champion: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert main(["run", "--champion", champion, "--port", str(port)]) == 1
    message = capsys.readouterr().err
    assert (
        message.startswith(f"error: port {port} is in use by ") and f"pid {os.getpid()}" in message
    )
    assert message.count("\n") == 1


def test_without_a_champion_the_error_says_to_promote(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["run", "--champion", str(tmp_path / "champion.json")]) == 1
    assert capsys.readouterr().err == "error: accepted, not promoted yet: run make promote\n"
