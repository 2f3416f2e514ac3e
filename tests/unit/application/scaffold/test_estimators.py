"""The estimator of a new model suits its task, its inputs and its number of rows."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.machinery import ModuleSpec

import pytest

from application.scaffold import estimators
from application.scaffold.estimators import ESTIMATORS, MANY_ROWS, choose_estimator
from domain.contract import Classes, ModelSpec, Number, Output, Quantity, Text
from domain.errors import ConfigError, MissingExtraError

NUMBERS, WORDS = (Number("x", "", 0, 1),), (Text("x", 100),)
CLASSES, VALUES = Classes(("no", "yes")), Quantity("y")


@pytest.mark.parametrize(
    ("inputs", "output", "rows", "expected"),
    [
        (NUMBERS, CLASSES, MANY_ROWS - 1, "GradientBoostingClassifier"),
        (NUMBERS, VALUES, MANY_ROWS - 1, "GradientBoostingRegressor"),
        (NUMBERS, CLASSES, MANY_ROWS, "HistGradientBoostingClassifier"),
        (NUMBERS, VALUES, MANY_ROWS, "HistGradientBoostingRegressor"),
        (WORDS, CLASSES, MANY_ROWS, "LogisticRegression"),
        (WORDS, VALUES, MANY_ROWS, "Ridge"),
    ],
)
def test_the_number_of_rows_decides_by_default(
    inputs: Sequence[Number | Text], output: Classes | Quantity, rows: int, expected: str
) -> None:
    spec = ModelSpec("m", tuple(inputs), output)
    assert choose_estimator(spec, rows).class_of(spec) == expected


@pytest.mark.parametrize(
    ("name", "inputs", "output", "message"),
    [
        (
            "logistic",
            NUMBERS,
            VALUES,
            "logistic .* is not for a regression of a table: use .*ridge",
        ),
        ("ridge", NUMBERS, CLASSES, "ridge .* is not for a classification of a table: use .*logis"),
        ("xgboost", WORDS, CLASSES, "xgboost .* of a text: use logistic"),
        ("forest", NUMBERS, CLASSES, "forest .* of a table: use hist_gradient_boosting"),
    ],
)
def test_an_estimator_that_does_not_suit_is_refused_with_those_that_do(
    name: str, inputs: Sequence[Number | Text], output: Classes | Quantity, message: str
) -> None:
    with pytest.raises(ConfigError, match=f"^ESTIMATOR={message}"):
        choose_estimator(ModelSpec("m", tuple(inputs), output), 100, name)


@pytest.mark.parametrize("name", ["lightgbm", "xgboost", "catboost"])
def test_a_library_that_is_not_installed_is_refused_with_the_command(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def find(library: str) -> ModuleSpec | None:
        return None if library == name else ModuleSpec(library, None)

    monkeypatch.setattr(estimators, "find_spec", find)
    message = f"ESTIMATOR={name} needs {name}, which is not installed: make install EXTRAS={name}"
    with pytest.raises(MissingExtraError, match=message):
        choose_estimator(ModelSpec("m", NUMBERS, CLASSES), 100, name)
    choose_estimator(ModelSpec("m", NUMBERS, CLASSES), 100, "random_forest")


def test_every_estimator_is_for_classes_or_quantities() -> None:
    assert all(each.classifier or each.regressor for each in ESTIMATORS.values())


@pytest.mark.parametrize(
    ("output", "rows", "leaves"),
    [(CLASSES, 19_999, 15), (CLASSES, 20_000, 31), (VALUES, 19_999, 31), (VALUES, 20_000, 31)],
)
def test_trees_of_classes_are_smaller_where_rows_are_few(
    output: Output, rows: int, leaves: int
) -> None:
    spec = ModelSpec("a_model", NUMBERS, output)
    chosen = choose_estimator(spec, rows, "hist_gradient_boosting")
    assert chosen.parameters["max_leaf_nodes"] == leaves


@pytest.mark.parametrize(("rows", "rate"), [(999, 0.05), (1_000, 0.1)])
@pytest.mark.parametrize("output", [CLASSES, VALUES])
def test_gradient_boosting_learns_more_slowly_where_rows_are_few(
    output: Output, rows: int, rate: float
) -> None:
    chosen = choose_estimator(ModelSpec("a_model", NUMBERS, output), rows)
    assert chosen.parameters["learning_rate"] == rate
