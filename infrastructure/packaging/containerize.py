"""Builds the container image of a Bento."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Callable

from domain.errors import BuildError

ENGINES = ("docker", "podman")


def find_engine(wanted: str | None = None, works: Callable[[str], bool] | None = None) -> str:
    """The container engine to use: the wanted one, else the first that works.

    Raises:
        BuildError: none works; the message says what to do.
    """
    works = works or _works
    for engine in (wanted,) if wanted else ENGINES:
        if engine in ENGINES and works(engine):
            return engine
    if wanted:
        supported = ", ".join(ENGINES)
        raise BuildError(
            f"the container engine {wanted} does not work: start it, or choose one of: {supported}"
        )
    raise BuildError(
        "no container engine works: install and start Docker or Podman, "
        "or go on without an image: make deploy serves the Bento on this machine"
    )


def containerize(bento_tag: str, engine: str) -> str:
    """Build the image with BentoML, which prints to the terminal, and return the image's name.

    Raises:
        BuildError: the engine failed.
    """
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "bentoml",
            "containerize",
            bento_tag,
            "--backend",
            engine,
            "-t",
            bento_tag,
        ],
        check=False,
    )
    if done.returncode:
        raise BuildError(f"{engine} could not build the image of {bento_tag}: see its output above")
    return bento_tag


def _works(engine: str) -> bool:
    if not shutil.which(engine):
        return False
    return not subprocess.run([engine, "info"], capture_output=True, check=False).returncode
