"""What the demonstration reads from a service, and what it says without one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from domain.errors import DeploymentError
from infrastructure.deployment.demo import Service, main
from infrastructure.monitoring.metrics.model_metrics import (
    ModelMetricsCollector,
    start_metrics_server,
)


@pytest.fixture(scope="module", name="url")
def _url() -> Iterator[str]:
    """The address of a server that has the metrics of a model."""
    registry = CollectorRegistry()
    metrics = ModelMetricsCollector("iris", "1.0.0-a", ("setosa", "virginica"), registry)
    metrics.record_predictions(np.array([0, 0]), np.array([0.75, 0.25]), np.array([0.5]))
    metrics.set_drift({"petal_width": 0.1})
    server, thread = start_metrics_server(0, registry)
    with closing(server.socket):
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join(5)


def test_metrics_are_read_by_name_and_the_labels_that_differ(url: str) -> None:
    read = Service(url).metrics()
    assert read['ml_predictions_total{class="setosa"}'] == 2
    assert read['ml_predictions_total{class="virginica"}'] == 0
    assert read['ml_prediction_confidence_sum{class="setosa"}'] == 1
    assert read["ml_prediction_duration_seconds_sum"] == 0.5
    assert read['ml_data_drift_score{feature="petal_width"}'] == 0.1


def test_buckets_and_creation_times_are_left_out(url: str) -> None:
    assert {name.partition("{")[0] for name in Service(url).metrics()} == {
        "ml_predictions_total",
        "ml_prediction_duration_seconds_count",
        "ml_prediction_duration_seconds_sum",
        "ml_prediction_confidence_count",
        "ml_prediction_confidence_sum",
        "ml_data_drift_score",
        "ml_prediction_log_dropped_rows_total",
    }


def test_a_service_that_does_not_answer_is_named() -> None:
    with pytest.raises(DeploymentError, match="http://127.0.0.1:1/metrics does not answer"):
        Service("http://127.0.0.1:1").metrics()


def test_without_a_deployment_the_reader_is_told_to_make_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("RELEASES_DIR", str(tmp_path))
    assert main(["--env", "staging"]) == 1
    assert "nothing is deployed in staging: make deploy" in capsys.readouterr().err
