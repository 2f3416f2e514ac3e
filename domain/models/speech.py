"""Speech: transcription of recordings with OpenAI's Whisper (Radford et al., 2022).

Nothing is trained: the weights are published ones, or those of a file. The training step loads the
weights, evaluates them on a manifest of recordings, and packages them.
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
    """The weights to use, and how to decode with them.

    Attributes:
        weights: a name that Whisper publishes, such as ``tiny``, or the path of a checkpoint.
        language: code of the spoken language, such as ``en``; None detects it.
        task: ``transcribe``, or ``translate`` into English.
        beam_size: width of the beam search at temperature 0; None is greedy.
        temperatures: tried in turn while a transcript is improbable or repetitive.
        max_tokens: maximum number of tokens for 30 seconds; None is the maximum of the weights.
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
    """The recipe; the weights are not loaded yet."""
    return Recipe(weights, language, task, beam_size, tuple(temperatures), max_tokens, random_state)


def load(manifest: str | None = None) -> Dataset:
    """The recordings to evaluate on.

    Args:
        manifest: path of a CSV or JSON lines file with the columns ``audio`` (path of a recording,
            relative to the manifest), ``text`` (the reference transcript) and optionally
            ``language``. A relative path starts at the root of the clone. None: there are no
            recordings, and word errors are not counted.

    Returns:
        One row per recording: its path as in the manifest, its language (empty if unknown) and the
        digest of its file. ``files`` are the manifest and the recordings, in order.

    Raises:
        DataError: the manifest or a recording is missing, or the manifest is malformed.
    """
    if manifest is None:
        return _dataset("no manifest: word errors were not counted", (), ())
    path = ROOT / manifest
    rows = [
        _check_row(path, number, row) for number, row in enumerate(_read_manifest(path), start=1)
    ]
    if not rows:
        raise DataError(f"{path} contains no recordings")
    return _dataset(path.name, rows, (path, *(path.parent / row["audio"] for row in rows)))


def _dataset(source: str, rows: Iterable[Mapping[str, str]], files: tuple[Path, ...]) -> Dataset:
    table = pd.DataFrame(rows, columns=["audio", "language", "text"], dtype=object)
    table["sha256"] = [hashlib.sha256(file.read_bytes()).hexdigest() for file in files[1:]]
    inputs = table[["audio", "language", "sha256"]].rename(columns={"audio": "recording"})
    return Dataset("speech", source, inputs, table["text"], files)


def _read_manifest(path: Path) -> list[Any]:
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


def _check_row(path: Path, number: int, row: Any) -> dict[str, str]:
    place = f"{path}, recording {number}"
    if not isinstance(row, dict) or not {"audio", "text"} <= row.keys():
        raise DataError(f"{place}: expected the columns audio, text and, optionally, language")
    values = {name: row.get(name) or "" for name in ("audio", "text", "language")}
    for name, value in values.items():
        if not isinstance(value, str):
            raise DataError(f"{place}: {name} is {value!r}, expected text")
    if not values["audio"] or not (path.parent / values["audio"]).is_file():
        raise DataError(f"{place}: there is no file {path.parent / values['audio']}")
    return values
