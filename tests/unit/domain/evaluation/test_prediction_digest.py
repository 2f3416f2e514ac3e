"""The digest of predictions."""

from __future__ import annotations

import hashlib

import numpy as np

from domain.evaluation.prediction_digest import digest_of

PREDICTIONS = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]], np.float32)
HASHES = np.array(["c3", "a1", "b2"])


def test_the_digest_covers_the_bytes_in_the_order_of_the_hashes() -> None:
    expected = hashlib.sha256(PREDICTIONS[[1, 2, 0]].tobytes()).hexdigest()
    assert digest_of(PREDICTIONS, HASHES) == expected


def test_the_order_of_the_rows_does_not_matter() -> None:
    other = np.array([2, 0, 1])
    assert digest_of(PREDICTIONS[other], HASHES[other]) == digest_of(PREDICTIONS, HASHES)


def test_a_difference_in_the_last_bit_matters() -> None:
    changed = PREDICTIONS.copy()
    changed[0, 0] = np.nextafter(changed[0, 0], np.float32(1))
    assert digest_of(changed, HASHES) != digest_of(PREDICTIONS, HASHES)


def test_swapping_predictions_between_rows_matters() -> None:
    assert digest_of(PREDICTIONS[[1, 0, 2]], HASHES) != digest_of(PREDICTIONS, HASHES)


def test_duplicate_rows_may_change_places() -> None:
    predictions, hashes = PREDICTIONS[[0, 1, 1]], HASHES[[0, 1, 1]]
    assert digest_of(predictions, hashes) == digest_of(predictions[[1, 0, 2]], hashes[[1, 0, 2]])
