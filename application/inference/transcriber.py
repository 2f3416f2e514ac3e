"""Transcribing: decode the recording, ask the engine once at a time, count what was done."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from domain.contract import Audio, ModelSpec
from domain.errors import InputError, PackageError

SILENCE = 3e-4
"""Largest amplitude, of 1, of what counts as silence: −70 dB, some ten steps of 16-bit audio."""

CHECKPOINT, DECODING, GOLDEN_RECORDING = "model.pt", "decoding.json", "golden.flac"
"""Files of a package: the weights, how they are decoded, and what a server must hear again."""


class NotAudioError(InputError):
    """The bytes are no recording of a known format."""


@dataclass(frozen=True, slots=True)
class Segment:
    """What was said from `start` to `end`, in seconds from the recording's beginning."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Transcription:
    """What was said.

    Attributes:
        text: all of it.
        language: code of the language, such as ``en``; None where nothing was said.
        duration: length of the recording in seconds.
        segments: its parts, in order.
    """

    text: str
    language: str | None
    duration: float
    segments: tuple[Segment, ...]


class Decode(Protocol):
    """Decodes recordings."""

    def __call__(self, recording: bytes, sample_rate: int, max_seconds: float) -> np.ndarray:
        """float32 of shape (n_samples,), mono, between -1 and 1, at the sample rate.

        Raises:
            NotAudioError: it is no recording of a known format.
            InputError: it is broken, empty or too long.
        """


class SpeechEngine(Protocol):
    """Recognises speech; one call at a time."""

    def __call__(self, samples: np.ndarray, language: str | None = None) -> Transcription:
        """Recognise mono samples; without a language, that of the configuration."""

    def first_words(self, samples: np.ndarray) -> str:
        """The first words of mono samples, the same on every device."""

    def check_language(self, language: str | None) -> None:
        """Raise InputError where the weights do not know this language."""

    def describe(self) -> dict[str, Any]:
        """What answers, as plain data."""


class TranscriptionMetrics(Protocol):
    """Counts what a transcription service does."""

    def record_transcription(
        self, language: str | None, audio_seconds: float, seconds: float
    ) -> None:
        """Count one answered request: length of the recording, and of the work."""

    def record_error(self, error_type: str) -> None:
        """Count a request that was not answered."""

    def record_synthetic(self, source: str) -> None:
        """Count a request that is marked as synthetic, by its source."""


class Transcriber:
    """Answers requests for one model.

    Args:
        spec: the model's contract: sample rate and longest recording.
        engine: recognises speech; it is asked by one thread at a time.
        decode: decodes recordings.
        metrics: told of every answer.
    """

    def __init__(
        self,
        spec: ModelSpec,
        engine: SpeechEngine,
        decode: Decode,
        metrics: TranscriptionMetrics | None = None,
    ) -> None:
        self.input = input_of(spec)
        self.engine = engine
        self._decode = decode
        self._metrics = metrics
        self._turn = threading.Lock()

    def decode(self, recording: bytes, language: str | None = None) -> np.ndarray:
        """Check a request; its samples.

        Raises:
            InputError: the recording cannot be decoded or is too long, or the model does not know
                the language.
        """
        self.engine.check_language(language)
        return self._decode(recording, self.input.sample_rate, self.input.max_seconds)

    def transcribe(
        self, samples: np.ndarray, language: str | None = None, counted: bool = True
    ) -> Transcription:
        """Recognise what is said in samples.

        Whisper invents words for silence, so that silence is never given to it.

        Args:
            counted: whether the metrics are told of the answer.
        """
        start = time.perf_counter()
        duration = len(samples) / self.input.sample_rate
        if np.abs(samples).max() < SILENCE:
            answer = Transcription("", language, duration, ())
        else:
            with self._turn:
                start = time.perf_counter()  # waiting is no work
                answer = self.engine(samples, language)
        if self._metrics and counted:
            seconds = time.perf_counter() - start
            self._metrics.record_transcription(answer.language, duration, seconds)
        return answer


def input_of(spec: ModelSpec) -> Audio:
    """The one input of a model that hears.

    Raises:
        PackageError: the contract is that of another kind of model.
    """
    (item,) = spec.inputs[:1]
    if not isinstance(item, Audio):
        raise PackageError(f"{spec.name} takes no recordings: its input is a {item.kind}")
    return item


def replay_golden(
    engine: SpeechEngine, decode: Decode, spec: ModelSpec, recording: bytes, words: str
) -> None:
    """Compare what the model hears in the golden recording with what it heard in training.

    Args:
        words: the first words that were recorded.

    Raises:
        PackageError: it hears something else; such a model must not serve.
    """
    taken = input_of(spec)
    heard = engine.first_words(decode(recording, taken.sample_rate, taken.max_seconds))
    if heard != words:
        raise PackageError(
            f"the model hears {heard!r} in its golden recording, recorded was {words!r}"
        )
