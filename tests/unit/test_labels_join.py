"""Labels of two versions from two workers equal an offline computation."""

from __future__ import annotations

from pathlib import Path

from tests.labelled_traffic import check_labels


def test_labels_and_quality_of_ten_thousand_predictions_are_those_of_pandas(tmp_path: Path) -> None:
    check_labels(f"sqlite:///{tmp_path}/log.db", tmp_path / "spools", 10_000)
