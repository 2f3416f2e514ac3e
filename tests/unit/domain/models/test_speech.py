"""Manifests of recordings, and the recipe."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

import pytest

from application.training.config import TrainingConfig, config_path
from domain.errors import DataError
from domain.models import speech

RECIPE = {
    "weights": "tiny",
    "language": None,
    "task": "transcribe",
    "beam_size": 5,
    "temperatures": [0.0, 0.5],
    "max_tokens": None,
    "random_state": 1,
}


@pytest.fixture(name="folder")
def fixture_folder(tmp_path: Path) -> Path:
    """A folder with two placeholders for recordings."""
    for name in ("a.wav", "b.flac"):
        (tmp_path / name).write_bytes(name.encode())
    return tmp_path


def write(folder: Path, name: str, text: str) -> str:
    """Write a manifest into the folder and return its path."""
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_csv_and_json_lines_give_the_same_manifest(folder: Path) -> None:
    table = write(folder, "m.csv", 'audio,text,language\na.wav,"Hello, you",en\nb.flac,Moin,\n')
    lines = [
        {"audio": "a.wav", "text": "Hello, you", "language": "en"},
        {"audio": "b.flac", "text": "Moin"},
    ]
    listed = write(folder, "m.jsonl", "\n\n".join(map(json.dumps, lines)))
    data = speech.load(table)
    assert data.target.tolist() == ["Hello, you", "Moin"]
    assert data.files == (folder / "m.csv", folder / "a.wav", folder / "b.flac")
    digest = hashlib.sha256(b"a.wav").hexdigest()
    assert data.rows()[0] == ("a.wav", "en", digest)
    assert data.rows()[1][1] == ""
    assert speech.load(listed).fingerprint == data.fingerprint


@pytest.mark.parametrize("break_", ["\n", "\u2028", "\x85", "\x0c"])
def test_a_text_keeps_the_line_breaks_in_it(folder: Path, break_: str) -> None:
    text = f"Hello,{break_}you"
    table = write(folder, "m.csv", f'audio,text\na.wav,"{text}"\n')
    line = json.dumps({"audio": "a.wav", "text": text}, ensure_ascii=False)
    listed = write(folder, "m.jsonl", f"{line}\n{line}\n")
    assert speech.load(table).target.tolist() == [text]
    assert speech.load(listed).target.tolist() == [text, text]


def test_a_changed_recording_changes_the_data_set(folder: Path) -> None:
    manifest = write(folder, "m.csv", "audio,text\na.wav,Hello\n")
    before = speech.load(manifest).fingerprint
    (folder / "a.wav").write_bytes(b"another")
    assert speech.load(manifest).fingerprint != before


def test_without_a_manifest_there_are_no_recordings() -> None:
    data = speech.load()
    assert len(data) == 0
    assert not data.files
    assert "no manifest" in data.source


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("m.csv", "audio,text\nmissing.wav,Hello\n", "recording 1: there is no file"),
        ("m.csv", "audio,text\n,Hello\n", "recording 1: there is no file"),
        ("m.csv", "path,text\na.wav,Hello\n", "recording 1: expected the columns audio, text"),
        ("m.csv", "audio,text\n", "contains no recordings"),
        ("m.jsonl", "{", "is not JSON lines"),
        ("m.jsonl", '["a.wav"]', "recording 1: expected the columns"),
        ("m.jsonl", '{"audio": "a.wav", "text": 3}', "text is 3, expected text"),
    ],
)
def test_a_malformed_manifest_is_refused_by_line(
    folder: Path, name: str, text: str, words: str
) -> None:
    with pytest.raises(DataError, match=words):
        speech.load(write(folder, name, text))


def test_a_missing_manifest_is_reported() -> None:
    with pytest.raises(DataError, match="cannot read the manifest .*nowhere.csv"):
        speech.load("nowhere.csv")


def test_a_binary_manifest_is_refused(folder: Path) -> None:
    (folder / "m.csv").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DataError, match="not UTF-8"):
        speech.load(str(folder / "m.csv"))


def test_the_recipe_has_the_keys_of_the_configuration() -> None:
    recipe = speech.build(**RECIPE)  # type: ignore[arg-type]
    assert recipe.temperatures == (0.0, 0.5)
    assert (recipe.weights, recipe.language, recipe.beam_size) == ("tiny", None, 5)


def test_the_shipped_configuration_names_published_weights_and_no_manifest() -> None:
    config = TrainingConfig.read(config_path("speech"))
    assert config.build_arguments(speech)["weights"] == "tiny"
    assert config.load_arguments(speech) == {"manifest": None}
