"""What was predicted, and what turned out to be true, shared by all workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from itertools import chain
from typing import Any, Protocol

import numpy as np


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
    """PredictionResult requests in their order, column by column; floats are kept as float32.

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


class PredictionWriter(Protocol):
    """Writes predictions."""

    def add(self, *batches: PredictionBatch) -> None:
        """Append predictions: all of them, or none where it fails."""


class LabelStore(Protocol):
    """Finds a prediction and keeps its label."""

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


class PredictionStatistics(Protocol):
    """Totals of predictions and of their labels."""

    def traffic(self, since: float) -> Traffic:
        """Totals since a time."""

    def by_class(self, since: float) -> Mapping[int, int]:
        """How often each class was predicted since a time."""

    def confusion(self, since: float) -> Mapping[tuple[int, int], int]:
        """How often each pair of classes (predicted, actual) was labelled since a time."""

    def errors(self, since: float) -> LiveErrors | None:
        """Errors of the values that were labelled since a time; None where none was."""


class RecentPredictions(Protocol):
    """Reads the latest predictions."""

    def recent(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and answers of the latest predictions, latest first.

        Returns:
            float64 arrays of shape (n, n_monitored) and (n,), n being at most `rows`.
        """


class FeedbackLog(LabelStore, PredictionStatistics, Protocol):
    """What feedback needs: it labels predictions, and measures the quality by the labels."""
