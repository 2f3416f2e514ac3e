"""Finds the predictions of many labels at once."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from itertools import repeat
from typing import Any, TypeVar

import numpy as np
import sqlalchemy as sa

from application.ports.prediction_log import PredictedRow
from infrastructure.storage.label_writes import IDS_PER_QUERY
from infrastructure.storage.prediction_log import LONGEST_REQUEST, SqlPredictionLog
from infrastructure.storage.tables import BATCHES, COLUMN_TYPES, IDS
from shared.request_id import has_time, time_of

Key = TypeVar("Key")
_BATCHES_PER_QUERY = 64


class BulkLabelLog(SqlPredictionLog):
    """A prediction log that also finds many predictions at once."""

    def find_rows(self, rows: Set[tuple[str, int]]) -> dict[tuple[str, int], PredictedRow]:
        """Predictions by request ID and row, as `find` finds each; unknown ones are left out.

        First the hours are read that the times in the request IDs name, then, if any prediction is
        missing, the whole log.
        """
        names = {request_id for request_id, _ in rows}
        searches: list[tuple[float, list[sa.ColumnElement[bool]]]] = [(0.0, [])]
        if names and all(map(has_time, names)):
            first, last = time_of(min(names)) or 0.0, time_of(max(names)) or 0.0
            soon_after = BATCHES.c.since <= last + LONGEST_REQUEST
            searches.insert(0, (first, [soon_after]))
        found: dict[tuple[str, int], PredictedRow] = {}
        for since, conditions in searches:
            missing = [key for key in rows if key not in found] if found else rows
            wanted: dict[str, list[int]] = {}
            for request_id, row in missing:
                wanted.setdefault(request_id, []).append(row)
            found |= self._rows_at(self._places(wanted, since, conditions))
            if len(found) == len(rows):
                break
        return found

    def find_ids(self, texts: Collection[str]) -> dict[str, PredictedRow]:
        """The latest prediction for each ID, as `find_id` finds it; unknown ones are left out."""
        columns, names = IDS.c, list(texts)
        latest = (columns.at.desc(), columns.batch.desc(), columns.position.desc())
        rank = sa.func.row_number().over(partition_by=columns.text, order_by=latest)
        places: dict[str, tuple[int, int]] = {}
        with self._engine.connect() as connection:
            for start in range(0, len(names), IDS_PER_QUERY):
                few = columns.text.in_(names[start : start + IDS_PER_QUERY])
                query = (
                    sa.select(columns.batch, columns.position, columns.text, rank.label("rank"))
                    .where(columns.model == self._model, few)
                    .subquery()
                )
                for number, position, text, _ in connection.execute(
                    sa.select(query).where(query.c.rank == 1)
                ):
                    places[text] = number, position
        return self._rows_at(places)

    def _places(
        self,
        wanted: Mapping[str, Sequence[int]],
        since: float,
        conditions: Sequence[sa.ColumnElement[bool]],
    ) -> dict[tuple[str, int], tuple[int, int]]:
        """Where the latest predictions of some requests are.

        Args:
            wanted: their rows, by request ID.

        Returns:
            Number of the batch and position in it, by request ID and row.
        """
        columns = (BATCHES.c.request_ids, BATCHES.c.rows)  # before the large ones
        latest: dict[tuple[str, int], tuple[int, int]] = {}
        for page in self._pages(columns, since, [BATCHES.c.model == self._model, *conditions]):
            for record in page:
                names = record.request_ids.split("\n")[1:-1]
                if wanted.keys().isdisjoint(names):
                    continue
                rows = np.frombuffer(record.rows, COLUMN_TYPES["rows"])
                starts = rows.cumsum(dtype=np.int64) - rows
                for name, start, count in zip(names, starts.tolist(), rows.tolist()):
                    for row in wanted.get(name, ()):
                        if 0 <= row < count:
                            latest[name, row] = (record.id, start + row)
        return latest

    def _rows_at(self, places: Mapping[Key, tuple[int, int]]) -> dict[Key, PredictedRow]:
        """The predictions at some positions of some batches; of batches that exist.

        Args:
            places: number of the batch and position in it, by any key.
        """
        keys: dict[int, list[Key]] = {}
        for key, (number, _) in places.items():
            keys.setdefault(number, []).append(key)
        numbers, columns = list(keys), BATCHES.c
        read = (columns.request_ids, columns.rows, columns.at, columns.predicted)
        query = sa.select(columns.id, *read, columns.confidence, columns.version)
        found: dict[Key, PredictedRow] = {}
        with self._engine.connect() as connection:
            for start in range(0, len(numbers), _BATCHES_PER_QUERY):
                few = columns.id.in_(numbers[start : start + _BATCHES_PER_QUERY])
                for record in connection.execute(query.where(few)):
                    chosen = keys[record.id]
                    positions = np.array([places[key][1] for key in chosen])
                    found.update(zip(chosen, _rows_of(record, positions)))
        return found


def _rows_of(record: Any, positions: np.ndarray) -> list[PredictedRow]:
    """The predictions at some positions of a batch."""
    names = record.request_ids.split("\n")[1:-1]
    rows = np.frombuffer(record.rows, COLUMN_TYPES["rows"])
    ends = rows.cumsum(dtype=np.int64)
    requests = np.searchsorted(ends, positions, side="right")
    confidence: Iterable[float | None] = repeat(None)
    if record.confidence is not None:
        confidence = np.frombuffer(record.confidence, COLUMN_TYPES["confidence"])[
            positions
        ].tolist()
    columns = zip(
        [names[request] for request in requests.tolist()],
        (positions - (ends - rows)[requests]).tolist(),
        np.frombuffer(record.predicted, COLUMN_TYPES["predicted"])[positions].tolist(),
        confidence,
        repeat(record.version),
        np.frombuffer(record.at, COLUMN_TYPES["at"])[requests].tolist(),
    )
    return [PredictedRow(*values) for values in columns]
