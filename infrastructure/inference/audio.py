"""Recordings decoded with libsndfile and resampled with libsoxr, which their packages bundle."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import soundfile
import soxr

from application.inference.transcriber import NotAudioError
from domain.errors import InputError

FORMATS = ("WAV", "FLAC", "MP3", "OGG")
_CONTAINERS = {*FORMATS, "WAVEX", "RF64"}
_RATES = (4_000, 384_000)
_MAX_CHANNELS = 32
_BLOCK = 65_536


def decode(recording: bytes, sample_rate: int, max_seconds: float) -> np.ndarray:
    """Mono samples, float32 of shape (n_samples,), between -1 and 1.

    It is decoded in blocks and only up to `max_seconds`: a file of a few kilobytes can hold hours,
    and a header can lie.

    Raises:
        NotAudioError: it is not a WAV, FLAC, MP3 or OGG file.
        InputError: it is damaged, empty or too long.
    """
    try:
        with soundfile.SoundFile(io.BytesIO(recording)) as file:
            if file.format not in _CONTAINERS:
                raise NotAudioError(f"{file.format} files are not supported: {_supported()}")
            samples = _resampled(_mono(file, max_seconds), file.samplerate, sample_rate)
    except soundfile.LibsndfileError as error:
        raise NotAudioError(f"the recording cannot be decoded: {_supported()}") from error
    if len(samples) == 0:  # resampling can leave nothing of a few samples
        raise InputError(f"the recording is empty: it has no samples at {sample_rate} Hz")
    return samples


def write_flac(path: Path, samples: np.ndarray, sample_rate: int) -> None:
    """Write mono samples, shape (n_samples,), with 16 bits."""
    soundfile.write(path, samples, sample_rate, format="FLAC", subtype="PCM_16")


def _mono(file: soundfile.SoundFile, max_seconds: float) -> np.ndarray:
    low, high = _RATES
    if not low <= file.samplerate <= high:
        raise InputError(f"the sample rate {file.samplerate} Hz is outside [{low}, {high}] Hz")
    if file.channels > _MAX_CHANNELS:
        raise InputError(f"{file.channels} channels are too many: send at most {_MAX_CHANNELS}")
    blocks, frames, most = [np.zeros(0, np.float32)], 0, max_seconds * file.samplerate
    while True:
        try:
            block = file.read(_BLOCK, dtype="float32", always_2d=True)
        except soundfile.LibsndfileError as error:
            raise InputError(f"the recording is damaged after {frames} samples") from error
        if len(block) == 0:
            break
        frames += len(block)
        if frames > most:
            raise InputError(f"the recording is longer than {max_seconds:g} seconds: cut it")
        blocks.append(block.mean(axis=1))
    samples = np.concatenate(blocks)
    if not np.isfinite(samples).all():
        raise InputError("the recording has samples that are not finite numbers")
    return samples


def _resampled(samples: np.ndarray, rate: int, wanted: int) -> np.ndarray:
    if rate != wanted:
        samples = soxr.resample(samples, rate, wanted)
    return np.clip(samples, -1, 1, dtype=np.float32)


def _supported() -> str:
    return f"send {', '.join(FORMATS[:-1])} or {FORMATS[-1]}"
