"""Recordings of every format, decoded without ffmpeg."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest

soundfile = pytest.importorskip("soundfile", reason="make install EXTRAS=whisper")
# pylint: disable=wrong-import-position
from application.inference.transcriber import NotAudioError
from domain.errors import InputError
from infrastructure.inference.audio import decode, write_flac

RATE = 16_000
FORMATS = {
    "WAV": "PCM_16",
    "FLAC": "PCM_16",
    "MP3": "MPEG_LAYER_III",
    "OGG": "VORBIS",
    "OGG ": "OPUS",
    "WAV ": "FLOAT",
    "WAV  ": "ULAW",
    "WAVEX": "PCM_24",
}


def tone(seconds: float, rate: int = RATE, hertz: float = 440.0) -> np.ndarray:
    """A tone, float32 of shape (seconds · rate,)."""
    time = np.arange(int(seconds * rate)) / rate
    return (0.5 * np.sin(2 * np.pi * hertz * time)).astype(np.float32)


def encoded(samples: np.ndarray, kind: str = "WAV", rate: int = RATE, subtype: str = "") -> bytes:
    """These samples, encoded."""
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind.strip(), subtype=subtype or None)
    return file.getvalue()


def pitch(samples: np.ndarray) -> float:
    """The strongest frequency in Hz."""
    spectrum = np.abs(np.fft.rfft(samples))
    return float(spectrum.argmax() * RATE / len(samples))


@pytest.mark.parametrize("rate", [8_000, 16_000, 48_000])
@pytest.mark.parametrize(("kind", "subtype"), FORMATS.items())
def test_every_format_gives_the_sound_at_16_khz(kind: str, subtype: str, rate: int) -> None:
    samples = decode(encoded(tone(2, rate), kind, rate, subtype), RATE, 10)
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(2 * RATE, abs=0.1 * RATE)  # MP3 pads
    assert pitch(samples) == pytest.approx(440, abs=2)
    assert np.abs(samples[RATE // 2 : RATE]).max() == pytest.approx(0.5, abs=0.05)


def test_a_lossless_file_at_16_khz_is_decoded_to_its_samples() -> None:
    assert (decode(encoded(tone(1), "WAV", subtype="FLOAT"), RATE, 10) == tone(1)).all()


def test_channels_are_mixed() -> None:
    stereo = np.stack([tone(1), np.zeros(RATE, np.float32)], axis=1)
    samples = decode(encoded(stereo, subtype="FLOAT"), RATE, 10)
    np.testing.assert_allclose(samples, tone(1) / 2, atol=1e-6)


def test_samples_above_full_scale_are_clipped() -> None:
    samples = decode(encoded(tone(1) * 8, subtype="FLOAT"), RATE, 10)
    assert np.abs(samples).max() == 1


@pytest.mark.parametrize(
    "garbage",
    [
        b"",
        b"no sound at all",
        b"\0" * 5000,
        random.Random(0).randbytes(50_000),
        b"%PDF-1.7\n" + bytes(2000),
        b"\x89PNG\r\n\x1a\n" + bytes(2000),
        b"RIFF\xff\xff\xff\xffWAVE",
        b"fLaC" + bytes(100),
        b"OggS" + bytes(100),
        b"ID3\x04\0\0\0\0\0\0" + bytes(4000),
    ],
    ids=lambda data: repr(data[:8]),
)
def test_bytes_that_are_not_audio_are_refused(garbage: bytes) -> None:
    with pytest.raises(NotAudioError, match="send WAV, FLAC, MP3 or OGG"):
        decode(garbage, RATE, 10)


def test_another_format_is_refused_by_its_name() -> None:
    with pytest.raises(NotAudioError, match="AIFF files are not supported"):
        decode(encoded(tone(1), "AIFF"), RATE, 10)


@pytest.mark.parametrize(
    ("samples", "rate"), [(0, RATE), (0, 44_100), (1, 44_100), (5, 192_000)], ids=str
)
def test_a_recording_that_is_empty_at_the_models_rate_is_refused(samples: int, rate: int) -> None:
    with pytest.raises(InputError, match="is empty"):
        decode(encoded(np.ones(samples, np.float32), rate=rate), RATE, 10)


def test_one_sample_is_a_recording() -> None:
    assert len(decode(encoded(np.ones(1, np.float32)), RATE, 10)) == 1


def test_a_recording_that_is_too_long_is_refused_however_small_its_file_is() -> None:
    hour = encoded(np.zeros(RATE * 3600, np.float32), "FLAC")
    assert len(hour) < 1_000_000
    with pytest.raises(InputError, match="longer than 10 seconds"):
        decode(hour, RATE, 10)


def test_a_recording_of_exactly_the_maximum_length_is_accepted() -> None:
    assert len(decode(encoded(tone(10)), RATE, 10)) == 10 * RATE


@pytest.mark.parametrize("kind", ["WAV", "FLAC", "MP3", "OGG"])
def test_a_cut_file_gives_what_there_is_or_is_refused(kind: str) -> None:
    whole = encoded(tone(3), kind)
    try:
        samples = decode(whole[: len(whole) // 2], RATE, 10)
    except InputError:
        return
    assert 0 < len(samples) < 3 * RATE


def test_samples_that_are_not_finite_are_refused() -> None:
    broken = tone(1)
    broken[5] = np.nan
    with pytest.raises(InputError, match="not finite numbers"):
        decode(encoded(broken, subtype="FLOAT"), RATE, 10)


def test_a_sample_rate_that_cannot_be_speech_is_refused() -> None:
    with pytest.raises(InputError, match="100 Hz is outside"):
        decode(encoded(tone(1), rate=100), RATE, 1000)


def test_too_many_channels_are_refused() -> None:
    with pytest.raises(InputError, match="33 channels"):
        decode(encoded(np.zeros((100, 33), np.float32)), RATE, 10)


def test_a_flac_that_was_written_reads_back(tmp_path: Path) -> None:
    write_flac(tmp_path / "a.flac", tone(1), RATE)
    samples = decode((tmp_path / "a.flac").read_bytes(), RATE, 10)
    np.testing.assert_allclose(samples, tone(1), atol=2**-15)
