"""Deploy a Bento on this machine.

An environment has a front on its public port and one release behind it. A new release starts next
to the old one, must become ready and reproduce its golden predictions, and only then gets traffic:
all of it, or as a canary a share. The state file of the current release also names its canary.
"""

from __future__ import annotations

import dataclasses
import errno
import shutil
import socket
import time
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path

import psutil

from application.inference.api_keys import new_key
from domain.errors import DeploymentError
from domain.monitoring.traffic import Traffic
from infrastructure.deployment.demo import Service
from infrastructure.deployment.golden import Golden, check_golden_predictions, golden_of
from infrastructure.deployment.processes import (
    READY_SECONDS,
    free_port,
    launch_front,
    launch_release,
    wait_until_ready,
)
from infrastructure.deployment.release import (
    Canary,
    DamagedStateError,
    Release,
    copied_from,
    find_front,
    moved_from,
    public_port,
    read_release,
    serving_below,
    stop_process,
    write_release,
)
from infrastructure.deployment.supervisor import (
    SUPERVISOR,
    is_supervised,
    restarts_of,
    supervise,
)
from infrastructure.deployment.systemd import Unit
from infrastructure.deployment.variables import (
    KEYS,
    LOG,
    Variables,
    for_deployment,
    for_rollback,
    requires_keys,
)
from infrastructure.deployment.watching import read_traffic, watch_release
from shared.console import show_step
from shared.files import locked, write_atomically
from shared.ports import holder_of, listens
from shared.settings import default_log_url
from shared.wording import local_time

DEFAULT_PORT = 3000
SPARE_BYTES = 64 * 2**20
PORTS = {"staging": DEFAULT_PORT, "production": DEFAULT_PORT + 1}  # others get the next free one


@dataclass(frozen=True)
class Build:
    """An exported Bento to deploy."""

    bento: Path
    version: str
    bento_tag: str

    @property
    def model(self) -> str:
        """Registered name of its model."""
        return self.bento_tag.partition(":")[0]


@dataclass(frozen=True)
class _Wanted:
    """A build, and how it is to run."""

    build: Build
    workers: int
    variables: dict[str, str]
    golden: Golden

    def is_run_by(self, release: Release) -> bool:
        """Whether a release runs this build with these settings."""
        same_settings = (release.workers, release.variables) == (self.workers, self.variables)
        return same_settings and _same_bento(release.bento, self.build.bento)

    def release(self, folder: Path) -> Release:
        """A new release of the build, which is not running yet.

        Args:
            folder: of the release, which has the Bento.
        """
        build, key = self.build, new_key() if KEYS in self.variables else ""
        return Release(
            *(build.version, build.bento_tag, str(folder), free_port(), self.workers, 0, 0.0),
            api_key=key,
            variables=self.variables,
            introduced=_takes_introductions(folder / "bento"),
        )

    def check(self, release: Release, port: int | None = None) -> None:
        """Check that a release reproduces the golden predictions.

        Args:
            port: where to send them; None means the release's own port.

        Raises:
            DeploymentError: it does not.
        """
        version, key = self.build.version, release.api_key
        check_golden_predictions(port or release.port, self.golden, version, key)


class LocalEnvironment:
    """An environment (staging, production) on this machine.

    Args:
        folder: where its state files, logs and releases are.
        port: its public port on 127.0.0.1; None means the port of what is deployed there.
        patience: seconds to wait for a release to become ready, and for another process that has
            locked the environment.
    """

    def __init__(
        self, folder: Path, port: int | None = None, patience: float = READY_SECONDS
    ) -> None:
        self._folder = folder.absolute()  # processes are found by this path
        self._requested_port = port
        self._patience = patience
        self._current = self._folder / "current.json"
        self._previous = self._folder / "previous.json"
        self._before = self._folder / "before-previous.json"  # while the two are being changed
        self._starting = self._folder / "starting.json"  # a release that has no traffic yet

    @cached_property
    def port(self) -> int:
        """Its public port: that on record, or one that no other environment here has."""
        return self._requested_port or public_port(self._folder) or self._default_port()

    def _default_port(self) -> int:
        if self._folder.name in PORTS:
            return PORTS[self._folder.name]
        others = {public_port(path) for path in self._folder.parent.glob("*/")}
        taken = others | set(PORTS.values())
        return next(port for port in range(DEFAULT_PORT, 2**16) if port not in taken)

    def current(self) -> Release | None:
        """The release that gets the traffic.

        Raises:
            DamagedStateError: the state file does not say which one that is.
        """
        return read_release(self._current)

    def current_if_known(self) -> Release | None:
        """The release that gets the traffic; None also if the state file is damaged."""
        try:
            return read_release(self._current)
        except DamagedStateError:
            return None

    def stopped(self) -> Release | None:
        """The release that was stopped last; None if one is deployed or the state is damaged."""
        try:
            return None if self._current.exists() else read_release(self._previous)
        except DamagedStateError:
            return None

    def logs(self) -> list[Path]:
        """The logs of what is deployed here, or was last; those of the environment come last."""
        release = self.current_if_known() or self.stopped()
        canary = release.canary.release if release and release.canary else None
        folders = [Path(each.folder) for each in (release, canary) if each]
        logs = [folder / "service.log" for folder in folders]
        logs += [self._folder / "front.log", self._folder / "supervisor.log"]
        return [log for log in logs if log.exists()]

    def log_url(self, explicit: str | None) -> str:
        """URL of the prediction log of what is deployed here, or was last.

        Args:
            explicit: PREDICTION_LOG_URL of the shell or .env, if it is set.
        """
        release = self.current_if_known() or self.stopped()
        recorded = release.variables if release else None
        return explicit or (recorded or {}).get(LOG) or default_log_url(self._folder)

    @contextmanager
    def alone(self) -> Iterator[None]:
        """Lock the environment against other processes; reentrant within this one.

        An environment that does not exist yet needs no lock.

        Raises:
            DeploymentError: another process held the lock for too long.
        """
        with ExitStack() as stack:
            if self._folder.is_dir():
                stack.enter_context(self._lock())
                self._settle()
            yield

    def prepare(self, build: Build) -> None:
        """Create the environment's folder, unless a first deployment would fail anyway.

        Raises:
            DeploymentError: the public port is in use, or the build cannot be deployed.
        """
        if not self._folder.is_dir():
            self._check_public_port()
            golden_of(build.bento)
            self._folder.mkdir(parents=True, exist_ok=True)

    def _lock(self) -> ExitStack:
        lock, stack = self._folder / "lock", ExitStack()
        try:
            stack.enter_context(locked(lock, 0))
        except TimeoutError:
            show_step("waiting", f"for another process that is changing {self._folder.name}")
            try:
                stack.enter_context(locked(lock, self._patience))
            except TimeoutError as error:
                raise DeploymentError(str(error)) from error
        return stack

    def deploy(
        self,
        build: Build,
        workers: int,
        explicit: Variables,
        replace: bool = False,
        watch: int = 0,
    ) -> Release:
        """Deploy a build; the current release serves until the new one has passed its checks.

        A canary of this build becomes the current release as it is; another canary ends.

        Args:
            explicit: the variables that the shell or .env sets; others stay as they are.
            replace: whether the build may replace another model.
            watch: seconds to watch the traffic after the switch, while the old release runs.

        Raises:
            DeploymentError: the new release failed, or its traffic shows that it is worse; it was
                stopped, and the current one serves.
        """
        self.prepare(build)
        with self.alone():
            old = self._current_or_warn()
            if old and old.model != build.model and not replace:
                name = self._folder.name
                raise DeploymentError(
                    f"{name} serves another model, {old.bento_tag}: to deploy {build.bento_tag} "
                    "next to it, set another ENV=; to replace it, set REPLACE=1"
                )
            variables = for_deployment(explicit, self._variables_before(build))
            return self._roll_out(build, workers, variables, old, watch)

    def deploy_canary(
        self,
        build: Build,
        workers: int,
        explicit: Variables,
        share: int,
        header: str = "",
        watch: int = 0,
    ) -> Release:
        """Give a build a share of the traffic, once it has passed its checks.

        A canary of this build only gets the new share; another canary is replaced.

        Args:
            share: in percent of the connections, or of the callers if `header` is set.
            header: the header of a request that identifies its caller.
            watch: seconds to watch the canary's traffic.

        Returns:
            The current release, which keeps the rest.

        Raises:
            DeploymentError: there is no current release to compare with, it serves this build or
                another model, or the canary failed, or its traffic shows that it is worse; it was
                stopped.
        """
        with self.alone():
            current = self._comparable(build)
            tried = current.canary.release if current.canary else None
            same = tried is not None and _same_bento(tried.bento, build.bento)
            before = tried if tried and same else current
            variables = for_deployment(explicit, before.variables_on_record)
            wanted = _Wanted(build, workers, variables, golden_of(build.bento))
            processes = self._running(current)
            with self._checked(wanted, current, f"a canary next to {current.bento_tag}") as release:
                canary = Canary(release, share, header)
                state = dataclasses.replace(current, canary=canary)
                write_release(self._current, state)
                show_step("canary", f"{build.version} gets {canary.share_text}")
                try:
                    self._watch(release, current, watch)
                except BaseException:
                    write_release(self._current, dataclasses.replace(current, canary=None))
                    stop_process(release.process())
                    raise
            self._clean_up(state, current, processes)
            return state

    def _comparable(self, build: Build) -> Release:
        """The current release, if a build can be its canary."""
        name, release = self._folder.name, self.current()
        front = find_front(self._folder)
        if release is None or moved_from(self._folder) or not (front and release.process()):
            raise DeploymentError(
                f"no release runs in {name} that a canary could be compared with: deploy one "
                f"without CANARY, with make deploy ENV={name}"
            )
        self._check_public_port()
        if release.model != build.model:
            raise DeploymentError(
                f"{name} serves another model, {release.bento_tag}: its canary cannot be "
                f"{build.bento_tag}"
            )
        if _same_bento(release.bento, build.bento):
            raise DeploymentError(
                f"{name} serves {build.bento_tag} already: a canary has to be another build"
            )
        return release

    def rollback(self, explicit: Variables) -> Release:
        """Deploy the previous release again, with its own variables and workers.

        While there is a canary, only end that: the current release gets everything again.

        Args:
            explicit: the variables that the shell or .env sets; only those of access count.

        Raises:
            DeploymentError: there is no previous release, or it failed.
        """
        with self.alone():
            old = self._current_or_warn()
            if old and old.canary and not moved_from(self._folder):
                return self._end_canary(old)
            previous = read_release(self._previous)
            if previous is None:
                raise DeploymentError("there is no previous release to go back to")
            then = now = previous.variables_on_record
            if self._current.exists():
                now = old.variables_on_record if old else None
            build = Build(previous.bento, previous.version, previous.bento_tag)
            return self._roll_out(build, previous.workers, for_rollback(explicit, then, now), old)

    def _end_canary(self, release: Release) -> Release:
        processes, alone = self._running(release), dataclasses.replace(release, canary=None)
        write_release(self._current, alone)
        show_step("switched", f"http://127.0.0.1:{self.port} now serves {alone.version} only")
        self._clean_up(alone, release, processes)
        return alone

    def keep_running(self) -> None:
        """Let a supervisor of this program start again what ends; a warning if that fails."""
        try:
            supervise(self._folder)
        except DeploymentError as error:
            show_step("WARNING", f"{self._folder.name} is not supervised: {error}")

    def start(self, at_boot: bool = False) -> str:
        """Start again what has ended, as after a reboot, and return the version that serves.

        Args:
            at_boot: whether systemd is to do so from now on whenever the machine boots.

        Raises:
            DeploymentError: nothing is deployed, it does not start, or a prediction is wrong.
        """
        name = self._folder.name
        with self.alone():
            if self.current() is None:
                raise DeploymentError(f"nothing is deployed in {name}: run make deploy ENV={name}")
            if at_boot:
                Unit(self._folder).install(SUPERVISOR)
            supervise(self._folder)
        deadline = time.monotonic() + self._patience
        while time.monotonic() < deadline:
            release = self.current()
            if release and release.process() and listens(self.port):
                return self.smoke()
            time.sleep(0.1)
        raise DeploymentError(f"{name} did not start within {self._patience:g} s: {self.status()}")

    def smoke(self) -> str:
        """Check the golden predictions on the public port, and return the version that serves.

        Raises:
            DeploymentError: nothing is deployed, or a prediction is wrong.
        """
        release = self.current()
        if release is None:
            name = self._folder.name
            raise DeploymentError(
                f"nothing is deployed in {name}: run make deploy ENV={name} MODEL=…"
            )
        golden = golden_of(release.bento)
        check_golden_predictions(self.port, golden, release.version, release.api_key, "smoke")
        return release.version

    def stop(self) -> bool:
        """Stop the front, the release and its canary, even if no state file names them.

        Returns:
            Whether anything was running.
        """
        with self.alone():
            release, has_moved = self.current_if_known(), moved_from(self._folder) is not None
            processes = self._running(release)
            if origin := self._moved_origin(processes):
                show_step("moved", f"from {origin}: stopping what still runs from there")
            running = self._stop_front()
            for process in processes:
                running = stop_process(process) or running
            if release and (release.canary or has_moved):
                write_release(self._previous, dataclasses.replace(release, canary=None))
            elif release or _is_damaged(self._current):
                # works on a full disk; of a damaged one, a deployment must set the unknown keys
                self._current.replace(self._previous)
            self._current.unlink(missing_ok=True)
            self._starting.unlink(missing_ok=True)
            return running

    def status(self) -> str:
        """What is deployed, in one line; empty if nothing is."""
        try:
            if origin := copied_from(self._current):
                return f"copied from {origin}, not running here"
            release = self.current()
        except DamagedStateError as error:
            return f"UNKNOWN, {error}"
        if release is None:
            left = self._leftovers(self._running(None), "stop")
            return ", ".join(["nothing deployed", *left]) if left else ""
        front, running, known = find_front(self._folder), release.process(), release.processes()
        processes = self._running(release)
        if origin := self._moved_origin(processes):
            name = self._folder.name
            return (
                f"moved from {origin}, where it still runs: make deploy ENV={name} replaces it, "
                f"make stop ENV={name} ends it"
            )
        ended = [name for name, runs in (("release", running), ("front", front)) if not runs]
        step = "stop" if ended else "deploy"  # deploy ends leftovers without an outage
        since = local_time(datetime.fromtimestamp(release.started, UTC))
        return ", ".join(
            [
                f"DEAD ({' and '.join(ended)} ended)" if ended else "running",
                f"{release.model} {release.version}",
                f"http://127.0.0.1:{front.port}" if front else "no port",
                "API keys" if release.api_key else "no API keys",
                f"workers {release.workers}",
                f"pid {release.pid} since {since}",
                *self._supervision(release),
                *([self._canary_status(release.canary)] if release.canary else ()),
                *self._leftovers([each for each in processes if each not in known], step),
            ]
        )

    def _supervision(self, release: Release) -> Iterator[str]:
        """What was started again, and whether anything would be."""
        restarts, name = restarts_of(self._folder), self._folder.name
        for part, found in (("", Path(release.folder).name), ("front ", "front")):
            if found in restarts:
                yield part + restarts[found].text
        if not is_supervised(self._folder):
            yield f"not supervised: make start ENV={name} starts what ends again"

    def _leftovers(self, processes: Iterable[psutil.Process], step: str) -> list[str]:
        """What to do about processes of killed deployments, unless a deployment is running."""
        name = self._folder.name
        try:
            with locked(self._folder / "lock", 0) if processes else nullcontext():
                return [
                    f"pid {each.pid} still runs: make {step} ENV={name} ends it"
                    for each in processes
                ]
        except TimeoutError:
            return ["a deployment is in progress"]

    def _canary_status(self, canary: Canary) -> str:
        release = canary.release
        if release.process():
            return f"canary {release.version} on port {release.port} gets {canary.share_text}"
        name = self._folder.name
        return f"canary {release.version} ended: make rollback-release ENV={name} removes it"

    def _current_or_warn(self) -> Release | None:
        """The current release; None with a warning if its state file is damaged."""
        try:
            return self.current()
        except DamagedStateError as error:
            show_step("WARNING", str(error))
            return None

    def will_have_keys(self, build: Build, explicit: Variables) -> bool:
        """Whether a deployment of a build would require API keys, by the shell or as before."""
        return requires_keys(explicit, self._variables_before(build))

    def _variables_before(self, build: Build) -> dict[str, str] | None:
        """What a deployment keeps: the variables of the canary if that is the build, else the last
        ones; None if they are not on record."""
        release = self.current_if_known()
        canary = release.canary.release if release and release.canary else None
        if canary and _same_bento(canary.bento, build.bento):
            return canary.variables_on_record
        return self._last_variables()

    def _last_variables(self) -> dict[str, str] | None:
        """The variables of the current release, else of the stopped one; None if not on record."""
        for path in (self._current, self._previous):
            try:
                release = read_release(path)
            except DamagedStateError:
                return None
            if release:
                return release.variables_on_record
        return {}

    def _roll_out(
        self,
        build: Build,
        workers: int,
        variables: dict[str, str],
        old: Release | None,
        watch: int = 0,
    ) -> Release:
        self._check_public_port()
        golden = golden_of(build.bento)
        processes = self._running(old)
        if origin := self._moved_origin(processes):
            show_step("moved", f"from {origin}: replacing what still runs from there")
        wanted = _Wanted(build, workers, variables, golden)
        if old and self._serves_already(old, wanted, self.port):
            if old.canary:
                return self._end_canary(old)
            self._clean_up(old, old, processes)
            return old
        state = self._current.read_bytes() if self._current.exists() else None
        note = f"replacing {old.bento_tag} when ready" if old else ""
        with self._checked(wanted, old, note) as release:
            try:
                if old:
                    self._keep_for_rollback(old)
                self._switch(release)
                wanted.check(release, self.port)
                show_step("switched", f"http://127.0.0.1:{self.port} now serves {build.version}")
                self._watch(release, old, watch)
            except BaseException:
                if self.current_if_known() == release:
                    self._restore_state(state, old)
                self._settle()
                raise
        self._settle()
        self._clean_up(release, old, processes)
        return release

    def _keep_for_rollback(self, old: Release) -> None:
        """Note the old release as the previous one before the switch, where this may be killed."""
        before = self._previous.read_bytes() if self._previous.exists() else b""
        write_atomically(self._before, before, private=True)
        write_release(self._previous, dataclasses.replace(old, canary=None))

    def _settle(self) -> None:
        """Restore the note of the previous release if the switch that it was for did not happen."""
        if not self._before.exists():
            return
        current = self.current_if_known()
        with suppress(DamagedStateError):
            noted = read_release(self._previous)
            if current and noted and current.folder == noted.folder:
                self._before.replace(self._previous)
                if not self._previous.stat().st_size:
                    self._previous.unlink()
        self._before.unlink(missing_ok=True)

    def _watch(self, release: Release, old: Release | None, seconds: int) -> None:
        """Watch the traffic of a release against that of the old one."""
        if not seconds:
            return
        before = Traffic()
        if old and old.process() and old.folder != release.folder:
            with suppress(DeploymentError):
                before = read_traffic(_service(old))
        try:
            watch_release(_service(release), before, seconds, lambda: bool(release.process()))
        except DeploymentError:
            if old and old.process():
                show_step("undone", f"{old.version} gets all requests again")
            raise

    @contextmanager
    def _checked(self, wanted: _Wanted, current: Release | None, note: str) -> Iterator[Release]:
        """A running release of a build that has passed its checks.

        It is the current release's canary if that is this build; else one is started, and stopped
        again if what is done with it fails.

        Args:
            note: what the new release is for, to show; empty if nothing was deployed.
        """
        canary = current.canary.release if current and current.canary else None
        if canary and self._serves_already(canary, wanted, canary.port):
            yield canary
            return
        build = wanted.build
        _check_space(build.bento, self._folder)
        folder = self._folder / "releases" / f"{build.version}-{time.time_ns() // 1_000_000}"
        shutil.copytree(build.bento, folder / "bento")
        show_step("start", build.bento_tag + (f", {note}" if note else " (nothing was deployed)"))
        release = wanted.release(folder)
        write_release(self._starting, release)  # on record before it runs
        release, _ = launch_release(release)
        try:
            write_release(self._starting, release)
            wait_until_ready(release, self._patience)
            wanted.check(release)
            show_step("ready", "golden predictions reproduced")
            yield release
        except BaseException:
            stop_process(release.process())
            raise
        finally:
            self._starting.unlink(missing_ok=True)

    def _serves_already(self, release: Release, wanted: _Wanted, port: int) -> bool:
        """Whether a release is as wanted and reproduces its golden predictions on a port."""
        running = release.process() and find_front(self._folder)
        if moved_from(self._folder) or not (running and wanted.is_run_by(release)):
            return False
        try:
            wanted.check(release, port)
        except DeploymentError as error:
            show_step("failing", f"{release.bento_tag}, so it is started again: {error}")
            return False
        show_step("unchanged", f"{release.bento_tag} serves already, golden predictions reproduced")
        return True

    def _switch(self, release: Release) -> None:
        front = find_front(self._folder)  # look before the state file names another folder
        write_release(self._current, release)
        if front and Path(front.folder).resolve() == self._folder.resolve():
            return
        if front:  # the environment was moved: this front still reads the old state file
            stop_process(front.process())
        launch_front(self._folder, self.port)

    def _restore_state(self, state: bytes | None, old: Release | None) -> None:
        """Restore the state file, and stop the front unless the old release still runs.

        The file is restored even if the old release has ended or is unknown, since it has the keys.
        """
        if state is None:
            self._current.unlink()
        else:
            write_atomically(self._current, state, private=True)
        if old and old.process():
            return
        if front := find_front(self._folder):
            stop_process(front.process())
        if state is None:
            (self._folder / "front.json").unlink(missing_ok=True)

    def _check_public_port(self) -> None:
        front = find_front(self._folder)
        if front is None:
            check_free(self.port, self._folder.parent)
        if front and front.port != self.port:
            raise DeploymentError(
                f"{self._folder.name} serves on another port, {front.port}: deploy with "
                f"PORT={front.port}, or run make stop ENV={self._folder.name} first"
            )

    def _stop_front(self) -> bool:
        front = find_front(self._folder)
        (self._folder / "front.json").unlink(missing_ok=True)
        return stop_process(front.process()) if front else False

    def _running(self, release: Release | None) -> list[psutil.Process]:
        """The processes of a release and its canary, and all others that serve a release of this
        environment.

        Workers are left out if their supervisor is in the list, since they end with it.
        """
        folders = [folder for folder in (self._folder, moved_from(self._folder)) if folder]
        found = {
            process.pid: process
            for folder in folders
            for process in serving_below(folder / "releases")
        }
        with suppress(DamagedStateError):
            if (starting := read_release(self._starting)) and (process := starting.process()):
                found[process.pid] = process
        for process in release.processes() if release else ():
            found[process.pid] = process
        return [process for process in found.values() if not _ancestors(process) & found.keys()]

    def _moved_origin(self, processes: list[psutil.Process]) -> Path | None:
        """The environment's old folder, if it was moved and something still runs from there."""
        return moved_from(self._folder) if processes or find_front(self._folder) else None

    def _clean_up(
        self, serving: Release, old: Release | None, earlier: list[psutil.Process]
    ) -> None:
        """Stop earlier processes, and remove releases that no state file names."""
        known = (old, old.canary.release) if old and old.canary else (old,)
        tags = {release.pid: release.bento_tag for release in known if release}
        for process in earlier:
            if process not in serving.processes() and stop_process(process):
                show_step("stopped", tags.get(process.pid, f"pid {process.pid}"))
        if _is_damaged(self._previous):
            self._previous.unlink()
        self._remove_old_releases(Path(serving.folder))

    def _remove_old_releases(self, serving: Path) -> None:
        """Remove the folders of releases that neither state file names."""
        kept = {serving}
        for path in (self._current, self._previous):
            try:
                release = read_release(path)
            except DamagedStateError:
                continue
            if release:
                kept.add(Path(release.folder))
                kept |= {Path(release.canary.release.folder)} if release.canary else set()
        for folder in (self._folder / "releases").iterdir():
            if folder not in kept:
                shutil.rmtree(folder)


def deployed_in(folder: Path, strict: bool = False) -> Iterator[tuple[str, Release, bool]]:
    """Every release that an environment serves or would go back to.

    Args:
        folder: where the environments are.
        strict: whether a damaged state file is an error; if not, it is a warning.

    Returns:
        The environment's name, the release, and whether it is the current one; a canary is not.

    Raises:
        DamagedStateError: `strict`, and a state file is damaged.
    """
    for path in sorted((*folder.glob("*/current.json"), *folder.glob("*/previous.json"))):
        try:
            release = read_release(path)
        except DamagedStateError as error:
            if strict:
                raise
            show_step("WARNING", str(error))
            continue
        if release:
            yield path.parent.name, release, path.name == "current.json"
            if release.canary:
                yield path.parent.name, release.canary.release, False


def _service(release: Release) -> Service:
    return Service(f"http://127.0.0.1:{release.port}", release.api_key)


def _ancestors(process: psutil.Process) -> set[int]:
    try:
        return {parent.pid for parent in process.parents()}
    except psutil.Error:  # the process has just ended
        return set()


def _is_damaged(state: Path) -> bool:
    try:
        read_release(state)
    except DamagedStateError:
        return True
    return False


def check_free(port: int, environments: Path) -> None:
    """Check that a public port is free.

    Args:
        environments: folder of the environments, to name the one that uses the port.

    Raises:
        DeploymentError: the port is in use, whether its process listens on it or not.
    """
    if _is_free(port):
        return
    for folder in sorted(path.absolute() for path in environments.glob("*/")):
        front = find_front(folder)
        if front and front.port == port:
            release = LocalEnvironment(folder).current_if_known()
            serving = f" ({release.model} {release.version})" if release else ""
            raise DeploymentError(
                f"port {port} is in use by environment {folder.name}{serving}: run make stop "
                f"ENV={folder.name}, or choose another PORT"
            )
    holder = holder_of(port) if listens(port) else "a process that does not listen on it"
    raise DeploymentError(
        f"port {port} is in use by {holder}: stop that process, or choose another PORT"
    )


def _check_space(bento: Path, folder: Path) -> None:
    """Check that a disk has room for a release: twice its Bento, and its first logs and metrics.

    Raises:
        DeploymentError: it has not.
    """
    size = sum(path.stat().st_size for path in bento.rglob("*") if path.is_file())
    needed, free = 2 * size + SPARE_BYTES, shutil.disk_usage(folder).free
    if free < needed:
        raise DeploymentError(
            f"{folder}: a release needs {needed / 2**20:,.0f} MiB, and the disk has "
            f"{free / 2**20:,.0f} MiB left: free space, then deploy again"
        )


def _same_bento(one: Path, other: Path) -> bool:
    """Whether two exported Bentos come from the same build; bento.yaml has the time of a build."""
    try:
        return (one / "bento.yaml").read_bytes() == (other / "bento.yaml").read_bytes()
    except FileNotFoundError:
        return False


def _is_free(port: int) -> bool:
    """Whether the front could listen on a port, which may be bound without a listener."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the front does
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            if error.errno == errno.EADDRINUSE:
                return False
            raise DeploymentError(f"port {port}: {error.strerror}: choose another PORT") from error
    return not listens(port)


def _takes_introductions(bento: Path) -> bool:
    """Whether the service of a Bento understands the PROXY protocol; older ones do not."""
    try:
        return "proxy_protocol" in (bento / "src/shared/settings.py").read_text(encoding="utf-8")
    except OSError:
        return False
