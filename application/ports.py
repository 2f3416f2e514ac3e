"""What the use cases need from the outside, as protocols that adapters and fakes fulfil."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from domain.evaluation.metrics import Report
from domain.models.contract import ModelSpec

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


class Registry(Protocol):
    """The record of versions and their aliases."""

    def package_of(self, model_name: str, alias: str) -> Path:
        """Folder of the package that an alias points to; RegistryError where there is none."""

    def promote(self, model_name: str, package_version: str) -> RegisteredVersion:
        """Point ``champion`` to the version that was made from this package."""


@dataclass(frozen=True)
class LoggedPrediction:
    """One answered row, as the prediction log keeps it.

    Attributes:
        identity: of what the model was given, 16 hex digits.
        inputs: what is watched for drift, by the contract's `monitored_names`; NaN where missing.
        predicted: number of the class, or the value.
        confidence: probability of the class; None where a value is predicted.
    """

    request_id: str
    row: int
    at: float
    identity: str
    inputs: Sequence[float]
    predicted: float
    confidence: float | None
    latency: float


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

    def add(self, predictions: Sequence[LoggedPrediction]) -> None:
        """Append predictions."""

    def find(self, request_id: str, row: int) -> LoggedPrediction | None:
        """A prediction by its identity."""

    def find_unlabelled(self, identity: str, predicted: float) -> LoggedPrediction | None:
        """The latest prediction of that class or value for those inputs that has no label yet."""

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
        self, classes: Sequence[str], confidences: Sequence[float], latency: float
    ) -> None:
        """Count one answered request: class and confidence of each row, seconds for all."""

    def record_values(self, values: Sequence[float], latency: float) -> None:
        """Count one answered request: the value of each row, seconds for all."""

    def record_error(self, error_type: str) -> None:
        """Count a request that was not answered."""

    def set_accuracy(self, accuracy: float) -> None:
        """Live accuracy on labelled predictions."""

    def set_mean_absolute_error(self, error: float) -> None:
        """Live mean absolute error on labelled predictions."""

    def set_drift(self, scores: Mapping[str, float]) -> None:
        """Drift score by what is watched."""
