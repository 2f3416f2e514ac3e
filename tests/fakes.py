"""Fakes of the ports in `application.ports`, and of other arguments of the use cases."""

from __future__ import annotations

import pickle
from collections import Counter
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from types import SimpleNamespace
from typing import Any

import numpy as np

from application.monitoring.recorder import identities
from application.ports.alerts import Alert
from application.ports.figures import FigureData
from application.ports.framework import CurveReport
from application.ports.ledger import LedgerEntry
from application.ports.metrics import Interval
from application.ports.model import Model
from application.ports.prediction_log import (
    LabelCounts,
    LabelledPrediction,
    LiveErrors,
    LoggedPrediction,
    PredictedRow,
    PredictionBatch,
    Traffic,
    VersionTraffic,
)
from application.ports.recorder import PredictionResult
from application.ports.registry import ModelVersion, Promotion
from application.ports.snapshots import Fetched
from application.ports.tracker import RegisteredVersion, TrainingRecord
from domain.catalog import CatalogModel
from domain.contract import ModelSpec
from domain.data.dataset import Dataset
from domain.data.split_keys import SplitKeys
from domain.errors import DataError, NotificationError, RegistryError
from domain.estimators.fitting import fit_estimator
from domain.evaluation.predictions import predict_function
from shared.digests import sha256_of
from shared.paths import ROOT
from tests import petals

PETALS_CONFIG = ROOT / "tests/petals_config.json"
SETOSA = (5.1, 3.5, 1.4, 0.2)
VERSICOLOR = (6.4, 3.2, 4.5, 1.5)
VIRGINICA = (6.3, 3.3, 6.0, 2.5)
MORNING = datetime(2026, 11, 20, 8, tzinfo=UTC)


class FakeClassifier:
    """Predicts the species of petals by the length of the petal, and keeps the rows of each call.

    Args:
        failure: raised instead of predicting.
    """

    def __init__(self, failure: Exception | None = None) -> None:
        self.calls: list[np.ndarray] = []
        self._failure = failure

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        """0.8 for the species, 0.1 for each of the others; float32 of shape (n_rows, 3)."""
        self.calls.append(rows)
        if self._failure:
            raise self._failure
        probabilities = np.full((len(rows), 3), 0.1, dtype=np.float32)
        probabilities[np.arange(len(rows)), np.digitize(rows[:, 2], [2.5, 4.9])] = 0.8
        return probabilities


class FakeFramework:
    """Trains by `fit`, with or without epochs, and writes estimators as pickles.

    Args:
        epochs: number of epochs that each fit reports; the loss halves in each.
        journal: gets an entry when a fit has ended.
        failure: raised after writing a file.
    """

    def __init__(
        self, epochs: int = 0, journal: list[str] | None = None, failure: Exception | None = None
    ) -> None:
        self.epochs = epochs
        self.journal: list[str] = [] if journal is None else journal
        self.failure = failure

    def fit(
        self,
        estimator: Any,
        rows: np.ndarray,
        target: np.ndarray,
        report: CurveReport,
        keys: SplitKeys | None = None,
    ) -> None:
        """Fit, and report the epochs."""
        fit_estimator(estimator, rows, target, keys)
        for epoch in range(self.epochs):
            report({"train_loss": 0.5**epoch, "valid_loss": 2 * 0.5**epoch}, epoch)
        self.journal.append("fit ended")

    def check_export(self, estimator: Any) -> None:
        """Every estimator can be exported."""

    def check_save(self, estimator: Any) -> None:
        """Every estimator can be saved."""

    def export(self, estimator: Any, spec: ModelSpec, path: Path) -> None:
        """Write `path`."""
        self._write(estimator, spec, path)

    def save(self, estimator: Any, spec: ModelSpec, path: Path) -> None:
        """Write `path`."""
        self._write(estimator, spec, path)

    def _write(self, estimator: Any, _spec: ModelSpec, path: Path) -> None:
        path.write_bytes(pickle.dumps(estimator))
        if self.failure:
            raise self.failure


class FakeLoader:
    """Reads what a `FakeFramework` wrote.

    Args:
        error: added to every prediction.
    """

    def __init__(self, error: float = 0.0) -> None:
        self._error = error

    def __call__(self, path: Path, spec: ModelSpec) -> Model:
        """The model as a function."""
        predict = predict_function(pickle.loads(path.read_bytes()), spec)
        return lambda rows: (predict(rows) + self._error).astype(np.float32)


class FakeSnapshots:
    """Keeps files by their digest, in memory."""

    def __init__(self) -> None:
        self.kept: dict[str, Path] = {}

    def fetch(self, address: str, query: str | None) -> Fetched:
        """The kept file of this name."""
        return Fetched(address, f"{address} {query}", self.find(address))

    def keep(self, file: Path) -> str:
        """Remember a file."""
        name = sha256_of(file) + file.suffix
        self.kept[name] = file
        return name

    def find(self, snapshot: str) -> Path:
        """A remembered file."""
        if snapshot not in self.kept:
            raise DataError(f"the snapshot {snapshot} is not there")
        return self.kept[snapshot]


class FakeDrawFigures:
    """Writes one file instead of the figures, and keeps the data of each call."""

    def __init__(self, failure: Exception | None = None) -> None:
        self.drawn: list[FigureData] = []
        self._failure = failure

    def __call__(self, data: FigureData, folder: Path) -> None:
        """Write one file into `folder`."""
        if self._failure:
            raise self._failure
        (folder / "confusion_matrix.png").write_bytes(b"a figure")
        self.drawn.append(data)


class FakeTracker:
    """Keeps the records of training runs; versions count from 1.

    Args:
        failure: raised by `record`.
        journal: gets the start, the epochs and the end of each run.
    """

    def __init__(self, failure: Exception | None = None, journal: list[str] | None = None) -> None:
        self.records: list[TrainingRecord] = []
        self.journal: list[str] = [] if journal is None else journal
        self._failure = failure

    def begin(self, experiment_name: str, run_name: str) -> str:
        """Start a run."""
        self.journal.append(f"begun {experiment_name} {run_name}")
        return "begun-run"

    def log_epoch(self, run_id: str, figures: Mapping[str, float], epoch: int) -> None:
        """Keep the metrics of an epoch."""
        values = ", ".join(f"{name} {value:g}" for name, value in figures.items())
        self.journal.append(f"{run_id} epoch {epoch}: {values}")

    def fail(self, run_id: str) -> None:
        """End a run as failed."""
        self.journal.append(f"{run_id} failed")

    def record(self, record: TrainingRecord) -> RegisteredVersion:
        """Keep one record."""
        if self._failure:
            raise self._failure
        self.records.append(record)
        number = len(self.records)
        run_id = record.run_id or f"run-{number}"
        self.journal.append(f"{run_id} recorded")
        return RegisteredVersion(record.model_name, str(number), run_id)


class FakeRegistry:
    """Versions and aliases in memory.

    Args:
        journal: gets every change, in order; may be shared with other fakes.

    Attributes:
        packages: folder of a package, by model and version; by default the version itself.
        reports: folder with the files of a validation, by model and package version.
        heads: hashes of the ledger that were noted, by model.
    """

    def __init__(self, journal: list[str] | None = None) -> None:
        self.packages: dict[tuple[str, str], Path] = {}
        self.reports: dict[tuple[str, str], Path] = {}
        self.heads: dict[str, str] = {}
        self.journal = [] if journal is None else journal
        self._versions: dict[str, list[ModelVersion]] = {}

    def add(
        self, model_name: str, package_version: str, *aliases: str, verdict: str | None = None
    ) -> ModelVersion:
        """Register a version with the next number."""
        known = self._versions.setdefault(model_name, [])
        number = len(known) + 1
        version = ModelVersion(
            model_name,
            str(number),
            package_version,
            f"run-{number}",
            MORNING + timedelta(hours=number),
            verdict=verdict,
        )
        known.append(version)
        for alias in aliases:
            self._point(model_name, alias, version)
        return self.find(model_name, version.number)

    def package_of(self, model_name: str, alias: str) -> Path:
        """Folder of the package that an alias points to."""
        for version in self.versions(model_name):
            if alias in version.aliases:
                package = version.package_version
                return self.packages.get((model_name, package), Path(package))
        raise RegistryError(f"{model_name} has no {alias} in the registry")

    def find(self, model_name: str, which: str) -> ModelVersion:
        """Find a version by its number, an alias, its package version or its run."""
        for version in self.versions(model_name):
            if which in (version.number, version.package_version, version.run_id, *version.aliases):
                return version
        raise RegistryError(f"{model_name} has no {which} in the registry")

    def versions(self, model_name: str) -> list[ModelVersion]:
        """All versions, newest first."""
        return self._versions.get(model_name, [])[::-1]

    def record_verdict(self, version: ModelVersion, verdict: str, folder: Path) -> None:
        """Keep the verdict and the folder of its files."""
        self.reports[version.model_name, version.package_version] = folder
        self._replace(replace(self.find(version.model_name, version.number), verdict=verdict))
        self.journal.append(f"{verdict} {version.model_name} {version.package_version}")

    def promote(self, model_name: str, package_version: str) -> Promotion:
        """Point ``champion`` to a version."""
        version = self.find(model_name, package_version)
        previous = next((v for v in self.versions(model_name) if "champion" in v.aliases), None)
        if previous == version:
            return Promotion(version, version)
        version.check_accepted()
        if previous:
            self._point(model_name, "previous", previous)
        self._point(model_name, "champion", self.find(model_name, version.number))
        self.journal.append(f"promoted {model_name} {package_version}")
        return Promotion(self.find(model_name, version.number), previous)

    def alone(self) -> AbstractContextManager[object]:
        """Add to the journal when the lock is taken and released."""
        return self._alone()

    @contextmanager
    def _alone(self) -> Iterator[None]:
        self.journal.append("locked")
        try:
            yield
        finally:
            self.journal.append("unlocked")

    def note_ledger(self, model_name: str, head: str) -> None:
        """Keep the hashes."""
        self.heads[model_name] = head
        self.journal.append(f"noted ledger of {model_name}")

    def _point(self, model_name: str, alias: str, to: ModelVersion) -> None:
        for version in self.versions(model_name):
            others = {name for name in version.aliases if name != alias}
            aliases = others | {alias} if version.number == to.number else others
            self._replace(replace(version, aliases=tuple(sorted(aliases))))

    def _replace(self, version: ModelVersion) -> None:
        self._versions[version.model_name][int(version.number) - 1] = version


class FakeLedger:
    """Entries in memory, a minute apart; the hash of an entry is its number.

    Args:
        journal: gets every change, in order; may be shared with other fakes.
    """

    def __init__(self, journal: list[str] | None = None) -> None:
        self.journal = [] if journal is None else journal
        self._entries: list[LedgerEntry] = []

    def append(
        self, event: str, model_name: str, version: str, **details: str | float | None
    ) -> LedgerEntry:
        """Add an entry."""
        number = len(self._entries) + 1
        entry = LedgerEntry(
            number,
            MORNING + timedelta(minutes=number),
            "somebody",
            event,
            model_name,
            version,
            details,
            str(number - 1),
            str(number),
        )
        self._entries.append(entry)
        self.journal.append(f"entered {event} {model_name} {version}")
        return entry

    def entries(self) -> list[LedgerEntry]:
        """All entries, oldest first."""
        return list(self._entries)


@dataclass
class FakeMetrics:  # pylint: disable=too-many-instance-attributes  # one for each metric
    """Counts in memory; predictions by the number of their class."""

    predictions: Counter[int] = field(default_factory=Counter)
    confidences: list[float] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    latencies: list[float] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    synthetic: Counter[str] = field(default_factory=Counter)
    outside: Counter[str] = field(default_factory=Counter)
    dropped: int = 0
    spooled: int | None = None
    accuracy: float | None = None
    mean_absolute_error: float | None = None
    labelled: int | None = None
    scores: dict[str, float] = field(default_factory=dict)
    estimated: dict[str, float] = field(default_factory=dict)
    intervals: dict[str, Interval | None] = field(default_factory=dict)
    drift: dict[str, float] = field(default_factory=dict)
    importances: dict[str, float] = field(default_factory=dict)
    compared: int | None = None
    p_values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    drifting: Mapping[str, Collection[str]] = field(default_factory=dict)
    failed_retraining: bool | None = None

    def record_predictions(
        self, codes: np.ndarray, confidences: np.ndarray, latencies: np.ndarray
    ) -> None:
        """Count predictions."""
        self.predictions.update(codes.tolist())
        self.confidences += confidences.tolist()
        self.latencies += latencies.tolist()

    def record_values(self, values: np.ndarray, latencies: np.ndarray) -> None:
        """Count predictions."""
        self.values += values.tolist()
        self.latencies += latencies.tolist()

    def record_outside(self, counts: Mapping[str, int]) -> None:
        """Count numbers outside their range."""
        self.outside.update(counts)

    def record_error(self, error_type: str) -> None:
        """Count a refused request."""
        self.errors[error_type] += 1

    def record_synthetic(self, source: str) -> None:
        """Count a synthetic request."""
        self.synthetic[source] += 1

    def record_dropped(self, rows: int) -> None:
        """Count dropped rows."""
        self.dropped += rows

    def set_spooled(self, rows: int) -> None:
        """Keep the number of waiting rows."""
        self.spooled = rows

    def set_accuracy(self, accuracy: float) -> None:
        """Keep the live accuracy."""
        self.accuracy = accuracy

    def set_mean_absolute_error(self, error: float) -> None:
        """Keep the live mean absolute error."""
        self.mean_absolute_error = error

    def set_labelled(self, rows: int) -> None:
        """Keep the number of labelled predictions."""
        self.labelled = rows

    def set_score(self, measure: str, score: float, interval: Interval | None) -> None:
        """Keep the live score."""
        self.scores[measure], self.intervals[measure] = score, interval

    def set_estimated_score(self, measure: str, score: float, interval: Interval | None) -> None:
        """Keep the estimated score."""
        self.estimated[measure], self.intervals[measure] = score, interval

    def set_drift(self, scores: Mapping[str, float]) -> None:
        """Keep the drift scores."""
        self.drift = dict(scores)

    def set_importances(self, importances: Mapping[str, float]) -> None:
        """Keep the importances."""
        self.importances = dict(importances)

    def set_drift_evidence(
        self,
        rows: int,
        p_values: Mapping[str, Mapping[str, float]],
        drifting: Mapping[str, Collection[str]],
    ) -> None:
        """Keep what is known of drift."""
        self.compared, self.p_values, self.drifting = rows, p_values, drifting

    def set_retraining_failed(self, failed: bool) -> None:
        """Keep whether the last retraining failed."""
        self.failed_retraining = failed


@dataclass
class FakeNotifier:
    """Keeps what is sent; refuses while `broken`."""

    channel: str = "pigeon"
    broken: bool = False
    sent: list[Alert] = field(default_factory=list)

    def send(self, alert: Alert) -> None:
        """Send an alert."""
        if self.broken:
            raise NotificationError("no route")
        self.sent.append(alert)


@dataclass
class FakeWatchStore:
    """Keeps the state of a watch."""

    state: str | None = None
    failed: bool | None = None

    def watch_state(self) -> str | None:
        """The state."""
        return self.state

    def save_watch_state(self, previous: str | None, state: str, retraining_failed: bool) -> bool:
        """Keep a state if the last one is the previous one."""
        if self.state != previous:
            return False
        self.state, self.failed = state, retraining_failed
        return True


class FakePredictionLog:  # pylint: disable=too-many-public-methods  # those of several ports
    """Predictions and labels in memory.

    Attributes:
        batches: gets each batch after it was added, or the exception that was raised instead; a
            test can wait on it.
        failures: raised by the next calls of `add`, one each.
        version: of what is added without one.
        classes: by version.
    """

    def __init__(self, failures: Sequence[Exception] = (), version: str | None = None) -> None:
        self.version = version
        self.classes: dict[str, Sequence[str]] = {}
        self.predictions: list[LoggedPrediction] = []
        self.added: list[PredictionBatch] = []
        self.ids: dict[int, str] = {}
        self.labels: dict[tuple[str, int], tuple[float, LabelledPrediction]] = {}
        self.batches: SimpleQueue[PredictionBatch | Exception] = SimpleQueue()
        self.failures = list(failures)
        self.drift: tuple[int, str | None] = (0, None)
        self.failed_retraining = False

    def add(self, *batches: PredictionBatch) -> bool:
        """Append predictions."""
        if batches and self.failures:
            failure = self.failures.pop(0)
            self.batches.put(failure)
            raise failure
        for batch in batches:
            if self.version:
                batch = replace(batch, version=batch.version or self.version)
            self.added.append(batch)
            start = len(self.predictions)
            self.ids |= {start + position: text for position, text in batch.ids.items()}
            self.predictions += map(batch.prediction, range(len(batch.predicted)))
            self.batches.put(batch)
        return True

    def find(self, request_id: str, row: int, since: float = 0.0) -> LoggedPrediction | None:
        """The latest prediction of a request and row since a time."""
        found = (
            p
            for p in self._latest_first()
            if (p.request_id, p.row) == (request_id, row) and p.at >= since
        )
        return next(found, None)

    def find_unlabelled(
        self, identity: int, predicted: float, since: float = 0.0
    ) -> LoggedPrediction | None:
        """The latest unlabelled prediction of a class or value for an encoded row."""
        found = (
            p
            for p in self._latest_first()
            if (p.identity, p.predicted) == (identity, predicted)
            and (p.request_id, p.row) not in self.labels
            and p.at >= since
        )
        return next(found, None)

    def find_id(self, text: str, until: float | None = None) -> LoggedPrediction | None:
        """The latest prediction for a row with this ID, until a time."""
        named = [
            position
            for position, found in self.ids.items()
            if found == text and (until is None or self.predictions[position].at <= until)
        ]
        latest = max(
            named, key=lambda position: (self.predictions[position].at, position), default=-1
        )
        return self.predictions[latest] if named else None

    def classes_of(self, version: str) -> Sequence[str] | None:
        """The classes of a version."""
        return self.classes.get(version)

    def find_rows(self, rows: Set[tuple[str, int]]) -> Mapping[tuple[str, int], PredictedRow]:
        """The latest prediction of each request and row."""
        found = {key: self.find(*key) for key in rows}
        return {key: _predicted_row(entry) for key, entry in found.items() if entry}

    def find_ids(self, texts: Collection[str]) -> Mapping[str, PredictedRow]:
        """The latest prediction for each ID."""
        found = {text: self.find_id(text) for text in texts}
        return {text: _predicted_row(entry) for text, entry in found.items() if entry}

    def label(self, *labelled: LabelledPrediction, at: float) -> LabelCounts:
        """Keep labels."""
        counts = LabelCounts()
        for label in labelled:
            key = (label.request_id, label.row)
            if key not in self.labels:
                counts = counts.plus(LabelCounts(new=1))
            elif self.labels[key][1].actual == label.actual:
                counts = counts.plus(LabelCounts(unchanged=1))
                continue
            else:
                counts = counts.plus(LabelCounts(corrected=1))
            self.labels[key] = at, label
        return counts

    def traffic(
        self, since: float, until: float | None = None, version: str | None = None
    ) -> Traffic:
        """Totals of a period."""
        recent = self._predicted(since, until, version)
        predicted = [p.predicted for p in recent]
        return Traffic(
            len(recent),
            _mean([p.confidence for p in recent if p.confidence is not None]),
            _mean([p.latency for p in recent]),
            _mean(predicted),
            min(predicted, default=None),
            max(predicted, default=None),
        )

    def by_class(
        self, since: float, until: float | None = None, version: str | None = None
    ) -> Mapping[int, int]:
        """How often each class was predicted in a period."""
        return Counter(int(p.predicted) for p in self._predicted(since, until, version))

    def versions(self, since: float, until: float | None = None) -> list[VersionTraffic]:
        """The versions that made predictions in a period."""
        made: dict[str | None, list[LoggedPrediction]] = {}
        for entry in sorted(
            self._predicted(since, until, None), key=lambda entry: (entry.at, entry.version or "")
        ):
            made.setdefault(entry.version, []).append(entry)
        labels = [label for _, label in self.labels.values() if label.made is not None]
        return [
            VersionTraffic(
                version,
                len(entries),
                sum(
                    label.version == version and _is_in(label.made or 0.0, since, until)
                    for label in labels
                ),
                entries[0].at,
                entries[-1].at,
            )
            for version, entries in made.items()
        ]

    def confusion(
        self, since: float, until: float | None = None, version: str | None = None
    ) -> Mapping[tuple[int, int], int]:
        """How often each pair of classes (predicted, actual) was labelled in a period."""
        found = self._labelled(since, until, version)
        return Counter((int(p.predicted), int(p.actual)) for p in found)

    def errors(
        self, since: float, until: float | None = None, version: str | None = None
    ) -> LiveErrors | None:
        """Errors of the values labelled in a period."""
        found = self._labelled(since, until, version)
        errors = np.array([p.predicted - p.actual for p in found])
        if len(errors) == 0:
            return None
        squared = float(np.square(errors).mean())
        return LiveErrors(len(errors), float(np.abs(errors).mean()), squared**0.5)

    def labelled(
        self,
        since: float,
        rows: int,
        until: float | None = None,
        version: str | None = None,
        by_prediction: bool = False,
    ) -> np.ndarray:
        """Predicted, actual and confidence of what was labelled in a period, latest first."""
        found = self._labelled(since, until, version)[::-1][:rows]
        if by_prediction:
            labels = [label for _, label in self.labels.values() if label.made is not None]
            labels = [label for label in labels if version in (None, label.version)]
            labels = [label for label in labels if _is_in(label.made or 0.0, since, until)]
            found = sorted(labels, key=lambda label: -(label.made or 0.0))[:rows]
        columns = [(p.predicted, p.actual, p.confidence) for p in found]
        return np.array(columns, np.float64).reshape(-1, 3)

    def confidences(
        self, since: float, rows: int, until: float | None = None, version: str | None = None
    ) -> np.ndarray:
        """Predicted class and its probability of the latest predictions."""
        made = self._predicted(since, until, version)[::-1][:rows]
        columns = [(p.predicted, p.confidence) for p in made if p.confidence is not None]
        return np.array(columns, np.float64).reshape(-1, 2)

    def read(
        self, since: float, until: float, version: str | None = None
    ) -> Iterator[PredictionBatch]:
        """Batches with predictions of a period, in the order in which they were added."""
        for batch in self.added:
            overlaps = batch.at.max() >= since and batch.at.min() < until
            if overlaps and version in (None, batch.version):
                yield batch

    def labels_of(
        self, request_ids: Collection[str]
    ) -> Mapping[tuple[str, int], tuple[float, float]]:
        """The labels of requests: actual and time of the label."""
        return {
            key: (label.actual, at)
            for key, (at, label) in self.labels.items()
            if key[0] in request_ids
        }

    def recent(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and predicted classes or values of the latest predictions."""
        latest = self._latest_first()
        latest = [p for p in latest if len(p.inputs) == len(latest[0].inputs)][:rows]
        return np.array([p.inputs for p in latest]), np.array([p.predicted for p in latest])

    def drift_state(self) -> tuple[int, str | None]:
        """The last batch that was evaluated, and the state after it."""
        return self.drift

    def batches_after(self, number: int, most: int) -> tuple[int, list[PredictionBatch]]:
        """The next batches, which are numbered in the order in which they were added."""
        found = self.added[number : number + most]
        return number + len(found), found

    def save_drift_state(self, previous: int, number: int, state: str) -> bool:
        """Keep a state if the last one is that of `previous`."""
        if self.drift[0] != previous:
            return False
        self.drift = (number, state)
        return True

    def retraining_failed(self) -> bool:
        """Whether the last retraining failed."""
        return self.failed_retraining

    def _predicted(
        self, since: float, until: float | None, version: str | None
    ) -> list[LoggedPrediction]:
        chosen = (p for p in self.predictions if version in (None, p.version))
        return [p for p in chosen if _is_in(p.at, since, until)]

    def _labelled(
        self, since: float, until: float | None, version: str | None
    ) -> list[LabelledPrediction]:
        chosen = (found for found in self.labels.values() if version in (None, found[1].version))
        return [label for at, label in chosen if _is_in(at, since, until)]

    def _latest_first(self) -> list[LoggedPrediction]:
        return self.predictions[::-1]


def _predicted_row(entry: LoggedPrediction) -> PredictedRow:
    return PredictedRow(
        entry.request_id, entry.row, entry.predicted, entry.confidence, entry.version, entry.at
    )


def _is_in(at: float, since: float, until: float | None) -> bool:
    return at >= since and (until is None or at < until)


def _mean(values: Sequence[float]) -> float | None:
    return float(np.mean(values)) if values else None


class FakeRecorder:
    """Keeps the results that it records."""

    def __init__(self) -> None:
        self.results: list[PredictionResult] = []

    def record(self, result: PredictionResult) -> None:
        """Keep one result."""
        self.results.append(result)


@dataclass
class FakePackage:
    """A package in memory, as validation reads it."""

    files: dict[str, Any]
    native: Any
    version: str = "1.0.0-fake"

    def read_json(self, name: str) -> Any:
        """A JSON file of the package."""
        return self.files[name]

    def load_native(self) -> Any:
        """The native model."""
        return self.native


def fake_model(
    dataset: Dataset, spec: ModelSpec = petals.SPEC, build: Callable[..., Any] = petals.build
) -> CatalogModel:
    """The model petals, or another one, with other data."""
    return SimpleNamespace(SPEC=spec, load=lambda: dataset, build=build)


def classification_result(
    request_id: str, *rows: Sequence[float], at: float = 0.0
) -> PredictionResult:
    """The predictions of a `FakeClassifier` for one request, in 2 ms."""
    values = np.array(rows, dtype=np.float32)
    return PredictionResult(request_id, at, values, FakeClassifier()(values), 0.002)


def regression_result(request_id: str, *values: float, at: float = 0.0) -> PredictionResult:
    """Predictions of these values for one request, with intervals of ± 10, in 2 ms."""
    rows = np.array(values, dtype=np.float32)[:, None]
    predictions = rows + np.array([[0, -10, 10]], dtype=np.float32)
    return PredictionResult(request_id, at, rows, predictions, 0.002)


def logged_prediction(
    request_id: str, inputs: Sequence[float], *, row: int = 0, at: float = 0.0
) -> LoggedPrediction:
    """One row of a `classification_result`, as the log keeps it."""
    result = classification_result(request_id, inputs, at=at)
    (probabilities,) = result.predictions
    return LoggedPrediction(
        request_id,
        row,
        at,
        int(identities(result.rows)[0]),
        result.rows[0].tolist(),
        int(probabilities.argmax()),
        float(probabilities.max()),
        result.latency,
    )


def batch_of(
    *predictions: LoggedPrediction, ids: Mapping[int, str] | None = None
) -> PredictionBatch:
    """A batch of predictions for the log; row 0 starts a new request.

    Args:
        ids: IDs of some predictions, by their position.
    """
    starts = [position for position, entry in enumerate(predictions) if entry.row == 0]
    first = [predictions[position] for position in starts]
    confidences = [entry.confidence for entry in predictions]
    (version,) = {entry.version for entry in predictions}
    return PredictionBatch(
        [entry.request_id for entry in first],
        np.diff([*starts, len(predictions)]),
        np.array([entry.at for entry in first]),
        np.array([entry.latency for entry in first]),
        np.array([entry.identity for entry in predictions], np.uint64),
        np.array([entry.inputs for entry in predictions]),
        np.array([entry.predicted for entry in predictions]),
        None if None in confidences else np.array(confidences),
        ids or {},
        version=version,
    )
