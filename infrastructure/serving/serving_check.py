"""Checks in a clean process whether a package can be served with only what its Bento contains."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import yaml
from pathspec import GitIgnoreSpec

from domain.gates import Verdict
from shared.console import progress
from shared.paths import ROOT

GATE = "serves_alone"
SECONDS = 120.0
OUTPUT = "output.log"
_PROCESS = Path(__file__).with_name("serving_process.py")
_KEPT_VARIABLES = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")


@dataclass(frozen=True)
class ServingCheck:
    """A running check; as a context manager, it is stopped at the end of the block."""

    process: subprocess.Popen[bytes]
    folder: Path
    deadline: float

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.kill()
        self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def verdict(self) -> Verdict:
        """Wait for the end of the check, and refuse the package with the reason if it failed."""
        try:
            with progress("gate") as update:
                update(f"{GATE} (the last one)")
                code = self.process.wait(max(0.0, self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return Verdict(GATE, False, f"a clean process did not finish within {SECONDS:g} s")
        output = (self.folder / OUTPUT).read_text(encoding="utf-8", errors="replace").splitlines()
        last = output[-1] if output else f"it ended with code {code}"
        if code:
            return Verdict(GATE, False, f"failed in a clean process: {last}")
        return Verdict(GATE, True, f"a clean process with the Bento's files {last}")


def start_serving_check(package: Path, service: str, root: Path = ROOT) -> ServingCheck:
    """Start a process that imports the service of a package and checks its golden predictions.

    It can import the files that the Bento includes, the standard library, and those installed
    packages that the service requires, directly or not. The native model is not needed. The caller
    need not wait.

    Args:
        service: as ``module:attribute``.
        root: the clone that the Bento's files come from.
    """
    folder = Path(tempfile.mkdtemp(prefix="serving-"))
    for name in included_files(root):
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, folder / "source" / name)
    sites = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    with (folder / OUTPUT).open("wb") as output:
        process = subprocess.Popen(  # pylint: disable=consider-using-with  # runs on after this
            [
                *(sys.executable, "-I", "-S", "-B", str(_PROCESS)),
                *(service, str(package.resolve()), *sorted(sites)),
            ],
            cwd=folder,
            env={
                **{name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
                "HOME": str(folder),
                "BENTOML_HOME": str(folder / "bentoml"),
                "BENTOML_DO_NOT_TRACK": "True",
            },
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
        )
    return ServingCheck(process, folder, time.monotonic() + SECONDS)


def included_files(root: Path = ROOT) -> list[str]:
    """Names of the clone's files that a Bento includes, sorted."""
    bentofile = root / "application/inference/services/bentofile.yaml"
    include = yaml.safe_load(bentofile.read_text(encoding="utf-8"))["include"]
    lines = (root / ".bentoignore").read_text(encoding="utf-8").splitlines()
    ignored = GitIgnoreSpec.from_lines(lines)
    paths = (path for pattern in include for path in root.glob(pattern) if path.is_file())
    names = {path.relative_to(root).as_posix() for path in paths}
    return sorted(name for name in names if not ignored.match_file(name))
