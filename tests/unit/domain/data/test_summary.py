"""The summary of a table's columns, whatever they contain."""

from __future__ import annotations

import numpy as np
import pandas as pd

from domain.data.summary import count_duplicates, summarise_columns

TABLE = pd.DataFrame(
    {
        "number": [1.5, 1.5, 1 / 3, np.nan],
        "word": ["b", "b", None, "a"],
        "flag": [True, True, False, True],
        "list": [[1], [1], [1, 2], None],
        "image": [np.zeros(2000), np.zeros(2000), np.ones(2000), np.ones(2000)],
        "empty": [None, None, None, None],
        "day": pd.to_datetime(["2026-01-31"] * 4),
    }
)


def test_every_column_has_counts_and_frequent_values() -> None:
    summary = summarise_columns(TABLE)
    assert summary.index.tolist() == TABLE.columns.tolist()
    assert summary["missing"].tolist() == [1, 1, 0, 1, 0, 4, 0]
    assert summary["distinct"].tolist() == [2, 2, 2, 2, 2, 0, 1]
    examples = summary["examples"].drop("image").to_dict()
    assert examples == {
        **{"number": "1.5, 0.333333", "word": "b, a", "flag": "True, False"},
        **{"list": "[1], [1, 2]", "empty": "", "day": "2026-01-31 00:00:00"},
    }


def test_only_numbers_have_a_lowest_a_median_and_a_highest() -> None:
    numbers = summarise_columns(TABLE)[["lowest", "median", "highest"]]
    assert numbers.loc["number"].tolist() == [1 / 3, 1.5, 1.5]
    assert numbers.drop("number").isna().all(axis=None)


def test_rows_that_are_equal_to_an_earlier_one_are_counted() -> None:
    assert count_duplicates(TABLE) == 1
    assert count_duplicates(TABLE[["flag"]]) == 2
