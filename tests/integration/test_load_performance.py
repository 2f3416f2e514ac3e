"""The service under load: no request fails, and throughput does not collapse.

Requests contain the example of the service's OpenAPI document, so this works with any model. They
are marked as synthetic: a monitored service, if SERVICE_URL names one, does not count them.
Only ratios are checked; absolute times are for `make benchmark`.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from typing import Any

import httpx
import pytest

from tests.strength import JSON, TIMEOUT, example_row, read_response, request_of

CONNECTIONS = 16
MANY_CONNECTIONS = 64
REQUESTS = 3000
Row = list[Any]


@pytest.fixture(scope="module", name="row")
def _row(service_url: str) -> Row:
    """A valid row for this model."""
    return example_row(service_url)


async def _load(
    url: str, bodies: Sequence[Any], connections: int, requests: int = REQUESTS
) -> tuple[float, Counter[tuple[int, int]]]:
    """Requests per second, and the number of responses by index of the body and status.

    Args:
        bodies: sent in turn over each connection.
    """
    address = httpx.URL(url)
    sent = [
        request_of("/predict", json.dumps(body).encode(), JSON, b"x-synthetic: load", keep=True)
        for body in bodies
    ]
    statuses: Counter[tuple[int, int]] = Counter()

    async def send_requests() -> None:
        reader, writer = await asyncio.open_connection(address.host, address.port or 80)
        for number in range(requests // connections):
            index = number % len(sent)
            writer.write(sent[index])
            response = await asyncio.wait_for(read_response(reader), TIMEOUT)
            statuses[index, response.status] += 1
        writer.close()

    start = time.perf_counter()
    await asyncio.gather(*(send_requests() for _ in range(connections)))
    return statuses.total() / (time.perf_counter() - start), statuses


@pytest.mark.parametrize("connections", [1, CONNECTIONS, MANY_CONNECTIONS])
def test_no_concurrent_request_fails(service_url: str, row: Row, connections: int) -> None:
    _, statuses = asyncio.run(_load(service_url, [[row]], connections))
    assert statuses == {(0, 200): REQUESTS // connections * connections}


@pytest.mark.alone
def test_throughput_does_not_collapse_with_many_connections(service_url: str, row: Row) -> None:
    few, _ = asyncio.run(_load(service_url, [[row]], CONNECTIONS))
    many, _ = asyncio.run(_load(service_url, [[row]], MANY_CONNECTIONS))
    assert many > few / 2, f"{many:.0f} requests per second, {few:.0f} over few connections"


@pytest.mark.alone
def test_refusing_a_request_costs_no_more_than_predicting(service_url: str, row: Row) -> None:
    good, _ = asyncio.run(_load(service_url, [[row]], CONNECTIONS))
    bad, statuses = asyncio.run(_load(service_url, [[[]]], CONNECTIONS))
    assert set(statuses) == {(0, 422)}
    assert bad > good / 2, f"{bad:.0f} refused requests per second, {good:.0f} valid ones"


@pytest.mark.alone
def test_100_rows_in_one_request_cost_less_than_100_requests(service_url: str, row: Row) -> None:
    single, _ = asyncio.run(_load(service_url, [[row]], 2))
    batch, statuses = asyncio.run(_load(service_url, [[row] * 100], 2, REQUESTS // 10))
    assert set(statuses) == {(0, 200)}
    rows = batch * 100
    assert rows > 5 * single, f"{rows:.0f} rows per second in batches, {single:.0f} one by one"


def test_invalid_requests_do_not_make_valid_ones_fail(service_url: str, row: Row) -> None:
    _, statuses = asyncio.run(_load(service_url, [[row], [[]]], CONNECTIONS))
    assert set(statuses) == {(0, 200), (1, 422)}


if __name__ == "__main__":
    sys.exit(pytest.main([__file__, *sys.argv[1:]]))
