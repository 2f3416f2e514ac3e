"""A separate environment per peer, kept between runs."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Sequence
from importlib.metadata import version
from pathlib import Path

from shared.paths import ROOT
from tests.template.benchmarks.serving.errors import ContestantError

FOLDER = ROOT / ".benchmarks"


def pinned(requirements: Sequence[str]) -> list[str]:
    """Requirements with versions; by default, the version in this project, so that different
    versions do not affect the comparison."""
    return [
        requirement if "==" in requirement else f"{requirement}=={version(_bare(requirement))}"
        for requirement in requirements
    ]


def environment_python(name: str, requirements: Sequence[str]) -> Path:
    """The interpreter of a peer's environment, which is recreated if its requirements changed.

    Raises:
        ContestantError: it cannot be created.
    """
    folder = FOLDER / name
    python = folder / "bin/python"
    wanted = "\n".join([sys.version, *pinned(requirements)])
    stamp = folder / "requirements.txt"
    if not stamp.is_file() or stamp.read_text(encoding="utf-8") != wanted:
        uv = find_uv()
        shutil.rmtree(folder, ignore_errors=True)
        _run(uv, "venv", "--quiet", "--python", sys.executable, str(folder))
        install = ("pip", "install", "--native-tls", "--compile-bytecode", "--quiet")
        _run(uv, *install, "--python", str(python), *pinned(requirements))
        stamp.write_text(wanted, encoding="utf-8")
    return python


def find_uv() -> str:
    """The uv that installs this project, as in scripts/setup/install.sh.

    Raises:
        ContestantError: uv is missing.
    """
    poetry = ROOT / ".poetry/bin/poetry"
    found = shutil.which("poetry")
    next_to_poetry = [Path(each).resolve().parent / "uv" for each in (found, poetry) if each]
    for uv in (*next_to_poetry, shutil.which("uv"), ROOT / ".venv/bin/uv"):
        if uv and Path(uv).is_file():
            return str(uv)
    raise ContestantError("uv is missing: run `make install-dev`")


def _bare(requirement: str) -> str:
    return requirement.partition("[")[0]


def _run(*command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise ContestantError(f"cannot be installed: {done.stderr.strip()[-500:]}")
