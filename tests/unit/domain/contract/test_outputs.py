"""Which class a classifier predicts, by probability or by a threshold."""

from __future__ import annotations

import numpy as np
import pytest

from domain.contract import Classes

PROBABILITIES = np.array([[0.9, 0.1], [0.8, 0.2], [0.5, 0.5], [0.2, 0.8]])


def test_without_a_threshold_the_most_probable_class_is_predicted_and_the_first_of_a_tie() -> None:
    assert Classes(("no", "yes")).decide(PROBABILITIES).tolist() == [0, 0, 0, 1]
    three = np.array([[0.2, 0.5, 0.3], [0.2, 0.4, 0.4]])
    assert Classes(("a", "b", "c")).decide(three).tolist() == [1, 1]


@pytest.mark.parametrize(
    ("positive", "threshold", "codes"),
    [
        ("", 0.2, [0, 1, 1, 1]),
        ("yes", 0.2, [0, 1, 1, 1]),
        ("yes", 0.2001, [0, 0, 1, 1]),
        ("yes", 0.81, [0, 0, 0, 0]),
        ("yes", 0.5, [0, 0, 1, 1]),
        ("no", 0.5, [0, 0, 0, 1]),
        ("no", 0.2, [0, 0, 0, 0]),
        ("no", 0.85, [0, 1, 1, 1]),
    ],
)
@pytest.mark.parametrize("kind", [np.float32, np.float64])
def test_the_positive_class_is_predicted_from_the_threshold_on(
    positive: str, threshold: float, codes: list[int], kind: type
) -> None:
    output = Classes(("no", "yes"), positive=positive, threshold=threshold)
    decided = output.decide(PROBABILITIES.astype(kind))
    assert decided.tolist() == codes
    assert decided.dtype == np.intp


def test_native_and_served_probabilities_at_the_threshold_are_decided_alike() -> None:
    for threshold in np.linspace(0.01, 0.99, 99).tolist():
        output = Classes(("no", "yes"), threshold=threshold)
        native = np.array([[1 - threshold, threshold]])
        assert output.decide(native).tolist() == [1]
        assert output.decide(native.astype(np.float32)).tolist() == [1]


def test_a_probability_that_is_not_a_number_is_not_the_positive_class() -> None:
    nothing = np.full((1, 2), np.nan)
    assert Classes(("no", "yes"), threshold=0.2).decide(nothing).tolist() == [0]
    assert Classes(("no", "yes"), positive="no", threshold=0.2).decide(nothing).tolist() == [1]


def test_the_positive_class_is_the_second_unless_named() -> None:
    assert Classes(("no", "yes")).positive_code == 1
    assert Classes(("ill", "well"), positive="ill").positive_code == 0


def test_the_description_has_the_classes_and_the_threshold() -> None:
    assert Classes(("no", "yes"), "leaves").description == "leaves, one of no, yes"
    assert Classes(("ill", "well"), "state", "ill", 0.25).description == (
        "state, one of ill, well: ill where its probability is at least 0.25"
    )
