"""Data that break the contract are refused with the row and the column."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import pytest

from application.training.schema import check_data
from domain.data.dataset import Dataset
from domain.errors import DataError
from domain.models import catalog, iris

DATA = iris.load()
COLUMNS = list(iris.SPEC.feature_names)


def with_value(row: int, column: str, value: Any) -> Dataset:
    """The iris data with one value changed."""
    inputs = DATA.inputs.astype(object)
    inputs.loc[row, column] = value
    return Dataset("flowers", "", inputs, DATA.labels)


def with_label(row: int, label: Any) -> Dataset:
    """The iris data with one label changed."""
    labels = DATA.labels.astype(object)
    labels.loc[row] = label
    return Dataset("flowers", "", DATA.inputs, labels)


def with_inputs(inputs: pd.DataFrame) -> Dataset:
    """The iris data with other inputs."""
    return Dataset("flowers", "", inputs, DATA.labels)


def refusal(dataset: Dataset) -> str:
    """The message with which the data are refused."""
    with pytest.raises(DataError) as refused:
        check_data(dataset, iris.SPEC)
    return str(refused.value)


@pytest.mark.parametrize("name", catalog.names())
def test_the_data_of_every_model_keep_its_contract(name: str) -> None:
    model = catalog.get(name)
    check_data(model.load(), model.SPEC)


def test_whole_numbers_are_numbers() -> None:
    check_data(with_inputs(DATA.inputs.round().clip(lower=1).astype(int)), iris.SPEC)


def test_values_on_the_edge_of_the_range_are_accepted() -> None:
    check_data(with_value(3, "petal_width", 0.1), iris.SPEC)
    check_data(with_value(3, "petal_width", 30.0), iris.SPEC)


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "finite number (got nan)"),
        (float("inf"), "finite number (got inf)"),
        (-1.5, "greater than or equal to 0.1 (got -1.5)"),
        (0.0, "greater than or equal to 0.1 (got 0.0)"),
        (30.5, "less than or equal to 30 (got 30.5)"),
        ("wide", "valid number (got 'wide')"),
        ("3.5", "valid number (got '3.5')"),
        (True, "valid number (got True)"),
        (None, "valid number (got None)"),
    ],
)
@pytest.mark.parametrize(("row", "column"), [(0, "sepal_length"), (149, "petal_width")])
def test_a_bad_value_is_refused_with_its_row_and_column(
    row: int, column: str, value: Any, reason: str
) -> None:
    message = refusal(with_value(row, column, value))
    assert message.startswith(f"flowers breaks the contract of iris: row {row}.{column}: ")
    assert message.endswith(reason)


@pytest.mark.parametrize("label", ["rose", "Setosa", "", 0, float("nan")])
def test_an_unknown_label_is_refused_with_its_row_and_the_classes(label: Any) -> None:
    message = refusal(with_label(77, label))
    assert "row 77.label: " in message
    assert "'setosa', 'versicolor' or 'virginica'" in message
    assert f"(got {label!r})" in message


def test_rows_are_counted_from_the_start_whatever_their_index() -> None:
    dataset = with_value(4, "sepal_width", -1.0).take(np.arange(3, 20))
    assert "row 1.sepal_width: " in refusal(dataset)


def test_the_first_three_problems_are_shown_and_the_rest_counted() -> None:
    message = refusal(with_inputs(-DATA.inputs))
    assert message.count("row ") == 3
    assert "row 0.sepal_length: " in message and "row 0.petal_length: " in message
    assert message.endswith(" and 597 more")


@pytest.mark.parametrize(
    "columns",
    [COLUMNS[:3], COLUMNS[::-1], [], ["sepal length", *COLUMNS[1:]], [*COLUMNS, COLUMNS[0]]],
    ids=["missing", "reordered", "none", "renamed", "twice"],
)
def test_other_columns_are_refused_with_both_lists(columns: list[str]) -> None:
    inputs = pd.DataFrame(np.ones((150, len(columns))), columns=columns)
    message = refusal(with_inputs(inputs))
    assert f"flowers has the columns {', '.join(columns)}; " in message
    assert message.endswith(f"the contract of iris says {', '.join(COLUMNS)}")


def test_an_extra_column_is_refused_by_its_name() -> None:
    assert ", petal_width, colour; " in refusal(with_inputs(DATA.inputs.assign(colour=1.0)))


def test_data_without_rows_are_refused() -> None:
    assert refusal(DATA.take(np.arange(0))) == "iris has no rows"
