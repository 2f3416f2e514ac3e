"""Iris: which of three species a flower is, by four lengths (Fisher, 1936)."""

from __future__ import annotations

from sklearn.ensemble import RandomForestClassifier

from domain.contract import Classes, ModelSpec, Number
from domain.data.bundled import read_classification
from domain.data.dataset import Dataset

SPEC = ModelSpec(
    name="iris",
    description="Species of an iris flower by the lengths and widths of its sepals and petals.",
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
    return read_classification(SPEC, "Fisher, 1936", "iris.csv")


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
