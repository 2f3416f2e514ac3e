"""A served model as a function, and what loads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from domain.contract import ModelSpec

Model = Callable[[np.ndarray], np.ndarray]
"""Answers of shape (n_rows, n_answers) to encoded rows of shape (n_rows, width).

An answer is the probability of each class, or a value with the limits of its interval: the
contract's `output_columns` says which.
"""


class Loader(Protocol):
    """Reads what a `Framework` has written to be served."""

    def __call__(self, path: Path, spec: ModelSpec) -> Model:
        """The model as a function."""
