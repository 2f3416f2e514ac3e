"""Records of the prediction log."""

from __future__ import annotations

from dataclasses import FrozenInstanceError, replace

import pytest

from application.ports.prediction_log import PredictionBatch
from tests import fakes


def test_a_logged_prediction_cannot_be_changed() -> None:
    prediction = fakes.logged_prediction("a", fakes.SETOSA)
    with pytest.raises(FrozenInstanceError):
        setattr(prediction, "predicted", 2)


@pytest.mark.parametrize("confidence", [0.8, None])
def test_joined_batches_have_every_row_in_order(confidence: float | None) -> None:
    predictions = [
        replace(fakes.logged_prediction(name, fakes.SETOSA, row=row), confidence=confidence)
        for name, row in (("a", 0), ("a", 1), ("b", 0), ("c", 0))
    ]
    joined = PredictionBatch.join(
        [fakes.batch_of(*predictions[:3]), fakes.batch_of(*predictions[3:])]
    )
    assert [joined.prediction(position) for position in range(4)] == predictions
    assert list(joined.request_ids) == ["a", "b", "c"]


def test_joined_batches_keep_the_callers_of_their_requests() -> None:
    known = replace(fakes.batch_of(fakes.logged_prediction("a", fakes.SETOSA)), callers=["shop"])
    unknown = fakes.batch_of(*(fakes.logged_prediction(name, fakes.SETOSA) for name in "bc"))
    joined = PredictionBatch.join([unknown, known, unknown])
    assert joined.callers == [None, None, "shop", None, None]
    assert not PredictionBatch.join([unknown, unknown]).callers


def test_joined_batches_keep_the_ids_of_their_rows() -> None:
    rows = [fakes.logged_prediction("a", fakes.SETOSA, row=row) for row in range(2)]
    batches = [fakes.batch_of(*rows, ids={1: "x"}), fakes.batch_of(rows[0]), fakes.batch_of(*rows)]
    joined = PredictionBatch.join([*batches, fakes.batch_of(rows[0], ids={0: "y"})])
    assert joined.ids == {1: "x", 5: "y"}
