"""Data sets that scikit-learn contains, so that nothing is downloaded."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Any

import pandas as pd

from domain.contract import ModelSpec
from domain.data.dataset import Dataset

_FOLDER = "sklearn.datasets.data"


def read_iris(spec: ModelSpec) -> Dataset:
    """Fisher's iris data: 150 rows, lengths in cm.

    References:
        R. A. Fisher, "The use of multiple measurements in taxonomic problems", 1936.
    """
    return _read_classification("iris", "Fisher, 1936", spec, "iris.csv")


def read_breast_cancer(spec: ModelSpec) -> Dataset:
    """Breast cancer Wisconsin (diagnostic): 569 rows, 30 measures of cell nuclei.

    References:
        W. N. Street, W. H. Wolberg and O. L. Mangasarian, "Nuclear feature extraction for breast
        tumor diagnosis", 1993.
    """
    return _read_classification("breast_cancer", "Street, Wolberg and Mangasarian, 1993", spec)


def read_wine(spec: ModelSpec) -> Dataset:
    """Wines of three growers of one region: 178 rows, 13 chemical measures.

    References:
        M. Forina et al., "PARVUS, an extendible package for data exploration", 1988.
    """
    return _read_classification("wine", "Forina et al., 1988", spec, "wine_data.csv")


def read_diabetes(spec: ModelSpec) -> Dataset:
    """Diabetes patients: 442 rows, ten unscaled measures, progression after one year.

    References:
        B. Efron, T. Hastie, I. Johnstone and R. Tibshirani, "Least angle regression", 2004.
    """
    table = _read_csv("diabetes_data_raw.csv.gz", sep=r"\s+")
    target = _read_csv("diabetes_target.csv.gz")[0]
    return _make_dataset("diabetes", "Efron et al., 2004", spec, table, target)


def read_digits(spec: ModelSpec) -> Dataset:
    """Hand-written digits: 1,797 images of 8 × 8 pixels, 0 (white) to 16 (black).

    References:
        E. Alpaydin and C. Kaynak, "Cascading classifiers", 1998.
    """
    table = _read_csv("digits.csv.gz")
    target = table.pop(64).astype(int).map(dict(enumerate(spec.classes)))
    images = pd.DataFrame({0: list(table.to_numpy("float32").reshape(-1, 8, 8))})
    return _make_dataset("digits", "Alpaydin and Kaynak, 1998", spec, images, target)


def _read_classification(
    name: str, author: str, spec: ModelSpec, file: str | None = None
) -> Dataset:
    table = _read_csv(file or f"{name}.csv", skiprows=1)
    target = table.pop(len(spec.inputs)).map(dict(enumerate(spec.classes)))
    return _make_dataset(name, author, spec, table, target)


def _make_dataset(
    name: str, author: str, spec: ModelSpec, table: pd.DataFrame, target: pd.Series
) -> Dataset:
    table.columns = pd.Index(spec.input_names)
    source = f"sklearn.datasets {name} ({author})"
    return Dataset(name, source, table, target.rename(spec.output.name))


def _read_csv(file: str, **options: Any) -> pd.DataFrame:
    with as_file(files(_FOLDER).joinpath(file)) as path:
        return pd.read_csv(path, header=None, **{"sep": ",", **options})
