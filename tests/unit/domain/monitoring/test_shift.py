"""The shift of a variable in standard deviations of its reference."""

from __future__ import annotations

import numpy as np
import pytest

from domain.errors import InputError
from domain.monitoring.drift import population_stability_index
from domain.monitoring.profile import Profile
from domain.monitoring.shift import standardised_shift

REFERENCE = np.array([1.0, 2.0, 3.0, 4.0, 5.0])  # standard deviation √2


def test_the_same_values_have_not_shifted() -> None:
    assert standardised_shift(REFERENCE[::-1], REFERENCE) == 0


@pytest.mark.parametrize(
    ("current", "expected"),
    [
        (REFERENCE + 3, 3 / np.sqrt(2)),
        (REFERENCE - 3, 3 / np.sqrt(2)),
        (3 + 4 * (REFERENCE - 3), 3),  # four times the standard deviation
        (np.full(7, 3.0), 1),  # no deviation left
        (10 + 2 * (REFERENCE - 3), 7 / np.sqrt(2)),  # the mean has moved more
        (REFERENCE[:1] + 2, 1),  # one row has no deviation
    ],
)
def test_the_larger_difference_counts_in_standard_deviations_of_the_reference(
    current: np.ndarray, expected: float
) -> None:
    assert standardised_shift(current, REFERENCE) == pytest.approx(expected)


@pytest.mark.parametrize("unit", [1e-300, 1e-3, 1e200, 1e307])
def test_the_unit_of_the_values_does_not_matter(unit: float) -> None:
    score = standardised_shift((REFERENCE + 3) * unit, REFERENCE * unit)
    assert score == pytest.approx(3 / np.sqrt(2))


def test_missing_values_are_left_out() -> None:
    current = np.append(REFERENCE + 3, [np.nan] * 3)
    reference = np.append(REFERENCE, np.nan)
    assert standardised_shift(current, reference) == pytest.approx(3 / np.sqrt(2))


@pytest.mark.parametrize("value", [0.1, 0.0, -7.3, 1e300])
def test_a_constant_shifts_by_nothing_or_without_bound(value: float) -> None:
    reference = np.full(10, value)
    assert standardised_shift(np.full(3, value), reference) == 0
    assert standardised_shift(np.full(3, value + abs(value) + 1), reference) == np.inf
    assert standardised_shift(np.array([value, value + abs(value) + 1]), reference) == np.inf


@pytest.mark.parametrize("empty", [np.array([]), np.array([np.nan])])
def test_a_side_without_values_is_refused_by_name(empty: np.ndarray) -> None:
    with pytest.raises(InputError, match="the current rows have no value"):
        standardised_shift(empty, REFERENCE)
    with pytest.raises(InputError, match="the reference rows have no value"):
        standardised_shift(REFERENCE, empty)


@pytest.mark.parametrize("infinite", [np.inf, -np.inf])
def test_an_infinite_value_is_refused(infinite: float) -> None:
    with pytest.raises(InputError, match="the current rows have an infinite value: remove it"):
        standardised_shift(np.array([1.0, infinite]), REFERENCE)


@pytest.mark.parametrize(
    ("moved", "widened", "score", "index"),
    [
        (0.25, 1, 0.25, 0.06),
        (0.5, 1, 0.5, 0.24),
        (1, 1, 1, 0.93),
        (2, 1, 2, 3.3),
        (0, 2, 1, 0.49),
        (0, 3, 2, 1.0),
    ],
)
def test_the_table_in_docs_monitoring_relates_it_to_the_index_of_services(
    moved: float, widened: float, score: float, index: float
) -> None:
    rows = np.random.default_rng(0).normal(size=100_000)
    rows /= rows.std()
    current = rows * widened + moved
    assert standardised_shift(current, rows) == pytest.approx(score, abs=0.01)
    measured = population_stability_index(Profile.of(rows), current)
    assert measured == pytest.approx(index, rel=0.03)


def test_only_the_index_notices_another_form_with_the_same_moments() -> None:
    rng = np.random.default_rng(0)
    rows, two_sided = rng.normal(size=100_000), rng.choice([-1.0, 1.0], 100_000)
    assert standardised_shift(two_sided, rows) < 0.02
    assert population_stability_index(Profile.of(rows), two_sided) > 1
