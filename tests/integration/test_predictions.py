"""What a service has predicted is exported with everything that was sent."""

from __future__ import annotations

import time
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pytest

from application.inference.api_keys import entry_of, new_key
from tests import petals
from tests.served import Home, serve

CLASSES = petals.SPEC.classes
NAMES = petals.SPEC.input_names


def serve_with(key: str, bento: Path, folder: Path) -> AbstractContextManager[str]:
    """A service of an environment, which needs a key."""
    settings = {"SERVING_API_KEYS": entry_of("shop", key), "SERVING_ENVIRONMENT": "staging"}
    return serve(bento, folder, 2, **settings)


def test_an_export_has_what_a_service_was_sent_and_answered(home: Home, tmp_path: Path) -> None:
    rows = [list(row) for row in petals.load().rows()[::3]]
    key = new_key()
    with (
        serve_with(key, home.receipts / "bento", tmp_path) as url,
        httpx.Client(base_url=url, headers={"X-API-Key": key}, timeout=30) as client,
    ):
        sent: dict[tuple[str, int], tuple[list[Any], dict[str, Any], str | None]] = {}
        for number, row in enumerate(rows):
            named = {**dict(zip(NAMES, row)), "id": f"order {number}"}
            response = client.post("/predict_json", json=named).json()
            (prediction,) = response["predictions"]
            sent[response["request_id"], 0] = (row, prediction, f"order {number}")
        response = client.post("/predict", json=rows).json()
        for number, prediction in enumerate(response["predictions"]):
            sent[response["request_id"], number] = (rows[number], prediction, None)
        for path, body in (
            ("/invocations", {"inputs": [rows[0]]}),
            ("/invocations", {"dataframe_split": {"columns": NAMES, "data": [rows[0]]}}),
            ("/vertex/predict", {"instances": [rows[0]]}),
        ):
            assert client.post(path, json=body).status_code == 200
        lines = {"content": f"{rows[0]}\n", "headers": {"Content-Type": "application/x-ndjson"}}
        assert client.post("/predict_lines", **lines).status_code == 200
        client.post("/predict", json=rows, headers={"X-Synthetic": "test"}).raise_for_status()
        client.post(
            "/feedback", json={"id": "order 0", "actual_class": CLASSES[2]}
        ).raise_for_status()

    done = home.run(
        *("make", "PY=.venv/bin/python", "predictions", f"OUTPUT={tmp_path}/x.parquet"),
        PREDICTION_LOG_URL=f"sqlite:///{tmp_path}/predictions.db",
    )
    assert done.returncode == 0, done.stderr
    table = pd.read_parquet(tmp_path / "x.parquet")
    assert len(table) == 2 * len(rows) + 4
    assert set(table["caller"]) == {"shop"} and set(table["environment"]) == {"staging"}
    assert len(set(table["version"])) == 1
    assert f"{table['version'][0]}: {len(table):,} rows, 1 labelled" in done.stdout
    assert table["at"].is_monotonic_increasing
    assert (pd.Timestamp.now("UTC") - table["at"].min()).total_seconds() < 600
    found = table.set_index(["request_id", "row"])
    for key_of_row, (row, prediction, row_id) in sent.items():
        logged = found.loc[key_of_row]
        assert logged[list(NAMES)].tolist() == pytest.approx(row)
        assert logged["prediction"] == prediction["prediction"]
        assert logged["confidence"] == pytest.approx(prediction["confidence"])
        assert (logged["id"] if row_id else None) == row_id
        assert 0 < logged["latency_seconds"] < 60
    labelled = table.dropna(subset="actual")
    assert labelled[["id", "actual"]].to_numpy().tolist() == [["order 0", CLASSES[2]]]
    assert labelled["labelled_at"].iloc[0].timestamp() == pytest.approx(time.time(), abs=600)


@pytest.mark.nightly
def test_labels_that_come_as_a_file_reach_the_gauges_of_the_service(
    home: Home, tmp_path: Path
) -> None:
    rows = [list(row) for row in petals.load().rows()[::3]]
    labels = tmp_path / "labels.csv"
    with (
        serve(home.receipts / "bento", tmp_path, 1) as url,
        httpx.Client(base_url=url, timeout=30) as client,
    ):
        found = client.post("/predict", json=rows).raise_for_status().json()
        assert "ml_labelled_predictions{" not in client.get("/metrics").text
        table = pd.DataFrame({"request_id": found["request_id"], "row": range(len(rows))})
        table["actual"] = [each["prediction"] for each in found["predictions"]]
        table.to_csv(labels, index=False)
        deadline = time.monotonic() + 30
        done = home.run(
            *("make", "PY=.venv/bin/python", "feedback", f"FILE={labels}"),
            PREDICTION_LOG_URL=f"sqlite:///{tmp_path}/predictions.db",
        )
        assert done.returncode == 0, done.stderr
        gauges: list[str] = []
        while not gauges and time.monotonic() < deadline:
            client.post("/predict", json=rows[:1]).raise_for_status()
            time.sleep(0.2)
            lines = client.get("/metrics").text.splitlines()
            gauges = [line for line in lines if line.startswith("ml_labelled_predictions{")]
        assert gauges and float(gauges[0].rsplit(" ", 1)[1]) == len(rows)
        scores = [
            line for line in lines if line.startswith(("ml_model_score{", "ml_model_accuracy{"))
        ]
        assert [float(line.rsplit(" ", 1)[1]) for line in scores] == [1.0, 1.0]
