"""Identity of data sets and of their rows."""

from __future__ import annotations

import numpy as np
import pandas as pd

from domain.data.dataset import Dataset
from domain.models import iris

TWINS = [101, 142]
DATA = iris.load()


def with_value(row: int, column: int, value: float) -> Dataset:
    """The iris data with one value changed."""
    inputs = DATA.inputs.copy()
    inputs.iloc[row, column] = value
    return Dataset(DATA.name, DATA.source, inputs, DATA.labels)


def with_label(row: int, label: str) -> Dataset:
    """The iris data with one label changed."""
    labels = DATA.labels.copy()
    labels.iloc[row] = label
    return Dataset(DATA.name, DATA.source, DATA.inputs, labels)


def test_the_length_of_a_dataset_is_its_number_of_rows() -> None:
    assert len(DATA) == len(DATA.inputs) == len(DATA.labels)


def test_the_order_of_the_rows_does_not_change_the_fingerprint() -> None:
    rng = np.random.default_rng(0)
    orders = [rng.permutation(len(DATA)) for _ in range(20)]
    assert {DATA.take(order).fingerprint for order in orders} == {DATA.fingerprint}


def test_every_changed_value_changes_the_fingerprint() -> None:
    rng = np.random.default_rng(1)
    cells = [(int(rng.integers(150)), int(rng.integers(4))) for _ in range(40)]
    changed = {with_value(row, column, 9.75).fingerprint for row, column in cells}
    assert DATA.fingerprint not in changed
    assert len(changed) == len(set(cells))


def test_the_smallest_change_of_a_value_changes_the_fingerprint() -> None:
    value = float(np.nextafter(DATA.inputs.iloc[0, 0], 100))
    assert with_value(0, 0, value).fingerprint != DATA.fingerprint


def test_every_changed_label_changes_the_fingerprint() -> None:
    # 142 is left out: it and its twin 101 are the same row, so that either change is the same one
    changed = {with_label(row, "other").fingerprint for row in range(150) if row != 142}
    assert DATA.fingerprint not in changed
    assert len(changed) == 149


def test_two_swapped_labels_change_the_fingerprint() -> None:
    labels = DATA.labels.copy()
    labels.iloc[[0, 149]] = labels.iloc[[149, 0]].to_numpy()
    swapped = Dataset(DATA.name, DATA.source, DATA.inputs, labels)
    assert swapped.fingerprint != DATA.fingerprint


def test_a_renamed_column_changes_the_fingerprint() -> None:
    inputs = DATA.inputs.rename(columns={"sepal_width": "width"})
    assert Dataset("iris", "", inputs, DATA.labels).fingerprint != DATA.fingerprint


def test_two_swapped_columns_change_the_fingerprint() -> None:
    inputs = DATA.inputs.rename(
        columns={"sepal_width": "sepal_length", "sepal_length": "sepal_width"}
    )
    assert Dataset("iris", "", inputs, DATA.labels).fingerprint != DATA.fingerprint


def test_a_missing_or_repeated_row_changes_the_fingerprint() -> None:
    shorter, longer = DATA.take(np.arange(149)), DATA.take(np.r_[0:150, 149])
    assert len({DATA.fingerprint, shorter.fingerprint, longer.fingerprint}) == 3


def test_name_and_source_are_not_part_of_the_fingerprint() -> None:
    renamed = Dataset("flowers", "a file", DATA.inputs, DATA.labels)
    assert renamed.fingerprint == DATA.fingerprint


def test_a_row_has_the_same_hash_wherever_it_stands() -> None:
    order = np.random.default_rng(2).permutation(len(DATA))
    assert (DATA.take(order).row_hashes == DATA.row_hashes[order]).all()


def test_rows_with_the_same_inputs_have_the_same_hash_and_no_others_do() -> None:
    _, counts = np.unique(DATA.row_hashes, return_counts=True)
    assert DATA.row_hashes[TWINS[0]] == DATA.row_hashes[TWINS[1]]
    assert sorted(counts) == [1] * 148 + [2]


def test_the_label_is_not_part_of_a_row_hash() -> None:
    assert (with_label(3, "other").row_hashes == DATA.row_hashes).all()


def test_a_changed_value_changes_the_hash_of_its_row_only() -> None:
    different = with_value(7, 2, 9.0).row_hashes != DATA.row_hashes
    assert np.flatnonzero(different).tolist() == [7]


def test_rows_are_taken_by_position_in_the_order_given() -> None:
    taken = DATA.take(np.array([149, 0]))
    assert taken.labels.tolist() == ["virginica", "setosa"]
    assert taken.inputs.iloc[1].tolist() == DATA.inputs.iloc[0].tolist()
    assert (taken.name, taken.source) == (DATA.name, DATA.source)


def test_rows_are_taken_where_a_mask_is_true() -> None:
    taken = DATA.take((DATA.labels == "versicolor").to_numpy())
    assert len(taken) == 50
    assert set(taken.labels) == {"versicolor"}


def test_codes_are_the_positions_of_the_labels_among_the_classes() -> None:
    labels = pd.Series(["b", "a", "c", "a"])
    codes = Dataset("d", "", pd.DataFrame({"x": [1.0, 2, 3, 4]}), labels).codes(("c", "b", "a"))
    assert codes.tolist() == [1, 2, 0, 2]
    assert codes.dtype == np.int64
