"""Transcribing with a fake engine."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from application.inference.transcriber import (
    SILENCE,
    Segment,
    Transcriber,
    Transcription,
    input_of,
    replay_golden,
)
from domain.errors import InputError, PackageError
from tests import petals
from tests.speech_fakes import SPEC, FakeEngine, FakeTranscriptionMetrics, fake_decode

LOUD = np.full(32_000, 0.5, np.float32)


def test_a_recording_is_decoded_as_the_contract_says_and_transcribed() -> None:
    metrics = FakeTranscriptionMetrics()
    transcriber = Transcriber(SPEC, FakeEngine(), fake_decode, metrics)
    found = transcriber.transcribe(transcriber.decode(bytes([255, 0])), "de")
    assert found == Transcription("1.0", "de", 2.0, (Segment(0.0, 2.0, "1.0"),))
    ((language, audio_seconds, seconds),) = metrics.transcriptions
    assert (language, audio_seconds) == ("de", 2.0)
    assert 0 < seconds < 1


@pytest.mark.parametrize("level", [0.0, SILENCE / 2])
def test_silence_is_an_empty_text_and_the_model_is_not_called(level: float) -> None:
    engine, metrics = FakeEngine(), FakeTranscriptionMetrics()
    transcriber = Transcriber(SPEC, engine, fake_decode, metrics)
    found = transcriber.transcribe(np.full(48_000, -level, np.float32))
    assert found == Transcription("", None, 3.0, ())
    assert engine.calls == 0
    assert metrics.transcriptions[0][:2] == (None, 3.0)


def test_the_quietest_sound_above_silence_is_transcribed() -> None:
    samples = np.full(16_000, -SILENCE * 2, np.float32)
    assert Transcriber(SPEC, FakeEngine(), fake_decode).transcribe(samples).segments


def test_a_recording_too_long_or_in_an_unknown_language_never_reaches_the_engine() -> None:
    engine = FakeEngine()
    transcriber = Transcriber(SPEC, engine, fake_decode)
    with pytest.raises(InputError, match="too long"):
        transcriber.decode(bytes(1801))
    with pytest.raises(InputError, match="unknown language xx"):
        transcriber.decode(bytes(1), "xx")
    assert engine.calls == 0


def test_the_engine_is_called_by_one_thread_at_a_time() -> None:
    engine = FakeEngine()
    engine.release.clear()
    metrics = FakeTranscriptionMetrics()
    transcriber = Transcriber(SPEC, engine, fake_decode, metrics)
    with ThreadPoolExecutor(4) as pool:
        futures = [pool.submit(transcriber.transcribe, LOUD) for _ in range(4)]
        assert engine.entered.wait(10)
        engine.release.set()
        assert {future.result().text for future in futures} == {"0.5"}
    assert (engine.calls, engine.max_concurrent) == (4, 1)


def test_a_model_of_another_kind_is_refused() -> None:
    with pytest.raises(PackageError, match="petals is not a transcriber: its input is a number"):
        input_of(petals.SPEC)


def test_a_golden_recording_must_be_reproduced() -> None:
    engine = FakeEngine()
    replay_golden(engine, fake_decode, SPEC, bytes([255]), "1.0")
    with pytest.raises(PackageError, match="as '1.0', recorded in training was '0.3'"):
        replay_golden(engine, fake_decode, SPEC, bytes([255]), "0.3")
