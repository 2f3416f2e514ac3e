"""Records a run and registers its package, whether it was trained or only packaged."""

from __future__ import annotations

import shutil
from concurrent.futures import Executor

from application.ports.progress import Progress
from application.ports.tracker import RegisteredVersion, Tracker, TrainingRecord
from domain.data.dataset import Dataset


def register(
    record: TrainingRecord, tracker: Tracker, background: Executor, progress: Progress
) -> RegisteredVersion:
    """Record the run in the background, and register its sealed package as ``candidate``.

    A package that cannot be recorded is removed, since an unregistered package could never be
    validated. If this process is interrupted, the recording finishes first, so that a registered
    version keeps its package.
    """
    recording = background.submit(tracker.record, record)
    try:
        registered = recording.result()
    except BaseException:
        if recording.cancel() or recording.exception():
            shutil.rmtree(record.package)
        raise
    progress(
        "record", f"run {registered.run_id[:8]}, {record.model_name} version {registered.version}"
    )
    return registered


def dataset_facts(dataset: Dataset) -> dict[str, str]:
    """Facts about the data for the record of a run."""
    return {
        "name": dataset.name,
        "digest": dataset.fingerprint,
        "source": dataset.source,
        "rows": str(len(dataset)),
    }
