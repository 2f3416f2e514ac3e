"""The digits model."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.datasets import load_digits

torch = pytest.importorskip("torch", reason="make install EXTRAS=torch")
pytest.importorskip("skorch", reason="make install EXTRAS=torch")
# pylint: disable=wrong-import-position
from domain.models import digits

PARAMETERS: dict[str, Any] = {
    "channels": 8,
    "hidden": 32,
    "dropout": 0.1,
    "learning_rate": 0.01,
    "batch_size": 64,
    "max_epochs": 6,
    "patience": 3,
    "random_state": 42,
}
DATA = digits.load()
ROWS, LABELS = DATA.encoded(digits.SPEC), DATA.encoded_target(digits.SPEC)


def test_the_data_match_scikit_learn() -> None:
    reference = load_digits()
    assert (ROWS == reference.data).all()
    assert (DATA.inputs["image"][0] == reference.images[0]).all()
    assert (LABELS == reference.target).all()
    assert "Alpaydin and Kaynak, 1998" in DATA.source
    assert not DATA.inputs.isna().to_numpy().any()


def test_the_data_have_1797_images_of_ten_digits() -> None:
    assert ROWS.shape == (1797, 64)
    assert np.bincount(LABELS).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_an_image_is_eight_rows_of_eight_pixels() -> None:
    (image,), *_ = DATA.rows()
    assert np.asarray(image).shape == (8, 8)
    assert (np.asarray(image, np.float32).reshape(-1) == ROWS[0]).all()


def test_the_network_gets_pixels_in_their_places() -> None:
    network = digits.DigitNetwork(4, 8, 0.0).eval()
    seen = []
    network.layers[0].register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    network(torch.from_numpy(ROWS[:2]))
    assert torch.equal(seen[0] * 16, torch.from_numpy(ROWS[:2]).reshape(2, 1, 8, 8))


def test_the_network_learns_most_digits_in_a_few_epochs() -> None:
    estimator = clone(digits.build(**PARAMETERS)).fit(ROWS[:1200], LABELS[:1200])
    predictions = estimator.predict_proba(ROWS[1200:])
    assert predictions.shape == (597, 10)
    assert (predictions.argmax(axis=1) == LABELS[1200:]).mean() > 0.85


def test_training_stops_early_and_keeps_the_best_epoch() -> None:
    changes: dict[str, Any] = {"max_epochs": 60, "patience": 2, "learning_rate": 0.05}
    estimator = digits.build(**{**PARAMETERS, **changes}).fit(ROWS[:400], LABELS[:400])
    losses = estimator.history[:, "valid_loss"]
    assert len(losses) < 60
    _, valid = estimator.get_split_datasets(ROWS[:400], LABELS[:400])
    rows, labels = (np.stack(each) for each in zip(*valid))
    chosen = estimator.predict_proba(rows)[np.arange(len(labels)), labels]
    assert -np.log(chosen).mean() == pytest.approx(min(losses), rel=1e-3)


def test_the_network_is_trained_on_a_gpu_if_there_is_one() -> None:
    assert digits.build(**PARAMETERS).device == ("cuda" if torch.cuda.is_available() else "cpu")
