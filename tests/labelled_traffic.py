"""Traffic of two versions from two workers, whose labels are joined by the log and by pandas."""

from __future__ import annotations

import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import numpy as np
import pandas as pd
import sqlalchemy as sa

from application.monitoring.export import Contracts
from application.monitoring.labels import LabelTable, import_labels
from application.monitoring.quality import quality_of
from application.ports.prediction_log import PredictionBatch
from domain.evaluation.intervals import wilson_interval
from domain.evaluation.measures import default_measure
from infrastructure.storage.bulk_labels import BulkLabelLog
from infrastructure.storage.prediction_log import SqlPredictionLog
from infrastructure.storage.spool import SpoolFolder
from infrastructure.storage.spooled_log import SpooledLog
from shared.request_id import new_request_id
from tests import petals
from tests.fakes import FakeMetrics

VERSIONS = ("1.0.0-a", "1.0.0-b")
_ROWS_PER_REQUEST, _REQUESTS_PER_BATCH = 2, 25
_KEY = ["request_id", "row"]


def check_labels(url: str, folder: Path, rows: int) -> None:
    """Log predictions, label 30 % of them, and compare everything with pandas.

    Args:
        folder: for the spools of the workers.
    """
    predictions = _predictions(rows)
    for version in VERSIONS:
        own = predictions[predictions["version"] == version]
        halves = [own[own["worker"] == worker] for worker in (0, 1)]
        with ThreadPoolExecutor(2) as workers:
            list(workers.map(lambda half: _work(url, folder, half), halves))
    by_request, by_id = _label_files(predictions)
    with closing(BulkLabelLog(url, "labelled_petals", retention_days=float("inf"))) as log:
        for _ in range(2):  # all is done again, as after a failure
            columns = [by_request[name].tolist() for name in (*_KEY, "actual")]
            done = import_labels(log, Contracts({}, petals.SPEC), LabelTable(*columns))
            assert [columns[0][row] for row in done.unknown] == ["nobody"] * 3
            assert done.labels == len(by_request) - 3
            ids = by_id["id"].tolist()
            done = import_labels(
                log, Contracts({}, petals.SPEC), LabelTable(ids, None, by_id["actual"], True)
            )
            assert [ids[row] for row in done.unknown] == ["nothing"] * 3
        files = _joined(predictions, by_request, by_id)
        files = files.drop_duplicates([*_KEY, "file"], keep="last")  # the last of a file counts
        history = pd.concat([files, files], ignore_index=True)
        current = history.drop_duplicates(_KEY, keep="last").set_index(_KEY)["actual"]
        assert 0.27 < len(current) / rows < 0.34
        labels = log.labels_of(set(predictions["request_id"]))
        assert {key: actual for key, (actual, _) in labels.items()} == current.to_dict()
        previous = history[history["actual"] != history.groupby(_KEY)["actual"].shift(-1)]
        previous = previous[previous.duplicated(_KEY, keep="last")]
        assert _replaced(url) == Counter(previous[[*_KEY, "actual"]].itertuples(index=False))
        _check_quality(log, predictions.join(current, on=_KEY))


def _check_quality(log: BulkLabelLog, predictions: pd.DataFrame) -> None:
    measure, since = default_measure(petals.SPEC), float(predictions["at"].quantile(0.2))
    recent = predictions[predictions["at"] >= since]
    found = {each.version: quality_of(log, measure, each, since) for each in log.versions(since)}
    assert set(found) == set(VERSIONS)
    for version, own in recent.groupby("version"):
        labelled = own.dropna(subset="actual")
        wrong = int((labelled["predicted"] != labelled["actual"]).sum())
        quality = found[str(version)]
        assert (quality.predictions, quality.labelled) == (len(own), len(labelled))
        assert (quality.scored, quality.score) == (len(labelled), 1 - wrong / len(labelled))
        assert quality.interval == wilson_interval(len(labelled) - wrong, len(labelled))
        assert quality.coverage == len(labelled) / len(own)


def _predictions(rows: int) -> pd.DataFrame:
    """Predictions in order of time, the second half by the second version; a third of the rows
    have an ID, each of which was predicted about three times."""
    rng, number = np.random.default_rng(1), np.arange(rows)
    request, classes = number // _ROWS_PER_REQUEST, len(petals.SPEC.classes)
    at = time.time() - 86400 + request * 60_000 / rows
    names = [f"{int(when * 1000):012x}{new_request_id()[12:]}" for when in at[::_ROWS_PER_REQUEST]]
    return pd.DataFrame(
        {
            "request_id": np.repeat(names, _ROWS_PER_REQUEST)[:rows],
            "row": number % _ROWS_PER_REQUEST,
            "id": [f"order-{n}" if n % 3 == 0 else None for n in rng.integers(0, rows // 3, rows)],
            "version": np.where(number < rows // 2, *VERSIONS),
            "worker": request % 2,
            "predicted": rng.integers(0, classes, rows),
            "confidence": rng.random(rows).astype(np.float32),
            "at": at,
        }
    )


def _work(url: str, folder: Path, own: pd.DataFrame) -> None:
    """A worker writes its predictions of one version."""
    service = {"version": own["version"].iloc[0], "environment": "staging"}
    worker = str(own["worker"].iloc[0])
    spools = SpoolFolder(folder / f"{service['version']}-{worker}", 10**7)
    with (
        closing(SqlPredictionLog(url, "labelled_petals", float("inf"), **service)) as store,
        closing(SpooledLog(store, FakeMetrics(), spools)) as log,
    ):
        size = _ROWS_PER_REQUEST * _REQUESTS_PER_BATCH
        for start in range(0, len(own), size):
            log.add(_batch(own.iloc[start : start + size]))


def _batch(rows: pd.DataFrame) -> PredictionBatch:
    first = rows[rows["row"] == 0]
    ids = {place: text for place, text in enumerate(rows["id"]) if isinstance(text, str)}
    return PredictionBatch(
        first["request_id"].tolist(),
        np.full(len(first), _ROWS_PER_REQUEST),
        first["at"].to_numpy(),
        np.full(len(first), 0.001),
        np.arange(len(rows), dtype=np.uint64),
        np.zeros((len(rows), 4)),
        rows["predicted"].to_numpy(),
        rows["confidence"].to_numpy(),
        ids,
    )


def _label_files(predictions: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Labels of about 30 % of the rows, some repeated or corrected, shuffled, in two files."""
    rng = np.random.default_rng(2)
    chosen = predictions.sample(frac=0.45, random_state=2)
    files = [chosen.iloc[::2][_KEY], chosen["id"].dropna().to_frame()]
    labels = []
    for rows, unknown in zip(files, ({"request_id": "nobody", "row": 0}, {"id": "nothing"})):
        several = pd.concat(
            [rows, rows.sample(frac=0.4, random_state=3), pd.DataFrame([unknown] * 3)]
        )
        several = several.sample(frac=1, random_state=4)
        labels.append(several.assign(actual=rng.choice(petals.SPEC.classes, len(several))))
    return labels[0], labels[1]


def _joined(
    predictions: pd.DataFrame, by_request: pd.DataFrame, by_id: pd.DataFrame
) -> pd.DataFrame:
    """The labels with the request ID and row of their predictions, in order; classes by number."""
    latest = predictions.dropna(subset="id").drop_duplicates("id", keep="last")
    named = by_id.merge(latest[["id", *_KEY]], "left", on="id")
    files = pd.concat([by_request.assign(file=0), named.assign(file=1)])
    files = files.merge(predictions[_KEY], "inner", on=_KEY)
    codes = {name: float(code) for code, name in enumerate(petals.SPEC.classes)}
    return files.assign(actual=files["actual"].map(codes))


def _replaced(url: str) -> Counter[tuple[str, int, float]]:
    """The labels that were replaced."""
    engine = sa.create_engine(url)
    replaced = sa.table("replaced_labels", *map(sa.column, (*_KEY, "actual", "model")))
    query = sa.select(*(replaced.c[name] for name in (*_KEY, "actual")))
    with engine.connect() as connection:
        labels = connection.execute(query.where(replaced.c.model == "labelled_petals"))
        found = Counter(map(tuple, labels))
    engine.dispose()
    return found
