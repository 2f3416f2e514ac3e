"""Predicting: encode the rows, call the model once, hand the predictions to the recorder."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from application.ports.model import Model
from application.ports.recorder import PredictionResult, Recorder
from domain.contract import ModelSpec
from domain.errors import InputError, PackageError, TooManyRowsError
from domain.evaluation.parity import Parity

MAX_ROWS = 10_000
GOLDEN_TOLERANCE = 1e-5


class NullRecorder:  # pylint: disable=too-few-public-methods
    """Records nothing, where monitoring is switched off."""

    def record(self, answered: PredictionResult) -> None:
        """Nothing."""


class Predictor:
    """Answers requests for one model.

    Args:
        spec: the model's contract.
        model: the model itself.
        recorder: is given every result.
        max_rows: most rows of one request.
    """

    def __init__(
        self, spec: ModelSpec, model: Model, recorder: Recorder, max_rows: int = MAX_ROWS
    ) -> None:
        self.spec = spec
        self._model = model
        self._recorder = recorder
        self._max_rows = max_rows

    def predict(self, request_id: str, rows: Sequence[Sequence[Any]]) -> PredictionResult:
        """Answer one request with one call of the model.

        Args:
            rows: n_rows sequences of one value for each input, in the contract's order.

        Raises:
            InputError: the rows break the contract.
            TooManyRowsError: there are too many.
        """
        start = time.perf_counter()
        self._check_number(len(rows))
        return self._answer(request_id, self.spec.encode_rows(rows), start)

    def predict_columns(self, request_id: str, columns: Mapping[str, Any]) -> PredictionResult:
        """Answer one request that has its values by input.

        Args:
            columns: n_rows values for each input, by name; those of a tensor may be an array of
                shape (n_rows, …tensor).

        Raises:
            InputError: the values break the contract, or there are none.
            TooManyRowsError: there are too many.
        """
        start = time.perf_counter()
        longest = max(
            (len(columns[name]) for name in self.spec.input_names if name in columns), default=0
        )
        self._check_number(longest)
        encoded = self.spec.encode(columns)
        if len(encoded) == 0:
            raise InputError("there are no rows: send at least one")
        return self._answer(request_id, encoded, start)

    def _check_number(self, rows: int) -> None:
        if rows > self._max_rows:
            raise TooManyRowsError(f"{rows} rows are too many: send at most {self._max_rows}")

    def _answer(self, request_id: str, encoded: np.ndarray, start: float) -> PredictionResult:
        answers = self._model(encoded)
        now = time.perf_counter()
        answered = PredictionResult(request_id, time.time(), encoded, answers, now - start)
        self._recorder.record(answered)
        return answered


def replay_golden(spec: ModelSpec, model: Model, golden: Mapping[str, Any]) -> None:
    """Ask the model its golden requests again.

    Args:
        golden: ``rows`` as requests have them, and the ``answers`` recorded in training.

    Raises:
        InputError: a golden row breaks the contract.
        PackageError: an answer differs; such a model must not serve.
    """
    check_golden(spec, model(spec.encode_rows(golden["rows"])), golden["answers"])


def check_golden(spec: ModelSpec, answers: Any, recorded: Any) -> None:
    """Compare answers to the golden requests with those recorded in training.

    Probabilities may differ by `GOLDEN_TOLERANCE`, values by that part of the largest one.

    Args:
        answers, recorded: array-like of shape (n_rows, n_answers).

    Raises:
        PackageError: they differ.
    """
    given, expected = np.asarray(answers, np.float64), np.asarray(recorded, np.float64)
    if given.shape != expected.shape:
        raise PackageError(
            f"the golden requests are answered in the shape {given.shape}, "
            f"recorded were {expected.shape}"
        )
    difference = Parity.of(expected, given, spec).largest_difference
    if np.isnan(difference) or difference > GOLDEN_TOLERANCE:
        raise PackageError(
            f"the answers to the golden requests differ by {difference:.1e} "
            f"from those recorded in training (tolerance {GOLDEN_TOLERANCE:.0e})"
        )
