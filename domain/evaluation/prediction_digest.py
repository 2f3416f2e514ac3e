"""A digest that identifies the predictions of a model."""

from __future__ import annotations

import hashlib

import numpy as np


def digest_of(predictions: np.ndarray, row_hashes: np.ndarray) -> str:
    """SHA-256 of the predictions in the order of the rows' hashes, 64 hex digits.

    The order of the rows does not matter; a difference in the last bit does.

    Args:
        predictions: of all rows, shape (n_rows, n_columns); converted to little-endian float32.
        row_hashes: shape (n_rows,); rows with equal hashes must have equal predictions.

    >>> predictions, hashes = np.array([[0.1, 0.9], [0.8, 0.2]]), np.array(["b7", "a0"])
    >>> digest_of(predictions, hashes) == digest_of(predictions[::-1], hashes[::-1])
    True
    """
    ordered = np.asarray(predictions, "<f4")[np.argsort(row_hashes, kind="stable")]
    return hashlib.sha256(ordered.tobytes()).hexdigest()
