"""Word errors of texts, normalised as by Whisper."""

from __future__ import annotations

import pytest

pytest.importorskip("jiwer", reason="make install EXTRAS=whisper")
pytest.importorskip("whisper", reason="make install EXTRAS=whisper")
# pylint: disable=wrong-import-position
from domain.evaluation.word_error_rate import WordErrors
from infrastructure.inference.word_errors import count_errors


@pytest.mark.parametrize(
    ("spoken", "transcribed", "language", "errors"),
    [
        ("the cat sat on the mat", "the cat sat on the mat", "en", (6, 0, 0, 0)),
        ("the cat sat on the mat", "the bat sat the mat here", "en", (6, 1, 1, 1)),
        ("the cat", "", "en", (2, 0, 2, 0)),
        ("", "thank you", "en", (0, 0, 0, 2)),
        ("", "", None, (0, 0, 0, 0)),
        ("[laughs]", "ha", "en", (0, 0, 0, 1)),
        ("guten Tag", "guter Tag auch", "de", (2, 1, 0, 1)),
        ("你好世界", "你好时界", "zh", (4, 1, 0, 0)),
        ("你好世界", "你好时界", None, (1, 1, 0, 0)),
    ],
)
def test_errors_are_counted(
    spoken: str, transcribed: str, language: str | None, errors: tuple[int, int, int, int]
) -> None:
    assert count_errors(spoken, transcribed, language) == WordErrors(*errors)


def test_case_punctuation_spelling_and_contractions_do_not_count() -> None:
    spoken, transcribed = "Mr. Smith won't like the colour!", "mister smith will not like the color"
    assert count_errors(spoken, transcribed, "en").errors == 0


def test_in_other_languages_case_and_punctuation_do_not_count() -> None:
    assert count_errors("Guten Tag, Welt!", "guten tag welt", "de").errors == 0
