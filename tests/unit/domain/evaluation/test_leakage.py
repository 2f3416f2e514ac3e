"""One input that alone tells the target."""

from __future__ import annotations

import numpy as np
import pytest

from domain.evaluation.leakage import LIMITS, told_by

RNG = np.random.default_rng(0)
CLASSES = np.arange(300) % 3
VALUES = RNG.normal(size=300)


def test_an_input_that_is_the_class_tells_all_of_it() -> None:
    assert told_by(CLASSES * 10.0, CLASSES, "classification") == 1


@pytest.mark.parametrize("copy", [VALUES, VALUES * 3 + 7, -VALUES])
def test_an_input_that_is_the_quantity_in_another_unit_tells_all_of_it(copy: np.ndarray) -> None:
    assert told_by(copy, VALUES, "regression") >= LIMITS["regression"]


def test_noise_tells_nothing() -> None:
    assert told_by(RNG.normal(size=300), CLASSES, "classification") < 0.2
    assert told_by(RNG.normal(size=300), VALUES, "regression") < 0.2


def test_a_good_input_is_no_leak() -> None:
    good = CLASSES + RNG.normal(0, 0.3, 300)
    told = told_by(good, CLASSES, "classification")
    assert 0.7 < told < LIMITS["classification"]


def test_what_is_missing_can_tell_the_target_too() -> None:
    column = np.where(CLASSES == 0, np.nan, 1.0)
    assert told_by(column, (CLASSES == 0).astype(np.int64), "classification") == 1


def test_a_class_that_is_too_rare_for_a_fold_is_left_out() -> None:
    classes = np.array([0, 1] * 20 + [2])
    assert told_by(classes.astype(float), classes, "classification") == 1
    assert told_by(np.arange(3.0), np.array([0, 1, 2]), "classification") == 0


def test_many_rows_are_sampled_and_the_sample_is_always_the_same() -> None:
    classes = np.arange(50_000) % 2
    column = classes + RNG.normal(0, 0.5, 50_000)
    first = told_by(column, classes, "classification")
    assert first == told_by(column, classes, "classification")
    assert 0.4 < first < 0.9
