"""A container engine for the tests: Docker or Podman if installed, else a temporary Podman.

`make_engine` is for a Debian machine without systemd, an image registry or the capability to raise
limits, which an engine usually expects.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from infrastructure.packaging.container_engine import ENGINES
from shared.ports import listens
from tests.served import free_port

PYTHON = ".".join(map(str, sys.version_info[:2]))
BASE = f"docker.io/library/python:{PYTHON}-slim"
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
PIP_SETTINGS = Path("/etc/pip.conf")
UV_SETTINGS = Path("/etc/uv/uv.toml")
MAX_FILES_OR_PROCESSES = 8192


class EngineError(RuntimeError):
    """No engine works, or a command failed; the message ends with its output."""


@dataclass(frozen=True)
class Engine:
    """A working container engine.

    Args:
        name: docker or podman.
        environment: variables for every command except builds.
        build_environment: variables for builds.
        network: network mode of containers; empty for the engine's default.
    """

    name: str
    environment: Mapping[str, str] = field(default_factory=dict)
    build_environment: Mapping[str, str] = field(default_factory=dict)
    network: str = ""

    def run(self, *arguments: str, seconds: float = 120.0) -> str:
        """Run a command of the engine and return its standard output.

        Raises:
            EngineError: the command failed or timed out.
        """
        return _run([self.name, *arguments], seconds, self.environment)


@dataclass(frozen=True)
class Registry:
    """An image registry on this machine, without TLS.

    Attributes:
        address: host and port.
        folder: where its files are.
        environment: variables with which Podman does not expect TLS.
    """

    address: str
    folder: Path
    environment: Mapping[str, str]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())


@contextmanager
def serve_registry(folder: Path) -> Iterator[Registry]:
    """Run Debian's registry, which must be installed."""
    port = free_port()
    config = {
        "version": 0.1,
        "storage": {"filesystem": {"rootdirectory": str(folder / "images")}},
        "http": {"addr": f"127.0.0.1:{port}"},
    }
    (folder / "registry.json").write_text(json.dumps(config), encoding="utf-8")  # which is YAML
    settings = folder / "registries.conf"
    location = f'[[registry]]\nlocation = "127.0.0.1:{port}"\ninsecure = true\n'
    settings.write_text(location, encoding="utf-8")
    with (
        (folder / "registry.log").open("wb") as log,
        subprocess.Popen(
            ["docker-registry", "serve", str(folder / "registry.json")], stdout=log, stderr=log
        ) as process,
    ):
        try:
            deadline = time.monotonic() + 20
            while not listens(port):
                if time.monotonic() > deadline or process.poll() is not None:
                    raise EngineError(f"no registry: {(folder / 'registry.log').read_text()}")
                time.sleep(0.05)
            variables = {"CONTAINERS_REGISTRIES_CONF": str(settings)}
            yield Registry(f"127.0.0.1:{port}", folder / "images", variables)
        finally:
            process.terminate()


def find_engine() -> Engine:
    """The first engine that works and can run the base image.

    Raises:
        EngineError: no engine works; the message has the reasons.
    """
    reasons = []
    for name in ENGINES:
        if not shutil.which(name):
            reasons.append(f"{name} is not installed")
            continue
        engine = Engine(name)
        try:
            engine.run("info")
            _get_base(engine)
            engine.run("run", "--rm", BASE, "python", "--version")
            return engine
        except EngineError as error:
            reasons.append(str(error))
    raise EngineError(f"no container engine works here: {'; '.join(reasons)}")


def engine_or_skip() -> Iterator[Engine]:
    """For a fixture: the engine of this machine, or one that is made; without either, a skip."""
    try:
        found = find_engine()
    except EngineError as error:
        if not may_make_engine(os.environ, os.getuid()):
            pytest.skip(f"{error} (root on Debian may have one made with MAKE_CONTAINER_ENGINE=1)")
        with make_engine() as made:
            yield made
    else:
        yield found


def may_make_engine(environ: Mapping[str, str], uid: int) -> bool:
    """Whether to install one: root on a Debian machine, in CI or with MAKE_CONTAINER_ENGINE=1."""
    requested = environ.get("CI") == "true" or environ.get("MAKE_CONTAINER_ENGINE") == "1"
    return requested and uid == 0 and Path("/etc/debian_version").exists()


@contextmanager
def make_engine() -> Iterator[Engine]:
    """Install Podman, with its data in a folder that is removed afterwards.

    Raises:
        EngineError: a step failed.
    """
    # runc: crun refuses hybrid cgroups
    _install("podman", "runc", "slirp4netns", "docker-registry")
    folder = Path(tempfile.mkdtemp(prefix="engine-"))
    engine = _configure(folder)
    try:
        try:
            _get_base(engine)
        except EngineError:
            _make_base(engine, folder)
        yield _with_network(engine)
    finally:
        _remove(engine, folder)


def _run(command: Sequence[str], seconds: float, environment: Mapping[str, str]) -> str:
    name = " ".join(command[:2])
    try:
        done = subprocess.run(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise EngineError(f"{name} took more than {seconds:.0f} s") from error
    if done.returncode:
        raise EngineError(f"{name} failed: {(done.stderr or done.stdout).strip()[-500:]}")
    return done.stdout


def _get_base(engine: Engine) -> None:
    try:
        engine.run("image", "inspect", BASE)
    except EngineError:
        engine.run("pull", "--quiet", BASE, seconds=300)


def _install(*packages: str) -> None:
    missing = [name for name in packages if not shutil.which(name)]
    if not missing:
        return
    apt = ["apt-get", "-qq", "-o", "Acquire::Retries=3"]
    quiet = {"DEBIAN_FRONTEND": "noninteractive"}
    _run([*apt, "update"], 300, quiet)
    _run([*apt, "install", "--yes", "--no-install-recommends", *missing], 600, quiet)


def _configure(folder: Path) -> Engine:
    limits = [
        f"{name}={limit}:{limit}"
        for name, limit in (
            ("nofile", _limit(resource.RLIMIT_NOFILE)),
            ("nproc", _limit(resource.RLIMIT_NPROC)),
        )
    ]
    shared = {
        "containers": {"default_ulimits": limits},
        "engine": {
            "runtime": "runc",
            "cgroup_manager": "cgroupfs",
            "events_logger": "file",
            "lock_type": "file",
            "tmp_dir": f"{folder}/tmp",
        },
        "network": {"network_config_dir": f"{folder}/networks"},
    }
    # A build downloads packages over the network of this machine, with its certificates and package
    # index settings. They are mounted, so that they do not stay in the image.
    build = {**shared, "containers": {**shared["containers"], "netns": "host"}}
    build["containers"]["volumes"] = _mounts(folder)
    storage = {"storage": {"driver": "overlay", "graphroot": f"{folder}/root"}}
    storage["storage"]["runroot"] = f"{folder}/run"
    for name, tables in (("run", shared), ("build", build), ("storage", storage)):
        (folder / f"{name}.conf").write_text(_toml(tables), encoding="utf-8")
    own_storage = {"CONTAINERS_STORAGE_CONF": f"{folder}/storage.conf"}
    return Engine(
        "podman",
        {**own_storage, "CONTAINERS_CONF": f"{folder}/run.conf"},
        {**own_storage, "CONTAINERS_CONF": f"{folder}/build.conf"},
    )


def _limit(kind: int) -> int:
    hard = resource.getrlimit(kind)[1]
    if hard == resource.RLIM_INFINITY:
        return MAX_FILES_OR_PROCESSES
    return min(hard, MAX_FILES_OR_PROCESSES)


def _mounts(folder: Path) -> list[str]:
    uv_settings = UV_SETTINGS
    if not uv_settings.exists():
        uv_settings = folder / "uv.toml"
        uv_settings.write_text("native-tls = true\n", encoding="utf-8")
    mounts = (
        (CERTIFICATES, CERTIFICATES),
        (PIP_SETTINGS, PIP_SETTINGS),
        (uv_settings, UV_SETTINGS),
    )
    return [f"{source}:{target}:ro" for source, target in mounts if source.exists()]


def _toml(tables: Mapping[str, Mapping[str, str | Sequence[str]]]) -> str:
    return "".join(
        f"[{table}]\n" + "".join(f"{key} = {json.dumps(value)}\n" for key, value in keys.items())
        for table, keys in tables.items()
    )


def _make_base(engine: Engine, folder: Path) -> None:
    """Import a substitute for the base image, made of Debian packages of this release."""
    _install("mmdebstrap")
    release = platform.freedesktop_os_release()["VERSION_CODENAME"]
    targets = ["apt-get", "indextargets", "--format", "$(SITE)", "Created-By: Packages"]
    sites = _run([*targets, f"Codename: {release}", "Origin: Debian"], 60, {}).split()
    if not sites:
        raise EngineError(f"no package source of Debian {release} to replace {BASE}")
    archive = folder / "base.tar"
    packages = (f"python{PYTHON}", "python3-venv", "python3-pip", "ca-certificates")
    hooks = (
        'ln -s ../../bin/python3 "$1/usr/local/bin/python"',
        f'rm -f "$1/usr/lib/python{PYTHON}/EXTERNALLY-MANAGED"',
    )
    _run(
        [
            *("mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}"),
            *(f"--dpkgopt=path-exclude=/usr/share/{kind}/*" for kind in ("doc", "locale", "man")),
            *(f"--customize-hook={hook}" for hook in hooks),
            *(release, str(archive), sites[0]),
        ],
        600,
        {},
    )
    path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    engine.run("import", "--quiet", "--change", f"ENV PATH={path}", str(archive), BASE)
    archive.unlink()


def _with_network(engine: Engine) -> Engine:
    """The engine with user-mode networking if possible, else with the host network."""
    for network in ("slirp4netns", "host"):
        try:
            engine.run("run", "--rm", "--network", network, BASE, "python", "--version")
        except EngineError:
            if network == "host":
                raise
        else:
            break
    return Engine(engine.name, engine.environment, engine.build_environment, network)


def _remove(engine: Engine, folder: Path) -> None:
    try:
        engine.run("rm", "--all", "--force", "--time", "0")
        engine.run("rmi", "--all", "--force")
    finally:
        lines = Path("/proc/mounts").read_text(encoding="utf-8").splitlines()
        mounted = [line.split()[1] for line in lines]
        for target in sorted(mounted, reverse=True):
            if Path(target).is_relative_to(folder):
                _run(["umount", target], 60, {})
        shutil.rmtree(folder)
