"""Fingerprints of data sets and hashes of their rows."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from domain.contract import (
    Category,
    Classes,
    Datetime,
    ModelSpec,
    Number,
    Quantity,
    Tensor,
    Text,
)
from domain.data.dataset import Dataset, are_among
from domain.data.split_keys import SplitKeys
from domain.data.splitting import with_keys
from domain.errors import DataError, InputError
from tests import petals

DUPLICATES = [101, 142]
DATA = petals.load()


def with_value(row: int, column: int, value: float) -> Dataset:
    """The petals data with one value changed."""
    inputs = DATA.inputs.copy()
    inputs.iloc[row, column] = value
    return Dataset(DATA.name, DATA.source, inputs, DATA.target)


def with_label(row: int, label: str) -> Dataset:
    """The petals data with one label changed."""
    target = DATA.target.copy()
    target.iloc[row] = label
    return Dataset(DATA.name, DATA.source, DATA.inputs, target)


def test_the_length_of_a_dataset_is_its_number_of_rows() -> None:
    assert len(DATA) == len(DATA.inputs) == len(DATA.target)


def test_rows_of_a_log_follow_and_are_marked() -> None:
    more = DATA.take(np.array([3, 149]))
    both = DATA.with_log_rows(more, petals.SPEC)
    assert len(both) == 152 and both.rows()[150:] == more.rows()
    assert both.target.tolist()[150:] == ["setosa", "virginica"]
    assert both.from_log is not None and np.flatnonzero(both.from_log).tolist() == [150, 151]
    part = both.take(np.array([150, 0]))
    assert part.from_log is not None and part.from_log.tolist() == [True, False]
    assert both.row_hashes.tolist()[150:] == more.row_hashes.tolist()


def test_a_row_of_a_log_that_is_the_same_to_the_model_has_the_hash_of_the_row() -> None:
    spec = ModelSpec(
        "a", (Number("x", "", 0, 9), Category("b", ("false", "true"))), Classes(("n", "y"))
    )
    target = pd.Series(["n", "y"], name="class")
    data = Dataset("a", "", pd.DataFrame({"x": [5.1, 0.3], "b": ["true", "false"]}), target)
    logged = pd.DataFrame({"x": np.float32([0.3, 5.1, 0.7]), "b": [False, False, True]})
    more = Dataset("a", "", logged, pd.Series(["y", "y", "n"], name="class"))
    hashes = data.with_log_rows(more, spec).row_hashes.tolist()
    assert hashes[2] == hashes[1] and len(set(hashes)) == 4


@pytest.mark.parametrize(
    "days",
    [
        ["2026-01-01"] * 2,
        pd.to_datetime(["2026-01-01"] * 2),
        pd.to_datetime(["2026-01-01T00Z"] * 2),
    ],
    ids=["text", "naive", "aware"],
)
def test_times_of_a_log_join_those_of_the_data(days: Any) -> None:
    old = replace(DATA.take(np.array([0, 1])), others=pd.DataFrame({"day": days, "note": "x"}))
    logged = pd.DataFrame({"day": ["2026-02-01T10:00:00+00:00"], "log_row": [0]})
    new = replace(DATA.take(np.array([2])), others=logged)
    keys = with_keys(old.with_log_rows(new, petals.SPEC), time="day").keys
    assert keys is not None and keys.time is not None
    assert np.diff(keys.time).tolist() == [0, pytest.approx(31 + 10 / 24)]


def test_times_that_are_numbers_in_the_data_are_refused() -> None:
    old = replace(DATA.take(np.array([0])), others=pd.DataFrame({"day": [7]}))
    new = replace(DATA.take(np.array([1])), others=pd.DataFrame({"day": ["2026-02-01"]}))
    with pytest.raises(DataError, match="day is a date, but a number in petals"):
        old.with_log_rows(new, petals.SPEC)


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
    # 142 is left out: it duplicates row 101, so that either change gives the same data
    changed = {with_label(row, "other").fingerprint for row in range(150) if row != 142}
    assert DATA.fingerprint not in changed
    assert len(changed) == 149


def test_two_swapped_labels_change_the_fingerprint() -> None:
    target = DATA.target.copy()
    target.iloc[[0, 149]] = target.iloc[[149, 0]].to_numpy()
    swapped = Dataset(DATA.name, DATA.source, DATA.inputs, target)
    assert swapped.fingerprint != DATA.fingerprint


def test_a_renamed_column_changes_the_fingerprint() -> None:
    inputs = DATA.inputs.rename(columns={"sepal_width": "width"})
    assert Dataset("petals", "", inputs, DATA.target).fingerprint != DATA.fingerprint


def test_two_swapped_columns_change_the_fingerprint() -> None:
    inputs = DATA.inputs.rename(
        columns={"sepal_width": "sepal_length", "sepal_length": "sepal_width"}
    )
    assert Dataset("petals", "", inputs, DATA.target).fingerprint != DATA.fingerprint


def test_a_missing_or_repeated_row_changes_the_fingerprint() -> None:
    shorter, longer = DATA.take(np.arange(149)), DATA.take(np.r_[0:150, 149])
    assert len({DATA.fingerprint, shorter.fingerprint, longer.fingerprint}) == 3


def test_name_and_source_are_not_part_of_the_fingerprint() -> None:
    renamed = Dataset("flowers", "a file", DATA.inputs, DATA.target)
    assert renamed.fingerprint == DATA.fingerprint


def test_a_row_has_the_same_hash_at_any_position() -> None:
    order = np.random.default_rng(2).permutation(len(DATA))
    for known in (replace(DATA), DATA):  # without hashes that were computed before, and with them
        assert (known.take(order).row_hashes == DATA.row_hashes[order]).all()
    assert (replace(DATA.take(order)).row_hashes == DATA.row_hashes[order]).all()


def test_only_rows_with_the_same_inputs_have_the_same_hash() -> None:
    _, counts = np.unique(DATA.row_hashes, return_counts=True)
    assert DATA.row_hashes[DUPLICATES[0]] == DATA.row_hashes[DUPLICATES[1]]
    assert sorted(counts) == [1] * 148 + [2]


def test_the_label_is_not_part_of_a_row_hash() -> None:
    assert (with_label(3, "other").row_hashes == DATA.row_hashes).all()


def test_a_changed_value_changes_the_hash_of_its_row_only() -> None:
    different = with_value(7, 2, 9.0).row_hashes != DATA.row_hashes
    assert np.flatnonzero(different).tolist() == [7]


def test_rows_are_selected_by_position_in_the_given_order() -> None:
    part = DATA.take(np.array([149, 0]))
    assert part.target.tolist() == ["virginica", "setosa"]
    assert part.inputs.iloc[1].tolist() == DATA.inputs.iloc[0].tolist()
    assert (part.name, part.source) == (DATA.name, DATA.source)


def test_rows_are_selected_by_a_mask() -> None:
    part = DATA.take((DATA.target == "versicolor").to_numpy())
    assert len(part) == 50
    assert set(part.target) == {"versicolor"}


def test_selected_rows_keep_the_files() -> None:
    dataset = Dataset("d", "", DATA.inputs, DATA.target, (Path("d.csv"),))
    assert dataset.take(np.arange(3)).files == (Path("d.csv"),)


def test_the_encoded_target_has_the_index_of_each_label_in_the_classes() -> None:
    inputs, labels = pd.DataFrame({"x": [1.0, 2, 3, 4]}), pd.Series(["b", "a", "c", "a"])
    spec = ModelSpec("d", (Number("x", "", 0, 9),), Classes(("c", "b", "a")))
    codes = Dataset("d", "", inputs, labels).encoded_target(spec)
    assert codes.tolist() == [1, 2, 0, 2]
    assert codes.dtype == np.int64


def test_the_encoded_target_of_a_regression_is_numeric() -> None:
    spec = ModelSpec("d", (Number("x", "", 0, 9),), Quantity("y"))
    dataset = Dataset("d", "", pd.DataFrame({"x": [1.0, 2]}), pd.Series([7, 8]))
    assert dataset.encoded_target(spec).tolist() == [7.0, 8.0]
    assert dataset.encoded_target(spec).dtype == np.float64


# every kind of column


FLATS = ModelSpec(
    "flats",
    (
        Number("floor area", "m²", 0, 500, nullable=True),
        Category("side", ("east", "west"), nullable=True),
        Category("furnished", ("false", "true")),
        Category("floor", ("0", "1", "2")),
        Tensor("plan", (2, 2), 0, 1),
    ),
    Quantity("rent"),
)
PLANS = np.arange(16, dtype=np.float32).reshape(4, 2, 2) / 16


def flats() -> Dataset:
    """Flats with missing values, words, booleans, whole numbers and arrays."""
    inputs = pd.DataFrame(
        {
            "floor area": [50.5, np.nan, 70.0, 50.5],
            "side": ["east", None, np.nan, "west"],
            "furnished": [True, False, True, True],
            "floor": [0, 1, 2, 0],
            "plan": list(PLANS),
        }
    )
    return Dataset("flats", "", inputs, pd.Series([500.0, 400.0, 900.0, 510.0]))


def test_rows_have_the_form_of_requests() -> None:
    assert flats().rows() == [
        (50.5, "east", True, 0, PLANS[0].tolist()),
        (None, None, False, 1, PLANS[1].tolist()),
        (70.0, None, True, 2, PLANS[2].tolist()),
        (50.5, "west", True, 0, PLANS[3].tolist()),
    ]


def test_rows_are_unchanged_by_being_sent_as_json() -> None:
    for dataset in (flats(), DATA):
        sent = json.loads(json.dumps(dataset.rows(), allow_nan=False))
        assert list(map(tuple, sent)) == dataset.rows()


def test_a_text_alone_is_a_row() -> None:
    texts = pd.DataFrame({"review": ["good", "bad", "great \0"]})
    dataset = Dataset("reviews", "", texts, pd.Series(["+", "-", "+"]))
    spec = ModelSpec("reviews", (Text("review"),), Classes(("+", "-")))
    assert dataset.rows() == [("good",), ("bad",), ("great \0",)]
    assert dataset.encoded(spec).tolist() == [["good"], ["bad"], ["great \0"]]


def test_times_are_iso_8601_in_rows_and_encoded_like_requests() -> None:
    days = pd.Series(pd.to_datetime(["2024-01-05T00:00", None, "2024-01-06T12:30"]), name="day")
    spec = ModelSpec("days", (Datetime("day", nullable=True),), Quantity("y"))
    for column in (days, days.dt.tz_localize("Europe/Berlin")):
        dataset = Dataset("days", "", column.to_frame(), pd.Series([1.0, 2.0, 3.0]))
        rows = dataset.rows()
        assert [row[0] and row[0][:16] for row in rows] == [
            *("2024-01-05T00:00", None, "2024-01-06T12:30"),
        ]
        assert np.array_equal(dataset.encoded(spec), spec.encode_rows(rows), equal_nan=True)
        assert len(set(dataset.row_hashes)) == 3


def test_training_data_and_requests_are_encoded_alike() -> None:
    dataset = flats()
    expected = FLATS.encode_rows(dataset.rows())
    assert expected.shape == (4, 8)
    np.testing.assert_array_equal(dataset.encoded(FLATS), expected)
    reordered = dataset.inputs[[*reversed(FLATS.input_names)]]
    shuffled = Dataset("flats", "", reordered, dataset.target)
    np.testing.assert_array_equal(shuffled.encoded(FLATS), expected)


def test_a_value_that_breaks_the_contract_is_named() -> None:
    dataset = flats()
    dataset.inputs.loc[2, "floor"] = 3
    with pytest.raises(InputError, match="row 2, floor: 3 is not one of 0, 1, 2"):
        dataset.encoded(FLATS)


def test_hashes_of_rows_of_every_kind_do_not_depend_on_their_order() -> None:
    dataset, order = flats(), np.array([3, 1, 0, 2])
    assert len(set(dataset.row_hashes)) == 4
    assert (dataset.take(order).row_hashes == dataset.row_hashes[order]).all()
    assert dataset.take(order).fingerprint == dataset.fingerprint


@pytest.mark.parametrize(
    ("column", "value"),
    [("floor area", 50.6), ("floor area", np.nan), ("side", "west"), ("side", None), ("floor", 1)],
)
def test_a_changed_value_of_any_kind_changes_the_hash(column: str, value: Any) -> None:
    dataset = flats()
    dataset.inputs.loc[0, column] = value
    changed = Dataset("flats", "", dataset.inputs, dataset.target)
    assert (changed.row_hashes != flats().row_hashes).tolist() == [True, False, False, False]
    assert changed.fingerprint != flats().fingerprint


def test_one_changed_pixel_changes_the_hash() -> None:
    dataset = flats()
    dataset.inputs["plan"] = list(np.where(PLANS == PLANS[1, 0, 0], 0.9, PLANS))
    changed = Dataset("flats", "", dataset.inputs, dataset.target)
    assert (changed.row_hashes != flats().row_hashes).tolist() == [False, True, False, False]


def test_all_missing_values_have_the_same_hash() -> None:
    for missing in (None, np.nan, float("nan")):
        side = pd.Series(["east", missing, missing, "west"], dtype=object)
        dataset = Dataset("flats", "", flats().inputs.assign(side=side), flats().target)
        assert (dataset.row_hashes == flats().row_hashes).all()


def test_numpys_numbers_in_a_column_of_objects_are_plain_values() -> None:
    area = [np.float64(50.5), np.nan, np.float64(70), np.float32(50.5)]
    furnished = list(np.array([True, False, True, True]))
    floor = list(np.array([0, 1, 2, 0], dtype=np.int8))
    side = [np.str_("east"), None, np.nan, np.str_("west")]
    columns = {"floor area": area, "side": side, "furnished": furnished, "floor": floor}
    inputs = flats().inputs.assign(
        **{name: pd.Series(values, dtype=object) for name, values in columns.items()}
    )
    dataset = Dataset("flats", "", inputs, flats().target)
    assert json.dumps(dataset.rows()) == json.dumps(flats().rows())
    assert (dataset.row_hashes == flats().row_hashes).all()
    assert dataset.fingerprint == flats().fingerprint


def test_integers_and_floats_of_equal_value_have_the_same_hash() -> None:
    whole = pd.DataFrame({"a": [1, 2], "image": [np.array([1, 0]), np.array([0, 3])]})
    other = pd.DataFrame({"a": [1.0, 2.0], "image": [np.array([1.0, 0]), np.array([0, 3.0])]})
    hashes = [Dataset("d", "", each, pd.Series([0, 1])).row_hashes for each in (whole, other)]
    assert (hashes[0] == hashes[1]).all()
    assert hashes[0][0] != hashes[0][1]


def test_a_hash_is_that_of_the_values_of_the_row_in_python() -> None:
    words, numbers = ["it's", None, "\0", "", "it's"], [0.0, -0.0, np.nan, 1e300, 0.0]
    objects = [True, 1, 1.0, "1", None]
    inputs = pd.DataFrame({"word": words, "number": numbers}).assign(
        object=pd.Series(objects, dtype=object)
    )
    rows = zip(words, [None if np.isnan(each) else each for each in numbers], objects)
    rows = [
        (word, number, float(each) if each == 1 and each is not True else each)
        for word, number, each in rows
    ]
    assert hashes_of(inputs) == [digest(repr(row)) for row in rows]
    assert hashes_of(inputs[["number"]]) == [digest(repr((row[1],))) for row in rows]


def test_hashes_of_many_rows_are_those_of_each() -> None:
    numbers = np.arange(50_003) % 40_001 / 2
    found = hashes_of(pd.DataFrame({"a": numbers}))
    assert found == [digest(repr((each,))) for each in numbers.tolist()]


def test_words_that_are_equal_to_numbers_in_python_are_encoded_as_different_words() -> None:
    inputs = (
        Category("a", ("1", "true")),
        Category("b", ("x", "y"), nullable=True, unseen="missing"),
    )
    columns = {"a": [True, 1, "1", True], "b": ["y", None, "z", "y"]}
    frame = pd.DataFrame(columns, dtype=object)
    spec = ModelSpec("d", inputs, Quantity("t", ""))
    encoded = Dataset("d", "", frame, pd.Series(np.zeros(4))).encoded(spec)
    np.testing.assert_array_equal(encoded, [[1, 1], [0, np.nan], [0, np.nan], [1, 1]])


def test_hashes_are_found_among_others() -> None:
    found = are_among(np.array(["b7", "a0", "c1"]), ["a0", "b7", "ff"])
    assert found.tolist() == [True, True, False]
    assert are_among([], np.array(["a0"])).dtype == bool


def hashes_of(inputs: pd.DataFrame) -> list[str]:
    """The hashes of the rows of a table."""
    dataset = Dataset("d", "", inputs, pd.Series(np.zeros(len(inputs))))
    hashes: list[str] = dataset.row_hashes.tolist()
    return hashes


def digest(text: str) -> str:
    """The digest of a text, of 16 hex digits."""
    return hashlib.blake2b(text.encode(), digest_size=8).hexdigest()


def test_rows_are_taken_with_their_other_columns_and_keys() -> None:
    others = pd.DataFrame({"day": np.arange(150.0)})
    data = replace(DATA, others=others, keys=SplitKeys(time=np.arange(150.0)))
    taken = data.take(np.array([7, 3]))
    assert taken.others is not None and taken.others["day"].tolist() == [7, 3]
    assert taken.keys is not None and taken.keys.time is not None
    assert taken.keys.time.tolist() == [7, 3]


def test_rows_of_different_times_differ_if_the_split_follows_time() -> None:
    timed = replace(DATA, keys=SplitKeys(time=np.arange(150.0)))
    assert len(set(timed.row_hashes)) == 150
    assert timed.fingerprint != DATA.fingerprint
    grouped = replace(DATA, keys=SplitKeys(group=np.arange(150).astype(object)))
    assert (grouped.row_hashes == DATA.row_hashes).all()
