"""Labels from a file, through the command."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from infrastructure.cli.__main__ import main
from infrastructure.storage.prediction_log import SqlPredictionLog
from tests.fakes import SETOSA, batch_of, logged_prediction

pytestmark = pytest.mark.usefixtures("petals_in_catalog")
NAME = "petals_pipeline"
NOW = time.time()


@pytest.fixture(name="log")
def _log(
    tracking: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[SqlPredictionLog]:
    """The log of staging with ten predictions of a champion."""
    own = type(tracking)(tmp_path, tracking.make_package)
    own.record(NAME, "0.9.0-b", kind="categories")  # its classes are no and yes
    own.record(NAME, "1.0.0-a")
    own.make_champion(NAME, "1.0.0-a")
    own.use(monkeypatch)
    url = f"sqlite:///{tmp_path}/releases/staging/predictions.db"
    with closing(SqlPredictionLog(url, NAME, version="1.0.0-a")) as log:
        for number in range(10):
            log.add(batch_of(logged_prediction(f"r{number}", SETOSA, at=NOW - 100)))
        yield log


def run(path: Path, table: pd.DataFrame) -> int:
    """Label the predictions of petals from a table."""
    table.to_csv(path, index=False)
    return main(["feedback", "--model", "petals", "--file", str(path)])


def test_a_file_labels_predictions_and_reports_the_unknown_ones(
    log: SqlPredictionLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, unknown = tmp_path / "labels.csv", tmp_path / "labels.unknown.csv"
    table = pd.DataFrame({"request_id": [f"r{number}" for number in range(8, 12)]})
    table["actual"] = ["setosa", "virginica", "setosa", "versicolor"]
    for state in ("new", "unchanged"):
        assert run(path, table) == 0
        assert log.confusion(0) == {(0, 0): 1, (0, 2): 1}
        output = capsys.readouterr().out
        assert f"labels    2 of 4 rows label 2 predictions: 2 {state}\n" in output
        assert f"2 rows name no prediction in the log (r10, r11): they are in {unknown}" in output
    assert unknown.read_text("utf-8").splitlines() == [
        *("request_id,row,actual", "r10,0,setosa", "r11,0,versicolor"),
    ]
    log.add(batch_of(logged_prediction("r10", SETOSA, at=NOW)))
    assert main(["feedback", "--model", "petals", "--file", str(unknown)]) == 0
    assert log.confusion(0) == {(0, 0): 2, (0, 2): 1}
    table["actual"] = "setosa"
    assert run(path, table[:2]) == 0
    assert "label 2 predictions: 1 corrected, 1 unchanged\n" in capsys.readouterr().out
    assert not unknown.exists()  # every row is known now


def test_a_class_is_that_of_the_version_which_made_the_prediction(
    log: SqlPredictionLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [logged_prediction("old", SETOSA, row=row, at=NOW - 100) for row in range(2)]
    log.add(replace(batch_of(*rows), version="0.9.0-b"))
    table = pd.DataFrame({"request_id": ["old", "old", "r1"], "row": [0, 1, 0]})
    table["actual"] = ["yes", "virginica", "virginica"]
    assert run(tmp_path / "labels.csv", table) == 0
    assert log.confusion(0, None, "0.9.0-b") == {(0, 1): 1}
    assert log.confusion(0, None, "1.0.0-a") == {(0, 2): 1}
    unknown = tmp_path / "labels.unknown.csv"
    assert (
        "WARNING   1 row names a prediction of a version without this class (old row 1): it is in "
        f"{unknown}\n"
    ) in capsys.readouterr().out
    assert unknown.read_text("utf-8").splitlines()[1:] == ["old,1,virginica"]


def test_a_file_of_unknown_predictions_ends_with_3(
    log: SqlPredictionLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.DataFrame({"id": ["a", "b", "c", "d"], "actual": "setosa"})
    assert run(tmp_path / "labels.csv", table) == 3
    captured = capsys.readouterr()
    assert "(a, b, c, …)" in captured.out
    assert "labels a prediction of petals in the log of staging\n" in captured.err
    assert not log.confusion(0)
    table["actual"] = None
    assert run(tmp_path / "labels.csv", table) == 3
    assert "4 rows without a value" in capsys.readouterr().out
    assert run(tmp_path / "labels.csv", table[:1]) == 3
    assert "; 1 row without a value\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("table", "code", "message"),
    [
        ({"request_id": ["r1", "r2"], "actual": ["setosa", "rose"]}, 1, "row 3, actual: 'rose'"),
        ({"name": ["r1"], "actual": ["setosa"]}, 2, "has no column request_id or id"),
    ],
)
def test_an_invalid_table_records_nothing(
    log: SqlPredictionLog,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    table: dict[str, list[str]],
    code: int,
    message: str,
) -> None:
    assert run(tmp_path / "labels.csv", pd.DataFrame(table)) == code
    assert message in capsys.readouterr().err
    assert not log.confusion(0)
    assert not (tmp_path / "labels.unknown.csv").exists()


def test_a_missing_file_or_log_is_an_error(
    log: SqlPredictionLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not log.confusion(0)
    chosen = ["feedback", "--model", "petals", "--file"]
    assert main([*chosen, str(tmp_path / "none.csv")]) == 2
    assert "none.csv does not exist" in capsys.readouterr().err
    (tmp_path / "labels.csv").write_text("id,actual\na,setosa\n", encoding="utf-8")
    assert main([*chosen, str(tmp_path / "labels.csv"), "--env", "production"]) == 1
    assert "there is no prediction log " in capsys.readouterr().err
