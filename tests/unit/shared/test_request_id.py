"""Request IDs."""

from __future__ import annotations

import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pytest

from shared.request_id import new_request_id, request_id_of, time_of

GENERATED = "0199c3f0a1b27abc8123456789abcdef"


@pytest.mark.parametrize("header", ["order-7_a.b", "7", "x" * 64, GENERATED])
def test_a_plain_identity_of_the_caller_is_kept(header: str) -> None:
    assert request_id_of({b"accept": b"*/*", b"x-request-id": header.encode()}) == header


@pytest.mark.parametrize(
    "header", [b"", b"a b", b"a\nb", b"a\n", b"\xff", "ä".encode(), b"a" * 65, b"a/b", b"a%"]
)
def test_any_other_is_replaced(header: bytes) -> None:
    first, second = (request_id_of({b"x-request-id": header}) for _ in range(2))
    assert first != second
    assert len(first) == 32


def test_without_one_each_request_gets_its_own() -> None:
    assert request_id_of({}) != request_id_of({})


def test_a_new_identity_is_a_uuid_of_version_7() -> None:
    for _ in range(1000):
        made = new_request_id()
        read = uuid.UUID(made)
        assert read.hex == made
        assert (read.version, read.variant) == (7, uuid.RFC_4122)


def test_an_identity_begins_with_its_time_to_the_millisecond() -> None:
    before = time.time_ns() // 1_000_000
    made = new_request_id()
    after = time.time_ns() // 1_000_000
    assert before <= int(made[:12], 16) <= after
    found = time_of(made)
    assert found is not None and before / 1000 <= found <= after / 1000


def test_later_identities_sort_after_earlier_ones() -> None:
    first = new_request_id()
    begun = time.time_ns() // 1_000_000
    while time.time_ns() // 1_000_000 == begun:
        pass
    assert first < new_request_id()


def test_every_random_digit_varies() -> None:
    made = [new_request_id() for _ in range(2000)]
    for place in (*range(13, 16), *range(17, 32)):
        assert {name[place] for name in made} == set("0123456789abcdef")
    assert {name[16] for name in made} == set("89ab")


def test_identities_of_many_threads_are_all_different() -> None:
    def draw(_: int) -> list[str]:
        return [new_request_id() for _ in range(5_000)]

    with ThreadPoolExecutor(8) as threads:
        made = [name for drawn in threads.map(draw, range(8)) for name in drawn]
    assert len(set(made)) == len(made) == 40_000


def test_the_time_of_an_identity_is_read_from_it() -> None:
    moment = datetime(2026, 11, 20, 8, 0, 0, 123_000, UTC).timestamp()
    assert time_of(f"{round(moment * 1000):012x}7abc8123456789abcdef") == pytest.approx(moment)


@pytest.mark.parametrize("place", [0, 1, 9_999])
def test_the_id_of_a_part_contains_its_time_too(place: int) -> None:
    assert time_of(GENERATED) is not None
    assert time_of(f"{GENERATED}-{place}") == time_of(GENERATED)


@pytest.mark.parametrize(
    "request_id",
    [
        *("", "order-7", f"{GENERATED}-", f"{GENERATED}-x", "a" * 32, "7" * 31),
        uuid.UUID(GENERATED).hex.upper(),
        str(uuid.UUID(GENERATED)),
        GENERATED + "\n",
        GENERATED + "0",
        f"{GENERATED[:12]}4{GENERATED[13:]}",
        f"{GENERATED[:16]}c{GENERATED[17:]}",
    ],
)
def test_other_ids_contain_no_time(request_id: str) -> None:
    assert time_of(request_id) is None
