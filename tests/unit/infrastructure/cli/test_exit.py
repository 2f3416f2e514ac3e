"""Commands end with one line and an exit code, whatever fails."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from domain.errors import ConfigError, MlopsError
from infrastructure.cli._exit import exit_code_of
from shared.paths import ROOT
from shared.settings import Settings


class Refusal(ConfigError):
    """An error with its own exit code."""


def failing(error: BaseException) -> Callable[[], None]:
    """A command that fails."""

    def command() -> None:
        raise error

    return command


@pytest.mark.parametrize(
    ("error", "code", "message"),
    [
        (MlopsError("no such model"), 1, "error: no such model\n"),
        (Refusal("too bad"), 3, "error: too bad\n"),
        (TimeoutError("it is locked"), 1, "error: it is locked\n"),
        (OSError(errno.EIO, "Input/output error", "/x"), 1, "error: /x: Input/output error\n"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, "error: Broken pipe\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_an_expected_failure_is_one_line_and_an_exit_code(
    error: BaseException, code: int, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code_of(failing(error), {Refusal: 3}) == code
    assert capsys.readouterr().err == message


def test_a_bug_keeps_its_traceback() -> None:
    with pytest.raises(KeyError):
        exit_code_of(failing(KeyError("x")))


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (7, 7)])
def test_a_command_that_ends_well_chooses_its_exit_code(returned: int | None, code: int) -> None:
    assert exit_code_of(lambda: returned) == code


def test_a_variable_that_cannot_be_right_is_one_line_that_names_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WHISPER_DOWNLOAD", "perhaps")
    assert exit_code_of(lambda: bool(Settings.load())) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: WHISPER_DOWNLOAD: ") and "got 'perhaps'" in message
    assert message.count("\n") == 1


COMMAND = """
import sys
from infrastructure.cli._exit import exit_code_of
from shared.console import show_step

def command():
    for _ in range(100_000):
        show_step("step", "done")

sys.exit(exit_code_of(command))
"""


def test_a_reader_that_has_left_ends_a_command_in_silence() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", COMMAND], cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    ) as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.readline() == b"  step      done\n"
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 141


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="Linux has a disk that is full")
def test_standard_output_on_a_full_disk_is_reported_in_one_line() -> None:
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            [sys.executable, "-c", COMMAND],
            cwd=ROOT,
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    way_out = "free space on that disk, then run it again"
    assert done.stderr == f"error: No space left on device: {way_out}\n"
    assert done.returncode == 1
