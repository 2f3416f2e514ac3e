"""A deployed model is watched, through the command."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from application.ports.prediction_log import LabelledPrediction
from infrastructure.cli.__main__ import main
from infrastructure.deployment.release import Canary, Release, write_release
from infrastructure.registry.mlflow_registry import MlflowRegistry
from infrastructure.storage.watch_log import WatchLog
from tests.fakes import PETALS_CONFIG, SETOSA, batch_of, logged_prediction

pytestmark = pytest.mark.usefixtures("petals_in_catalog")
NAME, VERSION = "petals_pipeline", "1.0.0-a"
ROWS = 200


@pytest.fixture(name="own")
def _own(tracking: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """A tracking database with a champion."""
    own = type(tracking)(tmp_path, tracking.make_package)
    own.record(NAME, VERSION)
    own.make_champion(NAME, VERSION)
    own.use(monkeypatch)
    for name, path in (("LEDGER", "ledger.jsonl"), ("RECEIPTS_DIR", "build")):
        monkeypatch.setenv(name, str(tmp_path / path))
    return own


@pytest.fixture(name="log", autouse=True)
def _log(own: Any, tmp_path: Path) -> Iterator[WatchLog]:
    """The log of staging, in which half of the predictions are wrong."""
    assert own
    now = time.time()
    url = f"sqlite:///{tmp_path}/releases/staging/predictions.db"
    with closing(WatchLog(url, NAME, environment="staging")) as log:
        rows = [logged_prediction("a", SETOSA, row=row, at=now - 9) for row in range(ROWS)]
        log.add(replace(batch_of(*rows), version=VERSION))
        labels = [
            LabelledPrediction("a", row, 0, row % 2, 0.9, VERSION, now - 9) for row in range(ROWS)
        ]
        log.label(*labels, at=now)
        yield log


def watch(tmp_path: Path, **policy: Any) -> int:
    """Check once, with this policy."""
    config = json.loads(PETALS_CONFIG.read_text(encoding="utf-8")) | {"watch": policy}
    path = tmp_path / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    return main(["watch", "--once", "--model", "petals", "--config", str(path)])


def test_an_alert_is_shown_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert watch(tmp_path) == 0
    output = capsys.readouterr().out
    assert "alerts    shown here only: set ALERT_WEBHOOK_URL" in output
    where = "not deployed on this machine, but last in the log"
    assert f"version   {VERSION}, {where}; the champion is {VERSION}\n" in output
    assert "quality   accuracy 0.5000 [0.4314, 0.5686] of 200 labels, threshold 0.85\n" in output
    assert f"ALERT     QualityBelowGate: {NAME} in staging: version {VERSION}" in output
    assert "ALERT     RetrainingDue" in output
    assert watch(tmp_path) == 0
    assert "ALERT  " not in capsys.readouterr().out


def test_without_predictions_nothing_is_watched(
    log: WatchLog, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    del log
    for file in (tmp_path / "releases/staging").glob("predictions.db*"):
        file.unlink()
    with closing(WatchLog(f"sqlite:///{tmp_path}/releases/staging/predictions.db", NAME)):
        assert watch(tmp_path) == 0
    assert f"watched   nothing of {NAME} is deployed in staging or logged\n" in (
        capsys.readouterr().out
    )


def fake_make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
    """Let `make` be a script."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "make").write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
    (folder / "make").chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=":")


def test_a_retraining_that_fails_is_reported_with_its_last_lines(
    log: WatchLog,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    fake_make(tmp_path, monkeypatch, 'echo "$@"; echo "error: no room" >&2; exit 2')
    monkeypatch.setenv("MAKEFLAGS", "ONCE=1")
    assert watch(tmp_path, retrain="deploy") == 1
    output = capsys.readouterr().out
    config = tmp_path / "config.json"
    assert f"  retrain MODEL=petals ENV=staging CONFIG={config}\n" in output
    assert (
        "RetrainingFailed: petals_pipeline in staging: make retrain ended with code 2: " in output
    )
    assert "error: no room\n" in output and log.retraining_failed()


def test_what_others_register_meanwhile_is_no_result_of_the_retraining(
    own: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry = MlflowRegistry(own.uri, own.packages_dir)
    for version in ("1.0.0-b", "1.0.0-c"):
        own.record(NAME, version)
        registry.record_verdict(registry.find(NAME, version), "refused", tmp_path / "verdict")
    stale = tmp_path / "build/petals/retrain.json"
    stale.parent.mkdir(parents=True)
    stale.write_text('{"version": "1.0.0-c"}', encoding="utf-8")
    receipt = "$RECEIPTS_DIR/petals/retrain.json"
    script = f"""[ -e {receipt} ] || echo '{{"version": "1.0.0-b"}}' >{receipt}; exit 2"""
    fake_make(tmp_path, monkeypatch, script)
    assert watch(tmp_path, retrain="deploy") == 1
    refused = f"{NAME} in staging: version 2, 1.0.0-b, was refused by a gate (see docs/gates.md)"
    assert f"{refused}; nothing changed\n" in capsys.readouterr().out


def test_a_champion_that_is_the_canary_does_not_wait(
    own: Any, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    own.record(NAME, "1.0.0-b")
    own.make_champion(NAME, "1.0.0-b")
    state = tmp_path / "releases/staging/current.json"
    folder = state.parent / "releases/1"
    folder.mkdir(parents=True)
    served = Release(VERSION, f"{NAME}:{VERSION}", str(folder), 1, 1, 1, 0.0)
    write_release(state, served)
    watch(tmp_path)
    assert "NewVersionWaiting" in capsys.readouterr().out
    trial = replace(served, version="1.0.0-b", bento_tag=f"{NAME}:1.0.0-b")
    write_release(state, replace(served, canary=Canary(trial, 10)))
    watch(tmp_path)
    output = capsys.readouterr().out
    assert "resolved  NewVersionWaiting" in output
    assert "canary    1.0.0-b gets 10 % of connections: no retraining while it runs\n" in output
