"""A worse release is found by its requests, and one that is no worse is not."""

from __future__ import annotations

import numpy as np
import pytest

from domain.monitoring.traffic import Traffic, degradation

BEFORE = Traffic(9_900, 20, 80, {0.001: 5_000, 0.005: 9_880, 0.01: 9_900, float("inf"): 9_900})


@pytest.mark.parametrize(
    ("now", "reason"),
    [
        (Traffic(0, 3, 0), "3 of 3 requests failed (100.0 %, before 0.2 %)"),
        (Traffic(970, 30, 0), None),  # 3 %: could be chance, and 1 point
        (Traffic(900, 100, 0), "100 of 1000 requests failed (10.0 %, before 0.2 %)"),
        (Traffic(970, 10, 20), None),
        (Traffic(80, 0, 20), "20 of 100 requests were refused (20.0 %, before 0.8 %)"),
        (
            Traffic(100, 0, 0, {0.001: 10, 0.005: 60, 0.01: 100}),
            "40 of 100 answers took longer than 0.005 s (40.0 %, before 0.2 %)",
        ),
        (Traffic(1000, 0, 0, {0.001: 0, 0.005: 930, 0.01: 1000}), None),  # 7 %, allowed are 10
        (Traffic(), None),
    ],
)
def test_a_release_is_compared_with_the_one_before_it(now: Traffic, reason: str | None) -> None:
    assert degradation(now, BEFORE, 300) == reason


def test_without_an_earlier_release_only_failures_are_judged() -> None:
    assert degradation(Traffic(10, 0, 90, {0.001: 0}), Traffic(), 60) is None
    assert degradation(Traffic(0, 5, 0), Traffic(), 60) == "5 of 5 requests failed (100.0 %)"


def test_few_requests_of_the_earlier_release_prove_little() -> None:
    few = Traffic(3, 0, 0)
    assert degradation(Traffic(4, 2, 0), few, 60) is None
    assert degradation(Traffic(0, 200, 0), few, 60) is not None


def test_the_usual_limit_is_the_first_that_99_percent_keep() -> None:
    assert BEFORE.usual_limit() == 0.005
    assert Traffic().usual_limit() is None
    assert Traffic(100, 0, 0, {0.1: 50, float("inf"): 100}).usual_limit() is None


def test_a_release_that_is_no_worse_is_rarely_found_worse() -> None:
    generator, looks, alarms = np.random.default_rng(0), 20, 0
    for _ in range(200):  # as bad as allowed: 1.2 % fail, before 0.2 %
        failed = generator.binomial(50, 0.012, looks).cumsum()
        alarms += any(
            degradation(Traffic(50 * (look + 1) - count, count, 0), BEFORE, looks)
            for look, count in enumerate(failed)
        )
    assert alarms <= 2  # 0.2 expected at most
