"""Which requests are marked as synthetic, and by whom."""

from __future__ import annotations

import pytest

from application.inference.protocols.synthetic import OTHER, SOURCES, source_of


@pytest.mark.parametrize("source", sorted(SOURCES))
def test_a_source_that_is_known_is_named(source: str) -> None:
    assert source_of({b"x-synthetic": source.encode()}) == source
    assert source_of({b"x-synthetic": f" {source.upper()} ".encode()}) == source


@pytest.mark.parametrize("value", [b"", b"mine", b"\xff", b"demo" * 1000])
def test_any_other_word_is_one_source_so_that_metrics_stay_bounded(value: bytes) -> None:
    assert source_of({b"x-synthetic": value}) == OTHER


def test_ordinary_traffic_has_no_source() -> None:
    assert source_of({b"x-request-id": b"demo"}) is None
