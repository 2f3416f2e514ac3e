"""Batches of a table: predictions, rows without one and why, and the added columns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from application.inference.scoring import (
    BATCH_ROWS,
    check_columns,
    prediction_columns,
    prediction_values,
    rows_at_once,
    score,
)
from domain.contract import (
    Audio,
    Category,
    Classes,
    ModelSpec,
    Number,
    Quantity,
    Tensor,
    Text,
    Transcript,
)
from domain.errors import ContractError, DataError, InputError
from tests import petals
from tests.fakes import SETOSA, VERSICOLOR, VIRGINICA, FakeClassifier

SPECIES = Classes(("let", "sold"))
FLAT = ModelSpec(
    "flat",
    (
        Number("area", "m²", 5, 500),
        Number("rooms", "", 1, 20, nullable=True),
        Category("heating", ("gas", "oil"), nullable=True),
        Tensor("plan", (2, 2), 0, 9),
    ),
    Quantity("rent", "EUR"),
)
PLAN = [[0, 1], [2, 3]]


def flowers(*rows: tuple[float, ...]) -> dict[str, Any]:
    """Rows of petals as columns."""
    return dict(zip(petals.SPEC.input_names, np.array(rows).T, strict=True))


def mean_of(rows: np.ndarray) -> np.ndarray:
    """A regression model: float32 of shape (n_rows, 3)."""
    return np.repeat(np.nan_to_num(rows).mean(axis=1, keepdims=True), 3, axis=1)


def test_a_batch_is_predicted_with_one_call() -> None:
    model = FakeClassifier()
    scored = score(petals.SPEC, model, flowers(SETOSA, VERSICOLOR, VIRGINICA), 3)
    assert scored.kept.tolist() == [0, 1, 2]
    assert scored.predictions.argmax(axis=1).tolist() == [0, 1, 2]
    assert not scored.reasons
    assert len(model.calls) == 1


def test_bad_rows_get_every_reason_and_the_others_are_predicted() -> None:
    columns = flowers(VIRGINICA, SETOSA, VERSICOLOR, SETOSA)
    columns["sepal_length"][1], columns["petal_width"][1] = 99, np.nan
    columns["petal_width"][3] = np.inf
    scored = score(petals.SPEC, FakeClassifier(), columns, 4)
    assert scored.kept.tolist() == [0, 2]
    assert scored.predictions.argmax(axis=1).tolist() == [2, 1]
    assert scored.reasons == {
        1: "sepal_length: 99 cm is outside [0.1, 30]; petal_width: a value is missing",
        3: "petal_width: the number is infinite, or too large",
    }


def test_a_model_is_not_called_if_every_row_is_bad() -> None:
    model = FakeClassifier()
    scored = score(petals.SPEC, model, flowers((0.0,) * 4, (99.0,) * 4), 2)
    assert (scored.kept.size, scored.predictions.shape, len(scored.reasons)) == (0, (0, 3), 2)
    assert not model.calls


def test_an_input_that_may_be_missing_may_be_left_out() -> None:
    scored = score(FLAT, mean_of, {"area": [60, 70], "plan": [PLAN, PLAN]}, 2)
    assert scored.kept.tolist() == [0, 1]


def test_exactly_the_rows_that_the_contract_refuses_alone_are_bad() -> None:
    odd: dict[str, list[Any]] = {
        "area": [60, 4, "60", None, True, 10**400, float("nan"), 500],
        "rooms": [None, 3, 21, float("inf"), 2.5],
        "heating": ["gas", "wood", None, ["gas"], "oil", "gas", "oil"],
        "plan": [PLAN, PLAN, [[0, 1], [2]], [[0, 1], [2, 10]], None, [[0, True], [2, 3]], PLAN],
    }
    rows = 700  # of each kind of fault in several places; the columns have no period in common
    columns = {
        name: [values[row % len(values)] for row in range(rows)] for name, values in odd.items()
    }
    expected = {}
    for row in range(rows):
        reasons = []
        for item in FLAT.inputs:
            try:
                item.encode([columns[item.name][row]])
            except InputError as error:
                reasons.append(str(error).removeprefix("row 0, "))
        if reasons:
            expected[row] = "; ".join(reasons)
    scored = score(FLAT, mean_of, columns, rows)
    assert scored.reasons == expected
    assert sorted([*scored.kept, *scored.reasons]) == list(range(rows))
    assert 0 < len(scored.kept) < rows


def test_a_table_without_a_needed_column_cannot_be_scored() -> None:
    with pytest.raises(DataError, match="lacks plan, which flat needs; it has area, street"):
        check_columns(FLAT, ["area", "street"])
    check_columns(FLAT, ["plan", "street", "area"])


def test_two_columns_of_one_name_cannot_be_scored() -> None:
    with pytest.raises(DataError, match="several columns of the input have the name note$"):
        check_columns(FLAT, ["plan", "note", "area", "note"])


def test_recordings_cannot_be_scored() -> None:
    speech = ModelSpec("speech", (Audio("audio", 16_000, 30),), Transcript())
    with pytest.raises(ContractError, match="speech takes recordings and cannot score a table"):
        check_columns(speech, ["audio"])


def test_a_class_becomes_its_word_and_a_probability_of_each_class() -> None:
    assert prediction_columns(SPECIES_SPEC, ["area"]) == [
        "prediction",
        "probability_let",
        "probability_sold",
    ]
    predictions = np.array([[0.25, 0.75], [0.5, 0.5]], np.float32)
    words, *probabilities = prediction_values(SPECIES_SPEC, predictions)
    assert words.tolist() == ["sold", "let"]
    assert np.array_equal(np.transpose(probabilities), predictions)


def test_a_value_becomes_a_number_and_its_interval() -> None:
    assert prediction_columns(FLAT, ["area"]) == ["prediction", "lower", "upper"]
    values = prediction_values(FLAT, np.array([[2, 1, 3]], np.float32))
    assert [value.tolist() for value in values] == [[2], [1], [3]]


def test_all_predictions_get_another_name_if_one_would_take_that_of_a_column() -> None:
    assert prediction_columns(FLAT, ["upper"]) == [
        "predicted_prediction",
        "predicted_lower",
        "predicted_upper",
    ]
    twice = prediction_columns(FLAT, ["prediction", "predicted_lower"])
    assert twice[0] == "predicted_predicted_prediction"


SPECIES_SPEC = ModelSpec("flats", (Number("area", "m²", 5, 500),), SPECIES)


@pytest.mark.parametrize(
    ("item", "rows"),
    [
        (Number("area", "m²", 5, 500), BATCH_ROWS),
        (Tensor("image", (28, 28), 0, 1), 5_349),
        (Text("review"), 1_677),
        (Tensor("film", (4_000, 4_000), 0, 1), 1),
    ],
)
def test_wide_rows_make_small_batches(item: Any, rows: int) -> None:
    assert rows_at_once(ModelSpec("any", (item,), SPECIES)) == rows


def test_a_class_follows_the_decision_threshold() -> None:
    spec = ModelSpec("flats", SPECIES_SPEC.inputs, Classes(("let", "sold"), threshold=0.2))
    predictions = np.array([[0.75, 0.25], [0.85, 0.15]], np.float32)
    words, *probabilities = prediction_values(spec, predictions)
    assert words.tolist() == ["sold", "let"]
    assert np.array_equal(np.transpose(probabilities), predictions)
