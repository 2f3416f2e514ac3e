"""The service under load: no request fails, and a batch costs less than its rows one by one.

What is sent is the example of the service's own OpenAPI document, so any model can be asked.
Figures are ratios of one run on one machine; absolute times are for `make benchmark`.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import httpx
import pytest

CONNECTIONS = 16
REQUESTS = 50
Row = list[Any]


@pytest.fixture(name="row")
def _row(service_url: str) -> Row:
    """A row as this model takes it."""
    paths = httpx.get(f"{service_url}/docs.json").json()["paths"]
    body = paths["/predict"]["post"]["requestBody"]["content"]["application/json"]
    found: Row = body["schema"]["example"][0]
    return found


async def _load(url: str, rows: list[Row], connections: int) -> tuple[float, list[int]]:
    """Requests a second, and the status of each, of so many connections at once."""
    statuses: list[int] = []

    async def one(client: httpx.AsyncClient) -> None:
        for _ in range(REQUESTS):
            statuses.append((await client.post(f"{url}/predict", json=rows)).status_code)

    limits = httpx.Limits(max_connections=connections, max_keepalive_connections=connections)
    async with httpx.AsyncClient(limits=limits, timeout=30) as client:
        await client.get(f"{url}/readyz")
        start = time.perf_counter()
        await asyncio.gather(*(one(client) for _ in range(connections)))
        return len(statuses) / (time.perf_counter() - start), statuses


def test_no_request_fails_when_many_come_at_once(service_url: str, row: Row) -> None:
    _, statuses = asyncio.run(_load(service_url, [row], CONNECTIONS))
    assert len(statuses) == CONNECTIONS * REQUESTS
    assert set(statuses) == {200}


def test_a_hundred_rows_in_one_request_cost_less_than_a_hundred_requests(
    service_url: str, row: Row
) -> None:
    single, _ = asyncio.run(_load(service_url, [row], 2))
    batch, statuses = asyncio.run(_load(service_url, [row] * 100, 2))
    assert set(statuses) == {200}
    rows = batch * 100
    assert rows > 5 * single, f"{rows:.0f} rows a second in batches, {single:.0f} one by one"


def test_bad_requests_between_good_ones_do_not_make_those_fail(service_url: str, row: Row) -> None:
    async def mixed() -> list[int]:
        async with httpx.AsyncClient(base_url=service_url, timeout=30) as client:
            bodies = [[row], [[]]] * 200
            answers = await asyncio.gather(*(client.post("/predict", json=b) for b in bodies))
            return [answer.status_code for answer in answers]

    assert asyncio.run(mixed()) == [200, 422] * 200
