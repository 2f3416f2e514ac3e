"""Scoring one file into another."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from tqdm import tqdm

from application.inference.scoring import (
    prediction_columns,
    prediction_values,
    check_columns,
    score,
)
from application.ports.model import Model
from domain.contract import ModelSpec
from domain.errors import DataError
from infrastructure.scoring.tables import check_output, open_sink, open_table, write_lines
from shared.files import Draft


@dataclass(frozen=True, slots=True)
class Totals:
    """What became of a file.

    Attributes:
        scored: rows that have an answer.
        rejected: rows that break the contract.
        rejects: where those are.
    """

    scored: int
    rejected: int
    rejects: Path


def score_file(
    spec: ModelSpec, model: Model, source: Path, output: Path, metadata: Mapping[str, str]
) -> Totals:
    """Score the rows of a file, a batch at a time.

    Both files get their names when the last row is written, the rejected rows first; what had these
    names is replaced. Where no row is scored though there are some, `output` stays as it was.

    Args:
        metadata: of the output, where its format keeps any.

    Raises:
        ContractError: the model takes recordings.
        DataError: a file is of no known format, the input cannot be read or lacks a column, or
            there is no place for the output.
    """
    check_output(output)
    if source.exists() and output.exists() and output.samefile(source):
        raise DataError(f"{output} is the input: give the output another name")
    table = open_table(source, spec)
    taken = table.schema.names
    check_columns(spec, taken)
    added = [
        pa.field(name, pa.string() if spec.classes and not position else pa.float32())
        for position, name in enumerate(prediction_columns(spec, taken))
    ]
    schema = pa.schema([*table.schema, *added], metadata=dict(metadata))
    rejects = output.with_name(f"{output.stem}.rejected.ndjson")
    done = scored_rows = 0
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
                        pa.array(values, field.type)
                        for field, values in zip(added, prediction_values(spec, scored.predictions))
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
                bar.update(len(batch))
        if scored_rows == done:
            rejects.unlink(missing_ok=True)
        else:
            rejected.publish()
        if scored_rows or not done:
            draft.publish()
    return Totals(scored_rows, done - scored_rows, rejects)
