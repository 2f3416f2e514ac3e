"""What tells the answers of one model from those of another."""

from __future__ import annotations

import hashlib

import numpy as np


def digest_of(answers: np.ndarray, row_hashes: np.ndarray) -> str:
    """SHA-256 of the answers in the order of the rows' hashes, 64 hex digits.

    The order in which the rows come does not matter; a difference in the last bit does.

    Args:
        answers: to all rows, shape (n_rows, n_answers); taken as float32, little-endian.
        row_hashes: shape (n_rows,); equal ones have equal answers.

    >>> answers, hashes = np.array([[0.1, 0.9], [0.8, 0.2]]), np.array(["b7", "a0"])
    >>> digest_of(answers, hashes) == digest_of(answers[::-1], hashes[::-1])
    True
    """
    ordered = np.asarray(answers, "<f4")[np.argsort(row_hashes, kind="stable")]
    return hashlib.sha256(ordered.tobytes()).hexdigest()
