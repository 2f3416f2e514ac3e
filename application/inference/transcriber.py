"""Transcribe recordings: decode each, run the engine on one at a time, count the requests."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from domain.contract import Audio, ModelSpec
from domain.errors import InputError, PackageError

SILENCE = 3e-4
"""Largest amplitude, of 1, that counts as silence: −70 dB, about ten steps of 16-bit audio."""

CHECKPOINT, DECODING, GOLDEN_RECORDING = "model.pt", "decoding.json", "golden.flac"
"""Files of a package: the weights, the decoding options, and the golden recording."""


class NotAudioError(InputError):
    """The bytes are not a recording in a known format."""


@dataclass(frozen=True, slots=True)
class Segment:
    """The text from `start` to `end`, in seconds from the beginning of the recording."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Transcription:
    """The transcription of one recording.

    Attributes:
        text: the whole text.
        language: code of the language, such as ``en``; None if nothing was said.
        duration: length of the recording in seconds.
        segments: parts of the text, in order.
    """

    text: str
    language: str | None
    duration: float
    segments: tuple[Segment, ...]


class Decode(Protocol):
    """Decodes recordings."""

    def __call__(self, recording: bytes, sample_rate: int, max_seconds: float) -> np.ndarray:
        """Mono samples between -1 and 1 at the sample rate, float32 of shape (n_samples,).

        Raises:
            NotAudioError: not a recording in a known format.
            InputError: the recording is broken, empty or too long.
        """


class SpeechEngine(Protocol):
    """Recognises speech; one call at a time."""

    def __call__(self, samples: np.ndarray, language: str | None = None) -> Transcription:
        """Transcribe mono samples; the default language is that of the configuration."""

    def first_words(self, samples: np.ndarray) -> str:
        """The first words in mono samples, the same on every device."""

    def check_language(self, language: str | None) -> None:
        """Raise InputError if the weights do not support this language."""

    def describe(self) -> dict[str, Any]:
        """Facts about the model and the device, as plain data."""


class TranscriptionMetrics(Protocol):
    """Counts the requests of a transcription service."""

    def record_transcription(
        self, language: str | None, audio_seconds: float, seconds: float
    ) -> None:
        """Count a transcription: length of the recording, and how long transcribing it took."""

    def record_error(self, error_type: str) -> None:
        """Count a refused request."""

    def record_synthetic(self, source: str) -> None:
        """Count a synthetic request, by its source."""


class Transcriber:
    """Transcribes the recordings of requests to one model.

    Args:
        spec: the model's contract: sample rate and longest recording.
        engine: recognises speech; called by one thread at a time.
        decode: decodes recordings.
        metrics: counts every transcription; None counts none.
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
        """Check a request and return its samples.

        Raises:
            InputError: the recording cannot be decoded or is too long, or the model does not
                support the language.
        """
        self.engine.check_language(language)
        return self._decode(recording, self.input.sample_rate, self.input.max_seconds)

    def transcribe(self, samples: np.ndarray, language: str | None = None) -> Transcription:
        """Transcribe samples.

        Silence never reaches the engine, since Whisper invents words for it.
        """
        start = time.perf_counter()
        duration = len(samples) / self.input.sample_rate
        if np.abs(samples).max() < SILENCE:
            transcription = Transcription("", language, duration, ())
        else:
            with self._turn:
                start = time.perf_counter()  # without the time spent waiting
                transcription = self.engine(samples, language)
        if self._metrics:
            seconds = time.perf_counter() - start
            self._metrics.record_transcription(transcription.language, duration, seconds)
        return transcription


def input_of(spec: ModelSpec) -> Audio:
    """The audio input of a transcriber.

    Raises:
        PackageError: the contract belongs to another kind of model.
    """
    (item,) = spec.inputs[:1]
    if not isinstance(item, Audio):
        raise PackageError(f"{spec.name} is not a transcriber: its input is a {item.kind}")
    return item


def replay_golden(
    engine: SpeechEngine, decode: Decode, spec: ModelSpec, recording: bytes, words: str
) -> None:
    """Transcribe the golden recording and compare its first words with the recorded ones.

    Args:
        words: the first words as recorded in training.

    Raises:
        PackageError: they differ; such a model must not serve.
    """
    audio = input_of(spec)
    found = engine.first_words(decode(recording, audio.sample_rate, audio.max_seconds))
    if found != words:
        raise PackageError(
            f"the model transcribes its golden recording as {found!r}, recorded in training was "
            f"{words!r}"
        )
