"""Many predictions found at once; as `find` and `find_id` find each."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
import sqlalchemy as sa

from application.ports.prediction_log import LoggedPrediction, PredictedRow
from infrastructure.storage import bulk_labels
from infrastructure.storage.bulk_labels import BulkLabelLog
from shared.request_id import new_request_id
from tests.fakes import batch_of

NOW = time.time()
HOUR = 3600.0


@pytest.fixture(name="log")
def _log(tmp_path: Path) -> Iterator[BulkLabelLog]:
    with closing(BulkLabelLog(f"sqlite:///{tmp_path}/log.db", "petals", version="7")) as log:
        yield log


def row_of(entry: LoggedPrediction) -> PredictedRow:
    """What a label needs of a prediction."""
    return PredictedRow(
        entry.request_id, entry.row, entry.predicted, entry.confidence, entry.version, entry.at
    )


@pytest.mark.parametrize("per_query", [1, 1000])
def test_every_prediction_is_found_as_if_it_were_the_only_one(
    log: BulkLabelLog, monkeypatch: pytest.MonkeyPatch, per_query: int
) -> None:
    monkeypatch.setattr(bulk_labels, "IDS_PER_QUERY", per_query)
    monkeypatch.setattr(bulk_labels, "_BATCHES_PER_QUERY", per_query)
    rng = np.random.default_rng(0)
    own = [f"{int((NOW - hours * HOUR) * 1000):012x}{new_request_id()[12:]}" for hours in range(3)]
    names, ids = ["a", "A", "ab", "a%", *own], ["7", "x", "X", "最後"]
    for number in range(40):
        at, name = NOW + (number - 40) * 60.0, names[rng.integers(len(names))]
        confidence = None if number % 2 else float(np.float32(rng.random()))
        rows = [
            LoggedPrediction(name, row, at, 1, [0.0], float(rng.integers(3)), confidence, 0.5, "7")
            for row in range(rng.integers(1, 5))
        ]
        other = LoggedPrediction(f"other-{number}", 0, at, 1, [0.0], 1.0, confidence, 0.5, "7")
        log.add(batch_of(other, *rows, ids={len(rows): ids[rng.integers(len(ids))]}))
    wanted = {(name, row) for name in [*names, "other-3", "none"] for row in range(-1, 5)}
    expected = {key: row_of(entry) for key in wanted if (entry := log.find(*key))}
    assert len(expected) > 15
    assert log.find_rows(wanted) == expected
    for name in own:  # those with a time are searched in its hours first
        some = {(name, 0), (name, 3)}
        assert log.find_rows(some) == {key: expected[key] for key in some if key in expected}
    found = {text: row_of(entry) for text in ids if (entry := log.find_id(text))}
    assert len(found) == 4
    assert log.find_ids([*ids, "nobody"]) == found


def test_other_models_are_left_out(log: BulkLabelLog, tmp_path: Path) -> None:
    entry = LoggedPrediction("r", 0, NOW, 1, [0.0], 1.0, 0.5, 0.5)
    with closing(BulkLabelLog(f"sqlite:///{tmp_path}/log.db", "other")) as other:
        other.add(batch_of(entry, ids={0: "mine"}))
        assert other.find_rows({("r", 0)}) and other.find_ids(["mine"])
    assert not log.find_rows({("r", 0)})
    assert not log.find_ids(["mine"])


def test_an_id_whose_prediction_was_removed_is_unknown(log: BulkLabelLog, tmp_path: Path) -> None:
    entry = LoggedPrediction("r", 0, NOW, 1, [0.0], 1.0, 0.5, 0.5)
    log.add(batch_of(entry, ids={0: "mine"}))
    engine = sa.create_engine(f"sqlite:///{tmp_path}/log.db")
    with engine.begin() as connection:
        connection.execute(sa.text("delete from prediction_batches"))
    engine.dispose()
    assert not log.find_ids(["mine"])


def test_only_the_hours_of_the_request_ids_are_read_first(log: BulkLabelLog) -> None:
    names = [f"{int((NOW - hours * HOUR) * 1000):012x}{new_request_id()[12:]}" for hours in (9, 5)]
    for name, hours in zip(names, (9, 5)):
        log.add(batch_of(LoggedPrediction(name, 0, NOW - hours * HOUR, 1, [0.0], 1.0, 0.5, 0.5)))
    read: list[str] = []

    def note(_connection: object, _cursor: object, sql: str, *_: object) -> None:
        if "rows" in sql and "predicted" not in sql:
            read.append(sql)

    sa.event.listen(sa.Engine, "before_cursor_execute", note)
    try:
        assert len(log.find_rows({(names[0], 0)})) == 1
        assert all("since <=" in sql for sql in read) and read
        read.clear()
        assert not log.find_rows({(names[0], 1)})
        assert [sql for sql in read if "since <=" not in sql]
    finally:
        sa.event.remove(sa.Engine, "before_cursor_execute", note)
