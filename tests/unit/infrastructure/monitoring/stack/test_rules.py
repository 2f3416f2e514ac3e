"""Each alert fires when it should, and not otherwise: promtool evaluates the rules."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from infrastructure.monitoring.metrics.requests import SERVER_ERRORS
from infrastructure.monitoring.stack.configuration import FILES

RULES = FILES / "rules.yml"
DAY, WEEK = 1440, 10080  # minutes
COUNT, BUCKET = "ml_prediction_duration_seconds_count", "ml_prediction_duration_seconds_bucket"
ERRORS, DROPPED = "ml_prediction_errors_total", "ml_prediction_log_dropped_rows_total"
SPOOLED, AUDIO = "ml_prediction_log_spooled_rows", "ml_audio_seconds_total"
SCORE, GATE, LABELLED = "ml_model_score", "ml_model_score_threshold", "ml_labelled_predictions"

# series by metric and label, one value a minute in promtool's notation; the minute; what fires then
CASES: dict[str, tuple[dict[str, str], int, set[str]]] = {
    "a service that is gone": ({"up": "1 0x10"}, 5, {"ServiceDown critical"}),
    "a service that missed a scrape": ({"up": "1x5 0 1x10"}, 7, set()),
    "one request in ten fails": (
        {f"{ERRORS} internal": "0+10x70", COUNT: "0+90x70"},
        65,
        {"ErrorBudgetBurn critical", "ErrorBudgetBurn warning"},
    ),
    "every request fails, of few": (
        {f"{ERRORS} internal": "0+0.1x70", COUNT: "0x70"},
        65,
        {"ErrorBudgetBurn critical", "ErrorBudgetBurn warning"},
    ),
    "one request in 25 fails for hours": (
        {f"{ERRORS} busy": "0+4x400", COUNT: "0+96x400"},
        380,
        {"ErrorBudgetBurn warning"},
    ),
    "one request in 100 fails": (
        {f"{ERRORS} internal": "0+1x400", COUNT: "0+99x400"},
        380,
        set(),
    ),
    "requests are wrong, not the service": (
        {f"{ERRORS} invalid_input": "0+50x70", COUNT: "0+50x70"},
        65,
        set(),
    ),
    "three failures in a quiet hour": (
        {f"{ERRORS} internal": "0x20 1x15 2x15 3x20", COUNT: "0+0.1x70"},
        65,
        set(),
    ),
    "failures that are over": (
        {f"{ERRORS} internal": "0+10x40 400x50", COUNT: "0+90x90"},
        80,
        set(),
    ),
    "one request in five is slow": (
        {f"{BUCKET} 0.1": "0+80x70", COUNT: "0+100x70"},
        65,
        {"LatencyBudgetBurn critical", "LatencyBudgetBurn warning"},
    ),
    "one request in twelve is slow for hours": (
        {f"{BUCKET} 0.1": "0+92x400", COUNT: "0+100x400"},
        380,
        {"LatencyBudgetBurn warning"},
    ),
    "one request in 50 is slow": ({f"{BUCKET} 0.1": "0+98x400", COUNT: "0+100x400"}, 380, set()),
    "two slow requests in a quiet hour": (
        {f"{BUCKET} 0.1": "0x70", COUNT: "0x30 1x15 2x30"},
        65,
        set(),
    ),
    "a transcriber takes long": (
        {f"{BUCKET} 0.1": "0x70", COUNT: "0+1x70", AUDIO: "0+60x70"},
        65,
        set(),
    ),
    "predictions stop": ({COUNT: f"0+1x{DAY} {DAY}x90"}, DAY + 80, {"NoPredictions warning"}),
    "predictions have just stopped": ({COUNT: f"0+1x{DAY} {DAY}x90"}, DAY + 30, set()),
    "a service that nobody uses": ({COUNT: f"0x{2 * DAY}"}, 2 * DAY, set()),
    "an hour that was quiet a week ago": (
        {COUNT: f"0x{WEEK - DAY} 0+1x{DAY} {DAY}x90"},
        WEEK + 80,
        set(),
    ),
    "rows are dropped": ({DROPPED: "0x3 5x30"}, 6, {"PredictionLogDropping critical"}),
    "no rows are dropped any more": ({DROPPED: "0x3 5x30"}, 25, set()),
    "rows wait for long": ({SPOOLED: "5x15"}, 12, {"PredictionLogSpooling warning"}),
    "rows have waited for a moment": ({SPOOLED: "5x3 0x15"}, 12, set()),
    "quality is below the gate": (
        {f"{SCORE} accuracy": "0.8x20", f"{GATE} accuracy": "0.85x20", LABELLED: "150x20"},
        18,
        {"QualityBelowGate warning"},
    ),
    "quality is above the gate": (
        {f"{SCORE} accuracy": "0.9x20", f"{GATE} accuracy": "0.85x20", LABELLED: "150x20"},
        18,
        set(),
    ),
    "too few labels to say": (
        {f"{SCORE} accuracy": "0.8x20", f"{GATE} accuracy": "0.85x20", LABELLED: "99x20"},
        18,
        set(),
    ),
    "an input drifts": (
        {"ml_data_drift_alarm petal_width": "0 1x40"},
        35,
        {"DriftSustained warning"},
    ),
    "an alarm of drift that passes": (
        {"ml_data_drift_alarm petal_width": "0 1x10 0x40"},
        35,
        set(),
    ),
    "a retraining failed": (
        {"ml_retraining_failed": "0 1x20"},
        10,
        {"RetrainingFailed critical"},
    ),
    "a retraining failed, and the next one did not": (
        {"ml_retraining_failed": "0x5 1x3 0x20"},
        15,
        set(),
    ),
}
LABEL = {
    ERRORS: "error_type",
    BUCKET: "le",
    SCORE: "measure",
    GATE: "measure",
    "ml_data_drift_alarm": "feature",
}


@pytest.fixture(scope="session", name="promtool")
def _promtool() -> str:
    return shutil.which("promtool") or pytest.skip("promtool of Prometheus is not on PATH")


def test_promtool_accepts_the_rules(promtool: str) -> None:
    done = subprocess.run(
        (promtool, "check", "rules", "--lint-fatal", str(RULES)),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(("interval", "longest"), [("1m", DAY - 1), ("10m", 2 * WEEK)])
def test_every_alert_fires_when_it_should_and_not_otherwise(
    interval: str, longest: int, promtool: str, tmp_path: Path
) -> None:
    shortest = 0 if longest < DAY else DAY  # a week of minutes would take long
    cases = {name: case for name, case in CASES.items() if shortest <= case[1] <= longest}
    tests = [_promtool_test(name, *case) for name, case in cases.items()]
    document = {"rule_files": [str(RULES)], "evaluation_interval": interval, "tests": tests}
    file = tmp_path / "cases.yml"
    file.write_text(yaml.safe_dump(document), encoding="utf-8")
    done = subprocess.run(
        (promtool, "test", "rules", str(file)),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_every_alert_has_a_case_in_which_it_fires_and_says_what_is_wrong() -> None:
    alerts = [rule for rule in _rules() if "alert" in rule]
    fired = set().union(*(firing for _, _, firing in CASES.values()))
    assert {f"{rule['alert']} {rule['labels']['severity']}" for rule in alerts} == fired
    assert all("$labels.environment" in rule["annotations"]["summary"] for rule in alerts)


def test_exactly_the_errors_of_the_service_count_as_failures() -> None:
    counted = set(re.findall(r'error_type=~"([^"]*)"', RULES.read_text(encoding="utf-8")))
    assert counted == {"|".join(SERVER_ERRORS)}


def _rules() -> list[dict[str, Any]]:
    document = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    return [rule for group in document["groups"] for rule in group["rules"]]


def _promtool_test(
    name: str, series: dict[str, str], minute: int, firing: set[str]
) -> dict[str, Any]:
    samples = [
        {"labels": f'{{alertname="{name}", severity="{severity}"}}', "value": 1}
        for name, severity in sorted(map(str.split, firing))
    ]
    return {
        "name": name,
        "interval": "1m",
        "input_series": [
            {"series": _series(key), "values": values} for key, values in series.items()
        ],
        "promql_expr_test": [
            {
                "expr": 'count by (alertname, severity) (ALERTS{alertstate="firing"})',
                "eval_time": f"{minute}m",
                "exp_samples": samples,
            }
        ],
    }


def _series(key: str) -> str:
    metric, _, value = key.partition(" ")
    labels = {"job": "models", "instance": "a:3000", "environment": "staging"}
    if metric != "up":
        labels |= {"model_name": "iris", "version": "1.0.0-a"}
    if value:
        labels[LABEL[metric]] = value
    selectors = ", ".join(f'{name}="{text}"' for name, text in labels.items())
    return f"{metric}{{{selectors}}}"
