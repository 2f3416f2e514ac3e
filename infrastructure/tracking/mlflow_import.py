"""Importing MLflow, apart from its use: this module itself costs nothing to import."""

# pylint: disable=import-outside-toplevel

from __future__ import annotations

import logging
import os


def import_mlflow() -> None:
    """Import MLflow, which sends no telemetry from here and sets up a database silently."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    import mlflow.tracking  # noqa: F401  pylint: disable=unused-import

    for name in ("mlflow.store.db.utils", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
