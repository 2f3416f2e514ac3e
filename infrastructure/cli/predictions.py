"""Export the predictions that a service has logged, with their inputs, versions and labels.

The output is Parquet, CSV or NDJSON, by suffix: one row for each predicted row, in order of time.
The log is that of PREDICTION_LOG_URL, else of what is deployed in ENV; of a log that several
environments share, all rows are exported.

Example: make predictions OUTPUT=x.parquet SINCE=7d
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from application.monitoring.export import Columns, Contracts, Kind, export_predictions
from application.training.config import registered_name
from infrastructure.cli._arguments import add_model, add_version
from infrastructure.cli._log import (
    add_period,
    contracts_of,
    no_predictions,
    open_log,
    package_version,
    period_of,
)
from infrastructure.cli._registry import open_registry
from infrastructure.scoring.tables import check_output, open_sink
from infrastructure.storage.prediction_log import SqlPredictionLog
from shared.console import show_step
from shared.files import Draft
from shared.settings import Settings
from shared.wording import inflected, local_time

_TYPES: dict[Kind, pa.DataType] = {
    "string": pa.string(),
    "float32": pa.float32(),
    "float64": pa.float64(),
    "int32": pa.int32(),
    "bool": pa.bool_(),
    "timestamp": pa.timestamp("us", "UTC"),
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the log, the period and the output."""
    add_model(parser)
    add_version(parser, None, "all versions")
    parser.add_argument("--output", required=True, type=Path, help=".parquet, .csv or .ndjson")
    add_period(parser)


def run(args: argparse.Namespace) -> None:
    """Export, and report how many rows there are.

    Raises:
        PredictionLogError: the log has no prediction in the period; no file is written.
    """
    settings, output = Settings.load(), args.output.expanduser()
    check_output(output)
    name, registry = registered_name(args.model), open_registry(settings)
    since, until = period_of(args)
    with open_log(settings, name, args.env) as log:
        made = log.versions(since, until)
        version = package_version(registry, name, args.version, [each.version for each in made])
        made = [each for each in made if version in (None, each.version)]
        if not made:
            raise no_predictions(settings, name, args.env, version)
        contracts = contracts_of(registry, name, [each.version for each in made if each.version])
        total = sum(each.predictions for each in made)
        period = (since, until, version)
        left_out = _write(output, log, contracts, period, {"model_name": name}, total)
    for each in made:
        show_step(
            "version",
            f"{each.version or 'unknown'}: {each.predictions:,} rows, {each.labelled:,} labelled, "
            f"{_local(each.first)} to {_local(each.last)}",
        )
    for which, rows in left_out.items():
        show_step(
            "WARNING",
            f"{rows:,} {inflected(rows, 'row', 'rows')} of version {which or 'unknown'} "
            f"{inflected(rows, 'was left out: it does', 'were left out: they do')} not fit its "
            "contract, or the champion's if its package is gone",
        )
    show_step("output", f"{output}: {total - sum(left_out.values()):,} rows")


def _write(
    output: Path,
    log: SqlPredictionLog,
    contracts: Contracts,
    period: tuple[float, float, str | None],
    metadata: dict[str, str],
    total: int,
) -> dict[str | None, int]:
    """Write the file, which replaces an existing one after the last row; returns what was left
    out."""
    fields = [pa.field(name, _TYPES[kind]) for name, kind in contracts.columns().items()]
    schema = pa.schema(fields, metadata=metadata)
    with (
        Draft(output) as draft,
        tqdm(total=total, desc="  rows", unit="row", unit_scale=True, disable=None) as bar,
    ):
        with open_sink(output, draft.path, schema) as sink:

            def write(columns: Columns) -> None:
                rows = len(columns["row"])
                arrays = [_array(columns.get(field.name), field.type, rows) for field in schema]
                sink.write_batch(pa.RecordBatch.from_arrays(arrays, schema=schema))
                bar.update(rows)

            left_out = export_predictions(log, contracts, write, *period)
        draft.publish()
    return left_out


def _array(values: object, kind: pa.DataType, rows: int) -> pa.Array:
    """Values as an Arrow array; a column that a version does not have is null."""
    if values is None:
        return pa.nulls(rows, kind)
    if pa.types.is_timestamp(kind):
        return pa.array(values, pa.timestamp("us")).cast(kind)
    array = pa.array(values, from_pandas=True)
    return array if array.type == kind else array.cast(kind)


def _local(seconds: float) -> str:
    return local_time(datetime.fromtimestamp(seconds, UTC))
