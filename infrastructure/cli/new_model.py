"""Write a model and its training configuration for a table.

Example: make new-model NAME=churn DATA=churn.csv TARGET=churned
"""

from __future__ import annotations

import argparse
from pathlib import Path

from application.scaffold.estimators import ESTIMATORS
from application.scaffold.new_model import write_model
from infrastructure.cli._snapshots import open_snapshots
from shared.paths import ROOT
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model's name, the table and what to predict."""
    parser.add_argument("--name", required=True, help="name of the model, such as churn")
    parser.add_argument("--data", required=True, help="table: docs/data-sources.md has the forms")
    parser.add_argument("--query", help="file with the SQL to run, if the table is in a database")
    parser.add_argument("--target", required=True, help="column to predict")
    parser.add_argument(
        "--task",
        choices=("classification", "regression"),
        help="kind of prediction (default: what the target suggests)",
    )
    parser.add_argument(
        "--estimator",
        choices=ESTIMATORS,
        help="what learns (default: by the number of rows; text: a linear model)",
    )
    parser.add_argument("--leave-out", default="", help="columns to leave out, comma-separated")


def run(args: argparse.Namespace, root: Path = ROOT) -> None:
    """Write the module and the configuration into a clone."""
    left_out = [name.strip() for name in args.leave_out.split(",") if name.strip()]
    snapshots = open_snapshots(Settings.load())
    write_model(
        *(args.name, args.data, args.query, args.target, args.task, left_out),
        *(snapshots, root, args.estimator),
    )
