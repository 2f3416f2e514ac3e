"""Score the rows of a table with a model's champion.

Input and output are Parquet, CSV or NDJSON, by suffix. Rows that break the contract are written,
with the reason, to a file next to the output, such as out.rejected.ndjson.

Example: make score INPUT=in.parquet OUTPUT=out.parquet

Exit codes: 0 the output is complete, 1 it could not be written, 2 the input cannot be read or lacks
a column, 3 every row was rejected.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

from application.inference.predictor import replay_golden
from application.training.config import registered_name
from domain.errors import DataError
from infrastructure.cli._arguments import add_model, add_version
from infrastructure.cli._registry import open_registry
from infrastructure.inference.loading import load_served
from infrastructure.scoring.run import score_file
from shared.console import fail, show_step
from shared.settings import Settings
from shared.wording import inflected

ALL_REJECTED = 3
EXIT_CODES = {DataError: 2}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, its version and the tables."""
    add_model(parser)
    add_version(parser, "champion", "champion")
    parser.add_argument("--input", required=True, type=Path, help="table to score")
    parser.add_argument(
        "--output", required=True, type=Path, help="file for the rows with their predictions"
    )


def run(args: argparse.Namespace) -> int:
    """Score, and report how many rows were scored and rejected."""
    settings = Settings.load()
    registry = open_registry(settings)
    version = registry.find(registered_name(args.model), args.version)
    version.check_accepted()
    package = registry.open_package(version)
    spec = package.spec
    show_step("model", f"{version.model_name} version {version.number}, {package.version}")
    model = load_served(package.served, spec, os.cpu_count() or 1)
    replay_golden(spec, model, package.read_json("golden.json"))
    start = time.perf_counter()
    totals = score_file(
        spec,
        model,
        args.input.expanduser(),
        args.output.expanduser(),
        {
            "model_name": version.model_name,
            "model_version": package.version,
            "registry_version": version.number,
            "package_digest": package.digest,
        },
    )
    seconds = time.perf_counter() - start
    if totals.rejected and not totals.scored:
        every = inflected(totals.rejected, "the only row was", f"all {totals.rejected:,} rows were")
        rejected = f"{every} rejected: see {totals.rejects}"
        return fail(DataError(f"{rejected}; {args.output} was not written"), ALL_REJECTED)
    see = f": see {totals.rejects}" if totals.rejected else ""
    show_step("result", f"{totals.scored:,} rows scored, {totals.rejected:,} rejected{see}")
    for name, count in totals.unknown.items():
        show_step("look at", f"{name}: {count:,} unknown words counted as missing")
    for name, count in totals.outside.items():
        show_step("look at", f"{name}: {count:,} numbers outside the range of the contract")
    rate = (totals.scored + totals.rejected) / seconds
    show_step("output", f"{args.output}: {seconds:.1f} s, {rate:,.0f} rows/s")
    return 0
