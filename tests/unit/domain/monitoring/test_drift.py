"""Population stability index."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from domain.contract import Category, Classes, Datetime, ModelSpec, Number, Quantity, Tensor
from domain.monitoring.drift import (
    drift_between,
    importances_of_variables,
    mark_seasonal,
    population_stability_index,
)
from domain.monitoring.profile import Profile, profile_inputs, profile_outputs

RNG = np.random.default_rng(0)
TRAINING = RNG.normal(size=1000)
PROFILE = Profile.of(TRAINING)

INPUTS = (Number("area", "", -9, 9), Category("plan", ("basic", "plus")))
SPEC = ModelSpec("m", INPUTS, Classes(("no", "yes")))
ROWS = np.stack([TRAINING, TRAINING > 0.5], axis=1).astype(np.float32)
PREDICTIONS = np.stack([TRAINING > 1, TRAINING <= 1], axis=1).astype(float)
PROFILES = {**profile_inputs(SPEC, ROWS), "prediction": profile_outputs(SPEC, PREDICTIONS)}


def test_the_score_matches_a_calculation_by_hand() -> None:
    halves = Profile(np.array([0.5]), np.array([0.5, 0.5]))
    # (3 + ½, 1 + ½) of 5: shares 0.7 and 0.3 against 0.5 and 0.5
    by_hand = 0.2 * np.log(0.7 / 0.5) - 0.2 * np.log(0.3 / 0.5)
    score = population_stability_index(halves, np.array([0.0, 0.0, 0.0, 1.0]))
    assert score == pytest.approx(by_hand)


def test_a_variable_is_as_important_as_its_input() -> None:
    inputs = (Number("area", "", -9, 9), Tensor("photo", (2, 2), 0, 1), Datetime("day"))
    spec = ModelSpec("m", inputs, Classes(("no", "yes")))
    found = importances_of_variables(spec, {"area": 0.1, "photo": 0.3})
    photo = [name for name in spec.monitored_names if name.startswith("photo")]
    assert len(photo) == 2
    assert found == {"area": 0.1} | dict.fromkeys(photo, 0.3)


def test_training_rows_have_no_drift() -> None:
    assert population_stability_index(PROFILE, TRAINING) < 0.001


def test_other_rows_of_the_same_distribution_are_stable() -> None:
    scores = [population_stability_index(PROFILE, RNG.normal(size=1000)) for _ in range(50)]
    assert max(scores) < 0.1


def test_the_order_of_the_values_does_not_matter() -> None:
    values = RNG.normal(0.3, 1, size=400)
    shuffled = RNG.permutation(values)
    assert population_stability_index(PROFILE, shuffled) == population_stability_index(
        PROFILE, values
    )


def test_the_score_grows_with_the_shift() -> None:
    scores = [population_stability_index(PROFILE, TRAINING + shift) for shift in np.arange(0, 4)]
    assert scores == sorted(scores)
    assert scores[1] > 0.25


@pytest.mark.parametrize("scale", [0.2, 4.0])
def test_a_change_of_spread_is_drift(scale: float) -> None:
    assert population_stability_index(PROFILE, TRAINING * scale) > 0.25


@pytest.mark.parametrize("value", [-1e9, 0.0, 1e9])
def test_values_in_one_bin_give_a_high_but_finite_score(value: float) -> None:
    score = population_stability_index(PROFILE, np.full(1000, value))
    assert np.isfinite(score)
    assert score > 1


def test_no_score_is_negative() -> None:
    for _ in range(50):
        profile = Profile.of(RNG.normal(size=int(RNG.integers(1, 60))))
        values = RNG.normal(RNG.normal(), 1, size=int(RNG.integers(1, 60)))
        assert population_stability_index(profile, values) >= 0


def test_a_constant_input_is_stable_until_it_changes() -> None:
    profile = Profile.of(np.full(200, 3.5))
    assert population_stability_index(profile, np.full(200, 3.5)) < 0.1
    assert population_stability_index(profile, np.full(200, 3.6)) > 0.25


def test_bins_that_stay_empty_add_nothing_to_the_score() -> None:
    codes = np.repeat([0.0, 1.0], 100)
    profile = Profile.of_codes(codes, 50, with_missing=True)
    assert population_stability_index(profile, codes) < 0.001


def test_missing_values_are_drift() -> None:
    profile = Profile.of(TRAINING, with_missing=True)
    values = np.where(RNG.random(1000) < 0.4, np.nan, RNG.normal(size=1000))
    assert population_stability_index(profile, values) > 0.25


def test_the_rows_of_a_profile_have_no_drift() -> None:
    scores = drift_between(PROFILES, SPEC, ROWS, PREDICTIONS)
    assert list(scores) == ["area", "plan", "prediction"]
    assert max(scores.values()) < 0.001


def test_only_drifting_inputs_score_and_predictions_count_by_class() -> None:
    moved = ROWS.copy()
    moved[:, 0] += 3
    scores = drift_between(PROFILES, SPEC, moved, PREDICTIONS[:, ::-1])
    assert scores["area"] > 0.25
    assert scores["plan"] < 0.001
    assert scores["prediction"] > 0.25


def test_only_variables_in_both_profiles_are_compared() -> None:
    theirs = {"area": PROFILES["area"], "age": PROFILES["area"]}
    assert list(drift_between(theirs, SPEC, ROWS, PREDICTIONS)) == ["area"]


def test_a_different_number_of_categories_is_not_compared() -> None:
    more = Category("plan", ("basic", "plus", "pro"))
    spec = replace(SPEC, inputs=(SPEC.inputs[0], more), output=Classes(("no", "yes", "perhaps")))
    predictions = np.eye(3)[np.zeros(len(ROWS), int)]
    assert list(drift_between(PROFILES, spec, ROWS, predictions)) == ["area"]


def test_the_values_of_a_quantity_are_compared() -> None:
    spec = replace(SPEC, output=Quantity("rent"))
    values = np.stack([ROWS[:, 0]] * 3, axis=1)
    profiles = {**PROFILES, "prediction": profile_outputs(spec, values)}
    assert drift_between(profiles, spec, ROWS, values)["prediction"] < 0.001
    assert drift_between(profiles, spec, ROWS, values + 3)["prediction"] > 0.25


def test_an_input_named_like_the_predictions_takes_precedence() -> None:
    spec = ModelSpec("m", (Number("prediction", "", -9, 9),), Classes(("no", "yes")))
    rows = ROWS[:, :1]
    scores = drift_between(profile_inputs(spec, rows), spec, rows, PREDICTIONS)
    assert list(scores) == ["prediction"]
    assert scores["prediction"] < 0.001


def test_the_drift_of_predictions_follows_the_decision_threshold() -> None:
    spec = ModelSpec("m", (Number("x", "", 0, 1),), Classes(("no", "yes"), threshold=0.2))
    predictions = np.tile([[0.9, 0.1], [0.7, 0.3]], (50, 1))
    profiles = {"prediction": profile_outputs(spec, predictions)}
    rows = np.zeros((100, 1), np.float32)
    found = drift_between(profiles, spec, rows, predictions)
    assert found["prediction"] == pytest.approx(0, abs=1e-3)


def test_only_profiles_of_what_varies_in_time_are_marked() -> None:
    time = np.arange(500.0)
    inputs = (Number("year", "", 0, 500), Number("noise", "", 0, 500), Number("none", "", 0, 500))
    spec = ModelSpec("seasons", inputs, Quantity("y"))
    columns = np.stack([time, time * 7 % 500, time, time], axis=1)
    profiles = {name: Profile.of(columns[:, 0]).to_dict() for name in ("year", "noise")}
    mark_seasonal(profiles, spec, columns, time)
    assert profiles["year"]["varies_in_time"] and "varies_in_time" not in profiles["noise"]
    profiles["prediction"] = Profile.of(time).to_dict()
    mark_seasonal(profiles, spec, columns, time)
    assert profiles["prediction"]["varies_in_time"]
