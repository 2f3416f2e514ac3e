"""Two versions compared on labels or on a measure of the business, through the command."""

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
from infrastructure.deployment.release import Canary, Release, write_release
from infrastructure.storage.prediction_log import SqlPredictionLog
from tests.fakes import SETOSA, batch_of, logged_prediction

pytestmark = pytest.mark.usefixtures("petals_in_catalog")
NAME = "petals_pipeline"
OLD, NEW = "1.0.0-a", "1.0.0-b"
ROWS = 200


@pytest.fixture(autouse=True, name="log")
def _log(
    tracking: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SqlPredictionLog]:
    """A log in which the new version is right on all rows, and the old one on half of them."""
    own = type(tracking)(tmp_path, tracking.make_package)
    for version in (OLD, NEW):
        own.record(NAME, version)
    own.make_champion(NAME, OLD)
    own.use(monkeypatch)
    now = time.time()
    with closing(
        SqlPredictionLog(f"sqlite:///{tmp_path}/releases/staging/predictions.db", NAME)
    ) as log:
        for version, actual in ((OLD, (0, 1)), (NEW, (0, 0))):
            rows = [logged_prediction(version, SETOSA, row=row, at=now - 9) for row in range(ROWS)]
            log.add(replace(batch_of(*rows), version=version))
            labels = [
                LabelledPrediction(version, row, 0, actual[row % 2], 0.9, version, now - 9)
                for row in range(ROWS)
            ]
            log.label(*labels, at=now)
        yield log


def test_labels_show_which_version_is_better(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ab-report", "--model", "petals", "--old", "1"]) == 0
    output = capsys.readouterr().out
    assert f"old       {OLD}: accuracy 0.5 of 200 rows\n" in output
    assert f"new       {NEW}: accuracy 1 of 200 rows\n" in output
    assert "result    the new version is better: difference +0.5 [+0." in output


def test_values_are_read_from_a_file(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lines = [f"{version},{row},{row % 7}" for version in (OLD, NEW) for row in range(ROWS)]
    file = tmp_path / "orders.csv"
    file.write_text("\n".join(["request_id,row,revenue", *lines, "gone,0,1"]), encoding="utf-8")
    arguments = ["ab-report", "--model", "petals", "--old", OLD, "--file", str(file)]
    assert main([*arguments, "--value", "revenue"]) == 0
    output = capsys.readouterr().out
    assert "WARNING   1 value belongs to no prediction in the log\n" in output
    assert f"old       {OLD}: mean revenue 2.97 of 200 rows\n" in output
    assert "result    no certain difference yet: difference +0 [-0." in output
    assert main(arguments) == 2
    assert "FILE and VALUE belong together" in capsys.readouterr().err


def test_few_rows_say_nothing(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "orders.csv"
    file.write_text(f"request_id,row,revenue\n{OLD},0,1\n", encoding="utf-8")
    arguments = ["--old", OLD, "--file", str(file), "--value", "revenue"]
    assert main(["ab-report", "--model", "petals", *arguments]) == 0
    output = capsys.readouterr().out
    assert f"old       {OLD}: mean revenue 1 of 1 row\n" in output
    assert f"new       {NEW}: no values\n" in output
    assert "result    too few to say: each version needs 100 rows\n" in output


def test_rare_values_need_more_rows(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    lines = [f"{version},{row},{int(row < 4)}" for version in (OLD, NEW) for row in range(ROWS)]
    file = tmp_path / "sales.csv"
    file.write_text("\n".join(["request_id,row,sold", *lines[:-50]]), encoding="utf-8")
    arguments = ["--old", OLD, "--file", str(file), "--value", "sold"]
    assert main(["ab-report", "--model", "petals", *arguments]) == 0
    assert (
        "result    too few to say: each version needs 1,020 rows (100, and more for skewed values "
        "such as rare errors); difference so far +0.006667\n"
    ) in capsys.readouterr().out


def test_without_labels_it_says_how_to_send_them(
    capsys: pytest.CaptureFixture[str], log: SqlPredictionLog
) -> None:
    at = time.time() - 5
    for version in ("2.0.0-a", "2.0.0-b"):
        entry = logged_prediction(version, SETOSA, at=at)
        log.add(replace(batch_of(entry), version=version))
    chosen = ["--old", "2.0.0-a", "--new", "2.0.0-b"]
    assert main(["ab-report", "--model", "petals", *chosen]) == 0
    output = capsys.readouterr().out
    assert "old       2.0.0-a: no labels yet\n" in output and "nan" not in output
    assert "result    no labels yet: make feedback FILE=labels.csv\n" in output


def test_a_canary_without_traffic_is_named(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    folder = tmp_path / "releases/staging"
    running = [
        Release(version, f"{NAME}:{version}", str(folder / "releases" / version), 1, 1, 1, 0.0)
        for version in (OLD, "1.0.0-c")
    ]
    state = replace(running[0], canary=Canary(running[1], 10))
    write_release(folder / "current.json", state)
    assert main(["ab-report", "--model", "petals"]) == 1
    assert "the canary 1.0.0-c has no predictions in this period yet" in capsys.readouterr().err
    assert main(["ab-report", "--model", "petals", "--old", OLD, "--new", NEW]) == 0
