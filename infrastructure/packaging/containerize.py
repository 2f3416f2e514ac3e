"""Build the image of a Bento: `python -m infrastructure.packaging.containerize --help`."""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from domain.errors import BuildError, MlopsError
from infrastructure.compute.receipts import write_receipt
from shared.commands import entry_point
from shared.console import fail, show_step
from shared.settings import Settings

ENGINES = ("docker", "podman")
NO_ENGINE = 3


def find_engine(wanted: str | None = None, works: Callable[[str], bool] | None = None) -> str:
    """The container engine to use: the one asked for, else the first that answers.

    Raises:
        BuildError: there is none; the message says what to install.
    """
    works = works or _works
    for engine in (wanted,) if wanted else ENGINES:
        if engine in ENGINES and works(engine):
            return engine
    if wanted:
        raise BuildError(f"the container engine {wanted} does not answer (known: docker, podman)")
    raise BuildError(
        "no container engine answers: install and start Docker or Podman, "
        "or go on without an image: `make deploy` serves the Bento on this machine"
    )


def containerize(bento_tag: str, engine: str) -> str:
    """Build the image with BentoML, its output on the terminal; the image's name.

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


@entry_point(MlopsError)
def main(arguments: list[str] | None = None) -> int:
    """Build; 0 done, 3 no engine, 1 failed."""
    parser = argparse.ArgumentParser(description="Build the image of the champion's Bento.")
    parser.add_argument("--bento", type=Path, required=True, help="receipt of bento-build")
    parser.add_argument("--engine", help="docker or podman (default: the one that answers)")
    parser.add_argument("--receipt", type=Path, help="write a receipt to this file")
    options = parser.parse_args(arguments)
    try:
        engine = find_engine(options.engine or None)
    except BuildError as error:
        return fail(error, NO_ENGINE)
    built = json.loads(options.bento.read_text(encoding="utf-8"))
    home = Settings().bento_home
    if not (home / "bentos" / built["bento_tag"].replace(":", "/") / "bento.yaml").is_file():
        raise BuildError(
            f"{built['bento_tag']} is not in the Bento store {home}: remove {options.bento}, then "
            "make bento-build builds it again"
        )
    os.environ["BENTOML_HOME"] = str(home)
    image = containerize(built["bento_tag"], engine)
    show_step("image", f"{image} ({engine})")
    if options.receipt:
        write_receipt(options.receipt, **{**built, "image": image, "engine": engine})
    return 0


def _works(engine: str) -> bool:
    if not shutil.which(engine):
        return False
    return not subprocess.run([engine, "info"], capture_output=True, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
