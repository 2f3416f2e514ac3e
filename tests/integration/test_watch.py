"""From shifted traffic to a new champion: alert, retraining, gates, deployment, all clear."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import numpy as np
import pytest

from tests import petals
from tests.fakes import PETALS_CONFIG
from tests.served import Home, free_port
from tests.webhook import webhook

POLICY = {"drift_alarms": 1, "drift_checks": 1, "retrain": "deploy"}
SHIFT = np.array([0.0, 0.0, 2.0, 1.5])  # a new measuring device
ROWS_PER_REQUEST = 50


def send(url: str, rows: int, seed: int) -> tuple[float, str]:
    """Predict flowers as the new device measures them.

    Returns:
        The share of right predictions, and the labels as CSV.
    """
    flowers, rng = petals.load(), np.random.default_rng(seed)
    chosen = rng.integers(len(flowers), size=rows)
    measured = flowers.inputs.to_numpy()[chosen] + rng.normal(0, 0.1, (rows, 4)) + SHIFT
    actual = flowers.target.to_numpy()[chosen]
    labels, right = ["request_id,row,actual"], 0
    with httpx.Client(base_url=url, timeout=60) as client:
        for start in range(0, rows, ROWS_PER_REQUEST):
            part = measured[start : start + ROWS_PER_REQUEST].clip(0.1, 30).tolist()
            found = client.post("/predict", json=part).raise_for_status().json()
            for row, prediction in enumerate(found["predictions"]):
                labels.append(f"{found['request_id']},{row},{actual[start + row]}")
                right += prediction["prediction"] == actual[start + row]
    return right / rows, "\n".join(labels) + "\n"


def test_shifted_traffic_with_labels_leads_to_a_better_champion(home: Home, tmp_path: Path) -> None:
    own = home.copy(tmp_path / "own")
    config = json.loads(PETALS_CONFIG.read_text(encoding="utf-8"))
    (tmp_path / "config.json").write_text(json.dumps({**config, "watch": POLICY}))
    port = free_port()
    place = ("MODEL=petals", "ENV=staging", f"CONFIG={tmp_path / 'config.json'}")

    def make(*arguments: str, **environment: str) -> str:
        done = own.run("make", "PY=.venv/bin/python", *arguments, **environment)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    own.make("deploy", "MODEL=petals", f"PORT={port}").check_returncode()
    url = f"http://127.0.0.1:{port}"
    try:
        before = httpx.post(f"{url}/predict", json=[[5.1, 3.5, 1.4, 0.2]]).json()["version"]
        with webhook() as (address, messages):
            assert "drift     none" in make("watch", "ONCE=1", *place, ALERT_WEBHOOK_URL=address)
            assert not messages

            score, labels = send(url, 800, seed=1)
            assert score < 0.5
            (tmp_path / "labels.csv").write_text(labels)
            make("feedback", f"FILE={tmp_path / 'labels.csv'}", *place[:2])
            output = make("watch", "ONCE=1", *place, ALERT_WEBHOOK_URL=address)
            sent = [(each["groupLabels"]["alertname"], each["status"]) for each in messages]
            assert sent[:2] == [("DriftSustained", "firing"), ("QualityBelowGate", "firing")]
            assert sent[2:] == [("Retrained", "resolved")], output
            assert "drift     labelled rows since it began: 800" in output
            assert "labelled  800 rows of the log" in output
            assert "not_worse_than_champion" in output
            messages.clear()

            score, _ = send(url, 300, seed=2)
            assert score > 0.85
            after = httpx.post(f"{url}/predict", json=[[5.1, 3.5, 1.4, 0.2]]).json()["version"]
            assert after != before
            output = make("watch", "ONCE=1", *place, ALERT_WEBHOOK_URL=address)
            sent = [(each["groupLabels"]["alertname"], each["status"]) for each in messages]
            assert sent == [("DriftSustained", "resolved"), ("QualityBelowGate", "resolved")]
            assert f"version   {after}, deployed; the champion is {after}" in output

        refused = own.run("make", "PY=.venv/bin/python", "retrain", *place)
        assert refused.returncode != 0
        assert "has no label that the champion was not trained on" in refused.stderr
    finally:
        own.make("stop")


@pytest.mark.parametrize("argument", ["MINUTES=0", "MINUTES=soon"])
def test_minutes_must_be_a_positive_number(home: Home, argument: str) -> None:
    done = home.make("watch", "MODEL=petals", argument)
    assert done.returncode == 2 and "is not a number of minutes above 0" in done.stderr
