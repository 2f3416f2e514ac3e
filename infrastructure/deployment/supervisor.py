"""Starts again what has ended of an environment: its front, its release and its canary.

One process for each environment looks at the processes that the state files name. What ends soon
after its start waits longer before the next one. While a command changes the environment, which
locks it, nothing is started. The supervisor ends when nothing is deployed any more.
"""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import psutil
from pydantic import TypeAdapter, ValidationError

from domain.errors import DeploymentError
from infrastructure.compute.receipts import write_receipt
from infrastructure.deployment.processes import (
    READY_SECONDS,
    Process,
    free_port,
    last_line,
    launch_front,
    launch_release,
    launch_supervisor,
    wait_until_ready,
)
from infrastructure.deployment.release import (
    DamagedStateError,
    Release,
    find_front,
    find_process,
    public_port,
    read_release,
    serving_below,
    stop_process,
    wait_for_end,
    write_release,
)
from infrastructure.deployment.systemd import Unit
from shared.console import fail, prepare_streams, show_step
from shared.files import locked, write_atomically
from shared.wording import local_time

SUPERVISOR = "infrastructure.deployment.supervisor"
POLL_SECONDS = 0.5
LONGEST_DELAY = 60.0
FIRST_DELAY = 1.0  # doubled each time that a part ends soon again
STABLE_SECONDS = 60.0


@dataclass(frozen=True)
class Restarts:
    """How often a part of an environment was started again.

    Attributes:
        count: number of successful restarts.
        last: when the last one was tried, in seconds since the epoch.
        reason: why the part had ended, and why the last attempt failed, if it did.
        failed: number of attempts that have failed since the last successful one.
    """

    count: int
    last: float
    reason: str
    failed: int = 0

    @property
    def text(self) -> str:
        """What `make status` shows."""
        times = f"restarted {self.count} time{'s' if self.count > 1 else ''}, last"
        if self.failed:
            times = f"restart failed {self.failed} time{'s' if self.failed > 1 else ''}, last"
        return f"{times} {local_time(datetime.fromtimestamp(self.last, UTC))}: {self.reason}"


@dataclass(frozen=True)
class _Tried:
    """When a part was last started, and how long to wait before the next time, in seconds."""

    at: float
    delay: float


_RESTARTS = TypeAdapter(dict[str, Restarts])


class Supervisor:
    """Keeps an environment running.

    Args:
        folder: of the environment.
        patience: seconds to wait for a release to become ready.
        clock: monotonic time in seconds.
    """

    def __init__(
        self,
        folder: Path,
        patience: float = READY_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._folder, self._patience, self._clock = folder.absolute(), patience, clock
        self._current = self._folder / "current.json"
        self._children: dict[str, Process] = {}
        self._tried: dict[str, _Tried] = {}

    def run(self) -> None:
        """Look twice a second until nothing is deployed."""
        with locked(self._folder / "supervisor.lock", READY_SECONDS):
            me = psutil.Process()
            write_receipt(
                self._folder / "supervisor.json",
                pid=me.pid,
                started=me.create_time(),
                folder=str(self._folder),
            )
            while not self._is_over():
                try:
                    self.look()
                except (OSError, psutil.Error) as error:  # such as a full disk
                    show_step("failed", f"{error}")
                time.sleep(POLL_SECONDS)

    def look(self) -> None:
        """Start again what has ended, unless a command is changing the environment."""
        for child in self._children.values():
            child.poll()  # or it would remain a zombie
        if not any(self._is_due(part) for part, _ in self._ended()):
            return
        with suppress(TimeoutError), locked(self._folder / "lock", 0):
            for part, release in list(self._ended()):
                if self._is_due(part):
                    self._restart(part, release)

    def _is_over(self) -> bool:
        """Whether nothing is deployed, and no command is about to deploy something."""
        if not self._folder.exists():
            return True
        if not self._is_deployed():
            with suppress(TimeoutError), locked(self._folder / "lock", 0):
                return not self._is_deployed()
        return False

    def _is_deployed(self) -> bool:
        try:
            return read_release(self._current) is not None
        except DamagedStateError:
            return True

    def _ended(self) -> Iterator[tuple[str, Release | None]]:
        """The parts of the environment that do not run; the front has no release."""
        try:
            release = read_release(self._current)
        except DamagedStateError:  # the command that replaces it must set the keys
            return
        if release is None:
            return
        for each in (release, release.canary.release if release.canary else None):
            if each and not each.process() and each.variables_on_record is not None:
                yield Path(each.folder).name, each
        if not find_front(self._folder):
            yield "front", None

    def _is_due(self, part: str) -> bool:
        tried = self._tried.get(part)
        return tried is None or self._clock() >= tried.at + tried.delay

    def _restart(self, part: str, release: Release | None) -> None:
        log = Path(release.folder) / "service.log" if release else self._folder / "front.log"
        reason, tried, now = self._reason(part, log), self._tried.get(part), self._clock()
        soon = tried is not None and now - tried.at < STABLE_SECONDS + tried.delay
        delay = min(LONGEST_DELAY, 2 * tried.delay) if tried and soon else FIRST_DELAY
        self._tried[part] = _Tried(now, delay)
        known = restarts_of(self._folder).get(part, Restarts(0, 0.0, ""))
        try:
            self._children[part] = (
                self._restart_release(release) if release else self._restart_front()
            )
            restarts = Restarts(known.count + 1, time.time(), reason)
            show_step("restarted", f"{part}, which {reason}")
        except (DeploymentError, OSError) as error:
            restarts = replace(known, last=time.time(), reason=f"{error}", failed=known.failed + 1)
            show_step("failed", f"{part}: {error}")
        _write_restarts(self._folder, part, restarts)

    def _restart_front(self) -> Process:
        port = public_port(self._folder)
        if port is None:
            raise DeploymentError("its port is not on record: run make deploy")
        return launch_front(self._folder, port)

    def _restart_release(self, release: Release) -> Process:
        """Start a release again, on another port.

        Until it is ready, workers of the ended one that still serve get the traffic.
        """
        starting, workers = self._folder / "starting.json", [*serving_below(Path(release.folder))]
        release, process = launch_release(replace(release, port=free_port(), canary=None))
        try:
            write_release(starting, release)
            wait_until_ready(release, self._patience)
            current = read_release(self._current)
            if current and current.folder == release.folder:
                write_release(self._current, replace(release, canary=current.canary))
            elif current and current.canary:
                canary = replace(current.canary, release=release)
                write_release(self._current, replace(current, canary=canary))
        except BaseException:
            stop_process(release.process())
            raise
        finally:
            starting.unlink(missing_ok=True)
        for worker in workers:
            stop_process(worker)
        return process

    def _reason(self, part: str, log: Path) -> str:
        """Why a part ended, as far as that is known of a process that another one started."""
        child = self._children.pop(part, None)
        code = child.poll() if child else None
        if code is None:
            return f"ended: see {log}"
        if code < 0:
            return f"was killed by {signal.Signals(-code).name}"
        return f"ended with exit code {code}: {last_line(log)}"


def restarts_of(folder: Path) -> dict[str, Restarts]:
    """What was started again in an environment: `front`, or the name of a release's folder."""
    try:
        return _RESTARTS.validate_json((folder / "restarts.json").read_bytes())
    except (OSError, ValidationError):
        return {}


def _write_restarts(folder: Path, part: str, restarts: Restarts) -> None:
    known = {
        name: each
        for name, each in restarts_of(folder).items()
        if name == "front" or (folder / "releases" / name).exists()
    }
    contents = {name: asdict(each) for name, each in (known | {part: restarts}).items()}
    with suppress(OSError):  # a full disk must not end the supervision
        write_atomically(folder / "restarts.json", json.dumps(contents, indent=2) + "\n")


def is_supervised(folder: Path) -> bool:
    """Whether the supervisor of an environment runs."""
    return _find_supervisor(folder) is not None


def supervise(folder: Path) -> None:
    """Start the supervisor of an environment; it replaces one that runs, and has its environment.

    If the environment has a systemd unit, systemd starts it.
    """
    if (unit := Unit(folder)).path.exists():
        unit.restart()
        return
    if process := _find_supervisor(folder):
        process.terminate()  # without its children, which serve
        wait_for_end([process])
    launch_supervisor(SUPERVISOR, folder)


def _find_supervisor(folder: Path) -> psutil.Process | None:
    """The supervisor that the state file names, unless the file was copied from another clone."""
    try:
        state = json.loads((folder / "supervisor.json").read_bytes())
        is_own = Path(state["folder"]).resolve() == folder.resolve()
        return find_process(state["pid"], state["started"]) if is_own else None
    except (OSError, ValueError, KeyError, TypeError):
        return None


def main() -> int:
    """Entry point of the supervisor's process."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--environment", type=Path, required=True, help="folder of the environment")
    options = parser.parse_args()
    prepare_streams()
    try:
        Supervisor(options.environment).run()
    except (OSError, TimeoutError) as error:
        return fail(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
