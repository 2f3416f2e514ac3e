"""Iris: which of three species a flower is, by four lengths (Fisher, 1936)."""

from __future__ import annotations

from typing import Any

from sklearn.ensemble import RandomForestClassifier

from domain.data.bundled import read_iris
from domain.data.dataset import Dataset
from domain.models.contract import Feature, ModelSpec

SPEC = ModelSpec(
    name="iris",
    description="Species of an iris flower by the lengths and widths of its sepals and petals.",
    features=(
        Feature("sepal_length", "cm", 0.1, 30.0, "length of the sepal"),
        Feature("sepal_width", "cm", 0.1, 30.0, "width of the sepal"),
        Feature("petal_length", "cm", 0.1, 30.0, "length of the petal"),
        Feature("petal_width", "cm", 0.1, 30.0, "width of the petal"),
    ),
    classes=("setosa", "versicolor", "virginica"),
)


def load() -> Dataset:
    """The 150 flowers that come with scikit-learn."""
    return read_iris(SPEC.feature_names, SPEC.classes)


def build(parameters: dict[str, Any]) -> RandomForestClassifier:
    """An unfitted forest with the parameters of the run's configuration."""
    return RandomForestClassifier(**parameters)
