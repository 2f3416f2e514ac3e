"""Importing MLflow, apart from its use: this module itself costs nothing to import."""

# pylint: disable=import-outside-toplevel

from __future__ import annotations

import logging
import os

_DEFAULTS = {  # the environment overrides them
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # a server that goes away is waited for half a minute, not four: time enough for its restart
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}


def import_mlflow() -> None:
    """Import MLflow, which sends no telemetry and logs neither steps nor what it raises."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    import mlflow.tracking  # noqa: F401  pylint: disable=unused-import

    for name in ("mlflow.store.db.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").addFilter(_without_traceback)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # not each retry


def _without_traceback(record: logging.LogRecord) -> bool:
    """Leave out exceptions that MLflow logs and raises as well."""
    return not record.exc_info
