"""Output of libraries to standard error is discarded, and nothing else."""

from __future__ import annotations

import os
import sys

import pytest

from shared.quiet import silenced


def test_nothing_that_is_written_inside_is_seen(capfd: pytest.CaptureFixture[str]) -> None:
    with silenced():
        os.write(2, b"from compiled code")
        print("from Python", file=sys.stderr, flush=True)
    assert capfd.readouterr().err == ""


def test_output_before_and_after_is_shown(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(2, b"before ")
    with silenced():
        os.write(2, b"inside ")
    os.write(2, b"after")
    assert capfd.readouterr().err == "before after"


def test_standard_output_is_left_alone(capfd: pytest.CaptureFixture[str]) -> None:
    with silenced():
        os.write(1, b"a result")
    assert capfd.readouterr().out == "a result"


def test_errors_pass_and_the_terminal_is_back(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="wrong"), silenced():
        raise ValueError("wrong")
    os.write(2, b"seen")
    assert capfd.readouterr().err == "seen"
