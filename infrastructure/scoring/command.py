"""Score a table with the champion: `python -m infrastructure.scoring.command --help`."""

# pylint: disable=import-outside-toplevel

from __future__ import annotations

import argparse
import os
import sys
import time
from pathlib import Path

from application.training.config import registered_name
from domain.errors import DataError, MlopsError
from shared.arguments import valid_model_name
from shared.commands import entry_point
from shared.console import fail, show_step
from shared.endings import end_as_interrupted
from shared.settings import Settings

UNREADABLE, ALL_REJECTED = 2, 3


@entry_point(MlopsError, codes={DataError: UNREADABLE})
def main(arguments: list[str] | None = None) -> int:
    """0 the output is whole, 1 it could not be made, 2 the input cannot be read or lacks a column,
    3 every row was rejected."""
    parser = argparse.ArgumentParser(
        description="Score the rows of a table with a model's champion. Input and output are "
        "Parquet, CSV or NDJSON, by suffix. Rows that break the contract go, with their reasons, "
        "to a file beside the output, such as out.rejected.ndjson."
    )
    parser.add_argument(
        "--model", type=valid_model_name, default="iris", help="name in domain/models (%(default)s)"
    )
    parser.add_argument(
        "--version",
        default="champion",
        help="number, alias, package version or run of an accepted version (%(default)s)",
    )
    parser.add_argument("--input", required=True, type=Path, help="the table")
    parser.add_argument(
        "--output", required=True, type=Path, help="the same rows with their answers"
    )
    options = parser.parse_args(arguments)
    end_as_interrupted()
    return _score(options.model, options.version, options.input, options.output)


def _score(name: str, which: str, source: Path, output: Path) -> int:
    from application.inference.predictor import replay_golden
    from infrastructure.inference.loading import load_served
    from infrastructure.registry.mlflow_registry import MlflowRegistry
    from infrastructure.scoring.run import score_file

    settings = Settings()
    registry = MlflowRegistry(settings.tracking_uri, settings.packages_dir)
    version = registry.find(registered_name(name), which)
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
        source.expanduser(),
        output.expanduser(),
        {
            "model_name": version.model_name,
            "model_version": package.version,
            "registry_version": version.number,
            "package_digest": package.digest,
        },
    )
    seconds = time.perf_counter() - start
    if totals.rejected and not totals.scored:
        told = f"all {totals.rejected:,} rows were rejected: see {totals.rejects}"
        return fail(DataError(f"{told}; {output} was not written"), ALL_REJECTED)
    see = f": see {totals.rejects}" if totals.rejected else ""
    show_step("result", f"{totals.scored:,} rows scored, {totals.rejected:,} rejected{see}")
    rate = (totals.scored + totals.rejected) / seconds
    show_step("output", f"{output}: {seconds:.1f} s, {rate:,.0f} rows/s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
