"""Predictions as JSON objects equal dictionaries that are built one value at a time."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from application.inference.protocols.responses import ResponseBuilder
from application.ports.recorder import PredictionResult
from domain.contract import Classes, ModelSpec, Number, Quantity

INPUTS = (Number("x", "", 0, 1),)
RENT = ModelSpec("rent", INPUTS, Quantity("rent", "EUR"))
NAMES = [
    ("setosa", "versicolor", "virginica"),
    ("setosa-x", "1", "two words", 'a "quoted" one', "ä"),
    ("class", "None", "__init__", "field_0", "field_1"),
    ("predictions", "row", "confidence"),
    ("only one",),
]
PROBABILITIES = st.floats(0, 1, width=32)


def objects_of(spec: ModelSpec, predictions: np.ndarray) -> Any:
    """The objects, encoded and decoded as JSON."""
    rows = np.zeros((len(predictions), 1), np.float32)
    result = PredictionResult("a", 0.0, rows, predictions, 0.001)
    return msgspec.json.decode(msgspec.json.encode(ResponseBuilder(spec).predictions(result)))


def classes(names: tuple[str, ...], predictions: np.ndarray) -> list[dict[str, Any]]:
    """The dictionaries of a classifier, one value at a time."""
    return [
        {
            "prediction": names[int(np.argmax(outputs))],
            "prediction_id": int(np.argmax(outputs)),
            "confidence": float(outputs[np.argmax(outputs)]),
            "probabilities": {name: float(p) for name, p in zip(names, outputs, strict=True)},
            "row": row,
        }
        for row, outputs in enumerate(predictions)
    ]


@pytest.mark.parametrize("names", NAMES)
@given(data=st.data())
def test_classes_of_any_name_have_their_probabilities(
    names: tuple[str, ...], data: st.DataObject
) -> None:
    shape = st.tuples(st.integers(1, 5), st.just(len(names)))
    predictions = data.draw(arrays.arrays(np.float32, shape, elements=PROBABILITIES))
    objects = objects_of(ModelSpec("m", INPUTS, Classes(names)), predictions)
    expected = classes(names, predictions)
    assert objects == expected
    assert [list(item) for item in objects] == [list(item) for item in expected]
    assert all(list(item["probabilities"]) == list(names) for item in objects)


@given(
    arrays.arrays(
        np.float32,
        st.tuples(st.integers(1, 5), st.just(3)),
        elements=st.floats(-1e6, 1e6, width=32),
    )
)
def test_values_have_their_interval(predictions: np.ndarray) -> None:
    assert objects_of(RENT, predictions) == [
        {"prediction": float(value), "lower": float(low), "upper": float(high), "row": row}
        for row, (value, low, high) in enumerate(predictions)
    ]


def test_of_equal_probabilities_the_first_class_is_predicted_as_in_the_log() -> None:
    spec = ModelSpec("m", INPUTS, Classes(("a", "b", "c")))
    (found,) = objects_of(spec, np.array([[0.2, 0.4, 0.4]], np.float32))
    assert (found["prediction"], found["prediction_id"]) == ("b", 1)


@pytest.mark.parametrize("threshold", [0.1, 0.3, 0.7, 0.9])
@pytest.mark.parametrize("positive", ["a", "b"])
def test_a_threshold_decides_as_the_contract_does_and_confidence_is_of_the_predicted_class(
    positive: str, threshold: float
) -> None:
    output = Classes(("a", "b"), positive=positive, threshold=threshold)
    shares = np.linspace(0, 1, 11, dtype=np.float32)
    predictions = np.column_stack([1 - shares, shares])
    objects = objects_of(ModelSpec("m", INPUTS, output), predictions)
    codes = output.decide(predictions).tolist()
    assert 0 < sum(codes) < len(codes)
    assert [item["prediction_id"] for item in objects] == codes
    assert [item["prediction"] for item in objects] == ["ab"[code] for code in codes]
    assert [item["confidence"] for item in objects] == [
        float(row[code]) for row, code in zip(predictions, codes)
    ]


@pytest.mark.parametrize("spec", [RENT, ModelSpec("m", INPUTS, Classes(NAMES[1]))])
def test_predictions_of_rows_with_an_id_have_it_as_it_was_sent(spec: ModelSpec) -> None:
    predictions = np.full((4, len(spec.output_columns)), 0.25, np.float32)
    plain = objects_of(spec, predictions)
    ids: list[Any] = ['訂單 "1"', 2**63 - 1, None, 17.0]
    result = PredictionResult("a", 0.0, np.zeros((4, 1)), predictions, 0.001, ids)
    found = msgspec.json.decode(msgspec.json.encode(ResponseBuilder(spec).predictions(result)))
    assert [item.pop("id", None) for item in found] == ids
    assert found == plain
