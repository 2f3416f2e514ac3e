"""A speech model, and fakes for transcription: engine, metrics and decoder."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd

from application.inference.transcriber import NotAudioError, Segment, Transcription
from domain.catalog import CatalogModel
from domain.contract import Audio, ModelSpec, Transcript
from domain.data.dataset import Dataset
from domain.errors import InputError


@dataclass(frozen=True)
class Recipe:
    """Weights and decoding options."""

    weights: str
    language: str | None
    task: str
    beam_size: int | None
    temperatures: tuple[float, ...]


def build(
    weights: str,
    language: str | None = None,
    task: str = "transcribe",
    beam_size: int | None = None,
    temperatures: Sequence[float] = (0.0,),
) -> Recipe:
    """Return the arguments as a recipe."""
    return Recipe(weights, language, task, beam_size, tuple(temperatures))


def load(manifest: str | None = None) -> Dataset:
    """The recordings in a CSV file with the columns audio, language and text."""
    if manifest is None:
        return Dataset("speech", "none", pd.DataFrame(columns=["audio"]), pd.Series(dtype=str))
    path = Path(manifest)
    table = pd.read_csv(path, dtype=str, keep_default_na=False)
    files = (path, *(path.parent / name for name in table["audio"]))
    inputs = table[["audio", "language"]].assign(sha256="")
    return Dataset("speech", path.name, inputs, table["text"], files)


SPEC = ModelSpec(
    "speech", (Audio("recording", 16_000, 1800.0),), Transcript(), "What is said in a recording."
)
SPEECH: CatalogModel = SimpleNamespace(SPEC=SPEC, load=load, build=build)


@dataclass
class FakeEngine:
    """Transcribes the loudness of the first sample, and counts calls.

    Attributes:
        max_concurrent: largest number of calls at the same time.
        entered: set by each call.
        release: calls wait for it before they return; set by default.
    """

    max_concurrent: int = 0
    calls: int = 0
    error: Exception | None = None
    entered: threading.Event = field(default_factory=threading.Event)
    release: threading.Event = field(default_factory=threading.Event)
    _running: int = 0

    def __post_init__(self) -> None:
        self.release.set()

    def __call__(self, samples: np.ndarray, language: str | None = None) -> Transcription:
        """Return one segment."""
        self._running += 1
        self.calls += 1
        self.max_concurrent = max(self.max_concurrent, self._running)
        self.entered.set()
        if self.error:
            raise self.error
        assert self.release.wait(10)
        text, seconds = f"{samples[0]:.1f}", len(samples) / 16_000
        self._running -= 1
        return Transcription(text, language or "en", seconds, (Segment(0.0, seconds, text),))

    def first_words(self, samples: np.ndarray) -> str:
        """Return the loudness of the first sample."""
        return f"{samples[0]:.1f}"

    def check_language(self, language: str | None) -> None:
        """Accept two languages."""
        if language not in (None, "en", "de"):
            raise InputError(f"unknown language {language}")

    def describe(self) -> dict[str, Any]:
        """Return a description of the engine."""
        return {"device": "fake", "parameters": 3}


@dataclass
class FakeTranscriptionMetrics:
    """Keeps metrics in memory."""

    transcriptions: list[tuple[str | None, float, float]] = field(default_factory=list)
    errors: Counter[str] = field(default_factory=Counter)
    synthetic: Counter[str] = field(default_factory=Counter)

    def record_transcription(
        self, language: str | None, audio_seconds: float, seconds: float
    ) -> None:
        """Keep a transcription."""
        self.transcriptions.append((language, audio_seconds, seconds))

    def record_error(self, error_type: str) -> None:
        """Count a refused request."""
        self.errors[error_type] += 1

    def record_synthetic(self, source: str) -> None:
        """Count a synthetic request."""
        self.synthetic[source] += 1


def fake_decode(recording: bytes, sample_rate: int, max_seconds: float) -> np.ndarray:
    """Return one second per byte, with its value as loudness."""
    if recording == b"noise":
        raise NotAudioError("not a recording")
    if len(recording) > max_seconds:
        raise InputError("too long")
    return np.repeat(np.frombuffer(recording, np.uint8) / 255, sample_rate).astype(np.float32)
