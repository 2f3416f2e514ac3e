"""Drift of a period of the prediction log."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from application.monitoring.drift_report import MOST_PARTS, DriftReport, report_drift
from application.ports.prediction_log import PredictionBatch
from domain.contract import Category, Classes, Datetime, ModelSpec, Number
from domain.monitoring.drift import population_stability_index
from domain.monitoring.profile import Profile, profile_inputs, profile_outputs
from tests.fakes import FakePredictionLog, batch_of, logged_prediction

SPEC = ModelSpec(
    "rides",
    (
        Number("length", "km", 0, 100, nullable=True),
        Category("city", ("Oslo", "Bergen", "Tromsø")),
        Datetime("day"),
    ),
    Classes(("no", "yes"), "tip"),
)
RNG = np.random.default_rng(0)
WIDTH = len(SPEC.monitored_names)


def drawn(rows: int, longer: float = 0.0) -> np.ndarray:
    """Monitored inputs of some rides."""
    columns = np.full((rows, WIDTH), 1.0)
    columns[:, 0] = RNG.normal(10 + longer, 3, rows)
    columns[:, 1] = RNG.choice(3, rows, p=[0.6, 0.3, 0.1])
    return columns


def profiles() -> dict[str, Any]:
    """Those of 2,000 rides."""
    columns = drawn(2_000)
    return {
        "length": Profile.of(columns[:, 0], with_missing=True).to_dict(),
        "city": Profile.of_codes(columns[:, 1], 3).to_dict(),
        "prediction": Profile.of_codes(RNG.choice(2, 2_000, p=[0.7, 0.3]), 2).to_dict(),
    }


def logged(rows: np.ndarray, at: float) -> PredictionBatch:
    """Rides at a time as a batch."""
    batch = batch_of(*[logged_prediction("a", [0.0] * 4, at=at)] * len(rows))
    predicted = RNG.choice(2, len(rows), p=[0.7, 0.3])
    return PredictionBatch(
        batch.request_ids,
        batch.rows,
        batch.at,
        batch.latency,
        batch.identities,
        rows,
        predicted,
        batch.confidence,
    )


def report(*batches: PredictionBatch, **changed: Any) -> DriftReport:
    """The report from time 100 to 400."""
    log = FakePredictionLog()
    log.add(*batches)
    return report_drift(log, SPEC, {**profiles(), **changed}, 100, 400)


def test_a_period_like_training_has_no_drift() -> None:
    found = report(*[logged(drawn(200), at) for at in range(100, 400, 50)])
    assert found.rows == 1_200
    assert {each.name for each in found.variables} == {"length", "city", "prediction"}
    assert not any(each.drifts for each in found.variables)
    assert max(each.index for each in found.variables) < 0.1


def test_what_drifts_comes_first_and_is_seen_from_when_on() -> None:
    early = [logged(drawn(200), at) for at in range(100, 250, 10)]
    late = [logged(drawn(200, longer=3), at) for at in range(250, 400, 10)]
    found = report(*early, *late)
    first = found.variables[0]
    assert first.name == "length" and first.drifts
    assert not any(each.drifts for each in found.variables[1:])
    assert found.starts[:2].tolist() == [100, 110] and len(found.starts) == MOST_PARTS
    assert (first.by_part[:15] < 0.15).all() and (first.by_part[15:] > 0.25).all()


def test_of_what_drifts_the_most_important_comes_first() -> None:
    rows = drawn(2_000, longer=6)
    rows[:, 1] = RNG.choice(3, 2_000, p=[0.5, 0.35, 0.15])
    log = FakePredictionLog()
    log.add(logged(rows, 200))
    training = profiles()
    found = report_drift(log, SPEC, training, 100, 400)
    assert [each.name for each in found.variables] == ["length", "city", "prediction"]
    assert [each.drifts for each in found.variables] == [True, True, False]
    importances = {"length": 0.01, "city": 0.2, "day": 0.5}
    found = report_drift(log, SPEC, training, 100, 400, importances=importances)
    assert [each.name for each in found.variables] == ["city", "length", "prediction"]
    assert [each.importance for each in found.variables] == [0.2, 0.01, None]
    found = report_drift(log, SPEC, training, 100, 400, importances={"length": -0.1})
    assert [each.name for each in found.variables] == ["length", "city", "prediction"]


def test_the_index_is_that_of_all_rows_of_the_period() -> None:
    rows, training = drawn(500, longer=1), profiles()
    log = FakePredictionLog()
    log.add(logged(rows, 200))
    found = report_drift(log, SPEC, training, 100, 400)
    (length,) = [each for each in found.variables if each.name == "length"]
    expected = population_stability_index(Profile.from_dict(training["length"]), rows[:, 0])
    assert length.index == pytest.approx(expected, rel=1e-6)
    assert length.current.sum() == pytest.approx(1)


def test_only_the_period_counts() -> None:
    outside = [logged(drawn(300, longer=9), at) for at in (99.9, 400)]
    found = report(logged(drawn(300), 100), *outside)
    assert found.rows == 300
    assert not any(each.drifts for each in found.variables)


def test_parts_with_few_rows_have_no_index() -> None:
    found = report(logged(drawn(19), 105), logged(drawn(20), 115))
    assert np.isnan(found.variables[0].by_part).tolist() == [True, False] + [True] * 28


def test_rows_of_another_contract_are_counted_apart() -> None:
    found = report(logged(drawn(50), 200), logged(drawn(30)[:, :2], 300))
    assert (found.rows, found.skipped) == (50, 30)


def test_an_empty_period_has_no_variables() -> None:
    found = report()
    assert (found.rows, list(found.variables)) == (0, [])


def test_bins_are_named_in_words() -> None:
    edges = Profile(np.array([1.0, 2.5]), np.array([0.2, 0.3, 0.4, 0.1]), True, 100).to_dict()
    found = report(logged(drawn(50), 200), length=edges)
    names = {each.name: list(each.bins) for each in found.variables}
    assert names["length"] == ["to 1", "1 to 2.5", "above 2.5", "missing"]
    assert names["city"] == ["Oslo", "Bergen", "Tromsø"]
    assert names["prediction"] == ["no", "yes"]


def test_what_is_not_compared_has_its_reason() -> None:
    season = {**profiles()["length"], "varies_in_time": True}
    old = {**profiles()["city"], "rows": 0}
    found = report(logged(drawn(50), 200), length=season, city=old)
    assert "depends on time in training" in found.unwatched["length"]
    assert "train again" in found.unwatched["city"]
    dates = [name for name in SPEC.monitored_names if name.startswith("day")]
    assert dates and all("no profile" in found.unwatched[name] for name in dates)
    assert "prediction" not in found.unwatched


def test_what_is_not_logged_is_not_compared() -> None:
    length = replace(SPEC.inputs[0], logged=False)
    private = replace(SPEC, inputs=(length, *SPEC.inputs[1:]))
    encoded = np.column_stack([drawn(50)[:, :2], np.ones((50, SPEC.width - 2))])
    assert set(profile_inputs(SPEC, encoded)) == {"length", "city"}
    assert set(profile_inputs(private, encoded)) == {"city"}
    log = FakePredictionLog()
    log.add(logged(drawn(50), 200))
    known = {name: each for name, each in profiles().items() if name != "length"}
    found = report_drift(log, private, known, 0, 1000)
    assert {each.name for each in found.variables} == {"city", "prediction"}
    assert "leaves it out" in found.unwatched["length"]


def test_profiles_of_training_are_those_that_are_compared() -> None:
    encoded = SPEC.encode_rows([[RNG.normal(10, 3), "Oslo", "2026-01-31"] for _ in range(100)])
    made = {
        **profile_inputs(SPEC, encoded),
        "prediction": profile_outputs(SPEC, np.tile([0.9, 0.1], (100, 1))),
    }
    log = FakePredictionLog()
    log.add(logged(drawn(100), 200))
    found = report_drift(log, SPEC, made, 100, 400)
    assert {each.name for each in found.variables} == {"length", "city", "prediction"}
