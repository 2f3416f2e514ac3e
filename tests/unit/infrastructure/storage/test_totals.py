"""Totals by minute, hour and day: periods in whole spans, sums of batches, and of labels."""

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from application.ports.prediction_log import PredictionBatch
from infrastructure.storage.totals import DAY, WIDTHS, Span, Totals, pieces, spans_of
from tests.fakes import SETOSA, batch_of, logged_prediction

MIDNIGHT = time.time() // DAY * DAY


def batch_at(*times: float, confidence: float | None = 0.5) -> PredictionBatch:
    """Requests of one and two rows in turn, whose class is their number."""
    entry = replace(logged_prediction("r", SETOSA, at=0.0), confidence=confidence)
    entries = [
        replace(entry, request_id=f"r{n}", row=row, at=MIDNIGHT + at, predicted=float(n))
        for n, at in enumerate(times)
        for row in range(1 + n % 2)
    ]
    return replace(batch_of(*entries), version="1")


@example(0.0, 60.0).via("one minute")
@example(59.0, 61.0).via("parts of two minutes")
@example(3599.5, 3600.0).via("until the hour")
@example(30.0, 40.0).via("within a minute")
@example(float(DAY), 3.0 * DAY).via("whole days")
@given(st.floats(0, 4 * DAY), st.floats(0, 4 * DAY))
def test_the_pieces_of_a_period_are_whole_spans_and_parts_of_single_minutes(
    since: float, until: float
) -> None:
    found = list(pieces(since, until))
    ends = [since, *(high for _, _, high in found)]
    assert [low for _, low, _ in found] == ends[:-1]
    assert ends[-1] == (until if until > since else since)
    for seconds, low, high in found:
        assert low < high
        if seconds:
            assert seconds in WIDTHS and low % seconds == high % seconds == 0
        else:
            assert low // 60 == np.nextafter(high, low) // 60
    assert len([seconds for seconds, _, _ in found if not seconds]) <= 2
    assert sum((high - low) / (seconds or 60) for seconds, low, high in found) < 4 + 2 * (59 + 23)


def test_a_batch_over_midnight_is_in_the_spans_of_both_days() -> None:
    spans = spans_of([batch_at(-61, -1, 0, 59), batch_at(-1)])
    starts = {-120: 1, -60: 3, 0: 3, -3600: 4, -DAY: 4}
    found = {(span.seconds, span.start - MIDNIGHT): each for span, each in spans.items()}
    assert {place for place in found if place[0] == 60} == {(60, -120), (60, -60), (60, 0)}
    assert {place: total.predictions for place, total in found.items()} == {
        **{(60, start): starts[start] for start in (-120, -60, 0)},
        **{(3600, -3600): starts[-3600], (3600, 0): 3, (DAY, -DAY): starts[-DAY], (DAY, 0): 3},
    }
    yesterday = spans[Span(DAY, int(MIDNIGHT) - DAY, "1")]
    assert (yesterday.since, yesterday.until) == (MIDNIGHT - 61, MIDNIGHT - 1)
    assert yesterday.latest == MIDNIGHT + 59
    assert yesterday.counts() == [2, 2]
    assert (yesterday.smallest, yesterday.largest, yesterday.total_predicted) == (0, 1, 2)
    assert yesterday.total_confidence == 2
    assert yesterday.total_latency == pytest.approx(4 * 0.002)


def test_totals_of_values_have_no_classes() -> None:
    total = Totals.join([Totals.of(batch_at(0, 1, confidence=None))] * 2)
    assert (total.total_confidence, total.by_class, total.counts()) == (None, None, [])
    assert (total.predictions, total.largest) == (6, 1)
