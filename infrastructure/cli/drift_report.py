"""Write an HTML page about the drift of a period of the prediction log.

Inputs and predictions are compared with the rows that the version was trained on, by default those
of the champion. The log is that of PREDICTION_LOG_URL, else of what is deployed in ENV; a log
that several environments share counts all of them.

Example: make drift-report SINCE=7d
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

from application.monitoring.drift_report import report_drift
from application.training.config import registered_name
from domain.errors import DataError
from infrastructure.cli._arguments import add_model, add_version
from infrastructure.cli._log import add_period, no_predictions, open_log, period_of
from infrastructure.cli._registry import open_registry
from infrastructure.registry.mlflow_registry import CHAMPION
from infrastructure.reporting.drift_page import write_drift_page
from shared.console import show_step
from shared.paths import ROOT
from shared.settings import Settings
from shared.wording import local_time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the log, the period and the page."""
    add_model(parser)
    add_version(parser, None, "the champion")
    add_period(parser)
    parser.add_argument(
        "--output", type=Path, help="page to write (default: build/<model>/drift.html)"
    )


def run(args: argparse.Namespace) -> None:
    """Compare, write the page, and show what drifts.

    Raises:
        DataError: the page would not be an .html file.
        PredictionLogError: the log has no prediction in the period.
    """
    settings, (since, until) = Settings.load(), period_of(args)
    output = (args.output or ROOT / "build" / args.model / "drift.html").expanduser().absolute()
    if output.suffix.lower() != ".html":
        raise DataError(f"{output} must end in .html")
    name, registry = registered_name(args.model), open_registry(settings)
    package = registry.open_package(registry.find(name, args.version or CHAMPION))
    profiles = package.read_json("profile.json")
    with open_log(settings, name, args.env) as log:
        versions = log.versions(since, until)
        made = [each for each in versions if each.version == package.version]
        if not made:
            raise no_predictions(settings, name, args.env, package.version)
        since = max(since, made[0].first)
        importances = package.read_json("metrics.json").get("importances", {})
        report = report_drift(
            *(log, package.spec, profiles, since, until, package.version), importances
        )
    times = [local_time(datetime.fromtimestamp(at, UTC)) for at in (since, until)]
    heading = f"Drift of {name} {package.version}"
    write_drift_page(
        report, heading, f"Predictions in {args.env} from {' to '.join(times)}.", output
    )
    show_step("version", f"{package.version}: {' to '.join(times)}")
    show_step("rows", f"{report.rows:,}")
    for each in report.variables:
        if each.drifts:
            show_step("DRIFT", f"{each.name}: p-value {each.p_value:.2g}, index {each.index:.3f}")
    if not any(each.drifts for each in report.variables):
        show_step("drift", "no drift")
    show_step("page", output.as_uri())
