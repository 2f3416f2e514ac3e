"""Scoring a table with the champion."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests import petals
from tests.packages import open_recorded
from tests.served import READY_SECONDS, Home

ROWS = 1_500_000  # takes seconds, so that it can be interrupted


def write_flowers(path: Path, rows: int) -> pd.DataFrame:
    """Write the data set, repeated, with an id for each row."""
    inputs = petals.load().inputs
    frame = inputs.iloc[np.arange(rows) % len(inputs)].reset_index(drop=True)
    frame.insert(0, "id", np.arange(rows))
    pq.write_table(pa.Table.from_pandas(frame, preserve_index=False), path)
    return frame


def score(home: Home, folder: Path) -> subprocess.CompletedProcess[str]:
    """Score in.parquet with make."""
    return home.make("score", f"INPUT={folder / 'in.parquet'}", f"OUTPUT={folder / 'out.parquet'}")


def start_scoring(home: Home, folder: Path) -> subprocess.Popen[bytes]:
    """Start to score in.parquet; returns once the first rows are written."""
    command = (
        *(sys.executable, "-m", "infrastructure.cli", "score"),
        *("--input", str(folder / "in.parquet"), "--output", str(folder / "out.parquet")),
    )
    process = subprocess.Popen(  # pylint: disable=consider-using-with  # waited for by the caller
        command, cwd=home.root, env=home.environment, stdout=subprocess.DEVNULL
    )
    deadline = time.monotonic() + READY_SECONDS
    while not any(path.stat().st_size > 10_000 for path in folder.glob(".out.parquet.*.part")):
        if time.monotonic() > deadline or process.poll() is not None:
            process.kill()
            pytest.fail("no rows were written")
        time.sleep(0.01)
    return process


def test_scores_equal_the_predictions_of_the_native_model(home: Home, tmp_path: Path) -> None:
    frame = write_flowers(tmp_path / "in.parquet", 150)
    done = score(home, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "result    150 rows scored, 0 rejected\n" in done.stdout
    scored = pq.read_table(tmp_path / "out.parquet").to_pandas()

    receipt = json.loads((home.receipts / "validate.json").read_text(encoding="utf-8"))
    (folder,) = (home.folder / "packages").glob(f"*/{receipt['version']}")
    native = open_recorded(folder).load_native()
    rows = petals.SPEC.encode(frame)
    probabilities = [f"probability_{name}" for name in petals.SPEC.classes]
    assert scored["prediction"].tolist() == [petals.SPEC.classes[c] for c in native.predict(rows)]
    assert np.allclose(scored[probabilities], native.predict_proba(rows), rtol=0, atol=1e-6)
    assert scored[frame.columns].equals(frame)


def test_rows_that_break_the_contract_are_reported(home: Home, tmp_path: Path) -> None:
    frame = write_flowers(tmp_path / "in.parquet", 150)
    frame.loc[7, "petal_width"] = 99.0
    frame.loc[70, "sepal_width"] = np.nan
    frame.to_parquet(tmp_path / "in.parquet")
    done = score(home, tmp_path)
    rejects = tmp_path / "out.rejected.ndjson"
    assert f"result    148 rows scored, 2 rejected: see {rejects}\n" in done.stdout
    rejected = [json.loads(line) for line in rejects.read_text(encoding="utf-8").splitlines()]
    assert [(row["row"], row["reason"]) for row in rejected] == [
        (7, "petal_width: 99 cm is outside [0.1, 30]"),
        (70, "sepal_width: a value is missing"),
    ]
    assert rejected[1]["values"] == frame.loc[70].replace({np.nan: None}).to_dict()


def test_a_stopped_run_leaves_no_file(home: Home, tmp_path: Path) -> None:
    write_flowers(tmp_path / "in.parquet", ROWS)
    process = start_scoring(home, tmp_path)
    process.send_signal(signal.SIGTERM)
    assert process.wait(30) == 130
    assert [path.name for path in tmp_path.iterdir()] == ["in.parquet"]


def test_files_left_by_a_killed_run_are_removed_by_the_next_one(home: Home, tmp_path: Path) -> None:
    write_flowers(tmp_path / "in.parquet", ROWS)
    process = start_scoring(home, tmp_path)
    process.kill()
    process.wait(30)
    assert not (tmp_path / "out.parquet").exists()
    assert any(tmp_path.glob(".out.*.part"))

    done = score(home, tmp_path)
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.parquet", "out.parquet"]
    ids = pq.read_table(tmp_path / "out.parquet", columns=["id"])["id"].to_numpy()
    assert np.array_equal(ids, np.arange(ROWS))


def test_make_reports_a_missing_argument(home: Home) -> None:
    done = home.make("score", "INPUT=in.parquet")
    assert done.returncode == 2
    assert "make score INPUT=in.parquet OUTPUT=out.parquet" in done.stderr
