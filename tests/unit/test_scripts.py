"""The shell scripts: sound, explained, and harmless."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shared.paths import ROOT

SCRIPTS = [*sorted((ROOT / "scripts").rglob("*.sh")), ROOT / ".ci/run"]
ALL_SCRIPTS = [pytest.param(path, id=str(path.relative_to(ROOT))) for path in SCRIPTS]
HELPFUL = [path.relative_to(ROOT / "scripts").as_posix() for path in SCRIPTS[:-1]]
FIND_PYTHON = ROOT / "scripts/setup/find_python.sh"

TOO_OLD = "#!/bin/sh\nexit 1\n"  # says no to every question
WITHOUT_VENV = '#!/bin/sh\ncase "$2" in *ensurepip*) exit 1 ;; esac\n'
GOOD = "#!/bin/sh\nexit 0\n"


def code_of(path: Path) -> str:
    """The lines of a script that are run."""
    lines = path.read_text("utf-8").splitlines()
    return "\n".join(line for line in lines if not line.lstrip().startswith("#"))


def find_python(**environment: str) -> subprocess.CompletedProcess[str]:
    """Run find_python.sh with nothing in the environment but this."""
    return subprocess.run(
        ["/bin/bash", str(FIND_PYTHON)],
        env={"PATH": os.environ["PATH"], **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )


def write_program(path: Path, text: str) -> Path:
    """A program that can be run."""
    path.write_text(text, encoding="utf-8")
    path.chmod(0o755)
    return path


def test_the_scripts_of_the_tutorial_exist() -> None:
    assert ROOT / "scripts/quickstart.sh" in SCRIPTS
    assert ROOT / "scripts/setup/setup_poetry.sh" in SCRIPTS


@pytest.mark.parametrize("path", ALL_SCRIPTS)
def test_bash_can_read_it(path: Path) -> None:
    done = subprocess.run(["bash", "-n", path], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("path", ALL_SCRIPTS)
def test_it_is_executable_and_stops_at_the_first_failure(path: Path) -> None:
    assert os.access(path, os.X_OK)
    assert path.read_text("utf-8").startswith("#!/usr/bin/env bash\n# ")
    assert code_of(path).lstrip().startswith("set -euo pipefail\n")


@pytest.mark.parametrize("path", ALL_SCRIPTS)
def test_it_asks_for_no_other_rights_and_runs_nothing_from_the_network(path: Path) -> None:
    code = code_of(path)
    assert not re.search(r"\bsudo\b|\bsu -", code)
    assert not re.search(r"\b(curl|wget)\b[^\n]*\|", code)
    assert not re.search(r"\b(bash|sh)\s+<\(|\beval\b", code)
    assert not re.search(r"\|\|\s*true\b", code)


@pytest.mark.parametrize("name", HELPFUL)
def test_help_explains_the_script_and_does_nothing(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "clone/scripts"
    shutil.copytree(ROOT / "scripts", folder)
    before = sorted(tmp_path.rglob("*"))
    tools = tmp_path / "tools"  # no make, no Python, no network
    tools.mkdir()
    for tool in ("bash", "sed", "dirname", "awk", "env", "cat"):
        (tools / tool).symlink_to(shutil.which(tool) or tool)
    done = subprocess.run(
        [tools / "bash", folder / name, "--help"],
        env={"PATH": str(tools)},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert (done.returncode, done.stderr) == (0, "")
    first = (folder / name).read_text("utf-8").splitlines()[1].removeprefix("# ")
    assert done.stdout.splitlines()[0] == first
    assert not re.search(r"^#|^set -|^cd ", done.stdout, re.MULTILINE)
    shutil.rmtree(tools)
    assert sorted(tmp_path.rglob("*")) == before


def test_quickstart_refuses_an_unknown_option() -> None:
    done = subprocess.run(
        ["bash", ROOT / "scripts/quickstart.sh", "--no-such-option"],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 2
    assert "unknown option --no-such-option" in done.stderr
    assert done.stdout == ""


def test_the_python_that_runs_these_tests_is_found_good() -> None:
    done = find_python(PYTHON=sys.executable)
    assert (done.returncode, done.stdout.strip()) == (0, sys.executable)


@pytest.mark.parametrize("named", ["/bin/false", "/no/such/python"])
def test_a_python_that_is_too_old_or_missing_is_refused_with_what_to_do(named: str) -> None:
    done = find_python(PYTHON=named)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.startswith("error: no Python 3.11, 3.12 or 3.13 found")
    assert f"(tried: {named})" in done.stderr
    assert "PYTHON=/path/to/python make" in done.stderr


def test_a_python_that_cannot_make_environments_is_refused_with_what_to_install(
    tmp_path: Path,
) -> None:
    python = write_program(tmp_path / "python3.11", WITHOUT_VENV)
    done = find_python(PYTHON=str(python))
    assert (done.returncode, done.stdout) == (1, "")
    assert f"{python} cannot make virtual environments" in done.stderr
    assert "python3-venv" in done.stderr


def test_the_first_python_on_the_path_that_is_new_enough_is_taken(tmp_path: Path) -> None:
    write_program(tmp_path / "python3", TOO_OLD)
    write_program(tmp_path / "python3.13", TOO_OLD)
    expected = write_program(tmp_path / "python3.12", GOOD)
    write_program(tmp_path / "python3.11", GOOD)
    done = find_python(PATH=str(tmp_path))
    assert (done.returncode, done.stdout.strip()) == (0, str(expected))


def test_a_path_without_any_good_python_is_an_error_that_lists_what_was_tried(
    tmp_path: Path,
) -> None:
    write_program(tmp_path / "python3", TOO_OLD)
    done = find_python(PATH=str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    assert "(tried: python3 python3.13 python3.12 python3.11)" in done.stderr


@pytest.mark.parametrize(
    ("running", "is_good"), [((3, 10), False), ((3, 11), True), ((3, 13), True), ((3, 14), False)]
)
def test_the_range_of_versions_is_that_of_the_project(
    running: tuple[int, int], is_good: bool
) -> None:
    (question,) = re.findall(r"sys\.exit\(not (.+?)\)' ", FIND_PYTHON.read_text("utf-8"))
    low, high = re.fullmatch(  # type: ignore[union-attr]
        r"\((\d+, \d+)\) <= sys\.version_info < \((\d+, \d+)\)", question
    ).groups()
    bounds = [tuple(map(int, text.split(", "))) for text in (low, high)]
    assert (bounds[0] <= running < bounds[1]) is is_good
    declared = f'requires-python = ">={low.replace(", ", ".")},<{high.replace(", ", ".")}"'
    assert declared in (ROOT / "pyproject.toml").read_text("utf-8")


def test_the_python_that_a_user_names_reaches_the_scripts_through_make(tmp_path: Path) -> None:
    named = tmp_path / "python-of-mine"
    done = subprocess.run(
        ["make", "-pn", "help"],
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "PYTHON": str(named)},
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
    )
    assert f"\nPYTHON = {named}\n" in done.stdout


QUICKSTART = ["installed", "train", "validate", "bento-build", "deploy", "demo", "where"]


def quickstart(folder: Path, *arguments: str, fails_at: str = "") -> tuple[int, list[str], str]:
    """Exit code, targets and errors of quickstart.sh with a make that notes what it is asked."""
    calls = folder / "calls"
    calls.touch()
    write_program(
        folder / "make",
        f'#!/bin/sh\nfor last; do :; done\necho "$last" >>{calls}\n[ "$last" != "{fails_at}" ]\n',
    )
    done = subprocess.run(
        ["/bin/bash", ROOT / "scripts/quickstart.sh", *arguments],
        env={"PATH": f"{folder}:{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    return done.returncode, calls.read_text("utf-8").split(), done.stderr


def test_quickstart_goes_from_installing_to_the_demonstration(tmp_path: Path) -> None:
    assert quickstart(tmp_path) == (0, QUICKSTART, "")


@pytest.mark.parametrize("step", QUICKSTART[:-1])
def test_quickstart_stops_at_the_first_failure_and_names_it(tmp_path: Path, step: str) -> None:
    code, targets, said = quickstart(tmp_path, fails_at=step)
    assert code != 0
    assert targets == QUICKSTART[: QUICKSTART.index(step) + 1]
    assert f"quickstart stopped at: {step}" in said


def test_quickstart_can_stop_after_installing(tmp_path: Path) -> None:
    code, targets, _ = quickstart(tmp_path, "--install-only")
    assert (code, targets) == (0, ["installed"])
