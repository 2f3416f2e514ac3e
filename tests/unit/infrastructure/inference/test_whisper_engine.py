"""Whisper's own loading and decoding, on a small checkpoint with random weights."""

from __future__ import annotations

import hashlib
import pickle
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

whisper = pytest.importorskip("whisper", reason="make install EXTRAS=whisper")
# pylint: disable=wrong-import-position
import torch

from application.inference.transcriber import Segment, Transcription
from domain.errors import ConfigError, InputError, PackageError
from infrastructure.inference.whisper_engine import (
    PUBLISHED,
    WhisperEngine,
    find_weights,
    write_subtitles,
)
from tests.whisper_checkpoint import sound, write_checkpoint

TOKENS = 12


@pytest.fixture(scope="module", name="checkpoint")
def fixture_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A multilingual checkpoint."""
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "small.pt")


@pytest.fixture(scope="module", name="english")
def fixture_english(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An English-only checkpoint."""
    return write_checkpoint(tmp_path_factory.mktemp("weights") / "small.en.pt", n_vocab=51_864)


@pytest.mark.parametrize("seconds", [0.1, 5, 70])
def test_the_transcript_equals_that_of_whisper(checkpoint: Path, seconds: float) -> None:
    samples = sound(seconds)
    transcript = WhisperEngine(checkpoint, max_tokens=TOKENS)(samples)
    model = whisper.load_model(str(checkpoint), "cpu")
    own = whisper.transcribe(model, samples, temperature=0.0, sample_len=TOKENS, fp16=False)
    assert transcript.text == own["text"].strip()
    assert transcript.language == own["language"]
    kept = [segment for segment in own["segments"] if segment["text"].strip()]
    assert [s.text for s in transcript.segments] == [s["text"].strip() for s in kept]
    assert [s.start for s in transcript.segments] == [min(s["start"], seconds) for s in kept]
    assert transcript.duration == seconds


def test_times_are_in_order_and_inside_the_recording(checkpoint: Path) -> None:
    transcript = WhisperEngine(checkpoint, max_tokens=TOKENS)(sound(70))
    assert len(transcript.segments) > 3
    assert any(segment.start > 30 for segment in transcript.segments), "a second window"
    for segment in transcript.segments:
        assert 0 <= segment.start <= segment.end <= 70
    starts = [segment.start for segment in transcript.segments]
    assert starts == sorted(starts)


def test_sampled_transcripts_are_reproducible_by_seed(checkpoint: Path) -> None:
    sampling = {"temperatures": (0.9,), "max_tokens": TOKENS}
    engine = WhisperEngine(checkpoint, random_state=1, **sampling)  # type: ignore[arg-type]
    first = engine(sound(5))
    torch.rand(7)  # other code may draw random numbers
    assert engine(sound(5)) == first
    other = WhisperEngine(checkpoint, random_state=2, **sampling)  # type: ignore[arg-type]
    assert other(sound(5)) != first


def test_beam_search_is_supported(checkpoint: Path) -> None:
    engine = WhisperEngine(checkpoint, beam_size=3, max_tokens=TOKENS)
    assert engine(sound(3)) == engine(sound(3))


def test_different_audio_gets_a_different_transcript(checkpoint: Path) -> None:
    engine = WhisperEngine(checkpoint, max_tokens=TOKENS)
    assert engine(sound(5, hertz=220)).text != engine(sound(5, hertz=800)).text


def test_the_first_words_do_not_depend_on_how_the_rest_is_decoded(checkpoint: Path) -> None:
    sampled = WhisperEngine(checkpoint, temperatures=(0.9,), random_state=3)
    searched = WhisperEngine(checkpoint, beam_size=4, max_tokens=2)
    words = sampled.first_words(sound(5))
    assert words == searched.first_words(sound(5)) != ""
    assert words != sampled.first_words(sound(5, hertz=800))


def test_a_requested_language_is_not_detected(checkpoint: Path) -> None:
    engine = WhisperEngine(checkpoint, max_tokens=TOKENS, language="de")
    assert engine(sound(2)).language == "de"
    assert engine(sound(2), "fr").language == "fr"


def test_a_language_that_the_weights_do_not_know_is_refused(
    checkpoint: Path, english: Path
) -> None:
    engine = WhisperEngine(checkpoint)
    for language in (None, "de", "en"):
        engine.check_language(language)
    with pytest.raises(InputError, match="'klingon' is not a language code"):
        engine.check_language("klingon")
    with pytest.raises(InputError, match="^'x{59} is not"):
        engine.check_language("x" * 10_000)
    with pytest.raises(InputError, match="do not support the language 'yue'"):
        engine.check_language("yue")  # large-v3 does
    with pytest.raises(InputError, match="do not support the language 'de'"):
        WhisperEngine(english, language="de")


def test_weights_for_english_hear_english(english: Path) -> None:
    engine = WhisperEngine(english, max_tokens=TOKENS)
    assert engine(sound(2)).language == "en"
    assert engine.describe()["multilingual"] is False


def test_half_precision_is_for_gpus_only(checkpoint: Path) -> None:
    described = WhisperEngine(checkpoint, device="cpu").describe()
    assert described["device"] == "cpu"
    assert described["n_mels"] == 80
    assert described["parameters"] > 1_000_000


class _Evil:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (exec, ("raise SystemExit('code of the file was run')",))


@pytest.mark.parametrize("kind", ["text", "empty", "other", "evil"])
def test_an_invalid_checkpoint_is_refused_without_running_its_code(
    tmp_path: Path, kind: str
) -> None:
    path = tmp_path / "bad.pt"
    if kind == "evil":
        path.write_bytes(pickle.dumps({"dims": _Evil()}))
    elif kind == "other":
        torch.save({"weights": torch.zeros(3)}, path)
    else:
        path.write_bytes(b"not a checkpoint" if kind == "text" else b"")
    with pytest.raises(PackageError, match="bad.pt is not a Whisper checkpoint"):
        WhisperEngine(path)


def test_a_path_counts_from_the_root(tmp_path: Path, checkpoint: Path) -> None:
    (tmp_path / "mine.pt").write_bytes(b"weights")
    assert find_weights("mine.pt", tmp_path) == tmp_path / "mine.pt"
    assert find_weights(str(checkpoint), tmp_path) == checkpoint


def test_a_name_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="'tinny' is neither a file .* tiny, "):
        find_weights("tinny", tmp_path)
    assert {"tiny", "base", "small", "medium", "turbo", "large-v3"} <= PUBLISHED.keys()


def test_published_weights_are_not_downloaded_by_default(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="make train MODEL=speech WHISPER_DOWNLOAD=1"):
        find_weights("tiny", tmp_path, cache=tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.fixture(name="published")
def fixture_published(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Weights on a local server: correct ones, and ones that do not match their digest."""
    weights = b"weights" * 1000
    digest = hashlib.sha256(weights).hexdigest()
    for folder in (digest, "0" * 64):
        (tmp_path / "server" / folder).mkdir(parents=True)
        (tmp_path / "server" / folder / "w.pt").write_bytes(weights)
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path / "server"))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        yield {
            "right": f"{address}/{digest}/w.pt",
            "forged": f"{address}/{'0' * 64}/w.pt",
            "gone": f"{address}/{digest}/nowhere.pt",
        }
        server.shutdown()


def test_a_download_is_kept_and_not_repeated(tmp_path: Path, published: dict[str, str]) -> None:
    cache = tmp_path / "cache"
    path = find_weights("right", tmp_path, True, cache, published)
    assert path.read_bytes() == b"weights" * 1000
    unreachable = {"right": published["right"].replace("127.0.0.1", "127.0.0.2")}
    assert find_weights("right", tmp_path, False, cache, unreachable) == path


@pytest.mark.parametrize("name", ["forged", "gone"])
def test_a_download_that_fails_or_is_not_what_it_should_be_is_an_error(
    tmp_path: Path, published: dict[str, str], name: str
) -> None:
    with pytest.raises(ConfigError, match=f"could not download {name}"):
        find_weights(name, tmp_path, True, tmp_path / "cache", published)
    with pytest.raises(ConfigError, match="does not match its digest|is not on this machine"):
        find_weights(name, tmp_path, False, tmp_path / "cache", published)


SPOKEN = Transcription(
    "Hello. Good bye.",
    "en",
    3700.0,
    (Segment(0.0, 1.5, "Hello."), Segment(3661.25, 3662.0, "Good --> bye.")),
)


def test_subtitles_are_written_as_srt() -> None:
    assert write_subtitles(SPOKEN, "srt") == (
        "1\n00:00:00,000 --> 00:00:01,500\nHello.\n\n"
        "2\n01:01:01,250 --> 01:01:02,000\nGood -> bye.\n\n"
    )


def test_subtitles_are_written_as_vtt() -> None:
    assert write_subtitles(SPOKEN, "vtt") == (
        "WEBVTT\n\n00:00.000 --> 00:01.500\nHello.\n\n"
        "01:01:01.250 --> 01:01:02.000\nGood -> bye.\n\n"
    )


def test_silence_has_no_subtitles() -> None:
    silence = Transcription("", None, 1.0, ())
    assert write_subtitles(silence, "srt") == ""
    assert write_subtitles(silence, "vtt") == "WEBVTT\n\n"


def test_a_recording_of_one_sample_is_transcribed(checkpoint: Path) -> None:
    engine = WhisperEngine(checkpoint, max_tokens=TOKENS)
    assert engine(np.full(1, 0.5, np.float32)).duration == 1 / 16_000
