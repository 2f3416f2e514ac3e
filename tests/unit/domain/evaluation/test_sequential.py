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


@pytest.mark.parametrize(("new", "p_value"), [(1.0, 1.0), (0.0, 0.0)])
def test_constant_values_have_no_spread(new: float, p_value: float) -> None:
    found = compare_means(np.ones(200), np.full(200, new))
    assert found.interval == (new - 1, new - 1) and found.p_value == p_value
    assert found.is_certain == (new == 0)
