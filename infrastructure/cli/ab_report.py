"""Compare two versions that served side by side, on labels or on a measure of the business.

By default the version that began last is compared with the other one that made predictions, in the
time in which both did. The test may be repeated at any time. The log is that of PREDICTION_LOG_URL,
else of what is deployed in ENV.

Example: make ab-report FILE=orders.csv VALUE=revenue
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from application.monitoring.ab_report import Pair, choose_pair, compare_labels, compare_values
from application.training.config import registered_name
from domain.contract import Quantity
from domain.errors import DataError
from domain.evaluation.sequential import FEWEST, Difference
from infrastructure.cli._arguments import add_model
from infrastructure.cli._log import add_period, open_log, package_version, period_of
from infrastructure.cli._registry import open_registry
from infrastructure.deployment.local import LocalEnvironment
from infrastructure.registry.mlflow_registry import CHAMPION
from infrastructure.scoring.labels import read_labels
from shared.console import show_step
from shared.settings import Settings
from shared.wording import inflected, local_time

EXIT_CODES = {DataError: 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the log, the period, the versions and the measure."""
    add_model(parser)
    add_period(parser)
    for option in ("--old", "--new"):
        parser.add_argument(option, help="version, by number, alias, package version or run ID")
    parser.add_argument("--file", type=Path, help="values by prediction: .parquet, .csv or .ndjson")
    parser.add_argument("--value", help="column of the file, such as revenue; higher is better")


def run(args: argparse.Namespace) -> None:
    """Compare, and show the difference.

    Raises:
        DataError: only one of FILE and VALUE is given.
    """
    if bool(args.file) != bool(args.value):
        raise DataError("FILE and VALUE belong together: VALUE is a column of FILE")
    settings, (since, until) = Settings.load(), period_of(args)
    name, registry = registered_name(args.model), open_registry(settings)
    spec = registry.open_package(registry.find(name, CHAMPION)).spec
    with open_log(settings, name, args.env) as log:
        made = log.versions(since, until)
        logged = [each.version for each in made]
        chosen = [package_version(registry, name, each, logged) for each in (args.old, args.new)]
        pair = choose_pair(made, chosen[0], chosen[1], until, _canary(settings, name, args.env))
        first, last = (
            local_time(datetime.fromtimestamp(at, UTC)) for at in (pair.since, pair.until)
        )
        show_step("period", f"{first} to {last}, in which both served")
        if args.file:
            output = replace(spec, output=Quantity(args.value))
            table = read_labels(args.file.expanduser(), spec, args.value)
            found, unknown = compare_values(log, output, table, pair)
            belong = inflected(unknown, "value belongs to", "values belong to")
            if unknown:
                show_step("WARNING", f"{unknown:,} {belong} no prediction in the log")
            what, missing = f"mean {args.value}", "no values"
            action = "FILE names none of these predictions; choose another SINCE"
        else:
            found = compare_labels(log, spec, pair)
            what = "accuracy" if spec.classes else "negative mean absolute error"
            missing, action = "no labels yet", "make feedback FILE=labels.csv"
    _show(found, what, pair, missing)
    if not found.old_rows and not found.new_rows:
        show_step("result", f"{missing}: {action}")
    else:
        show_step("result", _result(found))


def _show(found: Difference, what: str, pair: Pair, missing: str) -> None:
    for title, version, mean, rows in (
        ("old", pair.old, found.old, found.old_rows),
        ("new", pair.new, found.new, found.new_rows),
    ):
        shown = f"{what} {mean:.4g} of {rows:,} {inflected(rows, 'row', 'rows')}"
        show_step(title, f"{version}: {shown if rows else missing}")


def _canary(settings: Settings, name: str, env: str) -> str | None:
    """The version of a model that runs as a canary in an environment."""
    release = LocalEnvironment(settings.releases_dir / env).current_if_known()
    if release is None or release.canary is None or release.model != name:
        return None
    return release.canary.release.version


def _result(found: Difference) -> str:
    """What is known about the difference."""
    if found.interval is None:
        needed, so_far = f"each version needs {found.needed:,} rows", ""
        if found.needed > FEWEST:
            needed += f" ({FEWEST}, and more for skewed values such as rare errors)"
        if found.old_rows and found.new_rows:
            so_far = f"; difference so far {found.difference:+.4g}"
        return f"too few to say: {needed}{so_far}"
    low, high = found.interval
    outcome = "no certain difference yet"
    if found.is_certain:
        outcome = f"the new version is {'better' if found.difference > 0 else 'worse'}"
    return (
        f"{outcome}: difference {found.difference:+.4g} [{low:+.4g}, {high:+.4g}], "
        f"p = {found.p_value:.2g}"
    )
