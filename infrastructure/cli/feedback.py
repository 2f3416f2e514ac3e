"""Label what a service has predicted from a table of actual classes or values.

The table is Parquet, CSV or NDJSON, by suffix. It has the column `actual`, `actual_class` or the
target's own name, and names predictions by `request_id` and `row` (0 without it), or by `id`, the
caller's own ID, whose latest prediction is meant. An invalid row refuses the whole table; rows
whose prediction is not in the log, or whose class its version does not have, are written to a file
next to it, such as labels.unknown.csv. The log is that of PREDICTION_LOG_URL, else of what is
deployed in ENV; of a log that several environments share, all are searched.

Example: make feedback FILE=labels.parquet

Exit codes: 0 labels were recorded, 1 the log is unavailable or a row is invalid, 2 the table cannot
be read or lacks a column, 3 no row names a prediction in the log.
"""

from __future__ import annotations

import argparse
import gc
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from application.monitoring.labels import LabelImport, LabelTable, import_labels
from application.training.config import registered_name
from domain.errors import DataError
from infrastructure.cli._arguments import add_environment, add_model
from infrastructure.cli._log import contracts_of, open_log
from infrastructure.cli._registry import open_registry
from infrastructure.registry.mlflow_registry import CHAMPION
from infrastructure.scoring.labels import read_labels, write_unknown
from shared.console import fail, show_step
from shared.settings import Settings
from shared.wording import inflected

NOTHING_FOUND = 3
EXIT_CODES = {DataError: 2}
_SHOWN = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model, the log and the table."""
    add_model(parser)
    add_environment(parser)
    parser.add_argument("--file", required=True, type=Path, help=".parquet, .csv or .ndjson")


def run(args: argparse.Namespace) -> int:
    """Record the labels, and report how many there are and which are unknown."""
    settings, path = Settings.load(), args.file.expanduser()
    name, registry = registered_name(args.model), open_registry(settings)
    champion = registry.open_package(registry.find(name, CHAMPION)).spec
    table = read_labels(path, champion)
    gc.disable()  # labels leave no garbage, and looking for it takes a third of the time
    try:
        with (
            open_log(settings, name, args.env) as log,
            tqdm(desc="  labels", unit="label", unit_scale=True, disable=None) as bar,
        ):

            def show(done: int, total: int) -> None:
                bar.total = total
                bar.update(done - bar.n)

            logged = [each.version for each in log.versions(0.0) if each.version]
            done = import_labels(log, contracts_of(registry, name, logged), table, show)
    finally:
        gc.enable()
    show_step("labels", _summary(done, len(table.names)))
    unknown = path.with_name(f"{path.stem}.unknown.csv")
    if rows := [*done.unknown, *done.other_class]:
        write_unknown(unknown, table, sorted(rows))
        _warn(done.unknown, table, "no prediction in the log", unknown)
        reason = "a prediction of a version without this class"
        _warn(done.other_class, table, reason, unknown)
    else:
        unknown.unlink(missing_ok=True)  # an earlier run's
    if not done.labels:
        reason = f"no row of {path} labels a prediction of {args.model} in the log of {args.env}"
        return fail(DataError(reason), NOTHING_FOUND)
    return 0


def _summary(done: LabelImport, rows: int) -> str:
    """How many rows became labels, and how many of those were new."""
    text = (
        f"{done.labels:,} of {rows:,} rows {inflected(done.labels, 'labels', 'label')} "
        f"{done.predictions:,} {inflected(done.predictions, 'prediction', 'predictions')}"
    )
    if done.labels:
        counts = done.counts._asdict().items()
        text += f": {', '.join(f'{count:,} {kind}' for kind, count in counts if count)}"
    if missing := done.without_value:
        text += f"; {missing:,} {inflected(missing, 'row', 'rows')} without a value"
    return text


def _name(table: LabelTable, position: int) -> str:
    """What a row of the table says of the prediction that it labels."""
    name, row = str(table.names[position])[:80], table.rows and table.rows[position]
    return name if row is None else f"{name} row {str(row)[:20]}"


def _warn(rows: Sequence[int], table: LabelTable, reason: str, path: Path) -> None:
    """Show how many rows were not recorded, the first ones, and why."""
    if rows:
        some = ", ".join(_name(table, row) for row in rows[:_SHOWN])
        more = ", …" if len(rows) > _SHOWN else ""
        verb = inflected(len(rows), "row names", "rows name")
        those = inflected(len(rows), "it is", "they are")
        show_step("WARNING", f"{len(rows):,} {verb} {reason} ({some}{more}): {those} in {path}")
