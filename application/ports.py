"""What the use cases need from the outside, as protocols that adapters and fakes fulfil."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, fields
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from domain.contract import ModelSpec
from domain.errors import RegistryError
from domain.evaluation.metrics import Report

Model = Callable[[np.ndarray], np.ndarray]
"""Answers of shape (n_rows, n_answers) to encoded rows of shape (n_rows, width).

An answer is the probability of each class, or a value with the limits of its interval: the
contract's `answer_names` says which.
"""

Progress = Callable[[str, str], None]
"""Told the name of a step that is done and what came of it."""

CurveReport = Callable[[Mapping[str, float], int], None]
"""Told figures of an epoch of training that has ended, by name, and its number from 0."""


class Framework(Protocol):
    """How the estimators of one library are trained and exported."""

    def fit(
        self, estimator: Any, rows: np.ndarray, target: np.ndarray, report: CurveReport
    ) -> None:
        """Fit on encoded rows; where the library learns in epochs, each is reported."""

    def export(self, estimator: Any, spec: ModelSpec, path: Path) -> None:
        """Write `path` as ONNX: input ``inputs``; output ``probabilities``, or for a regression
        ``prediction``, ``lower`` and ``upper``.

        Raises:
            ExportError: it cannot be exported; the message says why.
        """

    def save(self, estimator: Any, spec: ModelSpec, path: Path) -> None:
        """Write `path` so that the estimator itself can be served, without running any code that
        the file holds.

        Raises:
            ExportError: it cannot; the message says why.
        """


class Loader(Protocol):
    """Reads what a `Framework` has written to be served."""

    def __call__(self, path: Path, spec: ModelSpec) -> Model:
        """The model as a function."""


@dataclass(frozen=True)
class FigureData:
    """What the figures of a training run show.

    Attributes:
        answers: the model's answers on the hold-out, shape (n_holdout, n_answers).
        actual: class numbers or values of the hold-out, shape (n_holdout,).
        curves: figures by epoch, by name; empty where the model does not learn in epochs.
    """

    spec: ModelSpec
    report: Report
    importances: Mapping[str, float]
    answers: np.ndarray
    actual: np.ndarray
    curves: Mapping[str, Sequence[float]]


class DrawFigures(Protocol):
    """Draws the figures of a training run."""

    def __call__(self, data: FigureData, folder: Path) -> None:
        """Write PNG files into `folder`."""


class PackageDraft(Protocol):
    """A package that is being written; nothing of it is seen before `seal`."""

    folder: Path
    version: str

    def write_json(self, name: str, data: Mapping[str, Any]) -> None:
        """Write a JSON file into the package."""

    def write_native(self, estimator: Any) -> None:
        """Write the native model."""

    def seal(self) -> Path:
        """Write the manifest, move the package to its place, and return that."""


@dataclass(frozen=True)
class TrainingRecord:
    """One training run as the tracking server is told of it.

    Attributes:
        run_id: the run that was begun for it; None where none was.
    """

    experiment_name: str
    model_name: str
    package: Path
    package_version: str
    spec: ModelSpec
    parameters: Mapping[str, Any]
    metrics: Mapping[str, float]
    tags: Mapping[str, str]
    dataset: Mapping[str, str]
    example: Sequence[Sequence[Any]]
    run_id: str | None = None


@dataclass(frozen=True)
class RegisteredVersion:
    """A version of a model in the registry."""

    model_name: str
    version: str
    run_id: str


class Tracker(Protocol):
    """Records training runs and registers what they made as ``candidate``."""

    def begin(self, experiment_name: str, run_name: str) -> str:
        """Begin a run before its training ends, so that it can be watched; its identity."""

    def log_epoch(self, run_id: str, figures: Mapping[str, float], epoch: int) -> None:
        """Add figures of an epoch to a run that was begun."""

    def fail(self, run_id: str) -> None:
        """End a run that was begun and came to nothing."""

    def record(self, record: TrainingRecord) -> RegisteredVersion:
        """Record one run."""


@dataclass(frozen=True)
class ModelVersion:
    """What the registry knows of a version.

    Attributes:
        number: its number in the registry; the newest has the highest.
        package_version: of the package that it was made from.
        run_id: the training run.
        created: when it was registered, in UTC.
        package_digest: of the package's manifest, 64 hex digits; None where none was recorded.
        verdict: ``accepted`` or ``refused``; None where no validation has judged it.
        figures: quality on the hold-out, by name: the run's metrics ``holdout_*``.
    """

    model_name: str
    number: str
    package_version: str
    run_id: str
    created: datetime
    aliases: tuple[str, ...] = ()
    package_digest: str | None = None
    verdict: str | None = None
    figures: Mapping[str, float] = field(default_factory=dict)

    def check_accepted(self) -> None:
        """Only what validation has accepted may become champion.

        Raises:
            RegistryError: it was refused, or has not been judged.
        """
        if self.verdict != "accepted":
            state = "was refused" if self.verdict else "has not been judged: make validate"
            raise RegistryError(
                f"{self.model_name} version {self.number} ({self.package_version}) {state}"
            )


@dataclass(frozen=True)
class Promotion:
    """What a promotion has done.

    Attributes:
        version: the champion now.
        former: the champion before; None where there was none, `version` where nothing moved.
    """

    version: ModelVersion
    former: ModelVersion | None

    @property
    def moved(self) -> bool:
        """Whether there is another champion than before."""
        return self.former is None or self.former.number != self.version.number


class Registry(Protocol):
    """The record of versions and their aliases."""

    def package_of(self, model_name: str, alias: str) -> Path:
        """Folder of the package that an alias points to; RegistryError where there is none."""

    def find(self, model_name: str, which: str) -> ModelVersion:
        """A version by its number, an alias, its package's version or its run; RegistryError
        where there is none."""

    def versions(self, model_name: str) -> list[ModelVersion]:
        """All versions, newest first; none of a model that was never registered."""

    def record_verdict(self, version: ModelVersion, verdict: str, folder: Path) -> None:
        """Keep what validation said, ``accepted`` or ``refused``, with the files of a folder."""

    def promote(self, model_name: str, package_version: str) -> Promotion:
        """Point ``champion`` to the version that was made from this package, and ``previous`` to
        the former champion; RegistryError where it was not accepted, or its package is gone."""

    def alone(self) -> AbstractContextManager[object]:
        """Held while aliases move or packages are removed: by one process on this machine, and
        again by who holds it."""

    def note_ledger(self, model_name: str, head: str) -> None:
        """Keep the hashes of the ledger's first and latest entry, where a cut ledger cannot take
        them along."""


@dataclass(frozen=True)
class LedgerEntry:
    """One entry of the ledger.

    Attributes:
        at: when, in UTC.
        who: the user, or who started the run of CI.
        event: ``train``, ``verdict``, ``promote``, ``rollback``, ``deploy`` or ``stop``.
        version: of the model's package.
        details: further facts; ``env`` where an environment was changed, not the registry.
        previous: hash of the entry before; 64 zeros in the first.
        hash: of all the others, 64 hex digits.
    """

    number: int
    at: datetime
    who: str
    event: str
    model_name: str
    version: str
    details: Mapping[str, str | float | None]
    previous: str
    hash: str


class Ledger(Protocol):
    """Who did what, and when; nothing that is written is changed again."""

    def append(
        self, event: str, model_name: str, version: str, **details: str | float | None
    ) -> LedgerEntry:
        """Add an entry: what happened, to which model and to which version of its package."""

    def entries(self) -> list[LedgerEntry]:
        """All entries, oldest first; RegistryError where one was changed, removed or moved."""


@dataclass(frozen=True)
class LoggedPrediction:
    """One answered row, as the prediction log keeps it.

    Attributes:
        identity: of what the model was given.
        inputs: what is watched for drift, by the contract's `monitored_names`; NaN where missing.
        predicted: number of the class, or the value.
        confidence: probability of the class; None where a value is predicted.
        latency: seconds that the request took.
    """

    request_id: str
    row: int
    at: float
    identity: int
    inputs: Sequence[float]
    predicted: float
    confidence: float | None
    latency: float


@dataclass(frozen=True)
class PredictionBatch:
    """Answered requests in their order, column by column; floats are kept as float32.

    Attributes:
        request_ids: of each request.
        rows: how many rows each request has, shape (n_requests,).
        at: when each was answered, seconds since the epoch, float64 of shape (n_requests,).
        latency: seconds that each took, shape (n_requests,).
        identities: of what the model was given, uint64 of shape (n_rows,).
        inputs: what is watched for drift, shape (n_rows, n_monitored).
        predicted: number of the class or value, shape (n_rows,).
        confidence: probability of the class, shape (n_rows,); None where values are predicted.
    """

    request_ids: Sequence[str]
    rows: np.ndarray
    at: np.ndarray
    latency: np.ndarray
    identities: np.ndarray
    inputs: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray | None

    @classmethod
    def join(cls, batches: Sequence[PredictionBatch]) -> PredictionBatch:
        """Batches of one model as one, in their order."""
        columns = {
            column.name: [getattr(batch, column.name) for batch in batches]
            for column in fields(cls)
        }
        request_ids = list(chain.from_iterable(columns.pop("request_ids")))
        joined: dict[str, Any] = {
            name: None if parts[0] is None else np.concatenate(parts)
            for name, parts in columns.items()
        }
        return cls(request_ids, **joined)

    def prediction(self, position: int) -> LoggedPrediction:
        """One row, by its position among all of the batch."""
        ends = self.rows.cumsum(dtype=np.int64)
        request = int(np.searchsorted(ends, position, side="right"))
        return LoggedPrediction(
            self.request_ids[request],
            int(position - (ends[request] - self.rows[request])),
            float(self.at[request]),
            int(self.identities[position]),
            self.inputs[position].tolist(),
            float(self.predicted[position]),
            None if self.confidence is None else float(self.confidence[position]),
            float(self.latency[request]),
        )


@dataclass(frozen=True)
class LabelledPrediction:
    """A prediction with its truth; both are numbers of classes, or values."""

    request_id: str
    row: int
    predicted: float
    actual: float


@dataclass(frozen=True)
class Traffic:
    """What was answered in a stretch of time; means and limits are None where nothing was."""

    predictions: int
    mean_confidence: float | None
    mean_latency: float | None
    mean_predicted: float | None
    smallest_predicted: float | None
    largest_predicted: float | None


@dataclass(frozen=True)
class LiveErrors:
    """How far labelled values were from the truth; `labelled` is at least 1."""

    labelled: int
    mean_absolute_error: float
    root_mean_squared_error: float


class PredictionLog(Protocol):
    """What was predicted, and what turned out to be true, shared by all workers."""

    def add(self, *batches: PredictionBatch) -> None:
        """Append predictions: all of them, or none where it fails."""

    def find(self, request_id: str, row: int, since: float = 0.0) -> LoggedPrediction | None:
        """A prediction by its request and row.

        What was answered before a time may be left out, and so may then what was answered more than
        an hour after the time with which its request's identity begins.
        """

    def find_unlabelled(
        self, identity: int, predicted: float, since: float = 0.0
    ) -> LoggedPrediction | None:
        """The latest prediction of that class or value for those inputs that has no label yet.

        What was answered before a time may be left out.
        """

    def label(self, labelled: LabelledPrediction, at: float) -> None:
        """Keep the truth of a prediction; a second label replaces the first."""

    def traffic(self, since: float) -> Traffic:
        """Totals since a time."""

    def by_class(self, since: float) -> Mapping[int, int]:
        """How often each class was predicted since a time."""

    def confusion(self, since: float) -> Mapping[tuple[int, int], int]:
        """How often each pair of classes (predicted, actual) was labelled since a time."""

    def errors(self, since: float) -> LiveErrors | None:
        """Errors of the values that were labelled since a time; None where none was."""

    def recent(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and answers of the latest predictions, latest first.

        Returns:
            float64 arrays of shape (n, n_monitored) and (n,), n being at most `rows`.
        """


class MetricsSink(Protocol):
    """Counts what a service does."""

    def record_predictions(
        self, codes: np.ndarray, confidences: np.ndarray, latencies: np.ndarray
    ) -> None:
        """Count answered requests.

        Args:
            codes: number of the predicted class of each row.
            confidences: its probability.
            latencies: seconds of each request.
        """

    def record_values(self, values: np.ndarray, latencies: np.ndarray) -> None:
        """Count answered requests: the value of each row, seconds of each request."""

    def record_error(self, error_type: str) -> None:
        """Count a request that was not answered."""

    def record_dropped(self, rows: int) -> None:
        """Count rows that were answered, but are not in the prediction log."""

    def set_accuracy(self, accuracy: float) -> None:
        """Live accuracy on labelled predictions."""

    def set_mean_absolute_error(self, error: float) -> None:
        """Live mean absolute error on labelled predictions."""

    def set_drift(self, scores: Mapping[str, float]) -> None:
        """Drift score by what is watched."""
