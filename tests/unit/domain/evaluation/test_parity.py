"""Comparison of two sets of answers."""

from __future__ import annotations

import numpy as np

from domain.evaluation.parity import Parity

ANSWERS = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]])


def test_the_same_answers_do_not_differ() -> None:
    assert Parity.of(ANSWERS, ANSWERS.copy()) == Parity(2, 0.0, 0)


def test_the_largest_difference_is_found_whatever_its_sign() -> None:
    for difference in (0.03, -0.03):
        other = ANSWERS.copy()
        other[1, 2] += difference
        parity = Parity.of(ANSWERS, other)
        assert np.isclose(parity.largest_difference, 0.03)
        assert parity.different_classes == 0


def test_rows_whose_class_differs_are_counted() -> None:
    assert Parity.of(ANSWERS, ANSWERS[:, [0, 2, 1]]).different_classes == 1
    assert Parity.of(ANSWERS, ANSWERS[:, [2, 0, 1]]).different_classes == 2


def test_single_precision_differs_by_its_rounding_only() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), size=500)
    parity = Parity.of(probabilities, probabilities.astype(np.float32))
    assert 0 < parity.largest_difference < 1e-7
    assert parity.rows == 500


def test_an_answer_that_is_no_number_is_not_taken_for_a_small_difference() -> None:
    other = ANSWERS.copy()
    other[0, 2] = np.nan
    assert np.isnan(Parity.of(ANSWERS, other).largest_difference)
