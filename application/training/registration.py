"""Recording a run and registering what it made; the same for whatever was trained or packaged."""

from __future__ import annotations

import shutil
from concurrent.futures import Executor

from application.ports.progress import Progress
from application.ports.tracker import RegisteredVersion, Tracker, TrainingRecord
from domain.data.dataset import Dataset


def register(
    record: TrainingRecord, tracker: Tracker, background: Executor, progress: Progress
) -> RegisteredVersion:
    """Record the run beside this process, and register its sealed package as ``candidate``.

    A package that cannot be recorded is removed: one that no registry knows of could never be
    judged. When this process is interrupted, the recording comes to its end first: a version that
    it has registered keeps its package.
    """
    recording = background.submit(tracker.record, record)
    try:
        registered = recording.result()
    except BaseException:
        if recording.cancel() or recording.exception():
            shutil.rmtree(record.package)
        raise
    told = f"run {registered.run_id[:8]}, {record.model_name} version {registered.version}"
    progress("record", told)
    return registered


def dataset_facts(dataset: Dataset) -> dict[str, str]:
    """What a record says of the data."""
    return {
        "name": dataset.name,
        "digest": dataset.fingerprint,
        "source": dataset.source,
        "rows": str(len(dataset)),
    }
