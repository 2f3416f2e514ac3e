"""Write a model, its training configuration and its notebook for a table.

Example: make new-model NAME=churn DATA=churn.csv TARGET=churned
"""

from __future__ import annotations

import argparse
import csv
from pathlib import Path

from application.scaffold.estimators import ESTIMATORS
from application.scaffold.new_model import NewModel, write_model
from infrastructure.storage.snapshots import open_snapshots
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
    parser.add_argument(
        "--leave-out",
        default="",
        help='columns to leave out, comma-separated; "a,b" in quotes is one',
    )
    parser.add_argument(
        "--read-as-numbers",
        default="",
        help="columns of text to read as numbers, such as $1,234.50 or 12 %%, comma-separated",
    )
    parser.add_argument(
        "--drop-unlabelled", action="store_true", help="leave out rows without a target"
    )
    parser.add_argument(
        "--force", action="store_true", help="replace the files of a model of this name"
    )


def run(args: argparse.Namespace, root: Path = ROOT) -> None:
    """Write the module, the configuration and the notebook into a clone."""
    request = NewModel(
        name=args.name,
        data=args.data,
        target=args.target,
        query=args.query,
        task=args.task,
        left_out=_names(args.leave_out),
        as_numbers=_names(args.read_as_numbers),
        estimator=args.estimator,
        drop_unlabelled=args.drop_unlabelled,
        force=args.force,
    )
    write_model(request, open_snapshots(Settings.load()), root)


def _names(text: str) -> list[str]:
    """Names in a line of CSV: one with a comma is in double quotes."""
    names = next(csv.reader([text], skipinitialspace=True), [])
    return [name.strip() for name in names if name.strip()]
