"""Predict: encode the rows, call the model once, pass the predictions to the recorder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from application.ports.model import Model
from application.ports.recorder import PredictionResult, Recorder
from domain.contract import ModelSpec, RangePolicy
from domain.errors import InputError, PackageError, TooManyRowsError
from domain.evaluation.parity import Parity

MAX_ROWS = 10_000
GOLDEN_TOLERANCE = 1e-5


class NullRecorder:  # pylint: disable=too-few-public-methods
    """Records nothing: for synthetic requests, and if monitoring is switched off."""

    def record(self, result: PredictionResult) -> None:
        """Do nothing."""


class Predictor:
    """Predicts for requests to one model.

    Args:
        spec: the model's contract.
        model: the served model.
        recorder: records every result.
        max_rows: maximum number of rows per request.
    """

    def __init__(
        self, spec: ModelSpec, model: Model, recorder: Recorder, max_rows: int = MAX_ROWS
    ) -> None:
        self.spec = spec
        policy = RangePolicy(spec)
        self._reading = policy.unclipped  # so that the recorder sees what is clipped
        self._model: Model = model
        if self._reading is not spec:
            self._model = lambda rows: model(policy.clip(rows))
        self._recorder = recorder
        self._max_rows = max_rows

    def predict(
        self,
        request_id: str,
        rows: Sequence[Sequence[Any]],
        ids: Sequence[Any] | None = None,
        caller: str | None = None,
    ) -> PredictionResult:
        """Predict for the rows of one request, with one call of the model.

        Args:
            rows: n_rows sequences of one value for each input, in the contract's order.
            ids: the callers' IDs of the rows, as they were sent; None without any.
            caller: name of the API key of the request; None without one.

        Raises:
            InputError: the rows or their IDs break the contract.
            TooManyRowsError: there are too many rows.
        """
        start = time.perf_counter()
        self.check_row_count(len(rows))
        encoded = self._reading.encode_rows(rows, ids)
        return self._predict_encoded(request_id, encoded, start, ids, caller)

    def predict_columns(
        self,
        request_id: str,
        columns: Mapping[str, Any],
        ids: Sequence[Any] | None = None,
        caller: str | None = None,
    ) -> PredictionResult:
        """Predict for one request that has its values by column.

        Args:
            columns: n_rows values for each input, by name; for a tensor also an array of shape
                (n_rows, *tensor_shape).
            ids, caller: as for `predict`.

        Raises:
            InputError: the values or IDs break the contract, or there are no rows.
            TooManyRowsError: there are too many rows.
        """
        start = time.perf_counter()
        longest = max(
            (len(columns[name]) for name in self.spec.input_names if name in columns), default=0
        )
        self.check_row_count(longest)
        encoded = self._reading.encode(columns, ids)
        if len(encoded) == 0:
            raise InputError("there are no rows: send at least one")
        return self._predict_encoded(request_id, encoded, start, ids, caller)

    def check_row_count(self, rows: int) -> None:
        """Raise TooManyRowsError if a request may not have so many rows."""
        if rows > self._max_rows:
            raise TooManyRowsError(f"{rows} rows are too many: send at most {self._max_rows}")

    def _predict_encoded(
        self,
        request_id: str,
        encoded: np.ndarray,
        start: float,
        ids: Sequence[Any] | None,
        caller: str | None,
    ) -> PredictionResult:
        predictions = self._model(encoded)
        now = time.perf_counter()
        result = PredictionResult(
            request_id, time.time(), encoded, predictions, now - start, ids, caller
        )
        self._recorder.record(result)
        return result


def replay_golden(spec: ModelSpec, model: Model, golden: Mapping[str, Any]) -> None:
    """Predict for the golden requests and compare with the recorded predictions.

    Args:
        golden: ``rows`` as requests have them, and the ``answers`` recorded in training.

    Raises:
        InputError: a golden row breaks the contract.
        PackageError: a prediction differs; such a model must not serve.
    """
    check_golden(spec, model(spec.encode_rows(golden["rows"])), golden["answers"])


def check_golden(spec: ModelSpec, predictions: Any, recorded: Any) -> None:
    """Compare predictions for the golden requests with those recorded in training.

    Probabilities may differ by `GOLDEN_TOLERANCE`, values by that fraction of the largest one.

    Args:
        predictions, recorded: array-like of shape (n_rows, n_outputs).

    Raises:
        PackageError: they differ.
    """
    actual, expected = np.asarray(predictions, np.float64), np.asarray(recorded, np.float64)
    if actual.shape != expected.shape:
        raise PackageError(
            f"the predictions for the golden requests have the shape {actual.shape}, "
            f"recorded in training was {expected.shape}"
        )
    difference = Parity.of(expected, actual, spec).largest_difference
    if np.isnan(difference) or difference > GOLDEN_TOLERANCE:
        raise PackageError(
            f"the predictions for the golden requests differ by {difference:.1e} "
            f"from those recorded in training (tolerance {GOLDEN_TOLERANCE:.0e})"
        )
