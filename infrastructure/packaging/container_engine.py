"""The container engine that builds, inspects and pushes images: docker, podman or buildah."""

from __future__ import annotations

import json
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from domain.errors import BuildError

ENGINES = ("docker", "podman")  # those that also run containers
BUILDERS = (*ENGINES, "buildah")


class Run(Protocol):
    """Runs a command and returns its standard output."""

    def __call__(self, command: Sequence[str], show: bool = False) -> str:
        """BuildError if it fails.

        Args:
            show: let its output go to the terminal instead.
        """


def find_engine(
    wanted: str | None = None,
    works: Callable[[str], bool] | None = None,
    supported: Sequence[str] = ENGINES,
) -> str:
    """The container engine to use: the wanted one, else the first that works.

    Raises:
        BuildError: none works; the message says what to do.
    """
    works = works or _works
    for engine in (wanted,) if wanted else supported:
        if engine in supported and works(engine):
            return engine
    if wanted:
        raise BuildError(
            f"the container engine {wanted} does not work: start it, or choose one of: "
            f"{', '.join(supported)}"
        )
    raise BuildError(
        "no container engine works: install and start Docker or Podman, "
        "or go on without an image: make deploy serves the Bento on this machine"
    )


@dataclass(frozen=True)
class BuiltImage:
    """An image that an engine has.

    Attributes:
        digest: its ID, the digest of its configuration.
        size: of its layers, in bytes.
        layers: digests of its layers, lowest first.
        references: names with the digest that a registry has, such as ``python@sha256:…``.
    """

    digest: str
    size: int
    layers: Sequence[str]
    references: Sequence[str]


@dataclass(frozen=True)
class ContainerEngine:
    """Commands of one engine.

    Args:
        name: docker, podman or buildah.
        run: how its commands are run.
    """

    name: str
    run: Run

    def build(
        self,
        context: Path,
        dockerfile: Path,
        image: str,
        arguments: Mapping[str, str],
        labels: Mapping[str, str],
    ) -> None:
        """Build an image; unchanged layers are those of an earlier build.

        Raises:
            BuildError: the engine failed; the reason is on the terminal.
        """
        command = [self.name, "build", f"--file={dockerfile}", f"--tag={image}"]
        if self.name != "docker":  # the format of OCI has no health checks
            command += ["--format=docker", "--layers"]
        command += [f"--build-arg={name}={value}" for name, value in arguments.items()]
        command += [f"--label={name}={value}" for name, value in labels.items()]
        try:
            self.run([*command, str(context)], show=True)
        except BuildError as error:
            message = f"{self.name} could not build the image of {image}: see its output above"
            raise BuildError(message) from error

    def inspect(self, image: str) -> BuiltImage:
        """What is known about an image.

        Raises:
            BuildError: the engine does not have it.
        """
        if self.name == "buildah":
            return _of_buildah(json.loads(self.run(["buildah", "inspect", "--type=image", image])))
        (found,) = json.loads(self.run([self.name, "image", "inspect", image]))
        digest = f"sha256:{found['Id'].removeprefix('sha256:')}"  # podman leaves the prefix out
        references = found.get("RepoDigests") or []
        return BuiltImage(digest, found["Size"], found["RootFS"]["Layers"], references)

    def pull(self, image: str) -> None:
        """Download an image.

        Raises:
            BuildError: the engine failed.
        """
        self.run([self.name, "pull", image])

    def push(self, image: str, target: str) -> str:
        """Upload an image under another name and return its digest in the registry.

        Raises:
            BuildError: the engine failed, such as when it is not logged in.
        """
        self.run([self.name, "tag", image, target])
        if self.name == "docker":
            self.run(["docker", "push", "--quiet", target])
            name = target.rpartition(":")[0]
            for reference in self.inspect(target).references:
                if reference.startswith(f"{name}@"):
                    return reference.rpartition("@")[2]
            raise BuildError(f"docker did not say which digest {target} has in the registry")
        with tempfile.NamedTemporaryFile() as file:
            self.run([self.name, "push", "--quiet", f"--digestfile={file.name}", target])
            return Path(file.name).read_text(encoding="ascii").strip()


def _of_buildah(found: Mapping[str, Any]) -> BuiltImage:
    sizes = [layer["size"] for layer in json.loads(found["Manifest"])["layers"]]
    name, digest = found["FromImage"].rpartition(":")[0], found["FromImageDigest"]
    return BuiltImage(
        f"sha256:{found['FromImageID']}",
        sum(sizes),
        found["Docker"]["rootfs"]["diff_ids"],
        [f"{name}@{digest}"] if digest else [],
    )


def run_command(command: Sequence[str], show: bool = False) -> str:
    """Run a command of an engine and return its standard output, unless it is shown.

    Raises:
        BuildError: it failed; the message ends with its last line.
    """
    done = subprocess.run(command, capture_output=not show, text=True, check=False)
    if done.returncode:
        reason = (done.stderr or done.stdout or "").strip().rpartition("\n")[2]
        raise BuildError(f"{' '.join(command[:2])} failed: {reason}")
    return done.stdout or ""


def _works(engine: str) -> bool:
    if not shutil.which(engine):
        return False
    return not subprocess.run([engine, "info"], capture_output=True, check=False).returncode
