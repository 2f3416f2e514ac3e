"""The tools that package speech weights, from the libraries of the extra ``whisper``."""

# pylint: disable=import-outside-toplevel

from __future__ import annotations

from functools import partial
from pathlib import Path

from tqdm import tqdm

from application.training.transcription import SpeechTools
from domain.catalog import needing_extras


def speech_tools(root: Path, weights: str | None = None, download: bool = False) -> SpeechTools:
    """The tools of `package_weights`.

    Args:
        root: folder that relative paths of weights start from.
        weights: a name or path that replaces the configuration's.
        download: whether published weights may be downloaded.

    Raises:
        MissingExtraError: the extra is not installed.
    """
    with needing_extras("speech", "whisper"):
        from infrastructure.inference.audio import decode, write_flac
        from infrastructure.inference.whisper_engine import WhisperEngine, find_weights
        from infrastructure.inference.word_errors import count_errors
    return SpeechTools(
        lambda configured: find_weights(weights or configured, root, download),
        WhisperEngine,
        decode,
        write_flac,
        count_errors,
        partial(tqdm, desc="  transcribing", leave=False, disable=None),
    )
