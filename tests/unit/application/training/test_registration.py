"""What a run made is recorded and registered, or it is removed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from application.ports import TrainingRecord
from application.training.registration import dataset_facts, register
from domain.models import iris
from tests.fakes import FakeTracker


def record_of(package: Path) -> TrainingRecord:
    """A run that made this package."""
    package.mkdir()
    return TrainingRecord(
        experiment_name="flowers",
        model_name="iris_classifier",
        package=package,
        package_version="1.0.0-a",
        spec=iris.SPEC,
        parameters={},
        metrics={},
        tags={},
        dataset={},
        example=[],
    )


def test_a_recorded_run_is_told_with_its_version(tmp_path: Path) -> None:
    record, tracker, told = record_of(tmp_path / "package"), FakeTracker(), []
    with ThreadPoolExecutor(1) as beside:
        registered = register(record, tracker, beside, lambda *step: told.append(step))
    assert tracker.records == [record]
    assert told == [("record", "run run-1, iris_classifier version 1")]
    assert registered.version == "1"
    assert record.package.exists()


def test_a_package_that_cannot_be_recorded_is_removed(tmp_path: Path) -> None:
    record, told = record_of(tmp_path / "package"), []
    tracker = FakeTracker(failure=ConnectionError("no tracking server"))
    with ThreadPoolExecutor(1) as beside, pytest.raises(ConnectionError, match="no tracking"):
        register(record, tracker, beside, lambda *step: told.append(step))
    assert not record.package.exists()
    assert not told


def test_the_facts_of_a_data_set_say_which_it_is_and_how_large() -> None:
    dataset = iris.load()
    assert dataset_facts(dataset) == {
        "name": "iris",
        "digest": dataset.fingerprint,
        "source": dataset.source,
        "rows": "150",
    }
