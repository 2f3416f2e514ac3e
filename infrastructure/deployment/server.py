"""Deploy an image to a server that has SSH and a container engine, and nothing else.

Caddy listens on the public port, or for a domain with TLS. A release is a container behind it, in
one of two slots, each with a port of its own. A new release starts in the free slot, must become
ready and reproduce its golden predictions, and only then gets the traffic. On the server, a folder
has for each environment

    lock                    held while something changes
    audit.log               who did what, and when
    releases/<id>/run       the command that starts a release; env: its variables, mode 600
    slot-0, slot-1          the ID of the last release that served from a slot

and caddy/ the configuration of Caddy. A file there, <environment>/1, tells for each request whether
slot 1 gets it or slot 0. So a switch is atomic and Caddy is not reloaded for it, which would close
connections that clients are about to use. What a killed command left in the other slot is replaced
by the next deployment.
"""

from __future__ import annotations

import getpass
import http.client
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime

from domain.errors import DeploymentError
from domain.monitoring.traffic import Traffic
from infrastructure.deployment.demo import Service
from infrastructure.deployment.golden import Golden, check_golden_predictions
from infrastructure.deployment.processes import READY_SECONDS, free_port
from infrastructure.deployment.watching import read_traffic, watch_release
from infrastructure.packaging.container_engine import run_command
from shared.console import show_step
from shared.ports import listens

STOP_SECONDS = 45  # a release answers what it has accepted
LOG_LINES = 20
CADDY = "docker.io/library/caddy:2"
_SSH = ("ssh", "-o", "BatchMode=yes", "-o", "ServerAliveInterval=15")
_INSIDE = 3000  # port in a container
_SCRATCH = "/tmp"  # nosec B108  # in a container, in memory
_DRAIN_SECONDS = 1.0
_SITE = """{address} {{
	@slot_1 file {{
		root {folder}
		try_files 1
	}}
	reverse_proxy @slot_1 127.0.0.1:{slot_1}
	reverse_proxy 127.0.0.1:{slot_0}
}}
"""


@dataclass(frozen=True)
class Host:
    """An environment on a server.

    Attributes:
        host: as `ssh` takes it, such as ``user@server``.
        port: where Caddy listens, if there is no domain; the two ports 10,000 above it, which only
            the server itself can reach, are those of the slots.
        domain: name for which Caddy gets a certificate; it then listens on 80 and 443.
        engine: docker or podman; the first on the server if empty.
        folder: on the server; relative to the user's home.
        caddy: image of Caddy; empty for a Caddy that is installed on the server.
        ssh: the command, with options.
        run_options: further options of the container.
    """

    host: str
    environment: str
    port: int
    domain: str = ""
    engine: str = ""
    folder: str = ".mlops"
    caddy: str = CADDY
    ssh: Sequence[str] = _SSH
    run_options: Sequence[str] = ()


@dataclass(frozen=True)
class Shipment:
    """An image to deploy.

    Attributes:
        image: name in the local engine, or a reference with the digest in a registry.
        engine: the local engine that has it; empty to pull it from the registry.
        version: of the model package.
        variables: of the service; they may be secret.
        api_key: of the golden requests; empty if the service has no keys.
    """

    image: str
    engine: str
    version: str
    golden: Golden
    variables: Mapping[str, str]
    api_key: str = ""


class Server:
    """An environment on a server.

    Args:
        patience: seconds to wait for a release to become ready.
    """

    def __init__(self, target: Host, patience: float = READY_SECONDS) -> None:
        self._target, self._patience = target, patience
        self._folder = f"{target.folder}/{target.environment}"
        self._name = f"mlops-{target.environment}"
        self._found = target.engine

    def deploy(self, shipment: Shipment, watch: int = 0) -> None:
        """Roll out an image; without success, the current release keeps serving.

        Args:
            watch: seconds to watch the traffic after the switch, while the old release runs.

        Raises:
            DeploymentError: the server cannot be reached, another deployment runs, or the new
                release does not become ready, predicts something else, or answers worse.
        """
        with self._locked("deploy", shipment.version):
            image = self._ship(shipment)
            release = f"{datetime.now(UTC):%Y%m%d%H%M%S}-{1 - self._slot()}"
            self._write_release(release, image, shipment)

            def check(port: int) -> None:
                self._wait_until_ready(release, port)
                check_golden_predictions(port, shipment.golden, shipment.version, shipment.api_key)

            self._roll_out(release, check, shipment.api_key, watch)
            self._prune()

    def rollback(self) -> None:
        """Start the previous release again, and switch to it when it is ready.

        Raises:
            DeploymentError: it is missing, or does not become ready.
        """
        with self._locked("rollback"):
            slot = 1 - self._slot() if self._current() else self._slot()
            previous = self._read(f"slot-{slot}")
            if not previous:
                raise DeploymentError(f"{self._folder} has no previous release")
            self._roll_out(previous, lambda port: self._wait_until_ready(previous, port))

    def stop(self) -> bool:
        """Stop and remove the containers of the environment; `rollback` can start them again.

        Returns:
            Whether a release served.
        """
        with self._locked("stop"):
            serving = bool(self._current())
            if serving:
                self._shell(f"rm {self._site}; {self._reload}")
            for slot in (0, 1):
                self._remove(slot)
            return serving

    def status(self) -> str:
        """The containers of the environment, as the engine lists them."""
        columns = "{{.Names}}\t{{.Image}}\t{{.Status}}"
        return self._engine("ps", "--all", f"--filter=name=^{self._name}-", f"--format={columns}")

    def logs(self, lines: int = LOG_LINES) -> str:
        """The last lines of the current release.

        Raises:
            DeploymentError: none is deployed.
        """
        current = self._current()
        if not current:
            raise DeploymentError(f"nothing is deployed in {self._folder} on {self._target.host}")
        return self._logs(current, lines)

    # the lock and the commands

    @contextmanager
    def _locked(self, action: str, version: str = "") -> Iterator[None]:
        """Hold the lock while the connection lasts, note the action, and repair what is left."""
        folder = self._folder
        self._shell(f"mkdir -p {folder}/releases {self._target.folder}/caddy; chmod 700 {folder}")
        command = f"exec flock -n {folder}/lock sh -c 'echo locked; exec cat >/dev/null'"
        with subprocess.Popen(
            [*self._target.ssh, self._target.host, command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as holder:
            try:
                if holder.stdout is None or holder.stdout.readline().strip() != "locked":
                    raise DeploymentError(
                        f"another deployment to {folder} on {self._target.host} is running: wait"
                    )
                who = f"{datetime.now(UTC).isoformat(timespec='seconds')} {getpass.getuser()}"
                line = shlex.quote(f"{who} {action} {version}".rstrip())
                self._shell(f"echo {line} >>{folder}/audit.log")
                if self._current():
                    self._shell(self._reload)
                yield
            finally:
                if holder.stdin:
                    holder.stdin.close()

    def _shell(self, script: str, sent: str | None = None) -> str:
        """Run a script on the server and return its output.

        Raises:
            DeploymentError: it failed; the message has its last line.
        """
        done = subprocess.run(
            [*self._target.ssh, self._target.host, script],
            input=sent,
            stdin=subprocess.DEVNULL if sent is None else None,
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            reason = (done.stderr or done.stdout).strip().rpartition("\n")[2]
            raise DeploymentError(f"{self._target.host}: {reason or script}")
        return done.stdout

    def _engine(self, *arguments: str) -> str:
        return self._shell(shlex.join([self._engine_name, *arguments]))

    @property
    def _engine_name(self) -> str:
        if not self._found:
            tried = "for name in docker podman; do $name info && echo found:$name && break; done"
            output = self._shell(f"({tried}) 2>/dev/null; true")
            self._found = output.rpartition("found:")[2].strip() if "found:" in output else ""
            if not self._found:
                raise DeploymentError(
                    f"neither docker nor podman works on {self._target.host}: install and start one"
                )
        return self._found

    def _read(self, name: str) -> str:
        return self._shell(f"cat {self._folder}/{name} 2>/dev/null || true").strip()

    def _current(self) -> str:
        """The ID of the release that serves; empty if none does."""
        file = f"{self._folder}/slot-{self._slot()}"
        return self._shell(f"[ ! -e {self._site} ] || cat {file}").strip()

    def _slot(self) -> int:
        """The slot that gets the traffic, or did before a stop."""
        return int(self._shell(f"if [ -e {self._caddy}/1 ]; then echo 1; else echo 0; fi"))

    # releases and slots

    def _port_of(self, release: str) -> int:
        return self._target.port + 10_000 + int(release[-1])

    def _ship(self, shipment: Shipment) -> str:
        """Bring the image to the server and return its ID there."""
        image = shipment.image
        if not shipment.engine:
            self._engine("pull", image)
        else:
            local = run_command(
                [shipment.engine, "image", "inspect", "--format={{.Id}}", image]
            ).strip()
            known = f"{self._engine_name} image inspect --format='{{{{.Id}}}}' {local} || true"
            if local.removeprefix("sha256:") not in self._shell(f"{known} 2>/dev/null"):
                self._check_space(shipment.engine, image)
                show_step("image", f"sending {image} to {self._target.host}")
                image = self._send(shipment.engine, image)
            else:
                image = local
        return self._engine("image", "inspect", "--format={{.Id}}", image).strip()

    def _check_space(self, engine: str, image: str) -> None:
        """Check that the engine's disk on the server has room for an image, if it tells."""
        size = int(run_command([engine, "image", "inspect", "--format={{.Size}}", image]))
        place = "{{.Store.GraphRoot}}" if "podman" in self._engine_name else "{{.DockerRootDir}}"
        root = f"$({self._engine_name} info --format '{place}')"
        fields = self._shell(f'df -Pk "{root}" 2>/dev/null | tail -n 1').split()
        if len(fields) > 3 and fields[3].isdecimal() and 1024 * int(fields[3]) < size:
            raise DeploymentError(
                f"{self._target.host}: {image} needs {size / 2**20:,.0f} MiB, and the disk has "
                f"{int(fields[3]) / 1024:,.0f} MiB left: free space, then deploy again"
            )

    def _send(self, engine: str, image: str) -> str:
        """Send an image and return its name on the server."""
        load = [*self._target.ssh, self._target.host, f"{self._engine_name} load --quiet"]
        with subprocess.Popen([engine, "save", image], stdout=subprocess.PIPE) as saved:
            done = subprocess.run(
                load, stdin=saved.stdout, capture_output=True, text=True, check=False
            )
        if saved.returncode or done.returncode:
            raise DeploymentError(
                f"{image} could not be sent to {self._target.host}: {done.stderr.strip()}"
            )
        return done.stdout.strip().rpartition(" ")[2]  # Loaded image: name

    def _write_release(self, release: str, image: str, shipment: Shipment) -> None:
        folder = f"{self._folder}/releases/{release}"
        variables = {
            "PREDICTION_LOG_URL": "sqlite:////state/predictions.db",
            **shipment.variables,
            "BENTOML_HOME": _SCRATCH,  # releases share no metrics
            "SERVING_ENVIRONMENT": self._target.environment,
        }
        lines = "".join(f"{name}={value}\n" for name, value in variables.items())
        if len(lines.splitlines()) != len(variables):
            raise DeploymentError("a variable of the service has a line break")
        self._shell(f"umask 077; mkdir -p {folder}; cat >{folder}/env", lines)
        restart = "always" if "podman" in self._engine_name else "unless-stopped"
        command = shlex.join(
            [
                *(self._engine_name, "run", "--detach", f"--name={self._name}-{release[-1]}"),
                *(f"--restart={restart}", f"--env-file={folder}/env"),
                f"--publish=127.0.0.1:{self._port_of(release)}:{_INSIDE}",
                *("--cap-drop=ALL", "--security-opt=no-new-privileges", "--read-only"),
                *(f"--tmpfs={_SCRATCH}", f"--volume={self._name}-state:/state"),
                *self._target.run_options,
                image,
            ]
        )
        self._shell(f"cat >{folder}/run", f"{command}\n")

    def _start(self, release: str) -> None:
        self._remove(int(release[-1]))  # what a killed deployment left
        self._shell(f"sh {self._folder}/releases/{release}/run")

    def _remove(self, slot: int) -> None:
        name, engine = f"{self._name}-{slot}", self._engine_name
        stop = f"{engine} stop -t {STOP_SECONDS} {name} >/dev/null 2>&1"
        self._shell(f"{stop}; {engine} rm --force {name} >/dev/null 2>&1; true")

    @contextmanager
    def _undone(self, release: str) -> Iterator[None]:
        """Show why a release failed, and remove it."""
        try:
            yield
        except BaseException:
            show_step("failed", f"the last lines of {release}:\n{self._logs(release, LOG_LINES)}")
            self._remove(int(release[-1]))
            raise

    def _logs(self, release: str, lines: int) -> str:
        name = f"{self._name}-{release[-1]}"
        return self._shell(f"{self._engine_name} logs --tail {lines} {name} 2>&1 || true")

    @contextmanager
    def _tunnel(self, port: int) -> Iterator[int]:
        """A local port that leads to a port of the server."""
        local = free_port()
        forward = ("-N", "-o", "ExitOnForwardFailure=yes", "-L", f"{local}:127.0.0.1:{port}")
        with subprocess.Popen(
            [*self._target.ssh, *forward, self._target.host], stdin=subprocess.DEVNULL
        ) as tunnel:
            try:
                deadline = time.monotonic() + self._patience
                while not listens(local):
                    if tunnel.poll() is not None or time.monotonic() > deadline:
                        raise DeploymentError(f"no tunnel to {self._target.host}")
                    time.sleep(0.05)
                yield local
            finally:
                tunnel.terminate()

    def _wait_until_ready(self, release: str, port: int) -> None:
        deadline = time.monotonic() + self._patience
        while not _is_ready(port):
            if time.monotonic() > deadline:
                raise DeploymentError(f"{release} was not ready after {self._patience:.0f} s")
            time.sleep(0.2)

    # Caddy

    @property
    def _caddy(self) -> str:
        return f"{self._target.folder}/caddy/{self._target.environment}"

    @property
    def _site(self) -> str:
        return f"{self._caddy}.caddy"

    @property
    def _reload(self) -> str:
        """Script that makes Caddy follow its files, and starts it if it does not run."""
        file = f"{self._target.folder}/caddy/Caddyfile"
        if not self._target.caddy:
            there = f"--config {file} --adapter caddyfile"
            return f"caddy reload {there} >/dev/null 2>&1 || caddy start {there} >/dev/null 2>&1"
        engine = self._engine_name
        reload = f"{engine} exec mlops-caddy caddy reload --config /etc/caddy/Caddyfile"
        start = (
            f"{engine} rm --force mlops-caddy >/dev/null 2>&1; {engine} run --detach "
            f"--name=mlops-caddy --network=host --restart=always "
            f"--volume=$(cd {self._target.folder}/caddy && pwd):/etc/caddy "
            f"--volume=mlops-caddy:/data {self._target.caddy}"
        )
        return f"{reload} >/dev/null 2>&1 || {{ {start}; }}"

    def _roll_out(
        self, release: str, check: Callable[[int], None], api_key: str = "", watch: int = 0
    ) -> None:
        """Start a release, check it, give it the traffic, check that, and stop the one before it.

        Args:
            check: what must hold on a local port that leads to it; with a domain, whose certificate
                may take a while, the second check is left out.
            api_key: to read its metrics.
            watch: seconds to watch its traffic.
        """
        target, before = self._target, self._current()
        noted = self._read(f"slot-{release[-1]}")
        self._start(release)
        with self._undone(release):
            with self._tunnel(self._port_of(release)) as port:
                check(port)
            try:
                self._route(release)
                if not target.domain:
                    with self._tunnel(target.port) as port:
                        check(port)
                if watch:
                    self._watch(release, before, api_key, watch)
            except BaseException:
                self._shell(f"printf %s '{noted}' >{self._folder}/slot-{release[-1]}")
                if before:
                    self._route(before)
                else:
                    self._shell(f"rm -f {self._site}; {self._reload}")
                raise
        address = target.domain or f"port {target.port}"
        show_step("switched", f"{release} serves {address} on {target.host}")
        time.sleep(_DRAIN_SECONDS)  # requests that Caddy is passing on right now
        self._remove(1 - int(release[-1]))

    def _watch(self, release: str, before: str, api_key: str, seconds: int) -> None:
        """Watch the traffic of a release against that of the one before it."""
        earlier = Traffic()
        if before:
            with suppress(DeploymentError), self._tunnel(self._port_of(before)) as port:
                earlier = read_traffic(Service(f"http://127.0.0.1:{port}"))
        with self._tunnel(self._port_of(release)) as port:
            service = Service(f"http://127.0.0.1:{port}", api_key)
            watch_release(service, earlier, seconds, lambda: True)

    def _route(self, release: str) -> None:
        """Send the traffic to a release."""
        slot, target = int(release[-1]), self._target
        self._shell(f"mkdir -p {self._caddy}; printf %s {release} >{self._folder}/slot-{slot}")
        self._shell(f"touch {self._caddy}/1" if slot else f"rm -f {self._caddy}/1")
        folder = self._shell(f"cd {self._caddy} && pwd").strip()
        if target.caddy:
            folder = f"/etc/caddy/{target.environment}"  # in the container
        address = target.domain or f":{target.port}"
        site = _SITE.format(
            address=address, folder=folder, slot_0=target.port + 10_000, slot_1=target.port + 10_001
        )
        self._shell(
            f"cat >{self._site}.new && mv {self._site}.new {self._site} && "
            f"printf 'import *.caddy\\n' >{target.folder}/caddy/Caddyfile && {{ {self._reload}; }}",
            site,
        )

    def _prune(self) -> None:
        """Remove releases and images that neither serve nor can be gone back to."""
        kept = [name for name in map(self._read, ("slot-0", "slot-1")) if name]
        patterns = " ".join(f"! -name {name}" for name in kept)
        engine = self._engine_name
        self._shell(
            f"find {self._folder}/releases -mindepth 1 -maxdepth 1 {patterns} -exec rm -r {{}} +; "
            f"for image in $({engine} images --quiet --no-trunc --filter "
            f"label=mlops.package.digest); do "
            f"grep -qr ${{image#sha256:}} {self._target.folder}/*/releases/*/run || "
            f"{engine} rmi $image >/dev/null 2>&1; done; true"
        )


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == 200
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
