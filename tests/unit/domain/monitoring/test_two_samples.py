"""Tests of two samples in bins."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import chi2_contingency

from domain.monitoring.two_samples import adjusted, p_value_of_counts


def test_the_p_value_is_that_of_a_chi_square_test() -> None:
    reference, current = np.array([300, 500, 200]), np.array([40, 40, 40])
    expected = chi2_contingency([reference, current]).pvalue
    assert p_value_of_counts(reference, current) == pytest.approx(expected)
    assert expected < 0.001


def test_equal_shares_have_a_p_value_of_one() -> None:
    assert p_value_of_counts(np.array([100, 300]), np.array([10, 30])) == pytest.approx(1)


def test_false_alarms_have_their_nominal_rate_even_with_rare_bins() -> None:
    rng = np.random.default_rng(0)
    shares = np.array([0.5, 0.3, 0.15, 0.04, 0.008, 0.001, 0.001])
    found = [
        p_value_of_counts(rng.multinomial(400, shares), rng.multinomial(250, shares))
        for _ in range(2_000)
    ]
    assert np.mean(np.array(found) <= 0.05) == pytest.approx(0.05, abs=0.015)


@pytest.mark.parametrize(
    ("reference", "current"),
    [([0, 0], [5, 5]), ([5, 5], [0, 0]), ([90, 0], [10, 0]), ([2, 1], [1, 1]), ([7], [9])],
)
def test_what_cannot_be_compared_has_a_p_value_of_one(
    reference: list[int], current: list[int]
) -> None:
    assert p_value_of_counts(np.array(reference), np.array(current)) == 1


def test_p_values_are_adjusted_for_their_number() -> None:
    found = adjusted({"a": 0.01, "b": 0.02, "c": 0.9})
    assert found == pytest.approx({"a": 0.03, "b": 0.03, "c": 0.9})
    assert not adjusted({})
