"""Show the live quality of each version by its labels, and whether those represent all predictions.

The predictions of a period count that have a label by now. The score is by the model's own measure,
with its 95 % interval. The log is that of PREDICTION_LOG_URL, else of what is deployed in ENV; a
log that several environments share counts all of them.

Example: make quality SINCE=7d
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from dataclasses import replace

from application.monitoring.estimation import UNSEEN, QualityEstimator
from application.monitoring.quality import VersionQuality, quality_of
from application.training.config import registered_name
from domain.evaluation.estimation import Estimate, IsotonicCalibration
from domain.evaluation.measures import Measure
from infrastructure.cli._arguments import add_model, add_version
from infrastructure.cli._log import (
    add_period,
    no_predictions,
    open_log,
    package_version,
    packages_of,
    period_of,
)
from infrastructure.cli._registry import open_registry
from infrastructure.packaging.model_package import ModelPackage
from infrastructure.registry.mlflow_registry import CHAMPION
from shared.console import show_step
from shared.settings import Settings

_UNKNOWN = IsotonicCalibration("the calibration of this version is unknown: its package is gone")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the log and the period."""
    add_model(parser)
    add_version(parser, None, "all versions")
    add_period(parser, "7d")


def run(args: argparse.Namespace) -> None:
    """Print a few lines for each version.

    Raises:
        PredictionLogError: the log has no prediction in the period.
    """
    settings = Settings.load()
    name, registry = registered_name(args.model), open_registry(settings)
    since, until = period_of(args)
    champion = registry.open_package(registry.find(name, CHAMPION))
    with open_log(settings, name, args.env) as log:
        made = log.versions(since, until)
        version = package_version(registry, name, args.version, [each.version for each in made])
        made = [each for each in made if version in (None, each.version)]
        if not made:
            raise no_predictions(settings, name, args.env, version)
        packages = packages_of(registry, name, [each.version for each in made if each.version])
        for traffic in made:
            package = packages.get(traffic.version or "", champion)
            measure = _measure_of(package, champion)
            _show(measure, quality_of(log, measure, traffic, since, until))
            is_known = traffic.version == package.version
            calibration = package.calibration if is_known else _UNKNOWN
            estimator = QualityEstimator(log, measure, calibration, traffic.version)
            _show_estimates(estimator.estimates(since, until))


def _measure_of(package: ModelPackage, champion: ModelPackage) -> Measure:
    """The champion's measure for another version; its own one if it has other classes."""
    measure = champion.measure
    same = sorted(package.spec.classes) == sorted(measure.spec.classes)
    return replace(measure, spec=package.spec) if same else package.measure


def _show_estimates(estimates: Mapping[str, Estimate]) -> None:
    known = [
        f"{name} {each.score:.4f} [{each.interval[0]:.4f}, {each.interval[1]:.4f}]"
        for name, each in estimates.items()
        if each.score is not None and each.interval
    ]
    if known:
        rows = next(iter(estimates.values())).rows
        known[-1] += f" without labels, n = {rows:,}; cannot see {UNSEEN}"
        show_step("estimated", ", ".join(known))
    for reason in dict.fromkeys(each.reason for each in estimates.values() if each.reason):
        show_step("estimated", reason)


def _show(measure: Measure, found: VersionQuality) -> None:
    show_step(
        "version",
        f"{found.version or 'unknown'}: {found.predictions:,} predictions, {found.labelled:,} "
        f"labelled ({found.coverage:.1%})",
    )
    quality = found.reason
    if found.score is not None:
        limits = f" [{found.interval[0]:.4f}, {found.interval[1]:.4f}]" if found.interval else ""
        quality = f"{measure.title} {found.score:.4f}{limits}, n = {found.scored:,}"
    show_step("quality", quality)
    for each in found.differences[:3]:
        show_step(
            "WARNING",
            f"{each.what} of the labelled rows {each.labelled:.4g}, of the others "
            f"{each.others:.4g} (p = {each.p_value:.1g}): the score may not hold for all rows",
        )
