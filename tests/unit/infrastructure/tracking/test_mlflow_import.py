"""MLflow is imported quietly, and only when the function is called."""

from __future__ import annotations

import logging
import os
import subprocess
import sys

import pytest

from infrastructure.tracking.mlflow_import import import_mlflow
from shared.paths import ROOT


def test_mlflow_sends_no_telemetry_by_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY", raising=False)
    import_mlflow()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "false")
    import_mlflow()
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "false"


def test_database_migrations_are_not_logged() -> None:
    import_mlflow()
    assert not logging.getLogger("alembic.runtime.migration").isEnabledFor(logging.INFO)


def test_a_database_error_is_not_also_logged_with_a_traceback(
    caplog: pytest.LogCaptureFixture,
) -> None:
    import_mlflow()
    try:
        raise OSError("database is locked")
    except OSError:
        logging.getLogger("mlflow.store.db.utils").exception("SQLAlchemy database error")
    logging.getLogger("mlflow.store.db.utils").warning("Operation will be retried")
    assert [record.message for record in caplog.records] == ["Operation will be retried"]


def test_the_environment_sets_the_retries_for_a_lost_server(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", raising=False)
    import_mlflow()
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "4"
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "7")
    import_mlflow()
    assert os.environ["MLFLOW_HTTP_REQUEST_MAX_RETRIES"] == "7"


def test_importing_the_module_does_not_import_mlflow() -> None:
    code = "import sys, infrastructure.tracking.mlflow_import; print('mlflow' in sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout == "False\n"
