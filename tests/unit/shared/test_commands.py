"""Commands end with one line and an exit code, whatever a machine does to them."""

from __future__ import annotations

import errno
import subprocess
import sys
from pathlib import Path

import pytest

from shared.commands import entry_point
from shared.paths import ROOT


class Refusal(ValueError):
    """Raised on purpose."""


@pytest.mark.parametrize(
    ("error", "code", "told"),
    [
        (ValueError("no such model"), 1, "error: no such model\n"),
        (Refusal("too bad"), 3, "error: too bad\n"),
        (TimeoutError("it is locked"), 1, "error: it is locked\n"),
        (OSError(errno.EIO, "Input/output error", "/x"), 1, "error: /x: Input/output error\n"),
        (BrokenPipeError(errno.EPIPE, "Broken pipe"), 1, "error: Broken pipe\n"),
        (KeyboardInterrupt(), 130, "interrupted\n"),
    ],
)
def test_what_programs_fail_of_is_one_line_and_an_exit_code(
    error: BaseException, code: int, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    @entry_point(ValueError, codes={Refusal: 3})
    def main() -> int:
        raise error

    assert main() == code
    assert capsys.readouterr().err == told


def test_a_fault_of_the_program_keeps_its_traceback() -> None:
    @entry_point(ValueError)
    def main() -> int:
        raise KeyError("x")

    with pytest.raises(KeyError):
        main()


def test_a_command_takes_arguments_and_says_how_it_went() -> None:
    @entry_point()
    def main(code: int) -> int:
        """As it was."""
        return code

    assert (main(code=0), main(7), main.__doc__) == (0, 7, "As it was.")


COMMAND = """
import sys
from shared.commands import entry_point
from shared.console import show_step

@entry_point()
def main():
    for _ in range(100_000):
        show_step("step", "done")
    return 0

sys.exit(main())
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
def test_standard_output_on_a_full_disk_is_told_in_one_line() -> None:
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


def test_every_command_ends_so() -> None:
    started_by_others = {"infrastructure/deployment/front.py", "serving_process.py"}
    files = [
        path.relative_to(ROOT)
        for package in ("application", "infrastructure", "shared")
        for path in (ROOT / package).rglob("*.py")
        if "\ndef main(" in path.read_text(encoding="utf-8")
        and not path.as_posix().endswith(tuple(started_by_others))
    ]
    assert len(files) >= 10
    for path in files:
        above = (ROOT / path).read_text(encoding="utf-8").split("\ndef main(")[0].splitlines()[-1]
        assert above.startswith("@entry_point("), path
