"""The model that most tests use, the species of a flower; the project's models do not matter.

Integration tests add it to a clone as `domain/models/petals.py`, with the configuration next to
this file.
"""

from __future__ import annotations

import numpy as np
import pandas as pd
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier

from domain.contract import Classes, ModelSpec, Number
from domain.data.dataset import Dataset

SPEC = ModelSpec(
    name="petals",
    description="Species of a flower by the lengths and widths of its sepals and petals.",
    inputs=(
        Number("sepal_length", "cm", 0.1, 30.0, "length of the sepal"),
        Number("sepal_width", "cm", 0.1, 30.0, "width of the sepal"),
        Number("petal_length", "cm", 0.1, 30.0, "length of the petal"),
        Number("petal_width", "cm", 0.1, 30.0, "width of the petal"),
    ),
    output=Classes(("setosa", "versicolor", "virginica"), "species"),
)


def load() -> Dataset:
    """The 150 flowers that come with scikit-learn."""
    flowers = load_iris()
    inputs = pd.DataFrame(flowers.data, columns=list(SPEC.input_names))
    species = pd.Series(np.array(SPEC.classes)[flowers.target], name=SPEC.output.name)
    return Dataset(SPEC.name, "sklearn.datasets iris (Fisher, 1936)", inputs, species)


def build(
    n_estimators: int,
    max_depth: int | None,
    min_samples_split: int,
    min_samples_leaf: int,
    random_state: int,
) -> RandomForestClassifier:
    """An unfitted forest."""
    return RandomForestClassifier(
        n_estimators=n_estimators,
        max_depth=max_depth,
        min_samples_split=min_samples_split,
        min_samples_leaf=min_samples_leaf,
        random_state=random_state,
    )
