"""The profile of a table says what new-model would do with each column, and never refuses."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from application.scaffold.split_proposal import inspect_with_split
from application.scaffold.table_profile import ColumnProfile, TableProfile, profile_table
from domain.contract import Category, Number
from domain.errors import DataError

ROWS = 200
RNG = np.random.default_rng(0)
NOISE = RNG.normal(size=ROWS)
TABLE = pd.DataFrame(
    {
        "id": [f"C{row:05d}" for row in range(ROWS)],
        "months": NOISE,
        "plan": RNG.choice(["free", "paid"], ROWS),
        "void": [None] * ROWS,
        "constant": 1,
        "copy": np.where(NOISE > 0, "a", "b"),
        "churned": np.where(NOISE > 0, "yes", "no"),
    }
)


def columns(profile: TableProfile) -> dict[str, ColumnProfile]:
    """The columns of a profile by name."""
    return {column.name: column for column in profile.columns}


def test_each_column_has_the_role_that_new_model_gives_it() -> None:
    table = TABLE.assign(months=NOISE + RNG.normal(size=ROWS))
    profile = profile_table(table, "churned")
    assert {name: column.role for name, column in columns(profile).items()} == {
        **{"id": "left out", "months": "input", "plan": "input", "void": "left out"},
        **{"constant": "left out", "copy": "left out", "churned": "target"},
    }
    inspection, _ = inspect_with_split(table.drop(columns="void"), "churned", "churn")
    assert profile.inspection is not None
    assert profile.inspection.spec.inputs == inspection.spec.inputs
    for finding in inspection.findings:
        assert finding.reason in columns(profile)[finding.column].reasons
    assert profile.actual is not None
    assert profile.actual.tolist() == (TABLE["churned"] == "yes").astype(int).tolist()


def test_columns_have_counts_kinds_and_their_skill() -> None:
    profile = profile_table(pd.concat([TABLE, TABLE.tail(3)]).reset_index(drop=True), "churned")
    found = columns(profile)
    assert (profile.rows, profile.duplicates) == (ROWS + 3, 3)
    assert found["plan"].kind == "category, 2: free, paid"
    assert found["plan"].item == Category("plan", ("free", "paid"))
    assert (found["plan"].missing, found["plan"].distinct) == (0, 2)
    assert found["void"].missing == ROWS + 3
    assert found["copy"].kind == "left out" and "a LEAK" in found["copy"].reasons[0]
    assert found["copy"].item is not None, "it can be drawn"
    skill = found["copy"].skill
    assert skill is not None and skill > 0.99
    assert found["id"].skill is None and found["churned"].kind == "target"


def test_without_a_target_the_columns_are_read_as_with_one() -> None:
    profile = profile_table(TABLE)
    found = columns(profile)
    assert profile.inspection is None and profile.actual is None
    assert found["months"].kind.startswith("number, ") and found["months"].skill is None
    assert found["churned"].kind == "category, 2: no, yes"
    assert found["id"].role == found["constant"].role == "left out"
    assert "LEAVE_OUT=void" in found["void"].reasons[0]


def test_free_text_is_an_input_alone_and_next_to_others_without_a_target_too() -> None:
    texts = [" ".join(words) for words in RNG.choice(list("abcdefghij"), (ROWS, 8))]
    assert (
        columns(profile_table(pd.DataFrame({"text": texts})))["text"].kind
        == "text, at most 10,000 characters"
    )
    both = columns(profile_table(pd.DataFrame({"text": texts, "x": NOISE})))
    assert both["text"].kind == "text, words counted in 256 columns, at most 10,000 characters"
    assert both["text"].role == "input" and "free text" in both["text"].reasons[0]


@pytest.mark.parametrize(
    ("table", "target", "remark"),
    [
        (TABLE.head(10), "churned", "10 rows are too few"),
        (TABLE, "constant", "only one class"),
        (TABLE, "void", "200 of 200 rows have no void"),
        (TABLE, "id", "too many to be classes"),
        (TABLE.assign(churned=[["a", "b"]] * ROWS), "churned", "several values in one row"),
    ],
)
def test_a_table_that_new_model_would_refuse_is_profiled_with_the_reason(
    table: pd.DataFrame, target: str, remark: str
) -> None:
    profile = profile_table(table, target)
    assert any("make new-model would refuse" in each for each in profile.remarks)
    assert any(remark in each for each in profile.remarks)
    assert isinstance(columns(profile)["months"].item, Number)
    assert columns(profile)[target].role == "target"


def test_rows_without_a_target_are_pointed_out_and_not_drawn() -> None:
    table = TABLE.assign(churned=TABLE["churned"].where(np.arange(ROWS) >= 6))
    profile = profile_table(table, "churned")
    assert "6 of 200 rows have no churned" in profile.remarks[0]
    assert profile.inspection is not None and profile.actual is not None
    assert profile.rows == ROWS and len(profile.frame) == len(profile.actual) == ROWS - 6


def test_a_proposed_split_is_named() -> None:
    days = pd.date_range("2026-01-01", periods=ROWS).strftime("%Y-%m-%d")
    profile = profile_table(TABLE.assign(day=days), "churned")
    assert "day has dates that are in order" in profile.remarks[0]


def test_an_unknown_target_is_an_error() -> None:
    with pytest.raises(DataError, match="unknown column 'left': the columns are id, months"):
        profile_table(TABLE, "left")
