"""The export of the prediction log; tests/integration/test_predictions.py exports a service's."""

from __future__ import annotations

import shutil
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import pytest

from application.ports.prediction_log import LabelledPrediction
from infrastructure.cli.__main__ import main
from infrastructure.storage.prediction_log import SqlPredictionLog
from tests.fakes import SETOSA, VERSICOLOR, batch_of, logged_prediction

pytestmark = pytest.mark.usefixtures("petals_in_catalog")
NAME = "petals_pipeline"
NOW = time.time()
CHAMPION, OLDER = "1.0.0-a", "1.0.0-b"


@pytest.fixture(scope="module", name="recorded")
def _recorded(tracking: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder; the registry has a champion and an older version."""
    folder = tmp_path_factory.mktemp("recorded")
    own = type(tracking)(folder, tracking.make_package)
    for version in (OLDER, CHAMPION):
        own.record(NAME, version)
    own.make_champion(NAME, CHAMPION)
    return folder


@pytest.fixture(name="place")
def _place(recorded: Path, tracking: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the recorded folder, where staging has logged five predictions."""
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    own = type(tracking)(tmp_path, tracking.make_package)
    own.use(monkeypatch)
    with closing(SqlPredictionLog(url_of(tmp_path), NAME)) as log:
        for number, version in enumerate((None, OLDER, CHAMPION, CHAMPION)):
            entry = logged_prediction(f"r{number}", SETOSA, at=NOW - 3600 * (4 - number))
            log.add(replace(batch_of(entry), version=version, environment="staging"))
        log.add(replace(batch_of(logged_prediction("gone", VERSICOLOR[:3], at=NOW)), version="0.1"))
        log.label(LabelledPrediction("r3", 0, 0, 2, 0.9, CHAMPION, NOW - 3600), at=NOW)
    return tmp_path


def url_of(place: Path, env: str = "staging") -> str:
    """URL of the log of an environment."""
    return f"sqlite:///{place}/releases/{env}/predictions.db"


def run(place: Path, *arguments: str, output: str = "out.parquet") -> int:
    """Export the predictions of petals."""
    return main(["predictions", "--model", "petals", "--output", str(place / output), *arguments])


def test_pandas_reads_what_was_exported(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place) == 0
    table = pd.read_parquet(place / "out.parquet")
    assert table["request_id"].tolist() == ["r0", "r1", "r2", "r3"]
    assert table["version"].fillna("none").tolist() == ["none", OLDER, CHAMPION, CHAMPION]
    assert table["prediction"].tolist() == ["setosa"] * 4
    assert table["actual"].fillna("").tolist() == ["", "", "", "virginica"]
    inputs = table[["sepal_length", "sepal_width", "petal_length", "petal_width"]]
    assert inputs.iloc[0].tolist() == pytest.approx(SETOSA)
    assert table["at"].iloc[3].timestamp() == pytest.approx(NOW - 3600, abs=1e-5)
    assert str(table["at"].dtype) == "datetime64[us, UTC]"
    assert table["labelled_at"].notna().tolist() == [False, False, False, True]
    output = capsys.readouterr().out
    assert f"version   {CHAMPION}: 2 rows, 1 labelled, " in output
    assert (
        "WARNING   1 row of version 0.1 was left out: it does not fit its contract, "
        "or the champion's if its package is gone\n"
    ) in output
    assert f"output    {place / 'out.parquet'}: 4 rows\n" in output
    assert pq.read_schema(place / "out.parquet").metadata[b"model_name"] == NAME.encode()


def test_duckdb_reads_what_was_exported(place: Path) -> None:
    duckdb = pytest.importorskip("duckdb")
    assert run(place) == 0
    query = f"select count(*), max(petal_width) from '{place / 'out.parquet'}'"
    assert duckdb.sql(query).fetchone() == (4, pytest.approx(SETOSA[3]))


@pytest.mark.parametrize(
    ("arguments", "found"),
    [
        (("--since", "150m"), ["r2", "r3"]),
        (("--since", "1d", "--until", "2h"), ["r0", "r1", "r2"]),
        (("--version", OLDER), ["r1"]),
        (("--version", "champion"), ["r2", "r3"]),
    ],
)
def test_a_period_and_a_version_can_be_chosen(
    place: Path, arguments: tuple[str, ...], found: list[str]
) -> None:
    assert run(place, *arguments) == 0
    assert pd.read_parquet(place / "out.parquet")["request_id"].tolist() == found


@pytest.mark.parametrize("output", ["out.csv", "out.ndjson"])
def test_other_formats_have_the_same_rows(place: Path, output: str) -> None:
    assert run(place, output=output) == 0
    read = pd.read_csv if output == "out.csv" else pd.read_json
    table = read(place / output, **({} if output == "out.csv" else {"lines": True}))
    assert table["request_id"].tolist() == ["r0", "r1", "r2", "r3"]
    assert pd.to_datetime(table["at"]).iloc[3].timestamp() == pytest.approx(NOW - 3600, abs=1)


def test_a_version_without_its_package_is_read_by_the_contract_of_the_champion(
    place: Path,
) -> None:
    shutil.rmtree(place / "packages" / NAME / OLDER)
    assert run(place, "--version", OLDER) == 0
    assert pd.read_parquet(place / "out.parquet")["petal_width"].tolist() == pytest.approx(
        [SETOSA[3]]
    )


def test_the_log_that_is_set_is_exported(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = f"sqlite:///{place}/other.db"
    monkeypatch.setenv("PREDICTION_LOG_URL", other)
    with closing(SqlPredictionLog(other, NAME)) as log:
        log.add(batch_of(logged_prediction("other", SETOSA, at=NOW)))
    assert run(place) == 0
    assert pd.read_parquet(place / "out.parquet")["request_id"].tolist() == ["other"]


def test_old_predictions_are_exported_and_not_removed(place: Path) -> None:
    with closing(SqlPredictionLog(url_of(place), NAME)) as log:
        log.add(batch_of(logged_prediction("old", SETOSA, at=NOW - 100 * 86400)))
    for _ in range(2):
        assert run(place, "--until", "30d") == 0
        assert pd.read_parquet(place / "out.parquet")["request_id"].tolist() == ["old"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--env", "production"), 1, "there is no prediction log "),
        (("--version", "9"), 1, "has no 9 in the registry"),
        (("--since", "yesterday"), 2, "'yesterday' is not a time: write "),
        (("--since", "1h", "--until", "2h"), 1, "SINCE is not before UNTIL"),
        (
            ("--since", "0m", "--until", "2999-01-01"),
            1,
            f"no prediction of {NAME} in the log of staging in this period: choose another SINCE",
        ),
    ],
)
def test_what_cannot_be_exported_leaves_no_file(
    place: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    try:
        assert run(place, *arguments) == code
    except SystemExit as end:
        assert end.code == code
    assert message in capsys.readouterr().err
    assert not (place / "out.parquet").exists()
    assert not (place / "releases/production").exists()


def test_a_failure_while_writing_leaves_the_previous_file(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (place / "out.parquet").write_text("previous", encoding="utf-8")

    def fail(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SqlPredictionLog, "labels_of", fail)
    assert run(place) == 1
    assert "No space left on device" in capsys.readouterr().err
    assert (place / "out.parquet").read_text(encoding="utf-8") == "previous"
    assert not list(place.glob(".out*"))


def test_the_output_must_have_a_known_format(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place, output="out.xlsx") == 1
    assert "must end in .parquet, .csv" in capsys.readouterr().err
