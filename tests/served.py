"""The real chain in a temporary home, and its Bento as a running service."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
import pytest

from application.training.config import config_path
from shared.files import locked
from shared.paths import ROOT
from tests import petals
from tests.fakes import PETALS_CONFIG
from tests.warm import OFFLINE, warm_python

READY_SECONDS = 60.0
MODEL_HOME = "home-of-"
_MAKE_STATE = {"MAKEFLAGS", "MAKELEVEL", "MFLAGS", "MAKE_TERMOUT", "MAKE_TERMERR"}
MAKING_SECONDS = 600.0  # wait for another test process

MakeOnce = Callable[[str, Callable[[Path], None]], Path]


@dataclass(frozen=True)
class Home:
    """A separate place for everything that the chain writes.

    Attributes:
        folder: where the chain writes.
        root: the clone in which commands run.
        warm: whether commands run in processes that have imported everything already.
    """

    folder: Path
    root: Path = ROOT
    warm: bool = False

    @property
    def environment(self) -> dict[str, str]:
        """Environment variables that put everything here."""
        inherited = {key: value for key, value in os.environ.items() if key not in _MAKE_STATE}
        return {
            **inherited,
            # the project's packages come from `root`
            "PYTHONPATH": os.pathsep.join((str(OFFLINE), str(self.root))),
            "MLFLOW_TRACKING_URI": f"sqlite:///{self.folder / 'mlflow.db'}",
            "MODEL_REGISTRY_DIR": str(self.folder / "packages"),
            "BENTOML_HOME": str(self.folder / "bentoml"),
            "RECEIPTS_DIR": str(self.folder / "build"),
            "RELEASES_DIR": str(self.folder / "releases"),
            "LEDGER": str(self.folder / "ledger.jsonl"),
            "DATA_SNAPSHOTS": str(self.folder / "snapshots"),
        }

    @property
    def receipts(self) -> Path:
        """Folder of the receipts of petals."""
        return self.receipts_of(petals.SPEC.name)

    def receipts_of(self, model: str) -> Path:
        """Folder of the receipts of a model."""
        return self.folder / "build" / model

    def copy(self, folder: Path) -> Home:
        """A copy that a test may change."""
        shutil.copytree(self.folder, folder, symlinks=True, dirs_exist_ok=True)
        for path in (folder / "build").glob("*/*"):
            if path.suffix in (".json", ".inputs", ".files"):
                text, times = path.read_text(encoding="utf-8"), path.stat()
                path.write_text(text.replace(str(self.folder), str(folder)), encoding="utf-8")
                os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
        return Home(folder, self.root, self.warm)

    def run(self, *command: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command from the root of the clone."""
        return subprocess.run(
            command,
            cwd=self.root,
            env={**self.environment, **environment},
            capture_output=True,
            text=True,
            check=False,
        )

    def make(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run make."""
        return self.run("make", f"PY={self.interpreter}", *arguments, **environment)

    def python(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run Python."""
        return self.run(self.interpreter, *arguments)

    @property
    def interpreter(self) -> str:
        """The Python that runs commands."""
        return warm_python(self.root) if self.warm else sys.executable


MakeHome = Callable[[Path], Home]


def copy_clone(clone: Path) -> None:
    """Copy this repository without ignored files, link its .venv, and commit."""
    listed = ("git", "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = subprocess.run(listed, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    for name in filter(None, names.split("\0")):
        if (ROOT / name).exists():
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, clone / name)
    (clone / ".venv").mkdir()
    for part in (ROOT / ".venv").iterdir():
        (clone / ".venv" / part.name).symlink_to(part)
    for installed in (".core", ".dev"):  # or make would install into the shared environment
        (clone / ".venv" / installed).unlink(missing_ok=True)
        (clone / ".venv" / installed).touch()
    subprocess.run(("git", "init", "-q"), cwd=clone, check=True)
    commit_all(clone, "copy")


def commit_all(clone: Path, message: str) -> str:
    """Commit every change; returns the commit."""
    user = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    subprocess.run(("git", "add", "-A"), cwd=clone, check=True)
    subprocess.run(("git", *user, "commit", "-qm", message), cwd=clone, check=True)
    found = subprocess.run(
        ("git", "rev-parse", "HEAD"), cwd=clone, check=True, capture_output=True, text=True
    )
    return found.stdout.strip()


def copy_with_petals(clone: Path) -> None:
    """Copy this repository, add the model of the tests, and commit."""
    copy_clone(clone)
    add_petals(clone)
    commit_all(clone, "petals")


def add_petals(clone: Path) -> None:
    """Add the model of the tests to a clone, and make it the default."""
    configs = clone / "application/training/configs"
    configs.mkdir(exist_ok=True)  # git keeps no empty folder
    shutil.copy(petals.__file__, clone / "domain/models")
    shutil.copy(PETALS_CONFIG, configs)
    makefile = clone / "Makefile"
    text = makefile.read_text(encoding="utf-8")
    changed = re.sub("^MODEL := .*", "MODEL := petals", text, flags=re.MULTILINE)
    makefile.write_text(changed, encoding="utf-8")


def free_port() -> int:
    """An unused port."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def serve(bento: Path, home: Path, workers: int, **environment: str) -> Iterator[str]:
    """Serve an exported Bento until the block ends; yields its URL once it is ready."""
    home.mkdir(parents=True, exist_ok=True)
    process, url = _start(bento, home, workers, environment)
    try:
        yield url
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _start(
    bento: Path, home: Path, workers: int, environment: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], str]:
    """Start a service, wait until it is ready, and return it with its URL.

    BentoML looks for free ports and binds them later; if another process was faster, it is started
    again.
    """
    log = home / "service.log"
    for _ in range(3):
        port = free_port()
        with log.open("wb") as output:
            process = subprocess.Popen(  # pylint: disable=consider-using-with  # ended by `serve`
                [
                    *(sys.executable, "-m", "bentoml", "serve", "."),
                    *("--working-dir", os.path.relpath(bento, home)),
                    *("--host", "127.0.0.1", "--port", str(port)),
                ],
                cwd=home,
                env=_serving_environment(home, workers, environment),
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        url = f"http://127.0.0.1:{port}"
        try:
            wait_until_ready(url, process, log)
        except BaseException:  # pylint: disable=broad-exception-caught  # as a failed test is
            if process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.wait(30)
            if b"Address already in use" not in log.read_bytes():
                raise
        else:
            return process, url
    raise AssertionError(f"no free port was found:\n{log.read_text(errors='replace')[-4000:]}")


def _serving_environment(
    home: Path, workers: int, environment: Mapping[str, str]
) -> dict[str, str]:
    """Environment of an exported Bento, without the clone."""
    return {
        **os.environ,
        "PYTHONPATH": str(OFFLINE),
        "BENTOML_HOME": str(home),
        "PREDICTION_LOG_URL": f"sqlite:///{home / 'predictions.db'}",
        "WORKERS": str(workers),
        "BENTOML_DO_NOT_TRACK": "True",
        **environment,
    }


def wait_until_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the service is ready, or fail with its log."""
    deadline = time.monotonic() + READY_SECONDS
    with httpx.Client(base_url=url) as client:
        while time.monotonic() < deadline and process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if client.get("/readyz").status_code == 200:
                    return
            time.sleep(0.05)
    pytest.fail(f"the service did not become ready:\n{log.read_text(errors='replace')[-4000:]}")


@pytest.fixture(scope="session", name="make_once")
def fixture_make_once(tmp_path_factory: pytest.TempPathFactory) -> MakeOnce:
    """Makes a folder that is shared by all test processes of this run."""
    base = tmp_path_factory.getbasetemp()
    shared = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "shared"

    def make_once(name: str, make: Callable[[Path], None]) -> Path:
        folder, outcome = shared / name, shared / f"{name}.outcome"
        with locked(shared / f"{name}.lock", MAKING_SECONDS):
            if not outcome.exists():
                folder.mkdir()
                try:
                    make(folder)
                except BaseException as error:
                    outcome.write_text(f"{name} could not be made: {error}", encoding="utf-8")
                    raise
                outcome.touch()
        if failure := outcome.read_text(encoding="utf-8"):
            pytest.fail(failure)
        return folder

    return make_once


@pytest.fixture(scope="session", name="make_home")
def fixture_make_home(make_once: MakeOnce) -> MakeHome:
    """Makes homes for a clone whose default model is petals."""
    return lambda folder: Home(folder, make_once("clone", copy_with_petals), warm=True)


@pytest.fixture(scope="session", name="get_home")
def fixture_get_home(make_once: MakeOnce, make_home: MakeHome) -> Callable[[str], Home]:
    """Homes in which a model has a Bento; tests must not change them. Other models than petals skip
    cross-validation, which is slow and changes no verdict."""

    def make(folder: Path) -> None:
        model, chosen = folder.name.removeprefix(MODEL_HOME), ()
        if model != "petals":
            config = json.loads(config_path(model).read_text(encoding="utf-8"))
            config["validation"]["folds"] = 0
            (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
            chosen = (f"CONFIG={folder / 'config.json'}",)
        done = make_home(folder).make("bento-build", f"MODEL={model}", *chosen)
        assert done.returncode == 0, done.stdout + done.stderr

    return lambda model: make_home(make_once(f"{MODEL_HOME}{model}", make))


@pytest.fixture(scope="session", name="home")
def fixture_home(get_home: Callable[[str], Home]) -> Home:
    """The home of petals; tests must not change it."""
    return get_home("petals")


@pytest.fixture(scope="session", name="candidate_home")
def fixture_candidate_home(home: Home, make_once: MakeOnce) -> Home:
    """The home of petals with a second, unvalidated version; tests must not change it."""

    def make(folder: Path) -> None:
        done = home.copy(folder).make("-B", "train")
        assert done.returncode == 0, done.stdout + done.stderr

    return replace(home, folder=make_once("candidate", make))


@pytest.fixture(scope="session", name="second_home")
def fixture_second_home(candidate_home: Home, make_once: MakeOnce) -> Home:
    """The home of petals whose second version is champion and Bento; tests must not change it."""

    def make(folder: Path) -> None:
        done = candidate_home.copy(folder).make("bento-build")
        assert done.returncode == 0, done.stdout + done.stderr

    return replace(candidate_home, folder=make_once("second", make))


@pytest.fixture(scope="session", name="exported_bento")
def fixture_exported_bento(request: pytest.FixtureRequest) -> Path:
    """The exported Bento: the one that BENTO names, or that of petals."""
    if named := os.environ.get("BENTO"):
        return Path(named).resolve()
    made: Home = request.getfixturevalue("home")
    return made.receipts / "bento"


@pytest.fixture(scope="session", name="service_url")
def fixture_service_url(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[str]:
    """URL of a running service: SERVICE_URL, or the Bento with two workers."""
    if named := os.environ.get("SERVICE_URL"):
        yield named.rstrip("/")
        return
    bento: Path = request.getfixturevalue("exported_bento")
    with serve(bento, tmp_path_factory.mktemp("service"), workers=2) as url:
        yield url


@pytest.fixture(name="client")
def fixture_client(service_url: str) -> Iterator[httpx.Client]:
    """A client of the running service, whose requests are marked as synthetic."""
    mark = {"X-Synthetic": "test"}
    with httpx.Client(base_url=service_url, timeout=30, headers=mark) as made:
        yield made


@pytest.fixture(name="traffic")
def fixture_traffic(service_url: str) -> Iterator[httpx.Client]:
    """A client whose requests count as traffic."""
    with httpx.Client(base_url=service_url, timeout=30) as made:
        yield made
