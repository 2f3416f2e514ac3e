"""A package is recorded and registered, or it is removed."""

from __future__ import annotations

from concurrent.futures import Executor, Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from application.ports.tracker import RegisteredVersion, TrainingRecord
from application.training.registration import dataset_facts, register
from tests import petals
from tests.fakes import FakeTracker


def record_of(package: Path) -> TrainingRecord:
    """A run that made this package."""
    package.mkdir()
    return TrainingRecord(
        experiment_name="flowers",
        model_name="iris_classifier",
        package=package,
        package_version="1.0.0-a",
        spec=petals.SPEC,
        parameters={},
        metrics={},
        tags={},
        dataset={},
        example=[],
    )


def test_a_recorded_run_is_reported_with_its_version(tmp_path: Path) -> None:
    record, tracker, steps = record_of(tmp_path / "package"), FakeTracker(), []
    with ThreadPoolExecutor(1) as background:
        registered = register(record, tracker, background, lambda *step: steps.append(step))
    assert tracker.records == [record]
    assert steps == [("record", "run run-1, iris_classifier version 1")]
    assert registered.version == "1"
    assert record.package.exists()


def test_a_package_that_cannot_be_recorded_is_removed(tmp_path: Path) -> None:
    record, steps = record_of(tmp_path / "package"), []
    tracker = FakeTracker(failure=ConnectionError("no tracking server"))
    with ThreadPoolExecutor(1) as background, pytest.raises(ConnectionError, match="no tracking"):
        register(record, tracker, background, lambda *step: steps.append(step))
    assert not record.package.exists()
    assert not steps


class InterruptedFuture(Future[RegisteredVersion]):
    """A background task that finishes while this process is interrupted once."""

    interrupted = False

    def result(self, timeout: float | None = None) -> RegisteredVersion:
        """Raise at the first call, as Ctrl-C does."""
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt
        return super().result(timeout)


class InterruptedExecutor(Executor):
    """Finishes its tasks even if the waiting process is interrupted."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        """Run the task at once."""
        future = InterruptedFuture()
        future.set_running_or_notify_cancel()
        try:
            future.set_result(fn(*args, **kwargs))
        except ConnectionError as error:
            future.set_exception(error)
        return future


@pytest.mark.parametrize("failure", [None, ConnectionError("no tracking server")])
def test_an_interrupted_registration_keeps_the_package_of_a_version_that_is_registered(
    tmp_path: Path, failure: Exception | None
) -> None:
    record, tracker = record_of(tmp_path / "package"), FakeTracker(failure=failure)
    with pytest.raises(KeyboardInterrupt):
        register(record, tracker, InterruptedExecutor(), lambda *_: None)
    assert record.package.exists() is bool(tracker.records) is (failure is None)


def test_the_facts_of_a_data_set_include_its_identity_and_size() -> None:
    dataset = petals.load()
    assert dataset_facts(dataset) == {
        "name": "petals",
        "digest": dataset.fingerprint,
        "source": dataset.source,
        "rows": "150",
    }
