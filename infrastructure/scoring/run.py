"""Scores one file into another."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from application.inference.scoring import (
    check_columns,
    prediction_columns,
    prediction_values,
    score,
)
from application.ports.model import Model
from domain.contract import ModelSpec
from domain.errors import DataError
from infrastructure.scoring.tables import check_output, open_sink, open_table, write_lines
from shared.files import Draft


@dataclass(frozen=True, slots=True)
class Totals:
    """The outcome for a file.

    Attributes:
        scored: number of rows with a prediction.
        rejected: number of rows that break the contract.
        rejects: file with the rejected rows.
        unknown: number of words that counted as missing since the contract does not know them, by
            input.
        outside: number of numbers that were clipped to their range, or accepted outside it, by
            input.
    """

    scored: int
    rejected: int
    rejects: Path
    unknown: Mapping[str, int] = field(default_factory=dict)
    outside: Mapping[str, int] = field(default_factory=dict)


def score_file(
    spec: ModelSpec, model: Model, source: Path, output: Path, metadata: Mapping[str, str]
) -> Totals:
    """Score the rows of a file, one batch at a time.

    Output and rejected rows are written to drafts, which replace existing files after the last row,
    the rejected rows first. If all rows were rejected, `output` is left as it was.

    Args:
        metadata: written to the output if its format has metadata.

    Raises:
        ContractError: the model takes recordings.
        DataError: a file has an unknown format, the input cannot be read or lacks a column, or the
            output cannot be written.
    """
    check_output(output)
    if source.exists() and output.exists() and output.samefile(source):
        raise DataError(f"{output} is also the input: choose another output")
    table = open_table(source, spec)
    existing = table.schema.names
    check_columns(spec, existing)
    added = [
        pa.field(name, pa.string() if spec.classes and not position else pa.float32())
        for position, name in enumerate(prediction_columns(spec, existing))
    ]
    schema = pa.schema([*table.schema, *added], metadata=dict(metadata))
    rejects = output.with_name(f"{output.stem}.rejected.ndjson")
    done = scored_rows = 0
    unknown: Counter[str] = Counter()
    outside: Counter[str] = Counter()
    with Draft(output) as draft, Draft(rejects) as rejected:
        with (
            open_sink(output, draft.path, schema) as sink,
            rejected.path.open("wb") as lines,
            tqdm(
                total=table.total, desc="  rows", unit="row", unit_scale=True, disable=None
            ) as bar,
        ):
            for batch in table.batches():
                scored = score(spec, model, batch.columns, len(batch))
                if scored.kept.size:
                    columns = batch.rows(scored.kept).columns + [
                        pa.array(values, column.type)
                        for column, values in zip(
                            added, prediction_values(spec, scored.predictions)
                        )
                    ]
                    sink.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))
                originals = batch.originals(list(scored.reasons)) if scored.reasons else []
                write_lines(
                    lines,
                    [
                        {"row": done + row, "reason": reason, "values": values}
                        for (row, reason), values in zip(scored.reasons.items(), originals)
                    ],
                )
                done += len(batch)
                scored_rows += len(scored.kept)
                unknown.update(scored.unknown)
                outside.update(scored.outside)
                bar.update(len(batch))
        if scored_rows == done:
            rejects.unlink(missing_ok=True)
        else:
            rejected.publish()
        if scored_rows or not done:
            draft.publish()
    return Totals(scored_rows, done - scored_rows, rejects, +unknown, +outside)
