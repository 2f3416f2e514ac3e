"""Train a candidate on the model's data and the labelled rows of the prediction log.

The rows become a snapshot, together with those that the champion was trained on. The log is that of
PREDICTION_LOG_URL, else of what is deployed in ENV.

Example: make retrain deploy ENV=production
"""

# pandas and MLflow are imported while a second process imports MLflow
# pylint: disable=import-outside-toplevel

from __future__ import annotations

import argparse
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from domain.errors import DataError
from infrastructure.cli import train
from infrastructure.cli._arguments import (
    add_config,
    add_environment,
    add_model,
    add_receipt,
)
from infrastructure.cli._log import contracts_of, open_log
from infrastructure.cli._registry import open_registry
from infrastructure.registry.mlflow_registry import CHAMPION, MlflowRegistry
from infrastructure.storage.snapshots import SnapshotStore, open_snapshots
from shared.console import show_step
from shared.paths import path_in_clone
from shared.settings import Settings
from shared.wording import inflected

if TYPE_CHECKING:
    import pandas as pd

    from application.training.config import TrainingConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, its configuration, the environment and the receipt."""
    add_model(parser)
    add_config(parser)
    add_environment(parser)
    add_receipt(parser)


def run(args: argparse.Namespace) -> None:
    """Train, package and register a candidate."""
    train.train_with(args, change=partial(_with_labelled_rows, args))


def _with_labelled_rows(args: argparse.Namespace, config: TrainingConfig) -> TrainingConfig:
    """The configuration with a snapshot of the labelled rows.

    Raises:
        DataError: the log does not have what the model learns from, or no new label, and there is
            no source that may have new data.
    """
    from application.ports.snapshots import recorded_source
    from application.retraining.log_rows import check_usable, merged, read_rows

    settings = Settings.load()
    registry = open_registry(settings)
    champion = registry.open_package(registry.find(config.model_name, CHAMPION))
    spec = champion.spec
    check_usable(spec, config.data.split)
    rows, since_drift = _rows_of_log(args.env, config, registry, settings)
    snapshots = open_snapshots(settings)
    _, trained_on = recorded_source(champion.read_json("provenance.json"), snapshots)
    tables = [read_rows(config.data.labelled, spec)] if config.data.labelled else []
    tables += [read_rows(str(trained_on), spec, from_log=True)] if trained_on else []
    frame = merged(*tables, rows)
    snapshot = None if frame.empty else _keep(frame, snapshots)
    if config.data.source is None and snapshot == trained_on:
        raise DataError(
            f"the log of {args.env} has no label that the champion was not trained on: label some "
            "predictions with make feedback"
        )
    more = f", and {len(frame) - len(rows):,} earlier ones" if len(frame) > len(rows) else ""
    show_step("labelled", f"{len(rows):,} rows of the log{more}")
    if snapshot is None:
        return config
    update: dict[str, object] = {"labelled": path_in_clone(snapshot)}
    if since_drift is not None:
        update["reference_rows"] = since_drift
    data = config.data.model_copy(update=update)
    return config.model_copy(update={"data": data})


def _rows_of_log(
    environment: str, config: TrainingConfig, registry: MlflowRegistry, settings: Settings
) -> tuple[pd.DataFrame, int | None]:
    """The labelled rows of the log, and how many of them, the last ones, were predicted since the
    drift began that make watch reports; None without. What is left out is shown.

    Raises:
        DataError: the log has no labelled row, and the configuration no source of new data.
    """
    from application.retraining.log_rows import labelled_rows
    from application.retraining.watch import drift_began

    name, split = config.model_name, config.data.split
    with open_log(settings, name, environment) as log:
        made = [each.version for each in log.versions(0.0) if each.version]
        contracts = contracts_of(registry, name, made)
        now, began = time.time(), drift_began(log)
        rows, left_out = labelled_rows(log, contracts, 0.0, now, split.time if split else None)
        since_drift = None
        if began is not None:
            since_drift = len(labelled_rows(log, contracts, began, now)[0])
            show_step("drift", f"labelled rows since it began: {since_drift:,}")
    for version, number in left_out.items():
        show_step(
            "WARNING",
            f"{number:,} {inflected(number, 'row', 'rows')} of version {version or 'unknown'} "
            f"{inflected(number, 'was left out: it does', 'were left out: they do')} not fit the "
            "champion's contract",
        )
    if rows.empty and config.data.source is None:
        raise DataError(
            f"no prediction of {name} in {environment} has a label: label some with make feedback, "
            "or choose another ENV"
        )
    return rows, since_drift


def _keep(frame: pd.DataFrame, snapshots: SnapshotStore) -> Path:
    """Keep the rows as a snapshot."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "labelled.parquet")
        frame.to_parquet(file, index=False)
        return snapshots.find(snapshots.keep(file))
