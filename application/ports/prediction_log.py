"""The log of predictions and their labels, shared by all workers."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, field, fields
from itertools import chain
from typing import Any, NamedTuple, Protocol

import numpy as np


@dataclass(frozen=True)
class LoggedPrediction:
    """One predicted row, as the prediction log keeps it.

    Attributes:
        identity: hash of the encoded row.
        inputs: values of the contract's `monitored_names`; NaN if missing.
        predicted: number of the class, or the value.
        confidence: probability of the class; None for a regressor.
        latency: seconds that the request took.
        version: of the model's package; None if unknown.
    """

    request_id: str
    row: int
    at: float
    identity: int
    inputs: Sequence[float]
    predicted: float
    confidence: float | None
    latency: float
    version: str | None = None


@dataclass(frozen=True)
class PredictionBatch:
    """Requests with their predictions, in order, as columns; floats are stored as float32.

    Attributes:
        request_ids: ID of each request.
        rows: number of rows of each request, shape (n_requests,).
        at: time of each request, seconds since the epoch, float64 of shape (n_requests,).
        latency: seconds that each request took, shape (n_requests,).
        identities: hash of each encoded row, uint64 of shape (n_rows,).
        inputs: values of the monitored inputs, shape (n_rows, n_monitored).
        predicted: number of the class, or the value, shape (n_rows,).
        confidence: probability of the class, shape (n_rows,); None for a regressor.
        ids: texts of the callers' IDs, by position of their rows in the batch.
        callers: name of the API key of each request, None without one; empty if no request has one.
        version, environment: of the service, which the log adds; None if unknown.
    """

    request_ids: Sequence[str]
    rows: np.ndarray
    at: np.ndarray
    latency: np.ndarray
    identities: np.ndarray
    inputs: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray | None
    ids: Mapping[int, str] = field(default_factory=dict)
    callers: Sequence[str | None] = ()
    version: str | None = None
    environment: str | None = None

    @classmethod
    def join(cls, batches: Sequence[PredictionBatch]) -> PredictionBatch:
        """Join batches of one version and environment, in order."""
        columns = {
            column.name: [getattr(batch, column.name) for batch in batches]
            for column in fields(cls)
        }
        service = {name: columns.pop(name)[0] for name in ("version", "environment")}
        callers: list[str | None] = []
        if any(columns.pop("callers")):
            for batch in batches:
                callers += batch.callers or [None] * len(batch.request_ids)
        request_ids = list(chain.from_iterable(columns.pop("request_ids")))
        ids: dict[int, str] = {}
        start = 0
        for batch, found in zip(batches, columns.pop("ids")):
            ids |= {start + position: text for position, text in found.items()}
            start += len(batch.predicted)
        joined: dict[str, Any] = {
            name: None if parts[0] is None else np.concatenate(parts)
            for name, parts in columns.items()
        }
        return cls(request_ids, **joined, ids=ids, callers=callers, **service)

    def prediction(self, position: int) -> LoggedPrediction:
        """One row, by its position in the whole batch."""
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
            self.version,
        )


class LabelledPrediction(NamedTuple):
    """A prediction with its label; both are numbers of classes, or values.

    Attributes:
        confidence: probability of the predicted class; None if unknown, and for a regressor.
        version: of the model's package; None if unknown.
        made: time of the prediction, seconds since the epoch; None if it is not in the log.
    """

    request_id: str
    row: int
    predicted: float
    actual: float
    confidence: float | None = None
    version: str | None = None
    made: float | None = None


class LabelCounts(NamedTuple):
    """How many labels were new, replaced another value, or were on record already."""

    new: int = 0
    corrected: int = 0
    unchanged: int = 0

    def plus(self, other: LabelCounts) -> LabelCounts:
        """Both together."""
        return LabelCounts(*(sum(pair) for pair in zip(self, other)))


class PredictedRow(NamedTuple):
    """What a label needs of the prediction that it belongs to; as in `LabelledPrediction`."""

    request_id: str
    row: int
    predicted: float
    confidence: float | None
    version: str | None
    made: float


@dataclass(frozen=True)
class Traffic:
    """Totals of a period; means and extremes are None without predictions."""

    predictions: int
    mean_confidence: float | None
    mean_latency: float | None
    mean_predicted: float | None
    smallest_predicted: float | None
    largest_predicted: float | None


@dataclass(frozen=True)
class VersionTraffic:
    """What one version has predicted in a period.

    Attributes:
        version: None for predictions whose version is not on record.
        labelled: how many of the predictions have a label by now.
        first, last: times of its first and last prediction, seconds since the epoch.
    """

    version: str | None
    predictions: int
    labelled: int
    first: float
    last: float


@dataclass(frozen=True)
class LiveErrors:
    """Errors of labelled values; `labelled` is at least 1."""

    labelled: int
    mean_absolute_error: float
    root_mean_squared_error: float


class PredictionWriter(Protocol):
    """Writes predictions."""

    def add(self, *batches: PredictionBatch) -> bool:
        """Append all of the predictions, or none if it fails.

        Returns:
            Whether the log has them, and all earlier ones; else some still wait to be written.
        """


class LabelStore(Protocol):
    """Finds predictions and stores their labels."""

    def find(self, request_id: str, row: int, since: float = 0.0) -> LoggedPrediction | None:
        """Find a prediction by its request and row.

        With `since`, predictions before that time may be skipped, and also those made more than an
        hour after the time at the beginning of their request ID.
        """

    def find_unlabelled(
        self, identity: int, predicted: float, since: float = 0.0
    ) -> LoggedPrediction | None:
        """Find the latest unlabelled prediction of a class or value for an encoded row.

        Predictions before `since` may be skipped.
        """

    def find_id(self, text: str, until: float | None = None) -> LoggedPrediction | None:
        """Find the latest prediction for a row with this ID of its caller.

        With `until`, predictions after that time are skipped.
        """

    def classes_of(self, version: str) -> Sequence[str] | None:
        """The classes of a version, in order; None if they are not on record."""

    def label(self, *labelled: LabelledPrediction, at: float) -> LabelCounts:
        """Store labels in order: all of them, or none if it fails.

        Another value for the same row replaces the previous one, which stays on record; the same
        value again changes nothing.
        """


class BulkLabelStore(Protocol):
    """Finds many predictions at once and stores their labels."""

    def find_rows(self, rows: Set[tuple[str, int]]) -> Mapping[tuple[str, int], PredictedRow]:
        """Find predictions by request ID and row, the latest of each; unknown ones are left out."""

    def find_ids(self, texts: Collection[str]) -> Mapping[str, PredictedRow]:
        """Find the latest prediction for each ID of the callers; unknown ones are left out."""

    def label(self, *labelled: LabelledPrediction, at: float) -> LabelCounts:
        """Store labels as `LabelStore.label` does."""


class PredictionStatistics(Protocol):
    """Totals of predictions and their labels, from `since` until before `until`, of one version.

    By default, until now and of all versions. A label counts at the time when it arrived.
    """

    def traffic(
        self, since: float, until: float | None = None, version: str | None = None
    ) -> Traffic:
        """Totals of the predictions."""

    def by_class(
        self, since: float, until: float | None = None, version: str | None = None
    ) -> Mapping[int, int]:
        """How often each class was predicted."""

    def versions(self, since: float, until: float | None = None) -> list[VersionTraffic]:
        """The versions that made predictions, by the time of their first one."""

    def confusion(
        self, since: float, until: float | None = None, version: str | None = None
    ) -> Mapping[tuple[int, int], int]:
        """How often each pair of classes (predicted, actual) was labelled."""

    def errors(
        self, since: float, until: float | None = None, version: str | None = None
    ) -> LiveErrors | None:
        """Errors of the labelled values; None without labels."""

    def labelled(
        self,
        since: float,
        rows: int,
        until: float | None = None,
        version: str | None = None,
        by_prediction: bool = False,
    ) -> np.ndarray:
        """Predicted, actual and confidence of what was labelled, latest first.

        Args:
            by_prediction: whether the period is that of the predictions; else, of the labels.

        Returns:
            float64 array of shape (n, 3), n being at most `rows`; the confidence may be NaN.
        """

    def confidences(
        self, since: float, rows: int, until: float | None = None, version: str | None = None
    ) -> np.ndarray:
        """Predicted class and its probability of the latest predictions.

        Returns:
            float64 array of shape (n, 2), n being at most `rows`; none of regressions.
        """


class RecentPredictions(Protocol):
    """Reads the latest predictions, and keeps what was learned from all of this version."""

    def recent(self, rows: int) -> tuple[np.ndarray, np.ndarray]:
        """Inputs and predicted classes or values of the latest predictions, latest first.

        Returns:
            float64 arrays of shape (n, n_monitored) and (n,), n being at most `rows`.
        """

    def drift_state(self) -> tuple[int, str | None]:
        """The number of the last batch that was evaluated, and the state after it; 0 and None at
        first."""

    def batches_after(self, number: int, most: int) -> tuple[int, list[PredictionBatch]]:
        """The next batches of this version after a number, and the number of the last one."""

    def save_drift_state(self, previous: int, number: int, state: str) -> bool:
        """Keep the state after a batch, unless another process has meanwhile evaluated batches
        after `previous`; returns whether it was kept."""

    def retraining_failed(self) -> bool:
        """Whether the last retraining by `make watch` failed or was refused."""


class PredictionReader(Protocol):
    """Reads every prediction of a period in order, for any period without using much memory."""

    def read(
        self, since: float, until: float, version: str | None = None
    ) -> Iterator[PredictionBatch]:
        """Batches with predictions from `since` until before `until`, of a version or of all.

        Batches that only partly belong to the period are complete. Each has the IDs of its rows.
        """

    def labels_of(
        self, request_ids: Collection[str]
    ) -> Mapping[tuple[str, int], tuple[float, float]]:
        """The labels of requests: actual and time of the label, by request ID and row."""


class FeedbackLog(LabelStore, PredictionStatistics, Protocol):
    """What feedback needs: to label predictions, and to measure the quality by the labels."""
