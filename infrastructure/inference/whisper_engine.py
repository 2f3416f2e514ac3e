"""Speech recognised by openai-whisper."""

from __future__ import annotations

import io
import os
import pickle  # nosec B403 # only its error is named
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
import whisper
from whisper.tokenizer import LANGUAGES, get_tokenizer
from whisper.utils import get_writer

from application.inference.transcriber import (
    CHECKPOINT,
    DECODING,
    GOLDEN_RECORDING,
    Segment,
    Transcription,
    replay_golden,
)
from domain.errors import ConfigError, InputError, PackageError
from infrastructure.inference.audio import decode
from infrastructure.packaging.model_package import ModelPackage
from shared.digests import sha256_of

PUBLISHED: Mapping[str, str] = whisper._MODELS  # pylint: disable=protected-access
"""Address of each checkpoint that OpenAI publishes, by name; its last folder is its digest."""

_FIRST = 16


class WhisperEngine:
    """A checkpoint that is ready to be asked, on a GPU where there is one.

    Args:
        checkpoint: a file as Whisper publishes them, with ``dims`` and ``model_state_dict``.
        language, task, beam_size, temperatures, max_tokens, random_state: as in the recipe of
            domain/models/speech.py.
        device: ``cpu`` or ``cuda``; None takes what is there.

    Raises:
        PackageError: the file is no checkpoint.
        InputError: the weights do not know the language.
    """

    def __init__(
        self,
        checkpoint: Path,
        *,
        language: str | None = None,
        task: str = "transcribe",
        beam_size: int | None = None,
        temperatures: Sequence[float] = (0.0,),
        max_tokens: int | None = None,
        random_state: int = 0,
        device: str | None = None,
    ) -> None:
        try:  # with a path it never downloads, and it loads weights only
            self._model = whisper.load_model(str(checkpoint), device).eval()
        except (RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
            raise PackageError(f"{checkpoint} is no checkpoint of Whisper: {error}") from error
        self._tokenizer = get_tokenizer(
            self._model.is_multilingual, num_languages=self._model.num_languages
        )
        self._options: dict[str, Any] = {
            "task": task,
            "beam_size": beam_size,
            "temperature": tuple(temperatures),
            "sample_len": max_tokens,
            "fp16": self._model.device.type == "cuda",
        }
        self.check_language(language)
        self._language = language
        self._random_state = random_state

    def __call__(self, samples: np.ndarray, language: str | None = None) -> Transcription:
        """Recognise mono samples, float32 of shape (n_samples,), 16,000 a second.

        The same samples get the same answer: what is sampled is seeded for each call. Recordings
        of more than 30 seconds are heard in windows. Whisper hears each window padded to 30
        seconds, so a segment can end after the recording; its times are cut there.
        """
        torch.manual_seed(self._random_state)
        heard = whisper.transcribe(
            self._model, samples, language=language or self._language, **self._options
        )
        duration = len(samples) / whisper.audio.SAMPLE_RATE
        segments = (
            Segment(min(s["start"], duration), min(s["end"], duration), s["text"].strip())
            for s in heard["segments"]
        )
        return Transcription(
            heard["text"].strip(), heard["language"], duration, tuple(s for s in segments if s.text)
        )

    def first_words(self, samples: np.ndarray) -> str:
        """At most 16 tokens of each 30 seconds, without sampling and in full precision.

        Half precision and another device's random numbers change a long answer somewhere; these few
        words are the same wherever the weights are.
        """
        exact = {"temperature": 0.0, "beam_size": None, "sample_len": _FIRST, "fp16": False}
        heard = whisper.transcribe(
            self._model, samples, language=self._language, **{**self._options, **exact}
        )
        return str(heard["text"]).strip()

    def check_language(self, language: str | None) -> None:
        """Raise InputError where the weights do not know this language."""
        known = self._tokenizer.all_language_codes if self._model.is_multilingual else ("en",)
        if language is None or language in known:
            return
        if language in LANGUAGES:
            raise InputError(f"these weights do not know the language {language!r}")
        raise InputError(f"{language!r} is no code of a language: send one such as 'en' or 'de'")

    def describe(self) -> dict[str, Any]:
        """What answers, as plain data."""
        return {
            "device": str(self._model.device),
            "multilingual": self._model.is_multilingual,
            "parameters": sum(tensor.numel() for tensor in self._model.parameters()),
            **asdict(self._model.dims),
        }


def open_package(package: ModelPackage) -> WhisperEngine:
    """The engine of a package, once it has heard the golden recording as it was recorded.

    Raises:
        PackageError: its weights are no checkpoint, or hear something else.
    """
    spec = package.spec
    engine = WhisperEngine(package.folder / CHECKPOINT, **package.read_json(DECODING))
    ((words,),) = package.read_json("golden.json")["answers"]
    recording = (package.folder / GOLDEN_RECORDING).read_bytes()
    replay_golden(engine, decode, spec, recording, words)
    return engine


def find_weights(
    weights: str,
    root: Path,
    download: bool = False,
    cache: Path | None = None,
    published: Mapping[str, str] = PUBLISHED,
) -> Path:
    """The file of a checkpoint.

    Args:
        weights: a published name, or a path that counts from `root`.
        download: whether a published name may be downloaded into the cache.
        cache: where published weights lie; None is Whisper's own place.
        published: addresses by name.

    Raises:
        ConfigError: there is no such file or name, it is not on this machine and may not be
            downloaded, or the download failed.
    """
    if weights not in published:
        path = root / Path(weights).expanduser()
        if path.is_file():
            return path
        raise ConfigError(
            f"{weights!r} is no file ({path}) and none of Whisper's weights: {', '.join(published)}"
        )
    address = published[weights]
    cache = cache or _whisper_cache()
    path = cache / address.rpartition("/")[2]
    if path.is_file() and sha256_of(path) == address.split("/")[-2]:
        return path
    if not download:
        state = "differs from its digest" if path.is_file() else "is not on this machine"
        raise ConfigError(
            f"the checkpoint {weights} {state} ({path}); download it with: "
            "make train MODEL=speech WHISPER_DOWNLOAD=1, or name a file: WHISPER_MODEL=/path/to.pt"
        )
    try:
        # pylint: disable-next=protected-access  # load_model would load it, too
        return Path(whisper._download(address, str(cache), False))
    except (OSError, RuntimeError) as error:
        raise ConfigError(f"could not download {weights} from {address}: {error}") from error


def write_subtitles(transcription: Transcription, kind: str) -> str:
    """The segments as ``srt`` or ``vtt``, by Whisper's own writers."""
    text = io.StringIO()
    segments = [asdict(segment) for segment in transcription.segments]
    get_writer(kind, "").write_result({"segments": segments}, text)
    return text.getvalue()


def _whisper_cache() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "whisper"
