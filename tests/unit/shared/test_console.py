"""What entry points say on the terminal."""

from __future__ import annotations

import contextlib
import io

import pytest

from shared.console import fail, show_passing, show_step


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


def test_a_failure_is_told_on_standard_error_and_ends_with_1(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert fail(ValueError("no such model")) == 1
    captured = capsys.readouterr()
    assert captured.err == "error: no such model\n"
    assert captured.out == ""


class Terminal(io.StringIO):
    """Something that is written to as a terminal is."""

    def isatty(self) -> bool:
        """It is one."""
        return True


def test_what_goes_on_is_written_over_on_a_terminal() -> None:
    with contextlib.redirect_stdout(Terminal()) as terminal:
        show_passing("epoch", "1: loss 0.5")
        show_step("fit", "done")
    passing, done = terminal.getvalue().split("\r")
    assert passing.startswith("  epoch     1: loss 0.5")
    assert done.endswith("\033[K\n"), "nothing of a longer line is left"


def test_what_goes_on_is_not_written_to_a_file() -> None:
    with contextlib.redirect_stdout(io.StringIO()) as file:
        show_passing("epoch", "1: loss 0.5")
        show_step("fit", "done")
    assert file.getvalue() == "  fit       done\n"
