"""Programs that deploy elsewhere: their output, and what is said of a failure."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from domain.errors import DeploymentError
from infrastructure.deployment.commands import run_program


def test_the_output_of_a_program_is_returned(tmp_path: Path) -> None:
    code = "import os; print(os.getcwd())"
    assert run_program([sys.executable, "-c", code], "it", 20, tmp_path).strip() == str(tmp_path)


@pytest.mark.parametrize(
    ("command", "seconds", "message"),
    [
        (["no-such-program"], 20, "no-such-program is not on PATH: install it"),
        ([sys.executable, "-c", "import time; time.sleep(20)"], 0.2, "it took more than 0 s"),
        (
            [sys.executable, "-c", "raise SystemExit('x' * 2000 + 'why')"],
            20,
            "it failed: x{997}why",
        ),
        ([sys.executable, "-c", "print('only here'); raise SystemExit(1)"], 20, "it failed: only"),
    ],
)
def test_a_failure_is_an_error_with_the_reason(
    command: list[str], seconds: float, message: str
) -> None:
    with pytest.raises(DeploymentError, match=f"^{message}"):
        run_program(command, "it", seconds)
