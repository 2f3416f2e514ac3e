"""Answers as JSON objects are the dictionaries that they were before."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from application.inference.protocols.answers import ResponseBuilder
from application.ports.recorder import PredictionResult
from domain.contract import Classes, ModelSpec, Number, Quantity

INPUTS = (Number("x", "", 0, 1),)
RENT = ModelSpec("rent", INPUTS, Quantity("rent", "EUR"))
NAMES = [
    ("setosa", "versicolor", "virginica"),
    ("setosa-x", "1", "two words", 'a "quoted" one', "ä"),
    ("class", "None", "__init__", "field_0", "field_1"),
    ("prediction", "row", "confidence"),
    ("only one",),
]
PROBABILITIES = st.floats(0, 1, width=32)


def answered(answers: np.ndarray) -> PredictionResult:
    """A request with these answers."""
    return PredictionResult("a", 0.0, np.zeros((len(answers), 1), np.float32), answers, 0.001)


def presented(spec: ModelSpec, answers: np.ndarray) -> Any:
    """The objects, as they are read from JSON."""
    objects = ResponseBuilder(spec).predictions(answered(answers))
    return msgspec.json.decode(msgspec.json.encode(objects))


def classes(names: tuple[str, ...], answers: np.ndarray) -> list[dict[str, Any]]:
    """The dictionaries of classes, one value at a time."""
    return [
        {
            "prediction": names[int(np.argmax(answer))],
            "prediction_id": int(np.argmax(answer)),
            "confidence": float(answer[np.argmax(answer)]),
            "probabilities": {name: float(p) for name, p in zip(names, answer, strict=True)},
            "row": row,
        }
        for row, answer in enumerate(answers)
    ]


@pytest.mark.parametrize("names", NAMES)
@given(data=st.data())
def test_classes_of_any_name_are_told_with_their_probabilities(
    names: tuple[str, ...], data: st.DataObject
) -> None:
    shape = st.tuples(st.integers(1, 5), st.just(len(names)))
    answers = data.draw(arrays.arrays(np.float32, shape, elements=PROBABILITIES))
    told = presented(ModelSpec("m", INPUTS, Classes(names)), answers)
    assert told == classes(names, answers)
    assert [list(item) for item in told] == [list(item) for item in classes(names, answers)]
    assert all(list(item["probabilities"]) == list(names) for item in told)


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.just(3)),
        elements=st.floats(-1e6, 1e6, width=32),
    )
)
def test_values_are_told_with_their_interval(answers: np.ndarray) -> None:
    assert presented(RENT, answers) == [
        {"prediction": float(value), "lower": float(low), "upper": float(high), "row": row}
        for row, (value, low, high) in enumerate(answers)
    ]


def test_of_equal_probabilities_the_first_class_is_told_as_in_the_log() -> None:
    spec = ModelSpec("m", INPUTS, Classes(("a", "b", "c")))
    (told,) = presented(spec, np.array([[0.2, 0.4, 0.4]], np.float32))
    assert (told["prediction"], told["prediction_id"]) == ("b", 1)
