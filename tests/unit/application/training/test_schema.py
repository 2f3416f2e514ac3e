"""Data that break the contract are refused with the row and the column."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from application.training.config import TrainingConfig, config_path
from application.training.schema import check_data
from domain.contract import ModelSpec, format_names
from domain.data.dataset import Dataset
from domain.errors import DataError
from tests import petals
from tests.kinds import KINDS
from tests.model_checks import TABULAR, load_data, model_of

DATA = petals.load()
COLUMNS = list(petals.SPEC.input_names)


def with_value(row: int, column: str, value: Any, dataset: Dataset = DATA) -> Dataset:
    """The data with one value changed."""
    inputs = dataset.inputs.astype(object)
    inputs.at[row, column] = value
    return Dataset("flowers", "", inputs, dataset.target)


def with_target(row: int, value: Any, dataset: Dataset = DATA) -> Dataset:
    """The data with one value of the target changed."""
    target = dataset.target.astype(object)
    target.loc[row] = value
    return Dataset("flowers", "", dataset.inputs, target)


def with_inputs(inputs: pd.DataFrame) -> Dataset:
    """The petals data with other inputs."""
    return Dataset("flowers", "", inputs, DATA.target)


def refusal(dataset: Dataset, spec: ModelSpec = petals.SPEC) -> str:
    """The message with which the data are refused, without the advice at its end."""
    with pytest.raises(DataError) as refused:
        check_data(dataset, spec)
    message = str(refused.value)
    place = f"domain/models/{spec.name}.py"
    return message.removesuffix(f" (rows count from 0; fix the data, or SPEC in {place})")


def test_a_refusal_names_the_place_to_fix() -> None:
    with pytest.raises(DataError, match=r"fix the data, or SPEC in domain/models/petals.py\)$"):
        check_data(with_value(7, "petal_width", -1.0), petals.SPEC)


@pytest.mark.parametrize("value", [pd.NA, None, 7, ["setosa"]])
def test_a_class_that_is_not_a_word_is_refused(value: object) -> None:
    target = DATA.target.astype(object)
    target.iloc[7] = value
    assert "is not one of the classes" in refusal(replace(DATA, target=target))


def test_an_integer_beyond_the_float_range_is_not_finite() -> None:
    dataset = KINDS["regression"].load()
    target = dataset.target.astype(object)
    target.iloc[7] = 10**400
    assert "is not a finite number" in refusal(
        replace(dataset, target=target), KINDS["regression"].SPEC
    )


@pytest.mark.parametrize("name", TABULAR)
def test_the_data_of_every_model_keep_its_contract(name: str) -> None:
    model = model_of(name)
    check_data(load_data(model, TrainingConfig.read(config_path(name))), model.SPEC)


@pytest.mark.parametrize("kind", KINDS)
def test_valid_data_of_every_kind_are_accepted(kind: str) -> None:
    check_data(KINDS[kind].load(), KINDS[kind].SPEC)


def test_integers_are_numbers() -> None:
    check_data(with_inputs(DATA.inputs.round().clip(lower=1).astype(int)), petals.SPEC)


def test_values_on_the_edge_of_the_range_are_accepted() -> None:
    check_data(with_value(3, "petal_width", 0.1), petals.SPEC)
    check_data(with_value(3, "petal_width", 30.0), petals.SPEC)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "a value is missing"),
        (float("inf"), "the number is infinite, or too large"),
        (-1.5, "-1.5 cm is outside [0.1, 30]"),
        (0.0, "0 cm is outside [0.1, 30]"),
        (30.5, "30.5 cm is outside [0.1, 30]"),
        ("wide", "'wide' is not a number"),
        ("3.5", "'3.5' is not a number"),
        (True, "true is not a number"),
        (None, "a value is missing"),
        (pd.Timestamp("2026-01-31"), "Timestamp('2026-01-31 00:00:00') is not a number"),
    ],
)
@pytest.mark.parametrize(("row", "column"), [(0, "sepal_length"), (149, "petal_width")])
def test_a_bad_value_is_refused_with_its_row_and_column(
    row: int, column: str, value: Any, reason: str
) -> None:
    message = refusal(with_value(row, column, value))
    assert message == f"flowers breaks the contract of petals: row {row}, {column}: {reason}"


@pytest.mark.parametrize(
    ("kind", "column", "value", "reason"),
    [
        ("regression", "area", 4.0, "area: 4 m² is outside [5, 500]"),
        ("regression", "area", "big", "area: 'big' is not a number"),
        ("regression", "furnished", None, "furnished: a value is missing"),
        ("regression", "furnished", "half", "furnished: 'half' is not one of false, true"),
        ("categories", "plan", "gold", "plan: 'gold' is not one of basic, plus"),
        ("categories", "months", None, "months: a value is missing"),
        ("tensor", "image", np.zeros((4, 3)), "image: expected 3 × 4 numbers, got 4 × 3"),
        ("tensor", "image", np.full((3, 4), 17.0), "image: 17 is outside [0, 16]"),
        ("tensor", "image", np.full((3, 4), np.nan), "image: nan is outside [0, 16]"),
        ("tensor", "image", None, "image: expected 3 × 4 numbers, got a single value"),
        ("text", "review", 7, "review: 7 is not text"),
        ("text", "review", None, "review: a value is missing"),
        (
            "text",
            "review",
            "x" * 201,
            "review: the text has 201 characters, at most 200 are allowed",
        ),
    ],
)
def test_a_bad_value_of_every_kind_of_input_is_refused(
    kind: str, column: str, value: Any, reason: str
) -> None:
    model = KINDS[kind]
    message = refusal(with_value(7, column, value, model.load()), model.SPEC)
    assert message == f"flowers breaks the contract of {model.SPEC.name}: row 7, {reason}"


def test_a_missing_or_unseen_value_is_accepted_if_the_contract_allows_it() -> None:
    model = KINDS["regression"]
    for column, value in (("area", None), ("district", None), ("district", "south")):
        check_data(with_value(7, column, value, model.load()), model.SPEC)


@pytest.mark.parametrize("label", ["rose", "Setosa", "", 0, None])
def test_an_unknown_class_is_refused_with_its_row(label: Any) -> None:
    message = refusal(with_target(77, label))
    assert message == (
        f"flowers breaks the contract of petals: "
        f"row 77, species: {label!r} is not one of the classes"
    )


def test_a_class_that_is_not_a_number_is_refused_with_its_row() -> None:
    assert "row 77, species: nan is not one of the classes" in refusal(with_target(77, np.nan))


def test_a_class_without_rows_is_refused_by_name() -> None:
    without = DATA.take(np.flatnonzero(DATA.target != "versicolor"))
    assert refusal(without) == (
        "petals breaks the contract of petals: no row has the class 'versicolor'"
    )


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, None, "dear", "950"])
def test_a_quantity_that_is_not_finite_is_refused_with_its_row(value: Any) -> None:
    model = KINDS["regression"]
    message = refusal(with_target(7, value, model.load()), model.SPEC)
    assert message == (
        f"flowers breaks the contract of rents: row 7, rent: {value!r} is not a finite number"
    )


def test_integers_are_a_quantity() -> None:
    model, dataset = KINDS["regression"], KINDS["regression"].load()
    whole = Dataset("rents", "", dataset.inputs, dataset.target.round().astype(int))
    check_data(whole, model.SPEC)


@pytest.mark.parametrize("kind", [np.float32, np.float64, np.int16])
def test_numpy_numbers_in_an_object_column_are_a_quantity(kind: type) -> None:
    model, dataset = KINDS["regression"], KINDS["regression"].load()
    target = pd.Series([kind(round(value)) for value in dataset.target], dtype=object)
    check_data(Dataset("rents", "", dataset.inputs, target), model.SPEC)


@pytest.mark.parametrize("value", [np.float32("nan"), np.float32("inf")])
def test_a_numpy_number_that_is_not_finite_is_refused(value: np.float32) -> None:
    model = KINDS["regression"]
    message = refusal(with_target(7, value, model.load()), model.SPEC)
    assert f"row 7, rent: {value!r} is not a finite number" in message


def test_problems_of_inputs_and_target_are_reported_together() -> None:
    both = Dataset(
        "flowers", "", with_value(4, "sepal_width", -1.0).inputs, with_target(9, "rose").target
    )
    message = refusal(both)
    assert "row 4, sepal_width: -1 cm is outside [0.1, 30]; row 9, species: 'rose'" in message


def test_rows_are_counted_by_position_with_any_index() -> None:
    dataset = with_value(4, "sepal_width", -1.0).take(np.arange(3, 120))
    assert "row 1, sepal_width: " in refusal(dataset)
    target = with_target(4, "rose").take(np.arange(3, 120))
    assert "row 1, species: " in refusal(target)


def test_the_first_three_problems_are_shown_and_the_rest_counted() -> None:
    inputs = DATA.inputs.copy()
    inputs.iloc[0, 0] *= -1
    renamed = Dataset("flowers", "", inputs, DATA.target.str.upper())
    message = refusal(renamed)
    assert message.count("row ") == 3
    assert "row 0, sepal_length: " in message
    assert "row 0, species: 'SETOSA'" in message and "row 1, species: 'SETOSA'" in message
    assert message.endswith(" and 148 more")


@pytest.mark.parametrize(
    "columns",
    [COLUMNS[:3], COLUMNS[::-1], [], ["sepal length", *COLUMNS[1:]], [*COLUMNS, COLUMNS[0]]],
    ids=["missing", "reordered", "none", "renamed", "twice"],
)
def test_wrong_columns_are_refused_with_both_lists(columns: list[str]) -> None:
    inputs = pd.DataFrame(np.ones((150, len(columns))), columns=columns)
    message = refusal(with_inputs(inputs))
    assert f"flowers has the columns {format_names(columns)}; " in message
    assert message.endswith(f"the contract of petals has {', '.join(COLUMNS)}")


def test_an_extra_column_is_refused_by_name() -> None:
    assert ", petal_width, colour; " in refusal(with_inputs(DATA.inputs.assign(colour=1.0)))


def test_data_without_rows_are_refused() -> None:
    assert refusal(DATA.take(np.arange(0))) == "petals has no rows"
