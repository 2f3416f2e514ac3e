"""One process at a time, on a real lock file."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from domain.errors import RegistryError
from infrastructure.registry.lock import held
from shared.paths import ROOT

HOLDER = """
import sys
from pathlib import Path
from infrastructure.registry.lock import held

with held(Path(sys.argv[1]), 5):
    print("held", flush=True)
    input()
"""


def test_another_process_waits_and_says_for_what(tmp_path: Path) -> None:
    path = tmp_path / "new/.lock"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as holder:
        assert holder.stdout and holder.stdout.readline() == b"held\n"
        with pytest.raises(RegistryError, match=r"another process has held .*\.lock for 0.1 s"):
            with held(path, 0.1):
                pytest.fail("two held it")
        holder.kill()
        holder.wait()
        with held(path, 5):  # the lock has ended with its process
            pass


def test_who_holds_it_may_take_it_again_and_an_error_frees_it(tmp_path: Path) -> None:
    path = tmp_path / ".lock"
    with pytest.raises(KeyError):
        with held(path, 0), held(path, 0):
            raise KeyError
    with held(path, 0):
        pass
