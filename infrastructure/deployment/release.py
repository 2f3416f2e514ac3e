"""A release as recorded in its environment's state files, and the processes that belong to it."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import psutil
from pydantic import TypeAdapter, ValidationError

from domain.errors import DeploymentError
from infrastructure.deployment.variables import LOG
from shared.files import write_atomically

STOP_SECONDS = 20.0
STATES = ("current.json", "previous.json", "front.json")
FRONT = "infrastructure.deployment.front"
WORKER = "_bentoml_impl.worker.service"


class DamagedStateError(DeploymentError):
    """A state file is empty or malformed, so that the release it named is unknown."""


@dataclass(frozen=True)
class Release:
    """A release as its environment's state file records it.

    Attributes:
        api_key: key for the golden requests; empty if the release needs none.
        variables: the SERVING_* variables and PREDICTION_LOG_URL that it was started with; None
            if an older version of this project did not record them.
        canary: the release that gets a share of its traffic, if there is one.
        introduced: whether the front begins each connection with the address of its client.
    """

    version: str
    bento_tag: str
    folder: str
    port: int
    workers: int
    pid: int
    started: float
    api_key: str = ""
    variables: dict[str, str] | None = None
    canary: Canary | None = None
    introduced: bool = False

    @property
    def bento(self) -> Path:
        """The exported Bento that it serves."""
        return Path(self.folder) / "bento"

    @property
    def model(self) -> str:
        """Registered name of the model that it serves."""
        return self.bento_tag.partition(":")[0]

    @property
    def variables_on_record(self) -> dict[str, str] | None:
        """Its variables; empty if they were not recorded but the release has no API key."""
        return self.variables if self.variables is not None or self.api_key else {}

    def process(self) -> psutil.Process | None:
        """Its process, or None if it has ended (a reused pid has a different start time)."""
        return find_process(self.pid, self.started)

    def processes(self) -> list[psutil.Process]:
        """The running processes of this release and its canary."""
        releases = (self, self.canary.release) if self.canary else (self,)
        return [process for release in releases if (process := release.process())]


@dataclass(frozen=True)
class Canary:
    """A release that gets a share of the current one's traffic.

    Attributes:
        share: in percent of the connections, or of the callers if `header` is set.
        header: the header of a request that identifies its caller.
    """

    release: Release
    share: int
    header: str = ""

    @property
    def share_text(self) -> str:
        """What it gets, such as ``10 % of connections``."""
        return f"{self.share} % of " + (
            f"callers by {self.header}" if self.header else "connections"
        )


@dataclass(frozen=True)
class Front:
    """The front of an environment: its process, its public port, and the environment's folder."""

    pid: int
    started: float
    port: int
    folder: str = ""

    def process(self) -> psutil.Process | None:
        """Its process, or None if it has ended."""
        return find_process(self.pid, self.started)


_RELEASE, _FRONT = TypeAdapter(Release), TypeAdapter(Front)


def read_release(path: Path) -> Release | None:
    """The release that a state file names, with its folder next to the file.

    None if there is no such file, or if it was copied here from another clone, whose processes it
    names.

    Raises:
        DamagedStateError: the file is empty or malformed.
    """
    release = _load_state(path)
    if release is None or _is_same_folder(_environment_of(release), path.parent):
        return release
    if _environment_of(release).exists():
        return None
    return _relocated(release, path.parent / "releases")


def _relocated(release: Release, releases: Path) -> Release:
    """A release whose environment was moved."""
    canary = release.canary
    if canary:
        canary = replace(canary, release=_relocated(canary.release, releases))
    return replace(release, folder=str(releases / Path(release.folder).name), canary=canary)


def copied_from(path: Path) -> Path | None:
    """The folder of the environment that a state file was copied from; None if it was not copied.

    Raises:
        DamagedStateError: the file is empty or malformed.
    """
    release = _load_state(path)
    if release is None or _is_same_folder(_environment_of(release), path.parent):
        return None
    return _environment_of(release) if _environment_of(release).exists() else None


def moved_from(folder: Path) -> Path | None:
    """The folder of an environment before it was moved; None if it was not moved.

    It was moved if its front or release was started in a folder that no longer exists; after a
    copy, that folder still exists.
    """
    origins = []
    with suppress(OSError, ValidationError):
        origins.append(Path(_FRONT.validate_json((folder / "front.json").read_bytes()).folder))
    with suppress(DamagedStateError):
        if release := _load_state(folder / "current.json"):
            origins.append(_environment_of(release))
    return next((origin for origin in origins if not origin.exists()), None)


def adopt_states(folder: Path) -> None:
    """Let the state files of an environment from another machine be those of this folder.

    Nothing of it runs here. A prediction log in another file there is the one in this folder.
    """
    for path in (folder / name for name in STATES if (folder / name).exists()):
        if path.name == "front.json":
            with suppress(OSError, ValidationError):
                front = _FRONT.validate_json(path.read_bytes())
                adopted = replace(front, pid=0, folder=str(folder))
                write_atomically(path, json.dumps(asdict(adopted)))
            continue
        with suppress(DamagedStateError):
            if release := _load_state(path):
                write_release(path, _adopted(_relocated(release, folder / "releases")))


def _adopted(release: Release) -> Release:
    variables, canary = release.variables, release.canary
    if variables and variables.get(LOG, "").startswith("sqlite:"):
        variables = {k: value for k, value in variables.items() if k != LOG}
    if canary:
        canary = replace(canary, release=_adopted(canary.release))
    return replace(release, pid=0, variables=variables, canary=canary)


def _load_state(path: Path) -> Release | None:
    try:
        return _RELEASE.validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError) as error:
        name = path.parent.name
        raise DamagedStateError(
            f"{path} is damaged: run make deploy ENV={name} to replace it, or make stop ENV={name} "
            "to end what runs there"
        ) from error


def write_release(path: Path, release: Release) -> None:
    """Write a state file, readable only by its owner because it may hold a key."""
    write_atomically(path, json.dumps(asdict(release), indent=2) + "\n", private=True)


def find_front(folder: Path) -> Front | None:
    """The running front of an environment, by its state file, else by its command line.

    After the environment was moved, the front still has the old folder, where it no longer finds
    the release.
    """
    front = _recorded_front(folder)
    if front and front.process():
        return front
    places = {str(place / "current.json"): place for place in (folder, moved_from(folder)) if place}
    for process, command in _commands():
        if FRONT in command and (place := places.get(_option(command, "--state") or "")):
            port = int(_option(command, "--port") or 0)
            return Front(process.pid, process.create_time(), port, str(place))
    return None


def public_port(folder: Path) -> int | None:
    """The port of an environment's front, even if the front ended without being stopped."""
    front = find_front(folder) or _recorded_front(folder)
    return front.port if front else None


def _recorded_front(folder: Path) -> Front | None:
    """The front that the state file names, unless the file was copied here from another clone."""
    try:
        front = _FRONT.validate_json((folder / "front.json").read_bytes())
    except (OSError, ValidationError):
        return None
    if not front.folder:
        return None
    is_copy = not _is_same_folder(Path(front.folder), folder) and Path(front.folder).exists()
    return None if is_copy else front


def serving_below(folder: Path) -> Iterator[psutil.Process]:
    """The processes that serve a Bento below a folder, even if no state file names them.

    They are the supervisors of releases, and workers that outlived a killed supervisor.
    """
    for process, command in _commands():
        for module, before in (("bentoml", "serve"), (WORKER, WORKER)):
            if module in command and folder in Path(_option(command, before) or "/").parents:
                yield process


def find_process(pid: int, started: float) -> psutil.Process | None:
    """The process with this pid and start time, or None if it has ended."""
    try:
        process = psutil.Process(pid)
        return process if process.create_time() == started and _is_alive(process) else None
    except psutil.NoSuchProcess:
        return None


def _is_alive(process: psutil.Process) -> bool:
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def stop_process(process: psutil.Process | None) -> bool:
    """Terminate a process and its children; kill those that do not end in time.

    Returns:
        Whether there was a process to stop.
    """
    if process is None:
        return False
    try:
        family = [process, *process.children(recursive=True)]
        process.terminate()
    except psutil.NoSuchProcess:
        return False
    for survivor in wait_for_end(family):
        with suppress(psutil.NoSuchProcess):
            survivor.kill()
    wait_for_end(family)
    return True


def wait_for_end(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Wait until processes have ended; returns those that have not after STOP_SECONDS.

    One that its parent has not asked for its exit code has ended.
    """
    left, deadline = list(processes), time.monotonic() + STOP_SECONDS
    while left and time.monotonic() < deadline:
        _, left = psutil.wait_procs(left, 0.02)
        left = [each for each in left if _is_alive(each)]
    return left


def _environment_of(release: Release) -> Path:
    """The folder of its environment, which has the release's own folder in `releases`."""
    return Path(release.folder).parent.parent


def _is_same_folder(one: Path, other: Path) -> bool:
    return one.resolve() == other.resolve()


def _commands() -> Iterator[tuple[psutil.Process, list[str]]]:
    """The processes that this user may inspect, with their command lines."""
    for process in psutil.process_iter():
        try:
            yield process, process.cmdline()
        except psutil.Error:
            continue


def _option(command: list[str], name: str) -> str | None:
    """The argument that follows an option in a command line."""
    at = command.index(name) + 1 if name in command else len(command)
    return command[at] if at < len(command) else None
