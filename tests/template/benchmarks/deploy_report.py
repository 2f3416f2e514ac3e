"""`make deploy-report`: roll out, roll back and kill under load; the table goes to docs/deploy.md.

Two builds of iris are deployed in turn in a temporary home, while four clients send requests, each
over a new connection. Commands are killed at exact steps, and then run again.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from threading import Event

import httpx
import psutil

from shared.console import show_step
from shared.paths import ROOT
from tests.local_environment import STEPS, killed_at
from tests.served import Home, free_port
from tests.template.benchmarks.models_report import write_table

PAGE = ROOT / "docs/deploy.md"
CLIENTS = 4
ROW = [5.1, 3.5, 1.4, 0.2]
SETTLE_SECONDS = 2.0
_HEAD = """\
| target | what was run | took | requests | failed | longest |
|---|---|---|---|---|---|
"""
_NOT_RUN = """\
| server | sshd, Podman and Caddy of this machine: by its test, not here | | | | |
| compose | the service alone; neither Docker nor the other images were available | | | | |
| kubernetes | its Pod in Podman, and Helm without a cluster | | | | |
| sagemaker | against a stand-in for its API | | | | |
"""


@dataclass
class Traffic:
    """What clients have seen: seconds of each request, and how many failed."""

    seconds: list[float] = field(default_factory=list)
    failed: int = 0


@contextmanager
def traffic(port: int) -> Iterator[Traffic]:
    """Send requests until the block ends."""
    seen, ended = Traffic(), Event()

    def send() -> None:
        while not ended.wait(0.02):
            start = time.perf_counter()
            try:
                response = httpx.post(f"http://127.0.0.1:{port}/classify", json=ROW, timeout=30)
                seen.failed += response.status_code != 200
            except httpx.HTTPError:
                seen.failed += 1
            seen.seconds.append(time.perf_counter() - start)

    with ThreadPoolExecutor(CLIENTS) as pool:
        senders = [pool.submit(send) for _ in range(CLIENTS)]
        try:
            yield seen
        finally:
            ended.set()
            for sender in senders:
                sender.result()


class Machine:
    """An environment in a temporary home, and two builds for it."""

    def __init__(self, folder: Path) -> None:
        self.home, self.port = Home(folder / "home"), free_port()
        self.builds = [self._build(folder, number) for number in (1, 2)]
        self.folder = self.home.folder / "releases/staging"
        self.last = 1

    def _build(self, folder: Path, number: int) -> Path:
        done = self.home.make("--always-make", "bento-build", "MODEL=iris")
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)
        build = folder / f"build-{number}"
        self.home.receipts_of("iris").rename(build)
        return build / "bento-build.json"

    def command(self, name: str) -> list[str]:
        """The arguments that deploy the build that does not serve, or go back."""
        if name == "deploy":
            self.last = 1 - self.last
            return [name, "--port", str(self.port), "--bento", str(self.builds[self.last])]
        return [name, "--port", str(self.port)]

    def run(self, arguments: list[str]) -> None:
        """Run a command to its end."""
        done = self.home.python("-m", "infrastructure.cli", *arguments)
        if done.returncode:
            raise RuntimeError(done.stdout + done.stderr)

    def run_killed(self, arguments: list[str], step: str) -> None:
        """Run a command that is killed at a step."""
        done = self.home.python(*killed_at(step, self.port), *arguments)
        if done.returncode != -9:
            raise RuntimeError(f"not killed {step}: {done.stdout + done.stderr}")

    def kill(self, state: str) -> None:
        """Kill the process that a state file names."""
        pid = json.loads((self.folder / state).read_text(encoding="utf-8"))["pid"]
        psutil.Process(pid).kill()

    def wait_until_running(self) -> None:
        """Wait until the status is as it should be."""
        while "staging   running" not in (
            shown := self.home.python("-m", "infrastructure.cli", "status").stdout
        ):
            if "staging" not in shown:
                raise RuntimeError(shown)


def measure(machine: Machine, what: str, action: Callable[[], None]) -> str:
    """Do something under load; returns the row of the table."""
    with traffic(machine.port) as seen:
        time.sleep(SETTLE_SECONDS / 2)
        start = time.perf_counter()
        action()
        took = time.perf_counter() - start
        time.sleep(SETTLE_SECONDS)
    row = (
        f"| local | {what} | {took:.1f} s | {len(seen.seconds):,} | {seen.failed} "
        f"| {max(seen.seconds):.1f} s |\n"
    )
    show_step("measured", row.strip("| \n"))
    return row


def rows(machine: Machine) -> Iterator[str]:
    """Roll out, roll back, and kill."""

    def kill(state: str) -> Callable[[], None]:
        def action() -> None:
            machine.kill(state)
            machine.wait_until_running()

        return action

    def repeat(step: str) -> Callable[[], None]:
        arguments = machine.command("deploy")

        def action() -> None:
            machine.run_killed(arguments, step)
            machine.run(arguments)

        return action

    machine.run(machine.command("deploy"))
    deploy = machine.command("deploy")
    yield measure(machine, "`make deploy` of another version", lambda: machine.run(deploy))
    back = machine.command("rollback-release")
    yield measure(machine, "`make rollback-release`", lambda: machine.run(back))
    machine.last = 1 - machine.last
    for state, name in (
        ("current.json", "the release's main process killed, until it runs again"),
        ("front.json", "the front killed, until it runs again"),
        ("supervisor.json", "the supervisor killed"),
    ):
        yield measure(machine, name, kill(state))
    for step in STEPS:
        yield measure(machine, f"`make deploy` killed {step}, and run again", repeat(step))


def main(arguments: list[str] | None = None) -> int:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="print the table, change no file")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        machine = Machine(Path(folder))
        try:
            table = _HEAD + "".join(rows(machine)) + _NOT_RUN
        finally:
            machine.home.python("-m", "infrastructure.cli", "stop")
    if options.dry_run:
        print(table)
    else:
        write_table(PAGE, table, "deploy-report")
    return 0


if __name__ == "__main__":
    sys.exit(main())
