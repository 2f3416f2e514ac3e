"""The live quality of each version, through the command."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from application.ports.prediction_log import LabelledPrediction
from infrastructure.cli.__main__ import main
from infrastructure.deployment.release import Release, write_release
from infrastructure.storage.prediction_log import SqlPredictionLog
from tests.fakes import SETOSA, VIRGINICA, batch_of, logged_prediction

pytestmark = pytest.mark.usefixtures("petals_in_catalog")
NAME = "petals_pipeline"
NOW = time.time()
CHAMPION, OLDER = "1.0.0-a", "1.0.0-b"


@pytest.fixture(name="log", autouse=True)
def _log(
    tracking: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SqlPredictionLog]:
    """The log of staging: two versions, of which the champion has 40 labels, for setosa only."""
    own = type(tracking)(tmp_path, tracking.make_package)
    for version in (OLDER, CHAMPION):
        own.record(NAME, version)
    own.make_champion(NAME, CHAMPION)
    own.use(monkeypatch)
    url = f"sqlite:///{tmp_path}/releases/staging/predictions.db"
    with closing(SqlPredictionLog(url, NAME)) as log:
        rows = [logged_prediction("a", SETOSA, row=row, at=NOW - 100) for row in range(60)]
        rows += [logged_prediction("a", VIRGINICA, row=row, at=NOW - 100) for row in range(60, 80)]
        log.add(replace(batch_of(*rows), version=CHAMPION))
        log.add(
            replace(batch_of(logged_prediction("b", SETOSA, at=NOW - 9 * 86400)), version=OLDER)
        )
        labels = [
            LabelledPrediction("a", row, 0, row % 4 == 0, 0.9, CHAMPION, NOW - 100)
            for row in range(40)
        ]
        log.label(*labels, at=NOW)
        yield log


def test_each_version_has_its_score_interval_and_coverage(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["quality", "--model", "petals"]) == 0
    output = capsys.readouterr().out
    assert f"version   {CHAMPION}: 80 predictions, 40 labelled (50.0%)\n" in output
    assert "quality   accuracy 0.7500 [0.5981, 0.8581], n = 40\n" in output
    assert "share predicted as 'setosa' of the labelled rows 1, of the others 0.5 (p = " in output
    assert OLDER not in output


def test_the_estimate_without_labels_follows(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quality", "--model", "petals"]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "estimated" in line]
    assert line.startswith("  estimated accuracy 0.9000 [0.8")
    assert "] without labels, n = 80; cannot see changed relations between inputs" in line


def test_a_period_and_a_version_can_be_chosen(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["quality", "--model", "petals", "--since", "30d", "--version", "1"]) == 0
    output = capsys.readouterr().out
    assert f"version   {OLDER}: 1 predictions, 0 labelled (0.0%)\n" in output
    assert "quality   too few to say: 0 labels, 30 are needed\n" in output
    assert "estimated too few to say: 1 predictions, 30 are needed\n" in output
    assert CHAMPION not in output


@pytest.mark.parametrize(
    ("version", "which"), [((), NAME), (("--version", "1"), f"{NAME} {OLDER}")]
)
def test_a_period_without_predictions_is_an_error(
    version: tuple[str, ...], which: str, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = ["--since", "30d", "--until", "20d", *version]
    assert main(["quality", "--model", "petals", *chosen]) == 1
    assert (
        f"no prediction of {which} in the log of staging in this period: choose another SINCE, "
        "UNTIL, VERSION or ENV"
    ) in capsys.readouterr().err


def test_a_period_that_ends_before_it_starts_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main(["quality", "--model", "petals", "--since", "1h", "--until", "2h"]) == 1
    assert "SINCE is not before UNTIL" in capsys.readouterr().err


@pytest.mark.parametrize("log_exists", [True, False])
def test_the_environment_that_has_the_model_is_named(
    log_exists: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "releases/shop"
    release = Release(CHAMPION, f"{NAME}:{CHAMPION}", str(folder / "releases/1"), 1, 1, 1, 0.0)
    folder.mkdir()
    write_release(folder / "current.json", release)
    env = "staging" if log_exists else "elsewhere"
    assert main(["quality", "--model", "petals", "--since", "1m", "--env", env]) == 1
    assert f"{NAME} is deployed in shop" in capsys.readouterr().err
