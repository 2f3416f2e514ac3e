"""Tracking of training runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from domain.contract import ModelSpec


@dataclass(frozen=True)
class TrainingRecord:
    """One training run as the tracking server records it.

    Attributes:
        run_id: the run, if it was started during training; None to start a new one.
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
    """Records training runs and registers their models as ``candidate``."""

    def begin(self, experiment_name: str, run_name: str) -> str:
        """Start a run during training, so that it can be watched; returns its ID."""

    def log_epoch(self, run_id: str, figures: Mapping[str, float], epoch: int) -> None:
        """Add the metrics of an epoch to a started run."""

    def fail(self, run_id: str) -> None:
        """End a started run as failed."""

    def record(self, record: TrainingRecord) -> RegisteredVersion:
        """Record one run and register its model."""
