"""A served model as a function, and its loader."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Protocol

import numpy as np

from domain.contract import ModelSpec

Model = Callable[[np.ndarray], np.ndarray]
"""Predicts for encoded rows of shape (n_rows, width); returns shape (n_rows, n_outputs).

The outputs are the probability of each class, or a value with the limits of its interval, as the
contract's `output_columns` lists them.
"""


class Loader(Protocol):
    """Loads the file that a `Framework` wrote for serving."""

    def __call__(self, path: Path, spec: ModelSpec) -> Model:
        """The model as a function."""
