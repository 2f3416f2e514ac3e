"""Speech recognition with openai-whisper."""

from __future__ import annotations

import io
import os
import pickle  # nosec B403 # only for its error class
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
from domain.contract.encoding import short_repr
from domain.errors import ConfigError, InputError, PackageError
from infrastructure.inference.audio import decode
from infrastructure.packaging.model_package import ModelPackage
from shared.digests import sha256_of

PUBLISHED: Mapping[str, str] = whisper._MODELS  # pylint: disable=protected-access
"""URL of each checkpoint that OpenAI publishes, by name; the URL's last folder is its SHA-256."""

_FIRST_TOKENS = 16


class WhisperEngine:
    """A loaded checkpoint, on a GPU if there is one.

    Args:
        checkpoint: a file in the format that Whisper publishes, with ``dims`` and
            ``model_state_dict``.
        language, task, beam_size, temperatures, max_tokens, random_state: as in the recipe of
            domain/models/speech.py.
        device: ``cpu`` or ``cuda``; None means a GPU if there is one.

    Raises:
        PackageError: the file is not a checkpoint.
        InputError: the weights do not support the language.
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
        try:  # with a path, Whisper never downloads, and loads only weights
            self._model = whisper.load_model(str(checkpoint), device).eval()
        except (RuntimeError, KeyError, TypeError, EOFError, pickle.UnpicklingError) as error:
            raise PackageError(f"{checkpoint} is not a Whisper checkpoint: {error}") from error
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
        """Transcribe mono samples, float32 of shape (n_samples,), at 16 kHz.

        The same samples give the same transcript: each call sets the seed. Recordings of more than
        30 seconds are processed in windows. Whisper pads each window to 30 seconds, so a segment
        can end after the recording; its times are cut to the recording.
        """
        torch.manual_seed(self._random_state)
        transcript = whisper.transcribe(
            self._model, samples, language=language or self._language, **self._options
        )
        duration = len(samples) / whisper.audio.SAMPLE_RATE
        segments = (
            Segment(min(s["start"], duration), min(s["end"], duration), s["text"].strip())
            for s in transcript["segments"]
        )
        return Transcription(
            transcript["text"].strip(),
            transcript["language"],
            duration,
            tuple(s for s in segments if s.text),
        )

    def first_words(self, samples: np.ndarray) -> str:
        """At most 16 tokens of every 30 seconds, without sampling and in full precision.

        A long transcript differs somewhere with half precision or the random numbers of another
        device; these few words are the same on every device.
        """
        exact = {"temperature": 0.0, "beam_size": None, "sample_len": _FIRST_TOKENS, "fp16": False}
        transcript = whisper.transcribe(
            self._model, samples, language=self._language, **{**self._options, **exact}
        )
        return str(transcript["text"]).strip()

    def check_language(self, language: str | None) -> None:
        """Raise InputError if the weights do not support this language."""
        known = self._tokenizer.all_language_codes if self._model.is_multilingual else ("en",)
        if language is None or language in known:
            return
        if language in LANGUAGES:
            raise InputError(f"these weights do not support the language {language!r}")
        raise InputError(
            f"{short_repr(language)} is not a language code: send one such as 'en' or 'de'"
        )

    def describe(self) -> dict[str, Any]:
        """Device and dimensions of the model, as plain data."""
        return {
            "device": str(self._model.device),
            "multilingual": self._model.is_multilingual,
            "parameters": sum(tensor.numel() for tensor in self._model.parameters()),
            **asdict(self._model.dims),
        }


def open_package(package: ModelPackage) -> WhisperEngine:
    """The engine of a package, after it has reproduced the transcript of the golden recording.

    Raises:
        PackageError: its weights are not a checkpoint, or the transcript differs.
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
        weights: a published name, or a path relative to `root`.
        download: whether a published name may be downloaded into the cache.
        cache: folder of published weights; None means Whisper's own.
        published: URLs by name.

    Raises:
        ConfigError: the name or file is unknown, the weights are not on this machine and may not
            be downloaded, or the download failed.
    """
    if weights not in published:
        path = root / Path(weights).expanduser()
        if path.is_file():
            return path
        raise ConfigError(
            f"{weights!r} is neither a file ({path}) nor the name of published weights: "
            f"{', '.join(published)}"
        )
    address = published[weights]
    cache = cache or _whisper_cache()
    path = cache / address.rpartition("/")[2]
    if path.is_file() and sha256_of(path) == address.split("/")[-2]:
        return path
    if not download:
        state = "does not match its digest" if path.is_file() else "is not on this machine"
        raise ConfigError(
            f"the checkpoint {weights} {state} ({path}): download it with make train MODEL=speech "
            "WHISPER_DOWNLOAD=1, or set WHISPER_MODEL=/path/to.pt"
        )
    try:
        # pylint: disable-next=protected-access  # load_model would also load it
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
