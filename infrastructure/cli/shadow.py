"""Replay the prediction log through another version, and show where its predictions differ.

Nothing is served: models have no state, so the log shows what a shadow deployment would. The log is
that of PREDICTION_LOG_URL, else of what is deployed in ENV.

Example: make shadow VERSION=candidate SINCE=7d
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

import numpy as np
import pandas as pd
from tqdm import tqdm

from application.inference.shadow import ShadowReport, replay
from application.monitoring.export import Columns
from application.ports.snapshots import recorded_source
from application.retraining.log_rows import KEY, check_usable, read_rows
from application.training.config import registered_name
from domain.errors import DataError, PredictionLogError
from domain.evaluation.sequential import FEWEST
from infrastructure.cli._arguments import add_model, add_version
from infrastructure.cli._log import add_period, contracts_of, open_log, period_of
from infrastructure.cli._registry import open_registry
from infrastructure.inference.loading import load_served
from infrastructure.packaging.model_package import ModelPackage
from infrastructure.registry.mlflow_registry import CANDIDATE, CHAMPION
from infrastructure.storage.snapshots import open_snapshots
from shared.console import show_step
from shared.files import Draft
from shared.settings import Settings

_SHOWN = 3
_SUFFIXES = (".parquet", ".csv")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the version to try, the log, the period and the output."""
    add_model(parser)
    add_version(parser, CANDIDATE, "the candidate")
    add_period(parser, "7d")
    parser.add_argument("--served", help="only rows that this version has predicted (default: all)")
    parser.add_argument("--output", type=Path, help="table of the rows that differ: .parquet, .csv")


def run(args: argparse.Namespace) -> None:
    """Replay, and show what differs.

    Raises:
        DataError: the log does not have what the model needs.
        PredictionLogError: the log has no prediction in the period.
    """
    output = args.output.expanduser() if args.output else None
    if output and output.suffix not in _SUFFIXES:
        raise DataError(f"{output}: use a name that ends in .parquet or .csv")
    settings, (since, until) = Settings.load(), period_of(args)
    name, registry = registered_name(args.model), open_registry(settings)
    version = registry.find(name, args.version)
    package = registry.open_package(version)
    check_usable(package.spec, None, "requests cannot be replayed without them")
    role = ", the champion" if CHAMPION in version.aliases else ""
    show_step("shadow", f"version {version.number}, {package.version}{role}")
    model = load_served(package.served, package.spec, os.cpu_count() or 1)
    served = registry.find(name, args.served).package_version if args.served else None
    with open_log(settings, name, args.env) as log:
        made = [each for each in log.versions(since, until) if served in (None, each.version)]
        if not made:
            raise PredictionLogError(
                f"no prediction of {name} in this period: choose another SINCE"
            )
        contracts = contracts_of(registry, name, [each.version for each in made if each.version])
        parts: list[pd.DataFrame] = []

        def keep(columns: Columns) -> None:
            if output:
                parts.append(pd.DataFrame(dict(columns)))

        total = sum(each.predictions for each in made)
        with tqdm(total=total, desc="  rows", unit="row", unit_scale=True, disable=None) as bar:
            report = replay(
                log,
                contracts,
                package.spec,
                model,
                package.read_json("profile.json"),
                (since, until, served),
                trained_on=_labels_known_to(package, settings),
                keep=keep,
                on_rows=bar.update,
            )
    _show(report, bool(package.spec.classes))
    if output:
        _write(pd.concat(parts, ignore_index=True) if parts else pd.DataFrame(), output)


def _labels_known_to(package: ModelPackage, settings: Settings) -> set[tuple[str, int]]:
    """Request IDs and rows of the labels of the log that a version was trained or judged on."""
    provenance = package.read_json("provenance.json")
    _, labelled = recorded_source(provenance, open_snapshots(settings))
    if labelled is None:
        return set()
    rows = read_rows(str(labelled), package.spec, from_log=True)
    return set(zip(rows[KEY[0]], rows[KEY[1]].astype(int)))


def _show(report: ShadowReport, is_classifier: bool) -> None:
    refused = f"; its contract refuses {report.rejected:,} more" if report.rejected else ""
    show_step("rows", f"{report.rows:,}{refused}")
    if is_classifier:
        show_step("differ", f"{report.total:,.0f} rows, {report.difference:.2%}")
        for (before, after), number in report.changes.most_common(_SHOWN):
            show_step("", f"{number:,} from {before} to {after}")
    else:
        largest = f"at most {report.largest:.4g}"
        show_step("differ", f"by {report.difference:.4g} in the mean, {largest}")
    for place in report.places[:_SHOWN]:
        size = f"{place.difference:.2%}" if is_classifier else f"{place.difference:.4g}"
        show_step("most at", f"{place.what}: {size} of {place.rows:,} rows")
    errors = np.concatenate([np.zeros((0, 2)), *report.errors])
    if len(errors) < FEWEST:
        show_step("quality", f"too few to say: {len(errors)} labels new to it, {FEWEST} are needed")
        return
    before, after = errors.mean(axis=0)
    gained = errors[:, 0] - errors[:, 1]
    error = 1.96 * float(gained.std(ddof=1)) / np.sqrt(len(gained))
    what = "error rate" if is_classifier else "mean absolute error"
    show_step(
        "quality",
        f"{what} {after:.4g}, that of the logged predictions {before:.4g}: difference "
        f"{after - before:+.4g} ± {error:.2g} on {len(errors):,} labels new to it",
    )


def _write(frame: pd.DataFrame, output: Path) -> None:
    with Draft(output) as draft:
        if output.suffix == ".csv":
            frame.to_csv(draft.path, index=False)
        else:
            frame.to_parquet(draft.path, index=False)
        draft.publish()
    show_step("output", f"{output}: {len(frame):,} rows that differ")
