"""Predictions of the reference model."""

from __future__ import annotations

import numpy as np

from domain.contract import Classes, ModelSpec, Number, Quantity, Text
from domain.evaluation.reference import reference_predictions

INPUTS = (Number("x", "", -9, 9), Number("y", "", -9, 9))
ROWS = np.random.default_rng(0).normal(size=(600, 2)).astype(np.float32)


def test_classes_get_probabilities_also_if_one_does_not_occur() -> None:
    spec = ModelSpec("m", INPUTS, Classes(("a", "b", "c")))
    target = np.where(ROWS[:, 0] > 0, 2, 0)
    predictions = reference_predictions(spec, ROWS[:400], target[:400], ROWS[400:])
    assert predictions is not None and predictions.shape == (200, 3)
    assert np.allclose(predictions.sum(axis=1), 1)
    assert (predictions.argmax(axis=1) == target[400:]).mean() > 0.95
    assert (predictions[:, 1] == 0).all()


def test_a_quantity_gets_its_value_three_times() -> None:
    spec, target = ModelSpec("m", INPUTS, Quantity("q")), ROWS @ [3.0, 1.0]
    predictions = reference_predictions(spec, ROWS[:400], target[:400], ROWS[400:])
    assert predictions is not None and (predictions == predictions[:, :1]).all()
    assert np.corrcoef(predictions[:, 0], target[400:])[0, 1] > 0.9


def test_texts_and_wide_rows_have_no_reference() -> None:
    texts = ModelSpec("m", (Text("t"),), Classes(("a", "b")))
    words = np.array([["a"], ["b"]], object)
    assert reference_predictions(texts, words, np.arange(2), words) is None
    wide = np.zeros((20, 501), np.float32)
    spec = ModelSpec("m", INPUTS, Classes(("a", "b")))
    assert reference_predictions(spec, wide, np.arange(20) % 2, wide) is None
