"""Answering: check the rows, ask the model once, hand the answers to the accountant."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from application.ports import Classifier
from domain.errors import InputError, PackageError
from domain.models.contract import ModelSpec

MAX_ROWS = 10_000
GOLDEN_TOLERANCE = 1e-5


@dataclass(frozen=True, slots=True)
class Answered:
    """One answered request.

    Attributes:
        request_id: identity of the request; with a row's position, that of a prediction.
        at: when it was answered, seconds since the epoch.
        rows: float32 array of shape (n_rows, n_features).
        probabilities: float32 array of shape (n_rows, n_classes).
        predicted: int array of shape (n_rows,), the most probable class of each row.
        confidence: float array of shape (n_rows,), its probability.
        latency: seconds from the rows to the answer.
    """

    request_id: str
    at: float
    rows: np.ndarray
    probabilities: np.ndarray
    predicted: np.ndarray
    confidence: np.ndarray
    latency: float


class Accounts(Protocol):
    """Is told of every answered request, and must not keep the caller waiting."""

    def account(self, answered: Answered) -> None:
        """Take note of one answered request."""


class Predictor:
    """Answers requests for one model.

    Args:
        spec: the model's contract.
        model: the model itself.
        accounts: told of every answer.
        max_rows: most rows of one request.
    """

    def __init__(
        self, spec: ModelSpec, model: Classifier, accounts: Accounts, max_rows: int = MAX_ROWS
    ) -> None:
        self.spec = spec
        self._model = model
        self._accounts = accounts
        self._max_rows = max_rows

    def predict(self, request_id: str, rows: Sequence[Sequence[float]]) -> Answered:
        """Answer one request with one call of the model.

        Args:
            rows: n_rows sequences of n_features numbers.

        Raises:
            InputError: the rows break the contract, or there are too many.
        """
        start = time.perf_counter()
        if len(rows) > self._max_rows:
            raise InputError(f"{len(rows)} rows are too many: send at most {self._max_rows}")
        checked = self.spec.check_rows(rows)
        probabilities = self._model(checked)
        predicted = probabilities.argmax(axis=1)
        answered = Answered(
            request_id,
            time.time(),
            checked,
            probabilities,
            predicted,
            probabilities[np.arange(len(predicted)), predicted],
            time.perf_counter() - start,
        )
        self._accounts.account(answered)
        return answered


def replay_golden(
    model: Classifier, rows: Sequence[Sequence[float]], probabilities: Sequence[Sequence[float]]
) -> None:
    """Compare the model's answers with those recorded in training.

    Raises:
        PackageError: an answer differs; such a model must not serve.
    """
    answers, recorded = model(np.asarray(rows, dtype=np.float32)), np.asarray(probabilities)
    if answers.shape != recorded.shape:
        raise PackageError(
            f"the model answers its golden requests in the shape {answers.shape}, "
            f"recorded were {recorded.shape}"
        )
    difference = float(np.abs(answers - recorded).max())
    if np.isnan(difference) or difference > GOLDEN_TOLERANCE:
        raise PackageError(
            f"the model's answers to its golden requests differ by {difference:.1e} "
            f"from those recorded in training (tolerance {GOLDEN_TOLERANCE:.0e})"
        )
