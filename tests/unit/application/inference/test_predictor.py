"""Predicting for a request, and replaying golden requests."""

from __future__ import annotations

import time
from typing import Any

import numpy as np
import pytest

from application.inference.predictor import (
    MAX_ROWS,
    NullRecorder,
    PredictionResult,
    Predictor,
    check_golden,
    replay_golden,
)
from domain.contract import Classes, ModelSpec, Number, Quantity, Tensor
from domain.errors import InputError, PackageError, TooManyRowsError
from tests import petals
from tests.fakes import SETOSA, VERSICOLOR, VIRGINICA, FakeClassifier, FakeRecorder

ROWS = [list(VIRGINICA), list(SETOSA), list(VERSICOLOR)]
RENT = ModelSpec("rent", (Number("area", "m²", 5, 500, nullable=True),), Quantity("rent", "EUR"))


class Setup:
    """A predictor with its model and its recorder."""

    def __init__(self, model: FakeClassifier | None = None, max_rows: int = MAX_ROWS) -> None:
        self.model = model or FakeClassifier()
        self.recorder = FakeRecorder()
        self.predictor = Predictor(petals.SPEC, self.model, self.recorder, max_rows)


def test_each_row_gets_the_probability_of_every_class() -> None:
    result = Setup().predictor.predict("a", ROWS)
    assert result.predictions.shape == (3, 3)
    assert result.predictions.argmax(axis=1).tolist() == [2, 0, 1]
    assert result.predictions.max(axis=1) == pytest.approx([0.8, 0.8, 0.8])
    assert result.request_id == "a"


def test_a_request_is_one_call_of_the_model_and_one_recorded_result() -> None:
    setup = Setup()
    for rows in ([list(SETOSA)], ROWS, ROWS * 100):
        setup.predictor.predict("a", rows)
    assert [len(rows) for rows in setup.model.calls] == [1, 3, 300]
    assert [len(result.rows) for result in setup.recorder.results] == [1, 3, 300]


def test_what_is_recorded_is_what_was_returned() -> None:
    setup = Setup()
    result = setup.predictor.predict("a", ROWS)
    assert setup.recorder.results == [result]


def test_the_model_gets_single_precision_in_c_order() -> None:
    setup = Setup()
    setup.predictor.predict("a", ROWS)
    (rows,) = setup.model.calls
    assert rows.dtype == np.float32 and rows.flags.c_contiguous
    assert (rows == np.array(ROWS, dtype=np.float32)).all()


def test_a_result_has_its_time_and_how_long_it_took() -> None:
    before = time.time()
    result = Setup().predictor.predict("a", ROWS)
    assert before <= result.at <= time.time()
    assert 0 < result.latency < 10


def test_the_same_rows_get_the_same_predictions_alone_and_together() -> None:
    rows = np.random.default_rng(0).uniform(0.1, 8, size=(50, 4)).tolist()
    predictor = Setup().predictor
    together = predictor.predict("a", rows).predictions.tolist()
    assert [predictor.predict("b", [row]).predictions[0].tolist() for row in rows] == together


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "there are no rows"),
        ([list(SETOSA), [1.0]], "row 1 has 1 value, expected 4"),
        ([[5.1, 3.5, float("nan"), 0.2]], "row 0, petal_length: a value is missing"),
        ([[5.1, 3.5, 99.0, 0.2]], "row 0, petal_length: 99 cm is outside"),
    ],
)
def test_rows_that_break_the_contract_reach_neither_the_model_nor_the_recorder(
    rows: list[list[float]], message: str
) -> None:
    setup = Setup()
    with pytest.raises(InputError, match=message):
        setup.predictor.predict("a", rows)
    assert not setup.model.calls
    assert not setup.recorder.results


def test_too_many_rows_are_refused_with_how_many_may_be_sent() -> None:
    setup = Setup(max_rows=3)
    setup.predictor.predict("a", ROWS)
    with pytest.raises(TooManyRowsError) as refused:
        setup.predictor.predict("b", [*ROWS, list(SETOSA)])
    assert str(refused.value) == "4 rows are too many: send at most 3"
    assert len(setup.model.calls) == 1


def test_as_many_rows_as_allowed_are_predicted_by_default() -> None:
    rows = [list(SETOSA)] * MAX_ROWS
    assert len(Setup().predictor.predict("a", rows).predictions) == MAX_ROWS
    with pytest.raises(TooManyRowsError, match=f"{MAX_ROWS + 1} rows are too many"):
        Setup().predictor.predict("a", [*rows, list(SETOSA)])


def test_a_request_that_the_model_fails_on_is_not_recorded() -> None:
    setup = Setup(FakeClassifier(RuntimeError("out of memory")))
    with pytest.raises(RuntimeError, match="out of memory"):
        setup.predictor.predict("a", ROWS)
    assert not setup.recorder.results


COLUMNS = dict(zip(petals.SPEC.input_names, zip(*ROWS)))


@pytest.mark.parametrize(
    "columns",
    [
        COLUMNS,
        {name: list(values) for name, values in COLUMNS.items()},
        {name: np.array(values) for name, values in COLUMNS.items()},
        {name: np.array(values, np.float32) for name, values in COLUMNS.items()},
        dict(reversed(COLUMNS.items())),
        {**COLUMNS, "no input": range(9)},
    ],
    ids=["tuples", "lists", "arrays", "arrays of float32", "in another order", "with others"],
)
def test_columns_are_predicted_as_rows_are(columns: dict[str, Any]) -> None:
    setup = Setup()
    by_rows = setup.predictor.predict("a", ROWS)
    by_columns = setup.predictor.predict_columns("b", columns)
    assert by_columns.rows.tobytes() == by_rows.rows.tobytes()
    assert by_columns.predictions.tolist() == by_rows.predictions.tolist()
    assert setup.recorder.results == [by_rows, by_columns]
    assert [len(rows) for rows in setup.model.calls] == [3, 3]


def test_values_of_a_tensor_may_be_one_array() -> None:
    spec = ModelSpec("images", (Tensor("image", (2, 3), 0, 16),), Classes(("dark", "light")))
    images = np.arange(12.0).reshape(2, 2, 3)

    def predict(rows: np.ndarray) -> np.ndarray:
        return np.full((len(rows), 2), 0.5, np.float32)

    result = Predictor(spec, predict, FakeRecorder()).predict_columns("a", {"image": images})
    assert result.rows.tolist() == images.reshape(2, 6).tolist()


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            {},
            "the inputs sepal_length, sepal_width, petal_length, petal_width are missing: expected",
        ),
        ({"sepal_length": [5.1]}, "the inputs sepal_width, petal_length, petal_width are missing"),
        ({**COLUMNS, "petal_width": [0.2]}, "the columns differ in length"),
        ({**COLUMNS, "petal_width": [0.2, 99, 0.2]}, "row 1, petal_width: 99 cm is outside"),
        ({**COLUMNS, "petal_width": [0.2, "a", 0.2]}, "row 1, petal_width: 'a' is not a number"),
        (dict.fromkeys(COLUMNS, ()), "there are no rows: send at least one"),
        (dict.fromkeys(COLUMNS, np.empty(0)), "there are no rows: send at least one"),
    ],
)
def test_columns_that_break_the_contract_reach_neither_model_nor_recorder(
    columns: dict[str, Any], message: str
) -> None:
    setup = Setup()
    with pytest.raises(InputError, match=message):
        setup.predictor.predict_columns("a", columns)
    assert not setup.model.calls
    assert not setup.recorder.results


def test_too_many_values_of_an_input_are_too_many_rows_whatever_they_are() -> None:
    setup = Setup(max_rows=3)
    setup.predictor.predict_columns("a", COLUMNS)
    with pytest.raises(TooManyRowsError, match="4 rows are too many: send at most 3"):
        setup.predictor.predict_columns("b", {**COLUMNS, "petal_width": ["x"] * 4})


def test_without_recording_predictions_are_the_same() -> None:
    result = Predictor(petals.SPEC, FakeClassifier(), NullRecorder()).predict("a", ROWS)
    assert isinstance(result, PredictionResult) and len(result.predictions) == 3


def estimate(rows: np.ndarray) -> np.ndarray:
    """Ten for each square metre, 200 if their number is missing, and ± 50."""
    middle = np.nan_to_num(rows * 10, nan=200)
    return np.concatenate([middle, middle - 50, middle + 50], axis=1).astype(np.float32)


def test_a_value_has_its_interval() -> None:
    recorder = FakeRecorder()
    result = Predictor(RENT, estimate, recorder).predict("a", [[30], [None]])
    assert result.predictions.tolist() == [[300, 250, 350], [200, 150, 250]]
    assert recorder.results == [result]


def golden(**changes: object) -> dict[str, object]:
    """Golden requests with the predictions of the fake."""
    predictions = FakeClassifier()(np.array(ROWS, dtype=np.float32)).tolist()
    return {"rows": ROWS, "answers": predictions, **changes}


def test_a_model_that_predicts_as_in_training_may_serve() -> None:
    model = FakeClassifier()
    replay_golden(petals.SPEC, model, golden())
    assert len(model.calls) == 1


def test_golden_requests_are_encoded_as_any_other() -> None:
    rows = [[30], [None]]
    recorded = estimate(np.array([[30], [np.nan]])).tolist()
    replay_golden(RENT, estimate, {"rows": rows, "answers": recorded})
    with pytest.raises(InputError, match="row 0, area: 4 m² is outside"):
        replay_golden(RENT, estimate, {"rows": [[4]], "answers": recorded[:1]})


@pytest.mark.parametrize("row", range(3))
@pytest.mark.parametrize("change", [2e-5, -2e-5, 0.5, float("nan")])
def test_a_model_with_another_prediction_for_one_golden_request_must_not_serve(
    row: int, change: float
) -> None:
    recorded = FakeClassifier()(np.array(ROWS, dtype=np.float32)).astype(float)
    recorded[row, 1] += change
    with pytest.raises(PackageError) as refused:
        replay_golden(petals.SPEC, FakeClassifier(), golden(answers=recorded.tolist()))
    assert f"differ by {abs(change):.1e}" in str(refused.value)
    assert "tolerance 1e-05" in str(refused.value)


def test_a_difference_of_rounding_does_not_keep_a_model_from_serving() -> None:
    recorded = FakeClassifier()(np.array(ROWS, dtype=np.float32)).astype(float) + 5e-6
    replay_golden(petals.SPEC, FakeClassifier(), golden(answers=recorded.tolist()))


@pytest.mark.parametrize("recorded", [[[0.5, 0.5]] * 3, [[0.1, 0.1, 0.8]], [], [[0.1], [0.2]]])
def test_predictions_of_another_shape_must_not_serve(recorded: list[list[float]]) -> None:
    with pytest.raises(PackageError, match="recorded in training was"):
        replay_golden(petals.SPEC, FakeClassifier(), golden(answers=recorded))


def test_values_may_differ_by_rounding_of_their_own_row() -> None:
    recorded = [[2000.0, 1950.0, 2050.0], [10.0, -40.0, 60.0]]  # the median is 1055
    almost = np.array(recorded) + 0.01
    check_golden(RENT, almost, recorded)
    with pytest.raises(PackageError, match="differ by 3.9e-05"):
        check_golden(RENT, np.array(recorded) + 0.041, recorded)


def test_ids_are_checked_with_the_rows_and_recorded_as_they_were_sent() -> None:
    setup = Setup()
    columns = dict(zip(petals.SPEC.input_names, zip(*ROWS)))
    ids = ["order-17", 18, None]
    setup.predictor.predict("a", ROWS, ids)
    setup.predictor.predict_columns("b", columns, ids)
    setup.predictor.predict("c", ROWS)
    assert [result.ids for result in setup.recorder.results] == [ids, ids, None]
    with pytest.raises(InputError, match="row 2, id: 0.5 is not an ID"):
        setup.predictor.predict("d", ROWS, [1, 2, 0.5])
    with pytest.raises(InputError, match="row 2, id: 0.5 is not an ID"):
        setup.predictor.predict_columns("d", columns, [1, 2, 0.5])
    assert len(setup.model.calls) == 3


def test_the_model_sees_clipped_numbers_and_the_recorder_those_that_were_sent() -> None:
    spec = ModelSpec("m", (Number("x", "", 0, 10, outside="clip"),), Quantity("q"))
    seen: list[list[list[float]]] = []

    def model(rows: np.ndarray) -> np.ndarray:
        seen.append(rows.tolist())
        return np.repeat(rows, 3, axis=1)

    recorder = FakeRecorder()
    predictor = Predictor(spec, model, recorder)
    predictor.predict("a", [[5], [12]])
    predictor.predict_columns("b", {"x": [-1.0]})
    assert seen == [[[5], [10]], [[0]]]
    assert [result.rows.tolist() for result in recorder.results] == [[[5], [12]], [[-1]]]
    assert [result.predictions[0, 0] for result in recorder.results] == [5, 0]
