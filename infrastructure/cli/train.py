"""Train a model, package it and register it as candidate."""

# scikit-learn and the training code are imported while a second process imports MLflow
# pylint: disable=import-outside-toplevel

from __future__ import annotations

import argparse
import gc
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from typing import TYPE_CHECKING

from domain.errors import MlopsError
from infrastructure.cli._arguments import add_config, add_model, add_receipt
from infrastructure.compute.background import Background
from infrastructure.tracking.mlflow_import import import_mlflow

if TYPE_CHECKING:
    from application.training.config import TrainingConfig

_FIGURES = ("matplotlib.figure", "matplotlib.backends.backend_agg")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, its configuration and the receipt."""
    add_model(parser)
    add_config(parser)
    add_receipt(parser)
    parser.add_argument(
        "--if-changed",
        action="store_true",
        help="train only if the data of data.source or the configuration, except `watch`, differ "
        "from those of the receipt",
    )


def run(args: argparse.Namespace) -> None:
    """Train, package and register a candidate."""
    train_with(args, args.if_changed)


def train_with(
    args: argparse.Namespace,
    if_changed: bool = False,
    change: Callable[[TrainingConfig], TrainingConfig] | None = None,
) -> None:
    """Train, package and register a candidate.

    Args:
        if_changed: train only if the data of data.source or the configuration, except `watch`,
            differ from those of the receipt.
        change: what the configuration becomes before it is used.
    """
    gc.disable()  # until everything slow is imported
    try:
        with Background() as background:
            background.submit(import_mlflow)
            from application.training.config import TrainingConfig, config_path
            from infrastructure.tracking.mlflow_tracker import MlflowTracker
            from shared.settings import Settings

            path = args.config or config_path(args.model)
            config = TrainingConfig.read(path)
            settings = Settings.load()
            tracker = MlflowTracker(settings.tracking_uri)
            check_tracking = tracker.warm_up_in(background)
            for module in _FIGURES:
                background.submit(import_module, module)
            from infrastructure.cli._training import train_candidate

            if change:
                config = change(config)
            import_module("skl2onnx")  # most models are exported by it
            gc.freeze()
            gc.enable()
            train_candidate(
                *(args.model, config, path, args.receipt, if_changed),
                settings=settings,
                tracker=tracker,
                check_tracking=check_tracking,
                background=background,
            )
    except BrokenProcessPool as error:
        raise MlopsError(
            f"the background process that records the run in MLflow has died: {error}: run make "
            "train again"
        ) from error
