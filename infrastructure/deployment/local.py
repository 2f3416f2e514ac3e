"""Roll a Bento out on this machine: `python -m infrastructure.deployment.local --help`.

An environment has a front on its public port and one release behind it. A new release starts beside
the old one, must be ready and answer its golden requests right, and only then takes the traffic.
"""

from __future__ import annotations

import argparse
import hashlib
import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import psutil

from application.inference.api_keys import entry_of, new_key
from application.inference.predictor import check_golden
from domain.errors import DeploymentError, MlopsError, PackageError
from domain.models.contract import ModelSpec
from infrastructure.compute.receipts import write_receipt
from infrastructure.registry.ledger import FileLedger
from shared.commands import entry_point, port_number
from shared.console import show_step
from shared.files import write_atomically
from shared.settings import Settings

READY_SECONDS = 60.0
HEARING_SECONDS = 300  # for half a minute of speech, on a slow machine
STOP_SECONDS = 20.0
RUNNER_ID = "RUNNER_TRACKING_ID"  # a GitHub runner ends every process that has it after its job


@dataclass(frozen=True)
class Release:
    """One running release, as its environment's state file keeps it.

    Attributes:
        api_key: with which it is asked whether it answers right; empty where it asks for none.
        settings: digest of the SERVING_* variables that it was started with.
    """

    version: str
    bento_tag: str
    folder: str
    port: int
    workers: int
    pid: int
    started: float
    api_key: str = ""
    settings: str = ""

    @property
    def bento(self) -> Path:
        """The exported Bento that it serves."""
        return Path(self.folder) / "bento"

    def process(self) -> psutil.Process | None:
        """Its process, unless it has ended (a reused pid has another start time)."""
        return _find_process(self.pid, self.started)


@dataclass(frozen=True)
class Golden:
    """Requests with the answers recorded in training.

    Attributes:
        rows: rows as requests have them.
        answers: of shape (n_rows, n_answers), by the contract's `answer_names`.
        recording: what is sent in place of rows to a transcriber.
    """

    spec: ModelSpec
    rows: Sequence[Sequence[Any]]
    answers: Sequence[Sequence[float]]
    recording: Path | None = None

    @property
    def request(self) -> tuple[str, bytes, str]:
        """Path, body and content type of the request."""
        if self.recording:
            return "/transcribe", self.recording.read_bytes(), "audio/flac"
        return "/predict", json.dumps(list(self.rows)).encode(), "application/json"


class LocalEnvironment:
    """An environment (staging, production) on this machine.

    Args:
        folder: where its state, logs and releases lie.
        port: its public port on 127.0.0.1.
        patience: seconds that a release may take to become ready.
    """

    def __init__(self, folder: Path, port: int, patience: float = READY_SECONDS) -> None:
        self._folder = folder
        self._port = port
        self._patience = patience
        self._current = folder / "current.json"
        self._previous = folder / "previous.json"
        self._front = folder / "front.json"

    def current(self) -> Release | None:
        """The release that takes the traffic."""
        return _read_release(self._current)

    def deploy(
        self, bento: Path, version: str, bento_tag: str, workers: int, log_url: str
    ) -> Release:
        """Roll an exported Bento out; the former release serves until the new one has proven right.

        Raises:
            DeploymentError: the new release failed; it was stopped, the former one serves on.
        """
        self._folder.mkdir(parents=True, exist_ok=True)
        old = self.current()
        self._check_public_port()
        golden = golden_of(bento)
        serving = old and old.process() and self._front_process()
        alike = old and (old.workers, old.settings) == (workers, _settings_digest())
        if old and serving and alike and _same_bento(old.bento, bento):
            check_answers(self._port, golden, version, old.api_key)
            show_step("unchanged", f"{bento_tag} serves already, and answers right")
            return old
        place = self._folder / "releases" / f"{version}-{int(time.time())}"
        shutil.copytree(bento, place / "bento")
        show_step("start", f"{bento_tag} beside {old.bento_tag if old else 'nothing'}")
        release = _start(place, version, bento_tag, workers, log_url)
        try:
            _wait_until_ready(release, self._patience)
            check_answers(release.port, golden, version, release.api_key)
            show_step("ready", "golden requests answered right")
            self._switch(release)
            check_answers(self._port, golden, version, release.api_key)
        except BaseException:
            if old and old.process():
                _write_release(self._current, old)
            elif self._current.exists():
                self._current.unlink()
                self._stop_front()
            _stop(release.process())
            raise
        show_step("switched", f"http://127.0.0.1:{self._port} is answered by {version}")
        if old:
            _write_release(self._previous, old)
            _stop(old.process())
            show_step("stopped", old.bento_tag)
        self._forget_releases({place, Path(old.folder) if old else place})
        return release

    def rollback(self, workers: int, log_url: str) -> Release:
        """Roll the former release out again.

        Raises:
            DeploymentError: there is none, or it failed.
        """
        former = _read_release(self._previous)
        if former is None:
            raise DeploymentError("there is no former release to go back to")
        return self.deploy(former.bento, former.version, former.bento_tag, workers, log_url)

    def smoke(self) -> str:
        """Ask the public port for golden predictions; the version that answered.

        Raises:
            DeploymentError: nothing is deployed, or an answer is wrong.
        """
        release = self.current()
        if release is None:
            raise DeploymentError("nothing is deployed here")
        golden = golden_of(release.bento)
        check_answers(self._port, golden, release.version, release.api_key)
        return release.version

    def stop(self) -> bool:
        """Stop front and release; whether there was anything to stop."""
        release = self.current()
        running = self._stop_front()
        if release:
            running = _stop(release.process()) or running
            _write_release(self._previous, release)
            self._current.unlink()
        return running

    def _switch(self, release: Release) -> None:
        _write_release(self._current, release)
        if self._front_process():
            return
        process = subprocess.Popen(  # pylint: disable=consider-using-with  # outlives this process
            [
                *(sys.executable, "-m", "infrastructure.deployment.front"),
                *("--port", str(self._port), "--state", str(self._current)),
            ],
            env=_inherited(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self._folder / "front.log").open("ab"),
            start_new_session=True,
        )
        started = psutil.Process(process.pid).create_time()
        write_receipt(self._front, pid=process.pid, started=started, port=self._port)
        deadline = time.monotonic() + READY_SECONDS
        while not _listens(self._port):
            if process.poll() is not None or time.monotonic() > deadline:
                raise DeploymentError(f"the front did not start: see {self._folder / 'front.log'}")
            time.sleep(0.02)

    def _check_public_port(self) -> None:
        front = self._front_process()
        if front is None and _listens(self._port):
            raise DeploymentError(
                f"port {self._port} is taken by something else: stop it, or choose another PORT"
            )
        if front and json.loads(self._front.read_text(encoding="utf-8"))["port"] != self._port:
            raise DeploymentError(
                "this environment serves on another port: deploy with that PORT, or stop it first"
            )

    def _front_process(self) -> psutil.Process | None:
        if not self._front.exists():
            return None
        state = json.loads(self._front.read_text(encoding="utf-8"))
        return _find_process(state["pid"], state["started"])

    def _stop_front(self) -> bool:
        stopped = _stop(self._front_process())
        self._front.unlink(missing_ok=True)
        return stopped

    def _forget_releases(self, kept: set[Path]) -> None:
        for place in (self._folder / "releases").iterdir():
            if place not in kept:
                shutil.rmtree(place)


def deployed_in(folder: Path) -> Iterator[tuple[str, Release, bool]]:
    """Every release that an environment serves or would go back to.

    Args:
        folder: where the environments lie.

    Returns:
        The environment's name, the release, and whether it is the one that takes the traffic.
    """
    for path in sorted((*folder.glob("*/current.json"), *folder.glob("*/previous.json"))):
        release = _read_release(path)
        if release:
            yield path.parent.name, release, path.name == "current.json"


def _same_bento(one: Path, other: Path) -> bool:
    """Whether two exported Bentos come from one build: its time stands in the description."""
    return (one / "bento.yaml").read_bytes() == (other / "bento.yaml").read_bytes()


def golden_of(bento: Path) -> Golden:
    """The golden requests of the one model in an exported Bento.

    Raises:
        DeploymentError: the Bento was built by an older version of this project.
    """
    packages = [path.parent for path in bento.glob("models/*/*/golden.json")]
    if len(packages) != 1:
        raise DeploymentError(f"{bento} is no Bento of one model: run make bento-build")
    (package,) = packages
    recorded = json.loads((package / "golden.json").read_text(encoding="utf-8"))
    contract = json.loads((package / "contract.json").read_text(encoding="utf-8"))
    try:
        spec, rows = ModelSpec.from_dict(contract), recorded["rows"]
        recording = package / rows[0][0] if spec.task == "transcription" else None
        return Golden(spec, rows, recorded["answers"], recording)
    except KeyError as error:
        raise DeploymentError(
            f"{bento} was built by an older version of this project: train and build it again"
        ) from error


def check_answers(port: int, golden: Golden, version: str, api_key: str = "") -> None:
    """Send the golden requests to a port and compare the answers.

    A transcriber has heard its golden recording again before it became ready, to the word; here it
    must answer at all.

    Raises:
        DeploymentError: no answer, a wrong one, or one of another version.
    """
    path, sent, kind = golden.request
    patience = HEARING_SECONDS if golden.recording else 10
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=patience)
    try:
        headers = {"Content-Type": kind, "X-API-Key": api_key}
        connection.request("POST", path, sent, headers)
        response = connection.getresponse()
        body = response.read()
    except OSError as error:
        raise DeploymentError(f"port {port} does not answer: {error}") from error
    finally:
        connection.close()
    if response.status != 200:
        raise DeploymentError(f"port {port} answers {response.status}: {body[:300]!r}")
    try:
        answer = json.loads(body)
        answered_by = answer["version"]
        predictions = [] if golden.recording else answer["predictions"]
        given = [_answer_of(item, golden.spec) for item in predictions]
    except (ValueError, KeyError, TypeError) as error:
        raise DeploymentError(f"port {port} answers in another form: {body[:300]!r}") from error
    if answered_by != version:
        raise DeploymentError(f"port {port} is answered by {answered_by}, not {version}")
    if golden.recording:
        return
    try:
        check_golden(golden.spec, given, golden.answers)
    except PackageError as error:
        raise DeploymentError(f"port {port}: {error}") from error


def _answer_of(prediction: Any, spec: ModelSpec) -> list[float]:
    """One row's answer, by the contract's `answer_names`."""
    figures = prediction["probabilities"] if spec.classes else prediction
    return [float(figures[name]) for name in spec.answer_names]


def _start(place: Path, version: str, bento_tag: str, workers: int, log_url: str) -> Release:
    home = place / "home"
    home.mkdir()
    port = _free_port()
    environment = {
        **_inherited(),
        "BENTOML_HOME": str(home),  # its own metrics: two releases must not add theirs up
        "PREDICTION_LOG_URL": log_url,
        "WORKERS": str(workers),
    }
    key, keys = "", os.environ.get("SERVING_API_KEYS", "")
    if keys.strip():
        key = new_key()
        environment["SERVING_API_KEYS"] = f"{keys} {entry_of('deployment', key)}"
    process = subprocess.Popen(  # pylint: disable=consider-using-with  # outlives this process
        [
            *(sys.executable, "-m", "bentoml", "serve", str(place / "bento")),
            *("--host", "127.0.0.1", "--port", str(port)),
        ],
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=(place / "service.log").open("ab"),
        stderr=subprocess.STDOUT,
        start_new_session=True,
    )
    started = psutil.Process(process.pid).create_time()
    return Release(
        *(version, bento_tag, str(place), port, workers, process.pid, started),
        api_key=key,
        settings=_settings_digest(),
    )


def _settings_digest() -> str:
    told = sorted(item for item in os.environ.items() if item[0].startswith("SERVING_"))
    return hashlib.sha256(json.dumps(told).encode()).hexdigest()


def _inherited() -> dict[str, str]:
    return {key: value for key, value in os.environ.items() if key != RUNNER_ID}


def _wait_until_ready(release: Release, patience: float) -> None:
    log = Path(release.folder) / "service.log"
    deadline = time.monotonic() + patience
    while time.monotonic() < deadline:
        if release.process() is None:
            raise DeploymentError(f"{release.bento_tag} ended while starting: see {log}")
        connection = http.client.HTTPConnection("127.0.0.1", release.port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            if response.status == 200:
                return
            told = response.read()
            if b'"status":"failed"' in told:
                raise DeploymentError(
                    f"{release.bento_tag}: {json.loads(told)['error']}: see {log}"
                )
        except (OSError, http.client.HTTPException):
            pass
        finally:
            connection.close()
        time.sleep(0.1)
    raise DeploymentError(f"{release.bento_tag} was not ready in {patience:g} s: see {log}")


def _find_process(pid: int, started: float) -> psutil.Process | None:
    try:
        process = psutil.Process(pid)
        alive = process.create_time() == started and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return None
    return process if alive else None


def _stop(process: psutil.Process | None) -> bool:
    """End a process and its children, kindly first; whether there was one."""
    if process is None:
        return False
    family = [process, *process.children(recursive=True)]
    process.terminate()
    _, left = psutil.wait_procs(family, STOP_SECONDS)
    for survivor in left:
        survivor.kill()
    psutil.wait_procs(left, STOP_SECONDS)
    return True


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _read_release(path: Path) -> Release | None:
    if not path.exists():
        return None
    return Release(**json.loads(path.read_text(encoding="utf-8")))


def _write_release(path: Path, release: Release) -> None:
    content = json.dumps(asdict(release), indent=2) + "\n"
    write_atomically(path, content, private=True)  # it may hold a key


@entry_point(MlopsError)
def main(arguments: list[str] | None = None) -> int:
    """Deploy, roll back, smoke-test, show or stop; 0 when that is done."""
    parser = argparse.ArgumentParser(description="Releases on this machine.")
    parser.add_argument("action", choices=("deploy", "rollback", "smoke", "status", "stop"))
    parser.add_argument("--env", default="staging", help="staging or production (%(default)s)")
    parser.add_argument("--port", type=port_number, default=3000, help="public port (%(default)s)")
    parser.add_argument("--workers", type=int, default=1, help="workers (%(default)s)")
    parser.add_argument(
        "--patience", type=float, default=READY_SECONDS, help="seconds to get ready (%(default)g)"
    )
    parser.add_argument("--bento", type=Path, help="receipt of bento-build, for deploy")
    parser.add_argument("--receipt", type=Path, help="write a receipt to this file")
    options = parser.parse_args(arguments)
    _act(options)
    return 0


def _act(options: argparse.Namespace) -> None:
    settings = Settings()
    folder = settings.releases_dir / options.env
    environment = LocalEnvironment(folder, options.port, options.patience)
    log_url = settings.prediction_log_url or f"sqlite:///{folder / 'predictions.db'}"
    match options.action:
        case "deploy":
            if options.bento is None:
                raise DeploymentError("name the receipt of bento-build with --bento")
            built = json.loads(options.bento.read_text(encoding="utf-8"))
            bento = options.bento.parent / "bento"
            with _entered(options, settings.ledger, environment):
                release = environment.deploy(
                    bento, built["version"], built["bento_tag"], options.workers, log_url
                )
        case "rollback":
            with _entered(options, settings.ledger, environment):
                release = environment.rollback(options.workers, log_url)
        case "smoke":
            show_step("smoke", f"{options.env} answers right, version {environment.smoke()}")
            return
        case "status":
            _show_status(settings.releases_dir)
            return
        case _:
            with _entered(options, settings.ledger, environment):
                stopped = environment.stop()
            show_step("stopped" if stopped else "nothing", f"in {options.env}")
            return
    if options.receipt:
        write_receipt(options.receipt, env=options.env, **asdict(replace(release, api_key="")))


@contextmanager
def _entered(
    options: argparse.Namespace, ledger: Path, environment: LocalEnvironment
) -> Iterator[None]:
    """Enter into the ledger what becomes of the environment, failed or not; nothing where it stays
    as it was."""
    before = environment.current()
    try:
        yield
    finally:
        after = environment.current()
        changed = after or before
        if changed and after != before:
            FileLedger(ledger).append(
                options.action if after else "stop",
                changed.bento_tag.partition(":")[0],
                changed.version,
                env=options.env,
                port=options.port if after else None,
                bento_tag=changed.bento_tag,
            )


def _show_status(releases: Path) -> None:
    environments = sorted(path.parent for path in releases.glob("*/current.json"))
    if not environments:
        show_step("nothing", "is deployed on this machine")
    for folder in environments:
        release = _read_release(folder / "current.json")
        if release is None:
            continue
        front = folder / "front.json"
        port = json.loads(front.read_text(encoding="utf-8"))["port"] if front.exists() else None
        state = "running" if release.process() and port else "DEAD"
        since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(release.started))
        show_step(
            folder.name,
            f"{state}, version {release.version}, http://127.0.0.1:{port}, since {since}",
        )


if __name__ == "__main__":
    sys.exit(main())
