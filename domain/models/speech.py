"""Speech: what is said in a recording, by OpenAI's Whisper (Radford et al., 2022).

Nothing is trained here: the weights are those that were published, or those of a file. What stands
for training is to fetch them, to measure them on a manifest of recordings, and to package them.
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from domain.contract import Audio, ModelSpec, Transcript
from domain.data.dataset import Dataset
from domain.errors import DataError
from shared.paths import ROOT

SPEC = ModelSpec(
    name="speech",
    description="What is said in a recording: its text, its language, and segments with times.",
    inputs=(Audio("recording", 16_000, 1800.0, "speech, as a WAV, FLAC, MP3 or OGG file"),),
    output=Transcript(),
)

_JSON_LINES = {".jsonl", ".ndjson", ".json"}


@dataclass(frozen=True)
class Recipe:
    """Which weights are taken, and how they are decoded.

    Attributes:
        weights: a name that Whisper publishes, such as ``tiny``, or the path of a checkpoint.
        language: code of the language that is spoken, such as ``en``; None has it recognised.
        task: ``transcribe``, or ``translate`` into English.
        beam_size: width of the beam search at temperature 0; None is greedy.
        temperatures: tried in turn while an answer is improbable or repeats itself.
        max_tokens: most tokens for 30 seconds; None is what the weights can hold.
        random_state: seed of the sampling at temperatures above 0.
    """

    weights: str
    language: str | None
    task: Literal["transcribe", "translate"]
    beam_size: int | None
    temperatures: tuple[float, ...]
    max_tokens: int | None
    random_state: int


def build(
    weights: str,
    language: str | None,
    task: Literal["transcribe", "translate"],
    beam_size: int | None,
    temperatures: list[float],
    max_tokens: int | None,
    random_state: int,
) -> Recipe:
    """The recipe; its weights are not looked for yet."""
    return Recipe(weights, language, task, beam_size, tuple(temperatures), max_tokens, random_state)


def load(manifest: str | None = None) -> Dataset:
    """The recordings that word errors are counted on.

    Args:
        manifest: a CSV file, or JSON lines, with the columns ``audio`` (path of a recording, from
            the manifest's folder), ``text`` (what is said in it) and, where it is known,
            ``language``. Its path counts from the root of the clone. None: there are none, and
            nothing is measured.

    Returns:
        One row per recording: its path as the manifest has it, its language (empty where it is not
        told) and the digest of its file. ``files`` are the manifest and the recordings, in order.

    Raises:
        DataError: the manifest or a recording is not there, or the manifest is malformed.
    """
    if manifest is None:
        return _dataset("no manifest: word errors were not counted", (), ())
    path = ROOT / manifest
    rows = [_checked(path, number, row) for number, row in enumerate(_read(path), start=1)]
    if not rows:
        raise DataError(f"{path} names no recordings")
    return _dataset(path.name, rows, (path, *(path.parent / row["audio"] for row in rows)))


def _dataset(source: str, rows: Iterable[Mapping[str, str]], files: tuple[Path, ...]) -> Dataset:
    table = pd.DataFrame(rows, columns=["audio", "language", "text"], dtype=object)
    table["sha256"] = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files[1:]]
    inputs = table[["audio", "language", "sha256"]].rename(columns={"audio": "recording"})
    return Dataset("speech", source, inputs, table["text"], files)


def _read(path: Path) -> list[Any]:
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise DataError(f"cannot read the manifest {path}: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise DataError(f"the manifest {path} is not UTF-8: {error}") from error
    if path.suffix.lower() not in _JSON_LINES:
        return list(csv.DictReader(io.StringIO(text, newline="")))
    try:
        return [json.loads(line) for line in text.split("\n") if line.strip()]
    except json.JSONDecodeError as error:
        raise DataError(f"the manifest {path} is not JSON lines: {error}") from error


def _checked(path: Path, number: int, row: Any) -> dict[str, str]:
    place = f"{path}, recording {number}"
    if not isinstance(row, dict) or not {"audio", "text"} <= row.keys():
        raise DataError(f"{place}: expected the columns audio, text and perhaps language")
    values = {name: row.get(name) or "" for name in ("audio", "text", "language")}
    for name, value in values.items():
        if not isinstance(value, str):
            raise DataError(f"{place}: {name} is {value!r}, expected text")
    if not values["audio"] or not (path.parent / values["audio"]).is_file():
        raise DataError(f"{place}: there is no file {path.parent / values['audio']}")
    return values
