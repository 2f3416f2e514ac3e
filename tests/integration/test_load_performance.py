"""The service under load: no request fails, and nothing costs more than it should.

What is sent is the example of the service's own OpenAPI document, so any model can be asked, and
marked as synthetic: where SERVICE_URL names a service that is watched, it counts as no traffic.
Figures are ratios of one run on one machine; absolute times are for `make benchmark`.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from tests.strength import JSON, LONGEST, example_row, read_answer, request_of

CONNECTIONS = 16
MANY_CONNECTIONS = 64
REQUESTS = 3000
Row = list[Any]


@pytest.fixture(scope="module", name="row")
def _row(service_url: str) -> Row:
    """A row as this model takes it."""
    return example_row(service_url)


async def _load(
    url: str, bodies: Sequence[Any], connections: int, requests: int = REQUESTS
) -> tuple[float, Counter[tuple[int, int]]]:
    """Requests a second, and how often which body was answered with which status.

    Args:
        bodies: sent in turn over each of so many connections at once.
    """
    address = httpx.URL(url)
    sent = [
        request_of("/predict", json.dumps(body).encode(), JSON, b"x-synthetic: load", keep=True)
        for body in bodies
    ]
    statuses: Counter[tuple[int, int]] = Counter()

    async def one() -> None:
        reader, writer = await asyncio.open_connection(address.host, address.port or 80)
        for number in range(requests // connections):
            which = number % len(sent)
            writer.write(sent[which])
            answer = await asyncio.wait_for(read_answer(reader), LONGEST)
            statuses[which, answer.status] += 1
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(one() for _ in range(connections)))
    return statuses.total() / (time.perf_counter() - start), statuses


@pytest.mark.parametrize("connections", [1, CONNECTIONS, MANY_CONNECTIONS])
def test_no_request_fails_when_many_come_at_once(
    service_url: str, row: Row, connections: int
) -> None:
    _, statuses = asyncio.run(_load(service_url, [[row]], connections))
    assert statuses == {(0, 200): REQUESTS // connections * connections}


@pytest.mark.alone
def test_many_connections_are_answered_as_fast_as_few(service_url: str, row: Row) -> None:
    few, _ = asyncio.run(_load(service_url, [[row]], CONNECTIONS))
    many, _ = asyncio.run(_load(service_url, [[row]], MANY_CONNECTIONS))
    assert many > few / 2, f"{many:.0f} requests a second, {few:.0f} over few connections"


@pytest.mark.alone
def test_a_request_that_is_refused_costs_no_more_than_one_that_is_answered(
    service_url: str, row: Row
) -> None:
    good, _ = asyncio.run(_load(service_url, [[row]], CONNECTIONS))
    bad, statuses = asyncio.run(_load(service_url, [[[]]], CONNECTIONS))
    assert set(statuses) == {(0, 422)}
    assert bad > good / 2, f"{bad:.0f} are refused in a second, {good:.0f} answered"


@pytest.mark.alone
def test_a_hundred_rows_in_one_request_cost_less_than_a_hundred_requests(
    service_url: str, row: Row
) -> None:
    single, _ = asyncio.run(_load(service_url, [[row]], 2))
    batch, statuses = asyncio.run(_load(service_url, [[row] * 100], 2, REQUESTS // 10))
    assert set(statuses) == {(0, 200)}
    rows = batch * 100
    assert rows > 5 * single, f"{rows:.0f} rows a second in batches, {single:.0f} one by one"


def test_bad_requests_between_good_ones_do_not_make_those_fail(service_url: str, row: Row) -> None:
    _, statuses = asyncio.run(_load(service_url, [[row], [[]]], CONNECTIONS))
    assert set(statuses) == {(0, 200), (1, 422)}
