"""Starting the stack: what is missing or in the way is reported, and nothing is left running."""

from __future__ import annotations

import socket
import sys
import time
from pathlib import Path

import pytest

from domain.errors import DeploymentError
from infrastructure.monitoring.stack import processes
from infrastructure.monitoring.stack.configuration import Addresses
from infrastructure.monitoring.stack.processes import (
    check_ports,
    compose_command,
    has_compose,
    local_commands,
    running,
    wait_for_end,
)
from tests.served import free_port

ADDRESSES = Addresses("staging", 3000, 9191, 9194)
READY = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/-/ready" else 404)
        self.end_headers()
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""


def test_commands_listen_on_this_machine_and_keep_their_data_in_the_folder() -> None:
    commands = local_commands(Path("/x"), ADDRESSES, lambda name: f"/usr/bin/{name}")
    assert commands["prometheus"] == [
        "/usr/bin/prometheus",
        "--config.file=/x/prometheus.yml",
        "--storage.tsdb.path=/x/data/prometheus",
        "--web.listen-address=127.0.0.1:9191",
    ]
    assert commands["alertmanager"] == [
        "/usr/bin/alertmanager",
        "--config.file=/x/alertmanager.yml",
        "--storage.path=/x/data/alertmanager",
        "--web.listen-address=127.0.0.1:9194",
        "--cluster.listen-address=",
    ]


def test_alertmanager_is_found_by_debians_name_too() -> None:
    installed = {"prometheus": "/usr/bin/prometheus", "prometheus-alertmanager": "/usr/bin/pa"}
    commands = local_commands(Path("/x"), ADDRESSES, installed.get)
    assert commands["alertmanager"][0] == "/usr/bin/pa"


@pytest.mark.parametrize(
    ("installed", "missing"),
    [({}, "alertmanager"), ({"prometheus": "p"}, "alertmanager"), ({"alertmanager": "a"}, "prom")],
)
def test_what_is_missing_is_named_with_how_to_install_it(
    installed: dict[str, str], missing: str
) -> None:
    with pytest.raises(
        DeploymentError, match=f"{missing}.* is not on PATH: install and start Dock"
    ):
        local_commands(Path("/x"), ADDRESSES, installed.get)


def test_a_port_in_use_is_named_with_the_setting_that_changes_it() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(DeploymentError, match=f"port {port} is in use by .*PROMETHEUS_PORT"):
            check_ports({"PROMETHEUS_PORT": port})
    check_ports({"PROMETHEUS_PORT": free_port()})


def test_an_engine_without_compose_is_recognised(tmp_path: Path) -> None:
    for name, code in (("with", 0), ("without", 1)):
        engine = tmp_path / name
        engine.write_text(f'#!/bin/sh\n[ "$*" = "compose version" ] && exit {code}\nexit 9\n')
        engine.chmod(0o755)
    assert has_compose(str(tmp_path / "with"))
    assert not has_compose(str(tmp_path / "without"))


def test_compose_runs_the_file_of_the_folder_in_the_foreground() -> None:
    assert compose_command("docker", Path("/x")) == [
        *("docker", "compose", "--project-name", "monitor", "--file", "/x/compose.yml", "up")
    ]


def test_processes_are_ready_in_the_block_and_end_with_it(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", READY, str(port)]
    with running({"prometheus": command}, {"prometheus": port}, tmp_path) as started:
        assert started["prometheus"].poll() is None
        assert processes.listens(port)
    assert started["prometheus"].poll() is not None
    assert not processes.listens(port)


def test_a_process_that_fails_is_reported_with_its_last_line(tmp_path: Path) -> None:
    command = [sys.executable, "-c", "print('reading'); raise SystemExit('line 3 is wrong')"]
    with pytest.raises(DeploymentError, match="prometheus has ended: line 3 is wrong; .*log has"):
        with running({"prometheus": command}, {"prometheus": free_port()}, tmp_path):
            pytest.fail("it is not running")


def test_a_process_that_ends_later_ends_the_wait(tmp_path: Path) -> None:
    port = free_port()
    command = [sys.executable, "-c", READY, str(port)]
    with running({"prometheus": command}, {"prometheus": port}, tmp_path) as started:
        started["prometheus"].kill()
        began = time.monotonic()
        with pytest.raises(DeploymentError, match="prometheus has ended"):
            wait_for_end(started, tmp_path)
    assert time.monotonic() - began < 10


def test_a_process_that_is_never_ready_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "READY_SECONDS", 0.3)
    command = [sys.executable, "-c", "import time; time.sleep(60)"]
    with pytest.raises(DeploymentError, match=r"prometheus was not ready within 0.3 s: see .*log"):
        with running({"prometheus": command}, {"prometheus": free_port()}, tmp_path):
            pytest.fail("it is not ready")
