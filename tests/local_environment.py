"""Environments on this machine whose releases run a small service in place of BentoML."""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from threading import Event
from typing import Any

import psutil

from domain.contract import Classes, ModelSpec, Number
from infrastructure.deployment.local import Build, LocalEnvironment
from infrastructure.deployment.release import Canary, Front, Release
from infrastructure.registry.ledger import FileLedger

SPEC = ModelSpec("iris", (Number("petal_length", "cm", 0, 30),), Classes(("setosa", "virginica")))
ROWS, PREDICTIONS = [[1.4], [5.2]], [[0.9, 0.1], [0.2, 0.8]]


def release_of(process: psutil.Process | subprocess.Popen[bytes], **more: Any) -> Release:
    """A release that is this process."""
    started = psutil.Process(process.pid).create_time()
    return Release(
        **{
            **{"version": "1.0.0-a", "bento_tag": "iris:1.0.0-a", "folder": "nowhere"},
            **{"port": 1, "workers": 1, "pid": process.pid, "started": started},
            **more,
        }
    )


def write_state(folder: Path, release: Release, name: str = "current.json") -> Release:
    """Write an environment's state file, and return the release that it names."""
    folder.mkdir(parents=True, exist_ok=True)
    written = replace(release, folder=str(folder / "releases/1"))
    (folder / name).write_text(json.dumps(asdict(written)), encoding="utf-8")
    return written


def write_front(folder: Path, process: Release, port: int) -> None:
    """Write the state file of a front, which is this process."""
    front = Front(process.pid, process.started, port, str(folder))
    (folder / "front.json").write_text(json.dumps(asdict(front)), encoding="utf-8")


SERVICE = """
import json, os, signal, socket, sys, threading, time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from application.inference.api_keys import authoriser, ApiKeys
from application.inference.protocols.http import Refusal

authorise = authoriser(ApiKeys.parse(os.environ.get("SERVING_API_KEYS", "")), "")
response = (Path(sys.argv[sys.argv.index("serve") + 1]) / "response.json").read_bytes()
broken = b'"status":"failed"' in response
if response == b"never ready":
    time.sleep(60)
hangs, posts = b'"hangs"' in response, []  # with the second request
fails, failed = b'"fails"' in response, []  # with what is not synthetic
METRICS = '''# TYPE ml_prediction_duration_seconds histogram
ml_prediction_duration_seconds_bucket{le="0.1"} %d
ml_prediction_duration_seconds_count %d
# TYPE ml_prediction_errors_total counter
ml_prediction_errors_total{error_type="internal"} %d
ml_prediction_errors_total{error_type="log_overflow"} 100
ml_prediction_errors_total{error_type="invalid_input"} 2
'''


class Handler(BaseHTTPRequestHandler):
    def handle(self):
        if self.connection.recv(6, socket.MSG_PEEK) == b"PROXY ":  # sent by the front
            self.rfile.readline()
        super().handle()

    def do_GET(self):
        answered = len(posts) - len(failed)
        metrics = (METRICS % (answered, answered, len(failed))).encode()
        self.reply(*((503, response) if broken else (200, metrics)))

    def do_POST(self):
        posts.append(self.path)
        if hangs and len(posts) > 1:
            time.sleep(60)
        self.rfile.read(int(self.headers["Content-Length"]))
        if fails and "X-Synthetic" not in self.headers:
            failed.append(self.path)
            self.reply(500, b"")
            return
        try:
            if authorise:
                headers = {k.lower().encode(): v.encode() for k, v in self.headers.items()}
                authorise(headers, "POST", self.path)
            self.reply(200, response)
        except Refusal as refusal:
            self.reply(refusal.status, b"")

    def reply(self, status, body):
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = hangs  # other requests are answered before the process ends
    request_queue_size = 128


port = int(sys.argv[sys.argv.index("--port") + 1])
server = Server(("127.0.0.1", port), Handler)
signal.signal(signal.SIGTERM, lambda *_: threading.Thread(target=server.shutdown).start())
server.serve_forever(0.05)
server.server_close()
"""


# Runs a command, and kills itself at the first event of Python's own audit whose arguments contain
# a text: https://docs.python.org/3/library/audit_events.html
KILLED_AT = """
import os, signal, sys
from infrastructure.cli.__main__ import main

event, text, *command = sys.argv[1:]

def watch(name, arguments):
    if name == event and text in repr(arguments):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(watch)
sys.exit(main(command))
"""

STEPS = {  # of a deployment: an event, and a text in its arguments; PORT is the public port
    "before its process starts": ("subprocess.Popen", "bentoml"),
    "while it starts": ("http.client.connect", ""),
    "before the switch": ("os.rename", "current.json"),
    "after the switch": ("http.client.connect", "PORT"),
    "before the old one ends": ("os.kill", ", 15)"),
    "before old folders are removed": ("shutil.rmtree", "/releases/"),
}


def killed_at(step: str, port: int) -> list[str]:
    """Arguments of Python for a command, which follows, that is killed at a step."""
    event, text = STEPS[step]
    return ["-c", KILLED_AT, event, text.replace("PORT", str(port))]


@dataclass
class Machine:
    """An environment whose releases run `SERVICE`, and builds for it."""

    folder: Path
    port: int

    @property
    def environment(self) -> LocalEnvironment:
        """The environment, as another command would open it."""
        return LocalEnvironment(self.folder / "staging", self.port, 20)

    @property
    def state(self) -> Path:
        """The state file of the current release."""
        return self.folder / "staging/current.json"

    def build(self, version: str, model: str = "iris", served: str = "") -> Build:
        """An exported Bento.

        Args:
            served: the version in responses, if it differs.
        """
        bento = self.folder / "builds" / f"{model}-{version}-{served}" / "bento"
        package = bento / f"models/{model}/{version}"
        package.mkdir(parents=True)
        recorded = {"rows": ROWS, "answers": PREDICTIONS}
        (package / "golden.json").write_text(json.dumps(recorded), encoding="utf-8")
        (package / "contract.json").write_text(json.dumps(SPEC.to_dict()), encoding="utf-8")
        (package / "provenance.json").write_text('{"git_commit": "c0ffee"}', encoding="utf-8")
        (bento / "bento.yaml").write_text(f"{model} {version} {served}", encoding="utf-8")
        settings = bento / "src/shared/settings.py"
        settings.parent.mkdir(parents=True)
        settings.write_text("proxy_protocol: bool", encoding="utf-8")
        predictions = [{"probabilities": dict(zip(SPEC.classes, row))} for row in PREDICTIONS]
        response = {"predictions": predictions, "version": served or version}
        (bento / "response.json").write_text(json.dumps(response), encoding="utf-8")
        build = Build(bento, version, f"{model}:{version}")
        receipt = {"version": version, "bento_tag": build.bento_tag}
        (bento.parent / "bento-build.json").write_text(json.dumps(receipt), encoding="utf-8")
        return build

    def deploy(self, version: str, variables: Mapping[str, str] | None = None) -> Release:
        """Deploy a new build."""
        return self.environment.deploy(self.build(version), 1, variables or {})

    def canary(self, build: Build, share: int = 50, header: str = "") -> Canary:
        """Make a build the canary."""
        canary = self.environment.deploy_canary(build, 1, {}, share, header).canary
        assert canary is not None
        return canary

    def served_versions(self, requests: int = 40) -> set[str]:
        """The versions in the responses on the public port, each to a new connection."""
        url = f"http://127.0.0.1:{self.port}/predict"
        versions = set()
        for number in range(requests):
            request = urllib.request.Request(url, b"[[1]]", {"X-User": f"user {number}"})
            with urllib.request.urlopen(request) as response:
                versions.add(json.load(response)["version"])
        return versions

    def ledger(self) -> list[tuple[str, str, str | float | None]]:
        """Event, version and share of the ledger's entries."""
        entries = FileLedger(self.folder / "ledger.jsonl").entries()
        return [(entry.event, entry.version, entry.details.get("share")) for entry in entries]

    @contextmanager
    def traffic(self) -> Iterator[list[int]]:
        """Send requests all the time, two at once; yields the statuses of the responses.

        A request without a response has the status 0.
        """
        statuses: list[int] = []
        ended = Event()

        def send() -> None:
            while not ended.wait(0.01):
                try:
                    statuses.append(self.response_status())
                except OSError:
                    statuses.append(0)

        with ThreadPoolExecutor(2) as pool:
            senders = [pool.submit(send) for _ in range(2)]
            try:
                yield statuses
            finally:
                ended.set()
                for sender in senders:
                    sender.result()

    def response_status(self, key: str = "") -> int:
        """Send a request to the public port; returns the status of the response."""
        url, headers = f"http://127.0.0.1:{self.port}/predict", {"X-API-Key": key}
        request = urllib.request.Request(url, b"[[1]]", headers)
        try:
            with urllib.request.urlopen(request) as response:
                return int(response.status)
        except urllib.error.HTTPError as error:
            return error.code
