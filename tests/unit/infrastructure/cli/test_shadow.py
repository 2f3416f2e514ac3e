"""The log is replayed through another version, through the command."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from application.ports.prediction_log import LabelledPrediction
from infrastructure.cli.__main__ import main
from infrastructure.storage.prediction_log import SqlPredictionLog
from tests.fakes import SETOSA, VIRGINICA, batch_of, logged_prediction

pytestmark = pytest.mark.usefixtures("petals_in_catalog")
NAME = "petals_pipeline"
SERVED, OTHER = "1.0.0-a", "1.0.0-b"


@pytest.fixture(autouse=True)
def _log(tracking: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A log whose version took 60 setosa for virginica; the labels know better."""
    own = type(tracking)(tmp_path, tracking.make_package)
    for version in (SERVED, OTHER):
        own.record(NAME, version)
    own.make_champion(NAME, SERVED)
    own.use(monkeypatch)
    now = time.time()
    with closing(
        SqlPredictionLog(f"sqlite:///{tmp_path}/releases/staging/predictions.db", NAME)
    ) as log:
        rows = [
            replace(
                logged_prediction("a", SETOSA if row < 120 else VIRGINICA, row=row, at=now - 9),
                predicted=0 if row < 60 else 2,
            )
            for row in range(180)
        ]
        log.add(replace(batch_of(*rows), version=SERVED))
        labels = [
            LabelledPrediction("a", row, 0 if row < 60 else 2, 0, 0.9, SERVED, now - 9)
            for row in range(120)
        ]
        log.label(*labels, at=now)
        yield


def test_what_differs_is_shown_and_written(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    arguments = ["shadow", "--model", "petals", "--version", "2"]
    assert main([*arguments, "--output", str(tmp_path / "x.csv")]) == 0
    output = capsys.readouterr().out
    assert f"shadow    version 2, {OTHER}\n" in output
    assert "rows      180\n" in output
    assert "differ    60 rows, 33.33%\n" in output
    assert "60 from virginica to setosa\n" in output
    assert "quality   error rate 0, that of the logged predictions 0.5: difference -0.5 ±" in output
    table = pd.read_csv(tmp_path / "x.csv")
    assert len(table) == 60 and set(table["shadow_prediction"]) == {"setosa"}
    assert main([*arguments, "--output", str(tmp_path / "x.txt")]) == 1
    assert "use a name that ends in .parquet or .csv" in capsys.readouterr().err


def test_without_predictions_there_is_nothing_to_replay(
    capsys: pytest.CaptureFixture[str],
) -> None:
    arguments = ["shadow", "--model", "petals", "--version", "1", "--served", "2"]
    assert main(arguments) == 1
    assert f"no prediction of {NAME} in this period" in capsys.readouterr().err
