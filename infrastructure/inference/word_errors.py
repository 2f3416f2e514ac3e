"""Word errors counted by jiwer, after the normalisation of Whisper's own figures."""

from __future__ import annotations

import jiwer
from whisper.normalizers import BasicTextNormalizer, EnglishTextNormalizer

from domain.evaluation.word_error_rate import WordErrors

_UNSPACED = {"zh", "yue", "ja", "th", "lo", "my"}  # written without spaces: letters are counted
_NORMALIZERS = {"en": EnglishTextNormalizer()}
_WORDS, _LETTERS = BasicTextNormalizer(), BasicTextNormalizer(split_letters=True)


def count_errors(said: str, heard: str, language: str | None) -> WordErrors:
    """Compare two texts of one language, given by its code.

    Case, punctuation and, in English, spelling and contractions do not count.

    References:
        A. Radford et al., "Robust speech recognition via large-scale weak supervision", 2022,
        appendix C.
    """
    unspaced = _LETTERS if language in _UNSPACED else _WORDS
    normalize = _NORMALIZERS.get(language or "", unspaced)
    reference, hypothesis = normalize(said).strip(), normalize(heard).strip()
    if not reference:  # jiwer compares with words only
        return WordErrors(0, 0, 0, len(hypothesis.split()))
    found = jiwer.process_words(reference, hypothesis)
    return WordErrors(
        found.hits + found.substitutions + found.deletions,
        found.substitutions,
        found.deletions,
        found.insertions,
    )
