"""A model for a query of PostgreSQL: from the first command to its reproduction."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

import numpy as np
import pandas as pd
import pytest
from sqlalchemy import URL, create_engine, text

from application.ports.prediction_log import LabelledPrediction
from domain.data.tables import read_frame
from domain.errors import DataError
from infrastructure.sources.fetch import draft_of
from infrastructure.storage.prediction_log import SqlPredictionLog
from tests.fakes import SETOSA, batch_of, logged_prediction
from tests.labelled_traffic import check_labels
from tests.postgresql import PASSWORD, postgresql
from tests.served import Home, commit_all, copy_clone

ADDRESS = "postgresql://ann:${SHOP_PASSWORD}@127.0.0.1:${SHOP_PORT}/postgres"
QUERY = "-- every order\nselect * from orders order by id;\n"
ROWS = 300


@pytest.fixture(scope="module", name="port")
def _port() -> Iterator[int]:
    """The port of a server with a table of orders."""
    with postgresql() as server:
        rng = np.random.default_rng(3)
        age = rng.integers(18, 80, ROWS)
        orders = pd.DataFrame(
            {
                "id": rng.permutation(ROWS) * 7 + 10**6,
                "age": age,
                "price": rng.gamma(2, 9, ROWS).round(2),
                "city": rng.choice(["Oslo", "Bergen"], ROWS),
                "churned": np.where(age + rng.normal(0, 6, ROWS) > 50, "yes", "no"),
            }
        )
        engine = create_engine(server.url)
        orders.to_sql("orders", engine, index=False)
        with engine.begin() as connection:
            connection.execute(text("alter table orders alter column price type numeric(9, 2)"))
            connection.execute(text("update orders set price = null where age = 40"))
        engine.dispose()
        yield server.port


@pytest.fixture(name="place")
def _place(port: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """A clone with a query, and the variables of the address."""
    monkeypatch.setenv("SHOP_PASSWORD", PASSWORD)
    monkeypatch.setenv("SHOP_PORT", str(port))
    clone = tmp_path / "clone"
    copy_clone(clone)
    (clone / "orders.sql").write_text(QUERY, encoding="utf-8")
    return Home(tmp_path / "home", clone)


def make(place: Home, *arguments: str) -> str:
    """Run a target that must succeed, and return its output."""
    done = place.make(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def change(port: int, statement: str) -> None:
    """Change the orders."""
    url = URL.create("postgresql+psycopg", "ann", PASSWORD, "127.0.0.1", port, "postgres")
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text(statement))
    engine.dispose()


def test_a_query_is_adopted_trained_and_reproduced_after_the_table_is_gone(
    place: Home, port: int
) -> None:
    chosen = ("NAME=shop", f"DATA={ADDRESS}", "QUERY=orders.sql", "TARGET=churned")
    output = make(place, "new-model", *chosen)
    config = place.root / "application/training/configs/shop_config.json"
    source = json.loads(config.read_text("utf-8"))["data"]["source"]
    assert source == {"address": ADDRESS, "query": "orders.sql"}
    commit_all(place.root, "shop")
    output += make(place, "train", "MODEL=shop")
    assert "not committed" not in output
    trained = json.loads((place.receipts_of("shop") / "train.json").read_text("utf-8"))
    output += make(place, "train", "MODEL=shop")
    assert "has the data that were trained on" in output

    change(port, "drop table orders")
    done = place.make("train", "MODEL=shop")
    assert done.returncode != 0
    assert 'relation "orders" does not exist' in done.stderr
    output += done.stdout + done.stderr
    output += make(place, "validate", "MODEL=shop")
    output += make(place, "reproduce", "MODEL=shop", f"RUN={trained['run_id']}")
    assert "DIFFERS" not in output
    assert "result    the predictions are the same\n" in output

    parts = [PASSWORD.encode(), quote(PASSWORD, safe=":").encode()]
    written = [p for p in (place.folder, place.root) for p in p.rglob("*") if p.is_file()]
    assert len(written) > 100
    for content in (output.encode(), *(path.read_bytes() for path in written)):
        assert not any(part in content for part in parts)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("SHOP_PASSWORD", "wrong-w0rd", "password authentication failed"),
        ("SHOP_PORT", "1", "Connection refused"),
    ],
)
def test_a_refused_connection_is_an_error_without_the_password(
    place: Home,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
    message: str,
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(DataError, match=message) as raised:
        draft_of(ADDRESS, "orders.sql", place.root, tmp_path)
    assert "w0rd" not in str(raised.value) and PASSWORD not in str(raised.value)


def test_types_of_postgresql_are_read_exactly(place: Home, tmp_path: Path) -> None:
    sql = (
        "select 12.50::numeric as price, date '2026-01-31' as day, true as member, 'a%b' as word,"
        " 9007199254740993::bigint as big, timestamptz '2026-01-31 12:00+00' as moment,"
        " 'a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11'::uuid as key, null::int as nothing"
        " where 'x%' like '%' -- 5 % more"
    )
    (place.root / "types.sql").write_text(sql, encoding="utf-8")
    file, watched = draft_of(ADDRESS, "types.sql", place.root, tmp_path)
    row = read_frame(str(file)).iloc[0].to_dict()
    assert (row["price"], row["member"], row["word"]) == (12.5, True, "a%b")
    assert row["big"] == 9007199254740993
    assert row["day"] == pd.Timestamp(2026, 1, 31)
    assert row["moment"] == pd.Timestamp("2026-01-31T12:00Z")
    assert row["key"] == "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11"
    assert pd.isna(row["nothing"])
    assert watched == (ADDRESS, str(place.root / "types.sql"))


def log_url(port: int) -> str:
    """URL of the prediction log."""
    url = URL.create("postgresql+psycopg", "ann", PASSWORD, "127.0.0.1", port, "postgres")
    return url.render_as_string(hide_password=False)


def test_workers_create_and_extend_the_prediction_log_at_once(port: int) -> None:
    def work(version: str) -> None:
        with closing(SqlPredictionLog(log_url(port), "extended", version=version)) as log:
            log.add(batch_of(logged_prediction(version, SETOSA, at=time.time())))

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, "abcd"))
    for column in ("version", "environment", "callers"):
        change(port, f"alter table prediction_batches drop column {column}")
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(work, "efgh"))
    with closing(SqlPredictionLog(log_url(port), "extended")) as log:
        found = {name: log.find(name, 0) for name in "abcdefgh"}
    versions = {name: entry and entry.version for name, entry in found.items()}
    assert versions == dict.fromkeys("abcd") | {name: name for name in "efgh"}


def test_labels_of_many_rows_are_corrected_by_several_workers_and_stay_on_record(
    port: int,
) -> None:
    def label(actual: float) -> None:
        with closing(SqlPredictionLog(log_url(port), "labelled")) as log:
            rows = [LabelledPrediction(f"r{row}", 0, 0, actual, 0.5, "1", 2.0) for row in range(99)]
            log.label(*rows[:: (-1) ** int(actual)], *rows, at=time.time())

    label(0.0)
    with ThreadPoolExecutor(4) as threads:
        list(threads.map(label, (1.0, 2.0, 3.0, 4.0)))
    with closing(SqlPredictionLog(log_url(port), "labelled")) as log:
        counts = log.confusion(0)
    assert sum(counts.values()) == 99
    engine = create_engine(log_url(port))
    with engine.connect() as connection:
        query = text("select actual, count(*) from replaced_labels group by actual order by actual")
        previous = dict(map(tuple, connection.execute(query)))
    engine.dispose()
    # each of the five values was set once, and is current or on record
    expected = {float(actual): 99 - counts.get((0, actual), 0) for actual in range(5)}
    assert previous == {actual: count for actual, count in expected.items() if count}


def test_the_prediction_log_is_read_by_version_and_period(port: int) -> None:
    now = time.time()
    for version, start in (("1", now - 300), ("2", now - 100)):
        with closing(SqlPredictionLog(log_url(port), "read", version=version)) as log:
            for number in range(100):
                name = f"{version}-{number}"
                row = logged_prediction(name, SETOSA, at=start + number // 3)
                log.add(batch_of(row, ids={0: f"id of {name}"}))
                log.label(LabelledPrediction(name, 0, 0, 1, None, version, row.at), at=now)
        with closing(SqlPredictionLog(log_url(port), "read")) as log:
            read = list(log.read(now - 300, now, version))
            assert len({batch.request_ids[0] for batch in read}) == len(read) == 100
            assert all(batch.ids == {0: f"id of {batch.request_ids[0]}"} for batch in read)
            assert len(log.labels_of([batch.request_ids[0] for batch in read])) == 100
            assert log.traffic(now - 300, now, version).predictions == 100
            assert log.by_class(now - 300, now, version) == {0: 100}
            found = log.versions(now - 300, now)[-1]
    assert (found.version, found.predictions, found.labelled) == ("2", 100, 100)


def test_labels_and_quality_of_two_versions_and_workers_are_those_of_pandas(
    port: int, tmp_path: Path
) -> None:
    check_labels(log_url(port), tmp_path, 1000)


def test_the_prediction_log_finds_rows_by_their_id(port: int) -> None:
    rows = [logged_prediction("r1", SETOSA, row=row, at=time.time()) for row in range(3)]
    with closing(SqlPredictionLog(log_url(port), "petals")) as log:
        log.add(
            batch_of(*rows, ids={0: "訂單 1", 1: "👩‍👩‍👧" * 40, 2: "訂單 1"}),
            batch_of(logged_prediction("r2", SETOSA, at=time.time())),
            batch_of(logged_prediction("r3", SETOSA, at=time.time()), ids={0: "b"}),
        )
        for row_id, found in (
            ("訂單 1", ("r1", 2)),
            ("👩‍👩‍👧" * 40, ("r1", 1)),
            ("b", ("r3", 0)),
        ):
            prediction = log.find_id(row_id)
            assert prediction and (prediction.request_id, prediction.row) == found
        assert log.find_id("B") is None
        assert log.traffic(0).predictions == 5
