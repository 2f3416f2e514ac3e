"""Data sets that scikit-learn contains, so that nothing is downloaded."""

from __future__ import annotations

from importlib.resources import as_file, files
from typing import Any

import pandas as pd

from domain.contract import ModelSpec
from domain.data.dataset import Dataset

_FOLDER = "sklearn.datasets.data"


def read_classification(spec: ModelSpec, author: str, file: str) -> Dataset:
    """A table with one header line whose last column numbers the classes, as `spec` orders them.

    Args:
        spec: its name is scikit-learn's name of the data set; its inputs name the columns.
        file: in the folder of scikit-learn's data sets.
    """
    table = read_csv(file, skiprows=1)
    target = table.pop(len(spec.inputs)).map(dict(enumerate(spec.classes)))
    return make_dataset(spec, author, table, target)


def read_csv(file: str, **options: Any) -> pd.DataFrame:
    """One file of a data set, without a header; `options` are those of `pandas.read_csv`."""
    with as_file(files(_FOLDER).joinpath(file)) as path:
        return pd.read_csv(path, header=None, **{"sep": ",", **options})


def make_dataset(spec: ModelSpec, author: str, table: pd.DataFrame, target: pd.Series) -> Dataset:
    """A data set with the names in the contract, from columns in the contract's order."""
    table.columns = pd.Index(spec.input_names)
    source = f"sklearn.datasets {spec.name} ({author})"
    return Dataset(spec.name, source, table, target.rename(spec.output.name))
