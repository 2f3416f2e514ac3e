"""The wine model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.datasets import load_wine

pytest.importorskip("tensorflow", reason="make install EXTRAS=tensorflow")
# pylint: disable=wrong-import-position
from domain.contract import Number
from domain.models import wine

PARAMETERS: dict[str, Any] = {
    "hidden": 16,
    "dropout": 0.1,
    "learning_rate": 0.02,
    "batch_size": 16,
    "max_epochs": 12,
    "patience": 5,
    "random_state": 42,
}
DATA = wine.load()
ROWS, LABELS = DATA.encoded(wine.SPEC), DATA.encoded_target(wine.SPEC)


def test_the_data_match_scikit_learn() -> None:
    reference = load_wine()
    assert DATA.inputs.to_numpy() == pytest.approx(reference.data, rel=0, abs=1e-9)
    assert (LABELS == reference.target).all()
    assert "Forina et al., 1988" in DATA.source
    assert not DATA.inputs.isna().to_numpy().any()


def test_the_data_have_178_wines_of_three_growers() -> None:
    assert ROWS.shape == (178, 13)
    assert np.bincount(LABELS).tolist() == [59, 71, 48]


def test_the_columns_are_in_the_order_of_the_source() -> None:
    means = dict(zip(wine.SPEC.input_names, ROWS.mean(axis=0)))
    assert means["alcohol"] == pytest.approx(13.0, abs=0.05)
    assert means["od280_od315"] == pytest.approx(2.61, abs=0.05)
    assert means["proline"] == pytest.approx(746, abs=1)


def test_ranges_leave_room_around_the_data() -> None:
    numbers = [item for item in wine.SPEC.inputs if isinstance(item, Number)]
    low = np.array([item.minimum for item in numbers])
    high = np.array([item.maximum for item in numbers])
    assert (low < ROWS.min(axis=0)).all() and (ROWS.max(axis=0) < high).all()


def test_inputs_are_scaled_inside_the_network() -> None:
    targets = np.eye(3, dtype=np.float32)[LABELS]
    scaling = wine.network(ROWS, targets, hidden=4, dropout=0.0, learning_rate=0.01).layers[0]
    scaled = np.asarray(scaling(ROWS))
    np.testing.assert_allclose(scaled.mean(axis=0), 0, atol=1e-4)
    np.testing.assert_allclose(scaled.std(axis=0), 1, atol=1e-4)


def test_the_network_learns_the_growers() -> None:
    training = np.arange(len(ROWS)) % 4 > 0
    estimator = wine.build(**PARAMETERS).fit(ROWS[training], LABELS[training])
    predictions = estimator.predict_proba(ROWS[~training])
    assert (predictions.argmax(axis=1) == LABELS[~training]).mean() > 0.85
    np.testing.assert_allclose(predictions.sum(axis=1), 1, atol=1e-6)
