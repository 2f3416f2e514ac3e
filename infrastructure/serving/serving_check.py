"""Whether a package serves with what its Bento brings, asked in a process of its own."""

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
_PROCESS = Path(__file__).with_name("serving_process.py")
_KEPT = ("PATH", "LD_LIBRARY_PATH", "SYSTEMROOT")


@dataclass(frozen=True)
class ServingCheck:
    """A check that goes on; as a context manager it ends with the block."""

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
        """Wait until it has ended; refuse what did not serve, with the reason."""
        try:
            with progress("gate") as update:
                update(f"{GATE} (the last one)")
                code = self.process.wait(max(0.0, self.deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            return Verdict(GATE, False, f"a clean process did not answer within {SECONDS:g} s")
        said = (self.folder / "said").read_text(encoding="utf-8", errors="replace").splitlines()
        last = said[-1] if said else f"it ended with code {code}"
        if code:
            return Verdict(GATE, False, f"not in a clean process: {last}")
        return Verdict(GATE, True, f"a clean process with the Bento's files {last}")


def start_serving_check(package: Path, service: str, root: Path = ROOT) -> ServingCheck:
    """Start a process that imports the service of a package, and asks its golden requests.

    It sees the files that the Bento includes, the standard library, and of what is installed only
    what the service's requirements reach. The caller goes on; the native model is not looked at.

    Args:
        service: as ``module:attribute``.
        root: the clone whose files they are.
    """
    folder = Path(tempfile.mkdtemp(prefix="serving-"))
    for name in included_files(root):
        (folder / "source" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(root / name, folder / "source" / name)
    sites = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib")}
    with (folder / "said").open("wb") as said:
        process = subprocess.Popen(  # pylint: disable=consider-using-with  # the caller goes on
            [
                *(sys.executable, "-I", "-S", "-B", str(_PROCESS)),
                *(service, str(package.resolve()), *sorted(sites)),
            ],
            cwd=folder,
            env={
                **{name: os.environ[name] for name in _KEPT if name in os.environ},
                "HOME": str(folder),
                "BENTOML_HOME": str(folder / "bentoml"),
                "BENTOML_DO_NOT_TRACK": "True",
            },
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
    return ServingCheck(process, folder, time.monotonic() + SECONDS)


def included_files(root: Path = ROOT) -> list[str]:
    """The files of the clone that a Bento holds, by their names in the clone, sorted."""
    bentofile = root / "application/inference/services/bentofile.yaml"
    include = yaml.safe_load(bentofile.read_text(encoding="utf-8"))["include"]
    lines = (root / ".bentoignore").read_text(encoding="utf-8").splitlines()
    ignored = GitIgnoreSpec.from_lines(lines)
    paths = (path for pattern in include for path in root.glob(pattern) if path.is_file())
    names = {path.relative_to(root).as_posix() for path in paths}
    return sorted(name for name in names if not ignored.match_file(name))
