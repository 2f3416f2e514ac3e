"""Commands are found by their modules, and a usage error is one line."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from infrastructure.cli.__main__ import command_names, main
from shared.paths import ROOT
from tests.served import free_port

SERVICE_TESTS = ROOT / "application/inference/services/test_service.py"
LOAD_TESTS = ROOT / "tests/integration/test_load_performance.py"


@pytest.mark.parametrize("name", command_names())
def test_every_command_explains_itself(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([name, "--help"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith(f"usage: mlops {name} ")


@pytest.mark.parametrize("arguments", [[], ["--help"]])
def test_the_commands_are_listed_with_a_line_each(
    arguments: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split()[0] for line in lines] == command_names()
    assert all(re.fullmatch(r"  \S+ +[A-Z].*\.", line) for line in lines)


def test_an_unknown_command_is_one_line_with_the_one_that_was_meant(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["trian"]) == 2
    assert capsys.readouterr().err == "error: unknown command 'trian': did you mean train?\n"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["train", "--model", "../x"], "'../x' is not a valid model name"),
        (["deploy"], "--bento"),
        (["new-model"], "make new-model NAME=churn DATA=churn.csv TARGET=churned"),
        (["api-key"], "make api-key NAME=shop"),
        (["stop", "--env", "x" * 300], "is not a valid environment name"),
        (["which-model", "--at", "soon"], "'soon' is not a time"),
    ],
)
def test_a_wrong_call_is_one_line(
    arguments: list[str],
    reason: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MAKELEVEL", raising=False)
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert reason in message
    assert message.startswith("error: ") and message.count("\n") == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "the following arguments are required: OUTPUT: make predictions OUTPUT=x.parquet"),
        (["--output", "x.csv", "--since", "soon"], "argument SINCE: 'soon' is not a time"),
        (["--output", "x.csv", "--set-aside"], "unrecognized arguments: SET_ASIDE"),
    ],
)
def test_under_make_an_error_names_the_variables_that_the_user_has_set(
    arguments: list[str],
    reason: str,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("MAKELEVEL", "1")
    with pytest.raises(SystemExit):
        main(["predictions", *arguments])
    assert capsys.readouterr().err.startswith(f"error: {reason}")


def test_every_entry_point_is_a_command() -> None:
    started_by_others = {"front.py", "supervisor.py", "serving_process.py", "gpu.py"}
    with_main = {
        path.name
        for package in ("application", "infrastructure", "shared", "domain")
        for path in (ROOT / package).rglob("*.py")
        if "__main__" in path.read_text(encoding="utf-8") and path.parent.name != "cli"
    }
    aliases = {"iris_training_pipeline.py", "validate_model.py", "model_metrics.py"}
    assert with_main == started_by_others | aliases | {SERVICE_TESTS.name}


@pytest.mark.parametrize("file", [SERVICE_TESTS, LOAD_TESTS], ids=lambda file: file.stem)
def test_a_file_of_tests_runs_them_and_fails_if_they_fail(file: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(file), "-qx", "-p", "no:cacheprovider"],
        cwd=ROOT,
        env={**os.environ, "SERVICE_URL": f"http://127.0.0.1:{free_port()}"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "1 failed" in done.stdout or "1 error" in done.stdout


@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_closed_streams_end_no_command(tmp_path: Path, closed: str) -> None:
    done = subprocess.run(
        ["sh", "-c", f'exec "$0" -m infrastructure.cli status {closed}', sys.executable],
        cwd=ROOT,
        env={**os.environ, "RELEASES_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


def test_a_character_that_a_terminal_does_not_have_is_escaped() -> None:
    code = (
        "import sys; from infrastructure.cli import __main__ as cli, status\n"
        "status.run = lambda _: print('150 rows × 4 →')\n"
        "sys.exit(cli.main(['status']))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        env={**os.environ, "PYTHONIOENCODING": "ascii"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "150 rows \\xd7 4 \\u2192\n"


def test_ctrl_c_during_an_import_is_one_line() -> None:
    code = (
        "import os, signal, sys; import infrastructure.cli.__main__ as cli\n"
        "signal.signal(signal.SIGINT, signal.default_int_handler)  # as if no nohup were about\n"
        "cli.import_module = lambda name: os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.argv[1:] = ['train']; sys.exit(cli.main())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stderr) == (130, "interrupted\n")
