"""The tools of the extra ``whisper``, with and without it."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from domain.errors import MissingExtraError
from infrastructure.inference.speech_tools import speech_tools

LIBRARIES = ["whisper", "soundfile", "jiwer"]
INSTALLED = all(find_spec(library) for library in LIBRARIES)


@pytest.mark.parametrize("library", LIBRARIES)
def test_without_the_extra_the_error_names_the_install_command(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, library: str
) -> None:
    for name in ("audio", "whisper_engine", "word_errors"):
        monkeypatch.delitem(sys.modules, f"infrastructure.inference.{name}", raising=False)
    monkeypatch.setitem(sys.modules, library, None)
    named = library if INSTALLED else "(whisper|soundfile|jiwer|torch|soxr)"
    with pytest.raises(MissingExtraError, match=f"{named}, .*make install EXTRAS=whisper"):
        speech_tools(tmp_path)


def test_weights_of_the_environment_stand_for_those_of_the_configuration(tmp_path: Path) -> None:
    pytest.importorskip("whisper", reason="make install EXTRAS=whisper")
    pytest.importorskip("jiwer", reason="make install EXTRAS=whisper")
    for name in ("mine.pt", "configured.pt"):
        (tmp_path / name).write_bytes(b"weights")
    assert speech_tools(tmp_path).find_weights("configured.pt").name == "configured.pt"
    assert speech_tools(tmp_path, "mine.pt").find_weights("configured.pt").name == "mine.pt"
