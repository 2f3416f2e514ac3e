"""Parity of two sets of predictions, and the rows on which models that seem equal differ."""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.tree import DecisionTreeRegressor

from domain import gates
from domain.contract import (
    Category,
    Classes,
    Datetime,
    Input,
    ModelSpec,
    Number,
    Quantity,
    Tensor,
    Text,
)
from domain.evaluation.parity import Parity, _float, _ordinal, edge_rows

CLASSES = Classes(("a", "b", "c"))
SPEC = ModelSpec("abc", (Number("x", "", 0, 1), Number("y", "", 0, 1)), CLASSES)
VALUES = ModelSpec("value", SPEC.inputs, Quantity("value"))
PREDICTIONS = np.array([[0.7, 0.2, 0.1], [0.1, 0.5, 0.4]])


# comparison


@pytest.mark.parametrize(("spec", "different"), [(SPEC, 0), (VALUES, None)])
def test_equal_predictions_have_no_difference(spec: ModelSpec, different: int | None) -> None:
    assert Parity.of(PREDICTIONS, PREDICTIONS.copy(), spec) == Parity(2, 0.0, different)


def test_the_largest_difference_is_found_whatever_its_sign() -> None:
    for difference in (0.03, -0.03):
        other = PREDICTIONS.copy()
        other[1, 2] += difference
        parity = Parity.of(PREDICTIONS, other, SPEC)
        assert np.isclose(parity.largest_difference, 0.03)
        assert parity.different_classes == 0


def test_rows_whose_class_differs_are_counted() -> None:
    assert Parity.of(PREDICTIONS, PREDICTIONS[:, [0, 2, 1]], SPEC).different_classes == 1
    assert Parity.of(PREDICTIONS, PREDICTIONS[:, [2, 0, 1]], SPEC).different_classes == 2


def test_classes_that_are_equally_probable_up_to_rounding_may_come_in_either_order() -> None:
    third = 1 / 3
    native = np.array([[third, third, third], [0.5, 0.5, 0.0], [0.5 + 1e-7, 0.5 - 1e-7, 0.0]])
    other = np.array([[third - 1e-7, third, third + 1e-7], [0.5, 0.5 + 6e-8, 0.0], [0.5, 0.5, 0]])
    assert Parity.of(native, other[:, :], SPEC).different_classes == 0
    assert Parity.of(native, native[:, [1, 0, 2]], SPEC).different_classes == 0


def test_classes_that_differ_by_more_than_rounding_may_not() -> None:
    native = np.array([[0.5 + 1e-6, 0.5 - 1e-6, 0.0]])
    assert Parity.of(native, native[:, [1, 0, 2]], SPEC).different_classes == 1


@pytest.mark.parametrize(
    ("difference", "different"), [(1e-7, 0), (-1e-7, 0), (1e-5, 0), (-1e-5, 1)]
)
def test_rows_at_a_threshold_are_the_same_class_up_to_rounding(
    difference: float, different: int
) -> None:
    spec = ModelSpec("ab", SPEC.inputs, Classes(("a", "b"), threshold=0.2))
    exported, native = np.array([[0.8, 0.2]]), np.array([[0.8 - difference, 0.2 + difference]])
    assert Parity.of(native, exported, spec).different_classes == different
    half = np.array([[0.5 + 1e-3, 0.5 - 1e-3]])
    assert Parity.of(half, 1 - half, spec).different_classes == 0


def test_single_precision_differs_by_its_rounding_only() -> None:
    probabilities = np.random.default_rng(0).dirichlet(np.ones(3), size=500)
    parity = Parity.of(probabilities, probabilities.astype(np.float32), SPEC)
    assert 0 < parity.largest_difference < 1e-7
    assert (parity.rows, parity.different_classes) == (500, 0)


@pytest.mark.parametrize("spec", [SPEC, VALUES])
@pytest.mark.parametrize("side", [0, 1, 2])
def test_a_nan_prediction_is_never_a_small_difference(spec: ModelSpec, side: int) -> None:
    native, other = PREDICTIONS.copy(), PREDICTIONS.copy()
    for changed in [(native,), (other,), (native, other)][side]:
        changed[0, 2] = np.nan
    parity = Parity.of(native, other, spec)
    assert np.isnan(parity.largest_difference)
    assert not gates.parity("parity", parity).accepted


def test_the_difference_of_a_quantity_is_relative_to_its_row_or_to_the_median() -> None:
    native = np.array([[100.0, 50.0, 150.0], [-400.0, -450.0, -350.0]])
    other = native.copy()
    other[0, 1] += 0.9
    parity = Parity.of(native, other, VALUES)
    assert (parity.rows, parity.different_classes) == (2, None)
    assert parity.largest_difference == pytest.approx(0.9 / 300)  # between 150 and 450
    scaled = Parity.of(native * 1e6, other * 1e6, VALUES)
    assert scaled.largest_difference == pytest.approx(0.9 / 300)


def test_one_huge_prediction_does_not_hide_other_differences() -> None:
    native = np.tile([[3.0, 2.0, 4.0]], (100, 1))
    native[0] = 1e7
    other = native.copy()
    other[1] = [1.0, 0.0, 2.0]
    assert Parity.of(native, other, VALUES).largest_difference == pytest.approx(0.5)


def test_predictions_of_zero_can_be_compared() -> None:
    zeros = np.zeros((2, 3))
    assert Parity.of(zeros, zeros, VALUES).largest_difference == 0
    assert Parity.of(zeros, zeros + 1e-9, VALUES).largest_difference > 1


# rows at the edges

Model = Callable[[np.ndarray], np.ndarray]


def forest(seed: int = 0) -> tuple[RandomForestClassifier, np.ndarray]:
    """A forest, and its training rows."""
    rng = np.random.default_rng(seed)
    rows = rng.uniform(size=(200, 2)).astype(np.float32)
    target = (rows[:, 0] > 0.6).astype(int) + (rows[:, 1] > 0.3)
    return RandomForestClassifier(8, random_state=seed).fit(rows, target), rows


def with_thresholds(
    classifier: RandomForestClassifier, rounded: Callable[[np.ndarray], np.ndarray]
) -> RandomForestClassifier:
    """A copy with changed split points."""
    made = copy.deepcopy(classifier)
    for tree in made.estimators_:
        split = tree.tree_.feature >= 0
        tree.tree_.threshold[split] = rounded(tree.tree_.threshold[split])
    return made


def down(values: np.ndarray) -> np.ndarray:
    """The largest float32 that is not above each value: the same split of float32 rows."""
    nearest = values.astype(np.float32)
    return np.where(nearest > values, np.nextafter(nearest, np.float32(-1)), nearest)


def up(values: np.ndarray) -> np.ndarray:
    """The float32 above each value."""
    return np.nextafter(down(values), np.float32(2))


def at_edges(native: Model, served: Model, rows: np.ndarray, spec: ModelSpec) -> gates.Verdict:
    """The verdict of the gate on the predictions at edges."""
    edges = edge_rows(native, rows, spec, random_state=0)
    return gates.parity("parity_at_edges", Parity.of(native(edges), served(edges), spec))


@pytest.mark.parametrize("seed", range(5))
def test_split_points_rounded_the_wrong_way_agree_on_data_and_are_refused_at_edges(
    seed: int,
) -> None:
    native, rows = forest(seed)
    served = with_thresholds(native, up)
    on_data = Parity.of(native.predict_proba(rows), served.predict_proba(rows), SPEC)
    assert gates.parity("parity", on_data).accepted
    verdict = at_edges(native.predict_proba, served.predict_proba, rows, SPEC)
    assert (verdict.gate, verdict.accepted) == ("parity_at_edges", False)


@pytest.mark.parametrize("seed", range(5))
def test_split_points_rounded_the_right_way_are_accepted(seed: int) -> None:
    native, rows = forest(seed)
    served = with_thresholds(native, down)
    assert at_edges(native.predict_proba, served.predict_proba, rows, SPEC).accepted


def test_one_split_point_of_one_tree_is_found() -> None:
    rows = np.random.default_rng(0).uniform(size=(50, 2)).astype(np.float32)
    tree = DecisionTreeRegressor(max_depth=1).fit(rows, rows[:, 0] > 0.5)
    threshold = tree.tree_.threshold[0]
    edges = edge_rows(lambda x: tree.predict(x)[:, None], rows, VALUES, random_state=0)
    below, above = down(np.array([threshold]))[0], up(np.array([threshold]))[0]
    assert {below, above} <= set(edges[:, 0])
    assert below <= threshold < above


def test_the_rows_are_close_pairs_around_jumps_and_the_ends_of_the_ranges() -> None:
    native, rows = forest()
    edges = edge_rows(native.predict_proba, rows, SPEC, random_state=0, limit=64)
    assert edges.shape == (4 * 64, 2) and edges.dtype == np.float32
    low, high, smallest, largest = edges.reshape((4, 64, 2))
    steps = np.abs(_ordinal(low) - _ordinal(high)).sum(axis=1)
    assert (steps <= 1).all()
    assert ((smallest == 0).sum(axis=1) == 1).all()
    assert ((largest == 1).sum(axis=1) == 1).all()


def test_the_seed_determines_the_rows() -> None:
    native, rows = forest()
    first, repeated, other = (
        edge_rows(native.predict_proba, rows, SPEC, random_state=seed) for seed in (1, 1, 2)
    )
    assert (first == repeated).all()
    assert (first != other).any()


def test_a_constant_model_has_edges_too() -> None:
    rows = np.random.default_rng(0).uniform(size=(20, 2)).astype(np.float32)

    def constant(encoded: np.ndarray) -> np.ndarray:
        return np.tile([0.2, 0.5, 0.3], (len(encoded), 1))

    edges = edge_rows(constant, rows, SPEC, random_state=0)
    assert np.isfinite(edges).all()
    assert at_edges(constant, constant, rows, SPEC).accepted


def test_one_row_is_enough() -> None:
    native, rows = forest()
    assert np.isfinite(edge_rows(native.predict_proba, rows[:1], SPEC, random_state=0)).all()


def value_of(encoded: np.ndarray) -> np.ndarray:
    """1 where the first value is above 0.5, 2 where it is missing, else 0."""
    assert len(encoded), "scikit-learn refuses to predict without rows"
    first = encoded[:, 0]
    value = np.where(np.isnan(first), 2.0, (first > 0.5).astype(float))
    return np.stack([value] * 3, axis=1)


def nullable(*further: Input) -> ModelSpec:
    """A contract whose first input may be missing."""
    return ModelSpec("n", (Number("x", "", 0, 1, nullable=True), *further), Quantity("y"))


def test_missing_values_in_rows_are_kept_and_never_moved_between() -> None:
    rows = np.random.default_rng(0).uniform(size=(100, 2)).astype(np.float32)
    rows[::3, 0] = np.nan
    spec = nullable(Number("y", "", 0, 1))
    edges = edge_rows(value_of, rows, spec, random_state=0)
    assert not np.isnan(edges[:, 1]).any()
    assert np.isnan(edges[:, 0]).any()
    assert {np.float32(0.5), np.nextafter(np.float32(0.5), np.float32(1))} <= set(edges[:, 0])


def test_missing_values_that_are_served_differently_are_found_even_if_no_row_has_one() -> None:
    rows = np.random.default_rng(0).uniform(size=(50, 1)).astype(np.float32)

    def served(encoded: np.ndarray) -> np.ndarray:
        return value_of(np.nan_to_num(encoded))

    assert not at_edges(value_of, served, rows, nullable()).accepted
    assert at_edges(value_of, value_of, rows, nullable()).accepted
    strict = ModelSpec("s", (Number("x", "", 0, 1),), Quantity("y"))
    assert not np.isnan(edge_rows(value_of, rows, strict, random_state=0)).any()


def test_a_number_that_is_always_missing_has_no_edges() -> None:
    rows = np.full((30, 1), np.nan, np.float32)
    assert edge_rows(value_of, rows, nullable(), random_state=0).shape == (0, 1)


def test_edge_rows_have_every_category_a_missing_one_and_no_other_code() -> None:
    rng = np.random.default_rng(0)
    rows = np.stack([rng.uniform(size=60), rng.integers(0, 3, 60)], axis=1).astype(np.float32)
    spec = nullable(Category("side", ("a", "b", "c"), nullable=True))
    edges = edge_rows(value_of, rows, spec, random_state=0)
    assert set(edges[~np.isnan(edges[:, 1]), 1]) == {0, 1, 2}
    assert np.isnan(edges[:, 1]).sum() == 1


def test_edge_rows_have_words_that_occur_in_no_row() -> None:
    category = ModelSpec("c", (Category("side", ("a", "b")),), CLASSES)
    codes = np.array([[0], [0]], np.float32)
    assert edge_rows(value_of, codes, category, random_state=0).tolist() == [[0], [1]]


def test_texts_get_letters_and_blanks_that_libraries_treat_differently() -> None:
    text = ModelSpec("t", (Text("note", max_length=8),), CLASSES)
    rows = text.encode_rows([["good film"[:8]], ["bad"]])
    edges = edge_rows(value_of, rows, text, random_state=0)
    assert {"", "good\u00a0fil", "goodéfil", "bad"} <= set(edges[:, 0])
    assert max(map(len, edges[:, 0])) <= 8


def test_edge_rows_have_the_ends_of_every_part_of_a_date() -> None:
    spec = ModelSpec("d", (Datetime("at", ("weekday", "hour")),), Quantity("y"))
    rows = spec.encode_rows([[f"2024-01-0{day}T0{day}:00"] for day in range(1, 8)])
    edges = edge_rows(value_of, rows, spec, random_state=0)
    assert edges.min(axis=0).tolist() == [0, 0]
    assert edges.max(axis=0).tolist() == [6, 24]


def test_every_value_of_a_tensor_can_be_moved() -> None:
    spec = ModelSpec("i", (Category("c", ("a",)), Tensor("t", (2, 2), -3, 5)), Quantity("y"))
    rows = np.random.default_rng(0).uniform(-3, 5, size=(40, 5)).astype(np.float32)
    rows[:, 0] = 0
    edges = edge_rows(lambda encoded: (encoded[:, 1:4] > 1) * 1.0, rows, spec, random_state=0)
    assert (edges[:, 0] == 0).all()
    for column in range(1, 5):
        assert {-3, 5} <= set(edges[:, column])
    for column in range(1, 4):
        assert {1, np.nextafter(np.float32(1), np.float32(2))} <= set(edges[:, column])


EXTREMES = np.array(
    [-3.4e38, -1.5, -1.2e-38, -1e-45, 0.0, 1e-45, 1.2e-38, 1.0, 16.0, 3.4e38], np.float32
)


def test_ordinals_have_the_order_of_the_floats_and_convert_back_to_them() -> None:
    ordinals = _ordinal(EXTREMES)
    assert (np.diff(ordinals) > 0).all()
    assert (_float(ordinals) == EXTREMES).all()
    assert _float(ordinals).dtype == np.float32


def test_ordinals_have_no_gaps_even_across_zero() -> None:
    neighbours = np.nextafter(EXTREMES, np.float32(np.inf))
    assert (_ordinal(neighbours) - _ordinal(EXTREMES) == 1).all()
    assert _ordinal(np.array([-0.0, 0.0], np.float32)).tolist() == [0, 0]
