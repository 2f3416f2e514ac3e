"""Data sets that come inside a dependency, so that nothing is downloaded."""

from __future__ import annotations

from importlib.resources import files

import pandas as pd

from domain.data.dataset import Dataset


def read_iris(columns: tuple[str, ...], classes: tuple[str, ...]) -> Dataset:
    """Fisher's iris data as scikit-learn ships them: 150 rows, lengths in cm.

    Args:
        columns: names for the four inputs.
        classes: names for the three classes.

    References:
        R. A. Fisher, "The use of multiple measurements in taxonomic problems", 1936.
    """
    with files("sklearn.datasets.data").joinpath("iris.csv").open(encoding="utf-8") as file:
        table = pd.read_csv(file, skiprows=1, header=None)
    labels = table.pop(len(columns)).map(dict(enumerate(classes))).rename("species")
    table.columns = pd.Index(columns)
    return Dataset("iris", "sklearn.datasets iris.csv (Fisher, 1936)", table, labels)
