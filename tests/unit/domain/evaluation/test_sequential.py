"""A difference of two versions may be looked at any time."""

from __future__ import annotations

import numpy as np
import pytest

from domain.evaluation.sequential import FEWEST, compare_means


def first_alarm(rng: np.random.Generator, shares: tuple[float, float], looks: int) -> int:
    """The look at which the difference is certain, one after each 100 values; 0 if never."""
    old, new = (rng.random(100 * looks) < share for share in shares)
    for look in range(1, looks + 1):
        if compare_means(old[: 100 * look] * 1.0, new[: 100 * look] * 1.0).is_certain:
            return look
    return 0


def test_equal_versions_rarely_raise_an_alarm_however_often_they_are_looked_at(
    nightly: bool,
) -> None:
    rng, runs = np.random.default_rng(0), 1000 if nightly else 200
    alarms = sum(first_alarm(rng, (0.9, 0.9), 50) > 0 for _ in range(runs))
    assert alarms / runs <= 0.05 + (0.01 if nightly else 0.02)


def test_a_real_difference_is_found_soon() -> None:
    rng = np.random.default_rng(1)
    looks = [first_alarm(rng, (0.9, 0.85), 60) for _ in range(50)]
    assert min(looks) > 0 and np.median(looks) < 25


def test_the_interval_and_the_p_value_agree() -> None:
    rng = np.random.default_rng(2)
    for shift in np.linspace(-0.5, 0.5, 41):
        found = compare_means(rng.normal(0, 1, 300), rng.normal(shift, 2, 500), 0.05)
        assert found.interval is not None
        assert found.is_certain == (found.p_value <= 0.05)
        low, high = found.interval
        assert (low + high) / 2 == pytest.approx(found.difference)


def test_the_interval_is_wider_than_that_of_a_single_look_but_shrinks() -> None:
    rng = np.random.default_rng(3)
    widths = []
    for rows in (1_000, 10_000, 100_000):
        found = compare_means(rng.normal(0, 1, rows), rng.normal(0, 1, rows))
        assert found.interval is not None
        widths.append((found.interval[1] - found.interval[0]) * np.sqrt(rows / 2) / 2)
    assert all(1.96 < width < 6 for width in widths)
    assert found.interval[1] - found.interval[0] < 0.05


def test_few_values_say_nothing() -> None:
    found = compare_means(np.ones(FEWEST - 1), np.zeros(500))
    assert (found.old, found.new, found.interval, found.p_value) == (1, 0, None, 1)
    assert not found.is_certain
    assert np.isnan(compare_means(np.zeros(0), np.ones(3)).difference)


def test_equal_values_are_no_difference_and_others_are() -> None:
    found = compare_means(np.ones(200), np.ones(200))
    assert found.interval == (0, 0) and found.p_value == 1 and not found.is_certain
    found = compare_means(np.ones(200), np.zeros(200))
    assert found.is_certain and found.difference == -1 and found.p_value < 1e-6


def test_rare_events_need_more_rows() -> None:
    orders = np.zeros(2000)
    orders[:20] = 1  # 1 % buy something
    found = compare_means(orders, np.zeros(100))
    assert found.interval is None and 2000 < found.needed < 3000
    assert compare_means(np.tile(orders, 2), np.tile(orders, 2)).interval is not None


@pytest.mark.parametrize("share", [0.1, 0.5])
def test_skewed_values_raise_no_more_alarms(share: float, nightly: bool) -> None:
    rng, runs, alarms = np.random.default_rng(4), 400 if nightly else 60, 0
    for _ in range(runs):
        values, is_new = rng.lognormal(0, 1.5, 8000), rng.random(8000) < share
        alarms += any(
            compare_means(values[:rows][~is_new[:rows]], values[:rows][is_new[:rows]]).is_certain
            for rows in range(1000, 8001, 1000)
        )
    assert alarms / runs <= 0.05
