"""Imports MLflow when asked to; this module itself is fast to import."""

# pylint: disable=import-outside-toplevel

from __future__ import annotations

import logging
import os

_DEFAULTS = {  # the environment overrides them
    "MLFLOW_DISABLE_TELEMETRY": "true",
    # wait half a minute for a server that goes away, not four: enough for a restart
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "4",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
}


def import_mlflow() -> None:
    """Import MLflow without telemetry, progress logs, or logs of exceptions that it raises."""
    for name, value in _DEFAULTS.items():
        os.environ.setdefault(name, value)
    import mlflow.tracking  # noqa: F401  pylint: disable=unused-import

    for name in ("mlflow.store.db.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("mlflow.store.db.utils").addFilter(_without_traceback)
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)  # not each retry


def _without_traceback(record: logging.LogRecord) -> bool:
    """Filter out exceptions, which MLflow both logs and raises."""
    return not record.exc_info
