"""The word error rate and its interval."""

from __future__ import annotations

import numpy as np
import pytest

from domain.evaluation.word_error_rate import WordErrorReport, WordErrors, compare_errors


def test_every_kind_of_error_counts_relative_to_the_reference_words() -> None:
    report = WordErrorReport((WordErrors(10, 1, 2, 3), WordErrors(30, 0, 0, 0)))
    assert report.rate == 6 / 40
    assert report.score == pytest.approx(1 - 6 / 40)
    assert report.to_dict()["word_error_rate"] == report.rate
    assert (report.to_dict()["deletions"], report.to_dict()["insertions"]) == (2, 3)


def test_more_insertions_than_reference_words_are_worse_than_no_words() -> None:
    assert WordErrorReport((WordErrors(2, 0, 2, 0),)).rate == 1
    assert WordErrorReport((WordErrors(2, 2, 0, 4),)).rate == 3


def test_words_invented_for_silence_are_errors() -> None:
    report = WordErrorReport((WordErrors(0, 0, 0, 2), WordErrors(8, 0, 0, 0)))
    assert report.rate == 0.25
    assert report.interval is not None and report.interval[0] == 0


def test_the_interval_contains_the_rate_is_repeatable_and_shrinks_with_more_utterances() -> None:
    utterances = [WordErrors(10, 1, 0, 0), WordErrors(10, 0, 3, 0), WordErrors(20, 0, 0, 0)]
    few, many = WordErrorReport(utterances * 5), WordErrorReport(utterances * 50)
    assert few.interval is not None and many.interval is not None
    assert few.interval == WordErrorReport(utterances * 5).interval
    assert few.interval[0] < few.rate < few.interval[1]
    assert many.interval[1] - many.interval[0] < (few.interval[1] - few.interval[0]) / 2


def test_the_interval_has_about_its_nominal_coverage() -> None:
    generator = np.random.default_rng(0)
    held = 0
    for _ in range(60):
        rates = generator.beta(2, 8, size=80)  # utterances differ; their mean rate is 0.2
        errors = generator.binomial(12, rates)
        interval = WordErrorReport([WordErrors(12, int(e), 0, 0) for e in errors]).interval
        assert interval is not None
        held += interval[0] <= 0.2 <= interval[1]
    assert 52 <= held <= 60


def test_one_utterance_gives_no_interval() -> None:
    report = WordErrorReport((WordErrors(4, 1, 0, 0),))
    assert report.interval is None
    assert str(report) == (
        "word error rate 0.250 (1 errors in 4 words of 1 utterances, too few for an interval)"
    )


def test_the_report_shows_its_interval() -> None:
    report = WordErrorReport((WordErrors(4, 1, 0, 0), WordErrors(4, 1, 0, 0)))
    assert "95 % interval 0.250 to 0.250" in str(report)


def utterance(errors: int) -> WordErrors:
    """An utterance of ten words with so many errors."""
    return WordErrors(10, errors, 0, 0)


def test_rates_in_the_same_utterances_are_compared() -> None:
    found = compare_errors([utterance(3)] * 40, [utterance(1), utterance(2)] * 20)
    assert (found.rows, found.champion, found.challenger) == (40, 0.7, 0.85)
    assert 0.13 < found.low < 0.15 < found.high < 0.17
    assert not found.identical
    assert found.won is found.lost is found.p is None


def test_the_interval_of_a_difference_has_its_nominal_coverage() -> None:
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(200):
        errors = rng.binomial(10, [[0.3], [0.2]], (2, 60))
        found = compare_errors(*([utterance(int(e)) for e in side] for side in errors))
        held += found.low <= 0.1 <= found.high
    assert 0.84 <= held / 200 <= 0.96


def test_one_utterance_proves_no_difference() -> None:
    found = compare_errors([utterance(3)], [utterance(1)])
    assert found.difference == pytest.approx(0.2)
    assert np.isnan(found.low)


def test_utterances_that_do_not_pair_are_an_error() -> None:
    with pytest.raises(ValueError, match="shorter"):
        compare_errors([utterance(3)] * 2, [utterance(1)])
