"""Terminal output of the entry points."""

from __future__ import annotations

import contextlib
import errno
import io
import threading

import pytest

from shared.console import fail, printable, progress, show_line, show_progress, show_step


def test_steps_are_shown_one_a_line_with_their_results_below_each_other(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_step("data", "150 rows")
    show_step("quality", "accuracy 0.933")
    first, second = capsys.readouterr().out.splitlines()
    assert first.split() == ["data", "150", "rows"]
    assert first.index("150 rows") == second.index("accuracy 0.933")


def test_the_longest_step_is_set_off_from_its_result(capsys: pytest.CaptureFixture[str]) -> None:
    show_step("production", "running")
    assert capsys.readouterr().out.split() == ["production", "running"]


def test_a_failure_is_reported_on_standard_error_and_exits_with_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fail(ValueError("no such model")) == 1
    captured = capsys.readouterr()
    assert captured.err == "error: no such model\n"
    assert captured.out == ""


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        """Always true."""
        return True


def test_progress_is_overwritten_on_a_terminal() -> None:
    with contextlib.redirect_stdout(Terminal()) as terminal:
        show_progress("epoch", "1: loss 0.5")
        show_step("fit", "done")
    on_progress, done = terminal.getvalue().split("\r")
    assert on_progress.startswith("  epoch     1: loss 0.5")
    assert done.endswith("\033[K\n"), "the rest of a longer line is cleared"


def test_progress_is_not_written_to_a_file() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as file:
        show_progress("epoch", "1: loss 0.5")
        show_step("fit", "done")
    assert file.getvalue() == "  fit       done\n"


NAME = "a\x1b[31mb\r\nc\u202ed\x9be\udc80"
SHOWN = r"a\x1b[31mb\r\nc\u202ed\x9be\udc80"


def test_control_characters_in_a_name_are_shown_and_reach_no_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    show_step("input", NAME)
    show_line(NAME)
    fail(ValueError(NAME))
    captured = capsys.readouterr()
    assert captured.out == f"  input     {SHOWN}\n  {SHOWN}\n"
    assert captured.err == f"error: {SHOWN}\n"
    with contextlib.redirect_stdout(Terminal()) as terminal:
        show_progress("epoch", NAME)
    assert terminal.getvalue() == f"  epoch     {SHOWN}\033[K\r"


@pytest.mark.parametrize("text", ["größe, 花弁 – R² ± 0.1 …", "क्षेत्र", "می‌شود", "👩‍🔬"])
def test_letters_of_every_language_are_printed_as_they_are(text: str) -> None:
    assert printable(text) == text


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            OSError(errno.ENOSPC, "No space left on device", "/disk/x"),
            "/disk/x: No space left on device: free space on that disk, then run it again",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "/disk/x"),
            "/disk/x: Permission denied: give this user permission, then run it again",
        ),
        (FileNotFoundError(errno.ENOENT, "No such file", "a", None, "b"), "a → b: No such file"),
        (TimeoutError("another process holds the lock"), "another process holds the lock"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_an_error_of_the_operating_system_names_the_file_and_the_way_out(
    error: Exception, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fail(error, 3) == 3
    assert capsys.readouterr().err == f"error: {message}\n"


def test_progress_is_shown_with_the_elapsed_time_and_erased() -> None:
    class Watched(Terminal):
        """Sets an event when a line has been written for the third time."""

        third = threading.Event()

        def flush(self) -> None:
            """Flush, and count the lines."""
            super().flush()
            if self.getvalue().count("parity") >= 3:
                self.third.set()

    with contextlib.redirect_stdout(Watched()) as terminal:
        with progress("gate", interval=0.001) as update:
            update("quality (1 of 2)")
            update("parity (2 of 2)")
            assert terminal.third.wait(10)
    first, *_, last, cleared = terminal.getvalue().split("\r")
    assert first == "  gate      quality (1 of 2), 0 s\033[K"
    assert last.startswith("  gate      parity (2 of 2), ")
    assert cleared == "\033[K"


def test_timed_progress_is_not_written_to_a_file() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as file, progress("gate", 0.001) as update:
        update("quality (1 of 2)")
    assert file.getvalue() == ""
