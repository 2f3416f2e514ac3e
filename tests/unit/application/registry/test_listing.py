"""The table of versions."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import pytest

from application.registry.listing import HEADER, age_of, as_table, quality_of, rows_of
from tests.fakes import MORNING, FakeRegistry


def test_a_row_has_all_fields_of_a_version() -> None:
    registry = FakeRegistry()
    registry.add("iris", "a", "champion", verdict="accepted")
    registry.add("iris", "b", "candidate")
    versions = [replace(v, figures={"holdout_accuracy": 0.9}) for v in registry.versions("iris")]
    deployed = {"iris:a": ["production stopped", "staging running"], "wine:b": ["wine running"]}
    rows = rows_of(versions, {"a"}, deployed, MORNING + timedelta(days=5))
    assert rows == [
        ("2", "candidate", "not judged", "accuracy 0.900", "4 days", "gone", ""),
        *[("1", "champion", "accepted", "accuracy 0.900", "4 days", "a")
          + ("production stopped, staging running",)],
    ]  # fmt: skip
    assert {len(row) for row in rows} == {len(HEADER)}


@pytest.mark.parametrize(
    ("figures", "shown"),
    [
        ({"holdout_r2": 0.4567, "holdout_rmse": 3.0}, "r2 0.457"),
        ({"holdout_accuracy": 1.0}, "accuracy 1.000"),
        ({"holdout_word_accuracy": 0.96}, "word_accuracy 0.960"),
        ({}, ""),
    ],
)
def test_the_quality_is_measured_by_the_kind_of_model(
    figures: dict[str, float], shown: str
) -> None:
    version = replace(FakeRegistry().add("iris", "a"), figures=figures)
    assert quality_of(version) == shown


def test_the_quality_is_that_of_the_measure_which_the_gates_use() -> None:
    figures = {"holdout_accuracy": 0.92, "holdout_average_precision": 0.41}
    version = replace(FakeRegistry().add("churn", "a"), figures=figures)
    chosen = replace(version, measure="average_precision")
    assert quality_of(chosen) == "average_precision 0.410"
    assert quality_of(version) == "accuracy 0.920"
    figures = {"holdout_precision_at_top": 0.25, "holdout_neg_log_loss": -0.31}
    version = replace(version, figures=figures, measure="precision_at_top(100)")
    assert quality_of(version) == "precision_at_top(100) 0.250"
    assert quality_of(replace(version, measure="neg_log_loss")) == "neg_log_loss −0.310"


def test_columns_are_aligned_and_lines_end_with_their_last_word() -> None:
    assert as_table([("a", "b"), ("long", ""), ("c", "d")]) == ["a     b", "long", "c     d"]


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(-1, "0 s"), (0, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h")],
)
def test_an_age_is_in_the_largest_unit_with_at_least_two(seconds: int, shown: str) -> None:
    assert age_of(timedelta(seconds=seconds)) == shown
