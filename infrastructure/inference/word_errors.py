"""Word errors, counted by jiwer after Whisper's own text normalisation."""

from __future__ import annotations

import jiwer
from whisper.normalizers import BasicTextNormalizer, EnglishTextNormalizer

from domain.evaluation.word_error_rate import WordErrors

_UNSPACED = {"zh", "yue", "ja", "th", "lo", "my"}  # written without spaces: characters are counted
_NORMALIZERS = {"en": EnglishTextNormalizer()}
_WORDS, _LETTERS = BasicTextNormalizer(), BasicTextNormalizer(split_letters=True)


def count_errors(spoken: str, transcribed: str, language: str | None) -> WordErrors:
    """Count the word errors of a transcript; differences that do not matter are ignored.

    These are case, punctuation and, in English, spelling variants and contractions.

    Args:
        spoken: the reference text.
        transcribed: the transcript.
        language: code of the language.

    References:
        A. Radford et al., "Robust speech recognition via large-scale weak supervision", 2022,
        appendix C.
    """
    unspaced = _LETTERS if language in _UNSPACED else _WORDS
    normalize = _NORMALIZERS.get(language or "", unspaced)
    reference, hypothesis = normalize(spoken).strip(), normalize(transcribed).strip()
    if not reference:  # jiwer needs at least one word
        return WordErrors(0, 0, 0, len(hypothesis.split()))
    result = jiwer.process_words(reference, hypothesis)
    return WordErrors(
        result.hits + result.substitutions + result.deletions,
        result.substitutions,
        result.deletions,
        result.insertions,
    )
