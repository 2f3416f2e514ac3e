"""The systemd user unit of an environment."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from domain.errors import DeploymentError
from infrastructure.deployment.supervisor import SUPERVISOR, supervise
from infrastructure.deployment.systemd import Unit
from shared.paths import ROOT


@pytest.fixture(name="calls")
def _calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A systemctl and a loginctl that note how they are called, and that fail if told so."""
    calls = tmp_path / "calls"
    for name in ("systemctl", "loginctl"):
        program = tmp_path / "bin" / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(
            f'#!/bin/sh\necho {name} "$@" >>{calls}\n'
            f'case "$*" in *"$FAILS"*) [ -z "$FAILS" ] || {{ echo refused; exit 1; }};; esac\n',
            encoding="utf-8",
        )
        program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return calls


def test_an_installed_unit_is_enabled_and_started_in_place_of_a_process(
    calls: Path, tmp_path: Path
) -> None:
    unit = Unit(tmp_path / "staging")
    unit.install(SUPERVISOR)
    assert f"WorkingDirectory={ROOT}\n" in unit.path.read_text(encoding="utf-8")
    supervise(tmp_path / "staging")
    assert calls.read_text(encoding="utf-8").splitlines() == [
        "systemctl --user show-environment",
        "systemctl --user daemon-reload",
        f"systemctl --user enable {unit.name}",
        "loginctl enable-linger",
        f"systemctl --user restart {unit.name}",
    ]
    assert unit.name != Unit(tmp_path / "other/staging").name


def test_the_unit_is_valid(calls: Path, tmp_path: Path) -> None:
    assert calls
    if not (verifier := shutil.which("systemd-analyze")):
        pytest.skip("systemd-analyze is not installed")
    unit = Unit(tmp_path / "staging")
    unit.install(SUPERVISOR)
    done = subprocess.run(
        [verifier, "--user", "verify", str(unit.path)],
        env={**os.environ, "XDG_RUNTIME_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.usefixtures("calls")
def test_a_refusal_of_systemd_is_an_error_with_its_words(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAILS", "enable-linger")
    with pytest.raises(DeploymentError, match="^loginctl enable-linger: refused$"):
        Unit(tmp_path / "staging").install(SUPERVISOR)
    monkeypatch.setenv("FAILS", "show-environment")
    with pytest.raises(DeploymentError, match="make -C .* start ENV=production"):
        Unit(tmp_path / "production").install(SUPERVISOR)
    assert not Unit(tmp_path / "production").path.exists()
