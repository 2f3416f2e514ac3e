"""The real Prometheus scrapes a served model, and the real Alertmanager delivers its alerts."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import yaml
from prometheus_client import CollectorRegistry, start_http_server

from infrastructure.monitoring.metrics.service_metrics import ServiceMetrics
from infrastructure.monitoring.stack.configuration import Addresses, write_configuration
from infrastructure.monitoring.stack.dashboards import DASHBOARDS
from infrastructure.monitoring.stack.processes import local_commands, running
from shared.paths import ROOT
from tests.served import free_port, serve
from tests.webhook import webhook

PROGRAMS = ("prometheus", "prometheus-alertmanager|alertmanager")
PATIENCE = 40.0
SHIFTED = [25.0, 25.0, 25.0, 25.0]  # in range, and far from every flower
ROWS = 500
RULES_OF_OTHER_MODELS = {"ml_audio_seconds_total"}  # of transcribers


@dataclass
class Receiver:
    """A webhook that keeps the messages it gets."""

    url: str
    messages: list[dict[str, Any]]

    @property
    def alerts(self) -> list[dict[str, Any]]:
        """The alerts of all messages, each with its labels, annotations and status."""
        return [alert for message in self.messages for alert in message["alerts"]]


@dataclass(frozen=True)
class Stack:
    """Prometheus and Alertmanager that watch a service.

    Attributes:
        receiver: where alerts arrive.
    """

    prometheus: str
    receiver: Receiver

    def query(self, expression: str) -> list[dict[str, Any]]:
        """The series that an expression returns now."""
        found = httpx.get(f"{self.prometheus}/api/v1/query", params={"query": expression}).json()
        assert found["status"] == "success", found
        return list(found["data"]["result"])


def wait_until(check: Callable[[], object], what: str) -> None:
    """Wait for a condition, or fail."""
    deadline = time.monotonic() + PATIENCE
    while not check():
        assert time.monotonic() < deadline, f"not within {PATIENCE:g} s: {what}"
        time.sleep(0.2)


@pytest.fixture(scope="module", name="programs", autouse=True)
def _programs() -> None:
    for names in PROGRAMS:
        if not any(map(shutil.which, names.split("|"))):
            pytest.skip(f"{names} is not on PATH: apt install prometheus prometheus-alertmanager")


@pytest.fixture(scope="module", name="receiver")
def _receiver() -> Iterator[Receiver]:
    with webhook() as (url, messages):
        yield Receiver(url, messages)


@pytest.fixture(scope="module", name="stack")
def _stack(
    exported_bento: Path, receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stack]:
    """The stack with its own rules, but without waiting, for a service with drift and labels."""
    folder, regression = tmp_path_factory.mktemp("stack"), free_port()
    with ExitStack() as opened:
        url = opened.enter_context(serve(exported_bento, folder / "service", workers=2))
        httpx.post(f"{url}/predict", json=[SHIFTED] * ROWS).raise_for_status()
        label = {"request_id": _predict(url), "row": 0, "actual_class": "setosa"}
        httpx.post(f"{url}/feedback", json=label).raise_for_status()
        opened.enter_context(_regression(regression))
        port = httpx.URL(url).port or 80
        addresses = Addresses("test", port, free_port(), free_port(), webhook=receiver.url)
        write_configuration(folder, addresses)
        _hurry(folder, {"another": regression, "gone": free_port()})
        ports = {"prometheus": addresses.prometheus, "alertmanager": addresses.alertmanager}
        opened.enter_context(running(local_commands(folder, addresses), ports, folder))
        opened.enter_context(_traffic(url))
        yield Stack(f"http://127.0.0.1:{addresses.prometheus}", receiver)


def _hurry(folder: Path, others: dict[str, int]) -> None:
    """Scrape, evaluate and notify every second; scrape the ports of other environments too."""
    path = folder / "prometheus.yml"
    config = yaml.safe_load(path.read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"] += [
        {"targets": [f"127.0.0.1:{port}"], "labels": {"environment": name}}
        for name, port in others.items()
    ]
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    rules = folder / "rules.yml"
    rules.write_text(re.sub(r"( for:) \d+m", r"\1 0s", rules.read_text("utf-8")), encoding="utf-8")
    alerts = folder / "alertmanager.yml"
    text = re.sub(r"(group_wait|group_interval): \w+", r"\1: 1s", alerts.read_text("utf-8"))
    alerts.write_text(text, encoding="utf-8")


@contextmanager
def _regression(port: int) -> Iterator[None]:
    """Serve the metrics of a regression, whose predictions and inputs are counted."""
    registry = CollectorRegistry()
    metrics = ServiceMetrics("rent", "1", ("rent",), registry, (100.0, 1000.0), ("area",))
    metrics.record_values(np.array([500.0]), np.array([0.001]))
    metrics.record_outside({"area": 1})
    metrics.set_estimated_score("accuracy", 0.9, (0.8, 1))  # the hold-out of petals is too small
    server, _ = start_http_server(port, "127.0.0.1", registry)
    yield
    server.shutdown()
    server.server_close()


def _predict(url: str) -> str:
    reply = httpx.post(f"{url}/predict", json=[SHIFTED]).raise_for_status().json()
    return str(reply["request_id"])


@contextmanager
def _traffic(url: str) -> Iterator[None]:
    """Send a request every now and then."""
    stop = threading.Event()

    def send() -> None:
        while not stop.wait(0.3):
            _predict(url)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    yield
    stop.set()
    thread.join()


def test_every_panel_of_the_dashboards_has_data(stack: Stack) -> None:
    for title, panels in DASHBOARDS.items():
        for panel in panels:
            for query, _ in panel.queries:
                chosen = query.replace("$environment", ".*").replace("$model", ".*")
                asked = chosen.replace("$__rate_interval", "30s")
                wait_until(
                    lambda asked=asked: stack.query(asked), f"{title}, {panel.title}: {asked}"
                )


def test_every_rule_is_evaluated_on_metrics_that_are_there(stack: Stack) -> None:
    groups = httpx.get(f"{stack.prometheus}/api/v1/rules").json()["data"]["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    assert len(rules) > 20
    wait_until(
        lambda: all(
            rule["health"] == "ok"
            for group in httpx.get(f"{stack.prometheus}/api/v1/rules").json()["data"]["groups"]
            for rule in group["rules"]
        ),
        "every rule is evaluated",
    )
    used = set(re.findall(r"\b(?:up|ml[_:][\w:]+)(?=\b)", " ".join(r["query"] for r in rules)))
    assert RULES_OF_OTHER_MODELS < used
    for name in used - RULES_OF_OTHER_MODELS:
        wait_until(lambda name=name: stack.query(name), name)
    records = [rule["name"] for rule in rules if rule["type"] == "recording"]
    assert set(records) <= used


def test_memory_and_cpu_time_are_those_of_all_workers(stack: Stack) -> None:
    (memory,) = stack.query('process_resident_memory_bytes{environment="test"}')
    assert float(memory["value"][1]) > 100e6  # two workers and their supervisor
    (seconds,) = stack.query('process_cpu_seconds_total{environment="test"}')
    assert float(seconds["value"][1]) > 1


@pytest.mark.parametrize(
    ("name", "environment", "severity", "summary"),
    [
        ("DriftSustained", "test", "warning", "petal_width differs from training"),
        ("ServiceDown", "gone", "critical", "gone: no metrics from 127.0.0.1:"),
    ],
)
def test_an_alert_arrives_at_the_webhook(
    stack: Stack, name: str, environment: str, severity: str, summary: str
) -> None:
    def arrived() -> list[dict[str, Any]]:
        return [each for each in stack.receiver.alerts if each["labels"]["alertname"] == name]

    wait_until(arrived, name)
    for alert in arrived():
        assert alert["labels"]["environment"] == environment
        assert alert["labels"]["severity"] == severity
    assert any(summary in alert["annotations"]["summary"] for alert in arrived())


def test_the_command_runs_until_it_is_interrupted(tmp_path: Path) -> None:
    programs = tmp_path / "bin"  # without a container engine
    programs.mkdir()
    for name in ("prometheus", "alertmanager", "prometheus-alertmanager"):
        if found := shutil.which(name):
            (programs / name).symlink_to(found)
    ports = {"PROMETHEUS_PORT": free_port(), "ALERTMANAGER_PORT": free_port()}
    environment = {
        **os.environ,
        **{name: str(port) for name, port in ports.items()},
        "PATH": str(programs),
        "RECEIPTS_DIR": str(tmp_path / "build"),
        "RELEASES_DIR": str(tmp_path / "releases"),
    }
    command = [sys.executable, "-m", "infrastructure.cli", "monitor", "--port", str(free_port())]
    with subprocess.Popen(
        command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout
        lines = list(iter(process.stdout.readline, "  running   until Ctrl-C\n"))
        for port in ports.values():
            assert f"http://127.0.0.1:{port}" in "".join(lines)
            ready = httpx.get(f"http://127.0.0.1:{port}/-/ready")
            assert ready.status_code == 200
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
    for port in ports.values():
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"http://127.0.0.1:{port}/-/ready")
