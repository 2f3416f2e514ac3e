"""Drift of the latest rows in the prediction log."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from sklearn.datasets import load_digits

from application.monitoring.drift_report import report_drift
from application.monitoring.drift_watch import FEWEST, WINDOW, DriftWatch
from application.ports.prediction_log import PredictionBatch
from domain.contract import Category, Classes, ModelSpec, Quantity, Tensor, Text
from domain.monitoring.profile import profile_inputs, profile_outputs
from tests import petals
from tests.fakes import (
    FakeClassifier,
    FakeMetrics,
    FakePredictionLog,
    batch_of,
    logged_prediction,
)

NAMES = (*petals.SPEC.input_names, "prediction")
ENCODED = petals.load().encoded(petals.SPEC)
FLOWERS = ENCODED.astype(float)  # the precision of the log
PROFILES = json.loads(
    json.dumps(
        {
            **profile_inputs(petals.SPEC, ENCODED),
            "prediction": profile_outputs(petals.SPEC, FakeClassifier()(ENCODED)),
        }
    )
)
RENT = Quantity("rent", "EUR")
EMPTY = logged_prediction("a", FLOWERS[0].tolist())


def flowers(rows: int, seed: int = 0) -> np.ndarray:
    """Flowers drawn from the training data."""
    return FLOWERS[np.random.default_rng(seed).integers(len(FLOWERS), size=rows)]


def batch(rows: np.ndarray) -> PredictionBatch:
    """These inputs as a batch of the log."""
    return batch_of(*[logged_prediction("a", row) for row in rows.tolist()])


def scores(*batches: np.ndarray) -> dict[str, float]:
    """Scores after these batches of inputs were predicted."""
    log, metrics = FakePredictionLog(), FakeMetrics()
    for rows in batches:
        log.add(batch(rows))
    DriftWatch(petals.SPEC, PROFILES, log, metrics).check()
    return metrics.drift


def test_flowers_from_the_training_data_have_no_drift() -> None:
    found = scores(flowers(WINDOW))
    assert tuple(found) == NAMES
    assert max(found.values()) < 0.1


def test_only_a_moved_input_and_the_predictions_have_drift() -> None:
    moved = flowers(WINDOW)
    moved[:, 2] += 2
    found = scores(moved)
    assert {name for name, score in found.items() if score > 0.25} == {"petal_length", "prediction"}
    assert max(found[name] for name in ("sepal_length", "sepal_width", "petal_width")) < 0.1


def test_an_empty_log_gives_no_scores() -> None:
    assert not scores()


def test_one_row_below_the_minimum_gives_no_scores() -> None:
    assert not scores(flowers(FEWEST - 1))
    assert tuple(scores(flowers(FEWEST))) == NAMES


def test_too_few_rows_leave_the_score_unchanged() -> None:
    metrics = FakeMetrics(drift={"petal_length": 0.3})
    DriftWatch(petals.SPEC, PROFILES, FakePredictionLog(), metrics).check()
    assert metrics.drift == {"petal_length": 0.3}


def test_only_the_latest_rows_count() -> None:
    moved = flowers(WINDOW) + 3
    assert max(scores(moved, flowers(WINDOW)).values()) < 0.1
    assert min(scores(flowers(WINDOW), moved).values()) > 0.25


def test_the_minimum_number_of_rows_raises_no_false_alarm() -> None:
    alarms = [max(scores(flowers(FEWEST, seed)).values()) > 0.25 for seed in range(100)]
    assert np.mean(alarms) <= 0.05


def test_a_variable_without_a_profile_is_not_monitored() -> None:
    log, metrics = FakePredictionLog(), FakeMetrics()
    log.add(batch_of(*[logged_prediction("a", row) for row in flowers(WINDOW).tolist()]))
    only = {"petal_width": PROFILES["petal_width"]}
    DriftWatch(petals.SPEC, only, log, metrics).check()
    assert tuple(metrics.drift) == ("petal_width",)


IMAGE = ModelSpec("images", (Tensor("pixels", (8, 8), 0, 64),), Classes(("low", "high")))
TEXT = ModelSpec("notes", (Text("note", 200),), Classes(("low", "high")))
DIGITS = load_digits().data.astype(np.float32)
NOTES = np.array([["x" * length] for length in range(20, 120)] * 18, object)


def logged(spec: ModelSpec, encoded: np.ndarray) -> PredictionBatch:
    """Encoded rows in the log, whose predictions are in turn of both classes."""
    inputs, at = spec.monitored(encoded).tolist(), 1.0
    rows = (replace(EMPTY, inputs=row, predicted=n % 2, at=at) for n, row in enumerate(inputs))
    return batch_of(*rows)


@pytest.mark.parametrize(
    ("spec", "training", "shifted", "drifting"),
    [
        (IMAGE, DIGITS, DIGITS + 2, {"pixels_mean"}),
        (IMAGE, DIGITS, (DIGITS - DIGITS.mean(axis=1, keepdims=True)) * 1.4 + 5, {"pixels_spread"}),
        (TEXT, NOTES, NOTES + "and more", {"note"}),
    ],
    ids=["brighter", "contrast", "longer"],
)
def test_images_are_watched_by_mean_and_spread_and_texts_by_length(
    spec: ModelSpec, training: np.ndarray, shifted: np.ndarray, drifting: set[str]
) -> None:
    rng = np.random.default_rng(0)
    profiles = profile_inputs(spec, training)
    for rows, expected in ((training, set()), (shifted, drifting)):
        log, metrics = FakePredictionLog(), FakeMetrics()
        log.add(logged(spec, rows[rng.integers(len(rows), size=2 * WINDOW)]))
        DriftWatch(spec, profiles, log, metrics).check()
        assert set(metrics.drift) == set(spec.monitored_names)
        assert set(metrics.drifting["training"]) >= expected
        report = report_drift(log, spec, profiles, 0, 2)
        found = {each.name for each in report.variables if each.drifts}
        assert found >= expected if expected else not found and not metrics.drifting["training"]


def test_many_categories_are_scored_only_with_enough_rows_for_each() -> None:
    words = tuple(f"w{number}" for number in range(30))
    spec = ModelSpec("many", (Category("word", words), Category("prediction", ("a", "b"))), RENT)
    rng = np.random.default_rng(0)

    def drawn(rows: int) -> np.ndarray:
        return np.stack([rng.integers(30, size=rows), rng.integers(2, size=rows)], axis=1)

    log, metrics = FakePredictionLog(), FakeMetrics()
    watch = DriftWatch(spec, profile_inputs(spec, drawn(3000).astype(np.float32)), log, metrics)
    log.add(batch_of(*[replace(EMPTY, inputs=row) for row in drawn(400).tolist()]))
    watch.check()
    # an input with the name of the predictions is monitored in their place
    assert tuple(metrics.drift) == ("prediction",)
    log.add(batch_of(*[replace(EMPTY, inputs=row) for row in drawn(600).tolist()]))
    watch.check()
    assert tuple(metrics.drift) == ("word", "prediction")
    assert max(metrics.drift.values()) < 0.1


def test_evidence_grows_over_checks_and_restarts_and_counts_each_row_once() -> None:
    log, metrics = FakePredictionLog(), FakeMetrics()
    for seed in range(5):
        log.add(batch(flowers(100, seed)))
        for _ in range(2):  # the second finds nothing new, as another worker or after a restart
            DriftWatch(petals.SPEC, PROFILES, log, metrics).check()
    assert metrics.compared == 500
    assert {reference: tuple(found) for reference, found in metrics.p_values.items()} == {
        "training": NAMES,
        "production": NAMES,
    }
    assert min(min(found.values()) for found in metrics.p_values.values()) > 0.01
    assert metrics.drifting == {"training": [], "production": []}


def test_a_moved_input_raises_an_alarm_and_the_others_do_not() -> None:
    log, metrics = FakePredictionLog(), FakeMetrics()
    watch = DriftWatch(petals.SPEC, PROFILES, log, metrics)
    log.add(batch(flowers(1_000)))
    watch.check()
    assert metrics.drifting == {"training": [], "production": []}
    moved = flowers(400, 1)
    moved[:, 1] += 1
    for rows in (moved[:200], moved[200:]):
        log.add(batch(rows))
        watch.check()
    for reference, found in metrics.drifting.items():
        assert "sepal_width" in found, reference
        assert not {"petal_length", "petal_width"}.intersection(found)
    assert metrics.p_values["training"]["sepal_width"] < 0.001


def test_what_another_worker_has_evaluated_meanwhile_is_not_shown() -> None:
    class Contended(FakePredictionLog):
        """A log in which another worker is always faster."""

        def save_drift_state(self, previous: int, number: int, state: str) -> bool:
            return False

    log, metrics = Contended(), FakeMetrics()
    log.add(batch(flowers(300)))
    DriftWatch(petals.SPEC, PROFILES, log, metrics).check()
    assert metrics.compared is None


def test_rows_of_another_number_of_inputs_are_no_evidence() -> None:
    log, metrics = FakePredictionLog(), FakeMetrics()
    log.add(batch(flowers(300)[:, :3]), batch(flowers(200)))
    DriftWatch(petals.SPEC, PROFILES, log, metrics).check()
    assert metrics.compared == 200


def test_few_rows_are_said_to_be_few() -> None:
    log, metrics = FakePredictionLog(), FakeMetrics()
    log.add(batch(flowers(3)))
    DriftWatch(petals.SPEC, PROFILES, log, metrics).check()
    assert (metrics.compared, metrics.drift) == (3, {})
