"""Reference profiles."""

from __future__ import annotations

import json

import numpy as np
import pytest

from domain.contract import (
    Category,
    Classes,
    Datetime,
    ModelSpec,
    Number,
    Quantity,
    Tensor,
    Text,
)
from domain.monitoring.profile import Profile, profile_inputs, profile_outputs


def samples() -> dict[str, np.ndarray]:
    """Values of several distributions."""
    rng = np.random.default_rng(0)
    return {
        "normal": rng.normal(size=500),
        "skewed": rng.exponential(size=333),
        "few values": rng.integers(0, 4, size=200).astype(float),
        "constant": np.full(50, 3.5),
        "mostly zero": np.where(rng.random(300) < 0.8, 0.0, rng.random(300)),
        "one row": np.array([1.0]),
    }


@pytest.mark.parametrize("kind", samples())
def test_shares_sum_to_one_over_at_most_ten_bins_with_increasing_edges(kind: str) -> None:
    profile = Profile.of(samples()[kind])
    assert profile.shares.sum() == pytest.approx(1)
    assert (profile.shares >= 0).all()
    assert len(profile.edges) + 1 == len(profile.shares) <= 10
    assert (np.diff(profile.edges) > 0).all()


@pytest.mark.parametrize("kind", samples())
def test_every_value_is_counted_once(kind: str) -> None:
    profile = Profile.of(samples()[kind])
    values = np.array([-1e9, -1.0, 0.0, 0.5, 3.5, 1e9])
    assert profile.count(values).sum() == len(values)
    assert len(profile.count(values)) == len(profile.shares)


def test_distinct_values_fall_into_bins_of_equal_share() -> None:
    assert Profile.of(np.arange(100.0)).shares == pytest.approx(np.full(10, 0.1))


def test_the_number_of_bins_can_be_chosen() -> None:
    profile = Profile.of(np.arange(100.0), bins=4)
    assert profile.shares == pytest.approx(np.full(4, 0.25))


def test_a_value_on_an_edge_belongs_to_the_bin_below() -> None:
    profile = Profile(np.array([1.0, 2.0]), np.array([0.5, 0.3, 0.2]))
    assert profile.count(np.array([0.9, 1.0, 1.1, 2.0, 2.1])).tolist() == [2, 2, 1]


def test_bins_of_a_value_that_occurs_often_are_merged() -> None:
    profile = Profile.of(np.array([0.0] * 80 + list(range(1, 21))))
    assert profile.edges[0] == 0
    assert profile.shares[0] == 0.8


def test_a_constant_input_has_all_its_rows_in_one_bin() -> None:
    profile = Profile.of(np.full(50, 3.5))
    assert profile.edges.tolist() == [3.5]
    assert profile.shares.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("kind", samples())
def test_a_profile_survives_being_written_as_json(kind: str) -> None:
    profile = Profile.of(samples()[kind])
    read = Profile.from_dict(json.loads(json.dumps(profile.to_dict())))
    assert read.edges.tolist() == profile.edges.tolist()
    assert read.shares.tolist() == profile.shares.tolist()


def test_missing_values_have_a_bin_only_if_they_are_allowed() -> None:
    values = np.array([1.0, 2.0, np.nan, np.nan])
    profile = Profile.of(values, bins=2, with_missing=True)
    assert profile.edges.tolist() == [1.5]
    assert profile.shares.tolist() == [0.25, 0.25, 0.5]
    assert profile.count(np.array([np.nan, 9.0])).tolist() == [0, 1, 1]
    assert len(Profile.of(np.array([1.0, 2.0]), bins=2).shares) == 2


def test_a_variable_that_is_always_missing_has_a_profile() -> None:
    profile = Profile.of(np.full(5, np.nan), with_missing=True)
    assert profile.shares.tolist() == [0, 1]
    assert profile.count(np.array([3.0, np.nan])).tolist() == [1, 1]


def test_each_code_has_its_own_bin_even_if_it_does_not_occur() -> None:
    profile = Profile.of_codes(np.array([0.0, 2.0, 2.0, 2.0]), 4)
    assert profile.shares.tolist() == [0.25, 0, 0.75, 0]
    assert Profile.of_codes(np.zeros(3), 1).shares.tolist() == [1]


OUTPUT = Quantity("rent", "EUR")
SPEC = ModelSpec(
    "rents",
    (
        Number("area", "m²", 0, 500, nullable=True),
        Number("age", "years", 0, 500),
        Category("district", ("east", "west")),
        Category("heating", ("gas", "oil"), nullable=True),
        Category("agent", ("a", "b"), unseen="missing"),
        Tensor("plan", (2, 2), 0, 1),
    ),
    OUTPUT,
)


def test_each_kind_of_input_has_the_profile_that_fits_it() -> None:
    rows = [
        [50, 3, "east", "gas", "a", [[0, 1], [0, 1]]],
        [None, 7, "west", None, "c", [[1, 1]] * 2],
    ]
    profiles = profile_inputs(SPEC, SPEC.encode_rows(rows * 10))
    assert tuple(profiles) == SPEC.monitored_names
    missing = {name for name, profile in profiles.items() if profile["with_missing"]}
    assert missing == {"area", "heating", "agent"}
    assert profiles["district"]["shares"] == [0.5, 0.5]
    assert profiles["heating"]["shares"] == [0.5, 0, 0.5]
    assert profiles["agent"]["shares"] == [0.5, 0, 0.5]
    assert profiles["plan_mean"] == Profile.of(np.array([0.5, 1.0] * 10)).to_dict()
    assert profiles["plan_spread"] == Profile.of(np.array([0.5, 0.0] * 10)).to_dict()
    assert json.loads(json.dumps(profiles, allow_nan=False)) == profiles


def test_a_date_has_no_profile_since_live_dates_never_look_like_those_of_training() -> None:
    spec = ModelSpec("visits", (Datetime("at"), Number("area", "m²", 5, 500)), OUTPUT)
    assert list(profile_inputs(spec, spec.encode_rows([["2024-01-05", 50]] * 9))) == ["area"]


def test_a_text_is_profiled_by_its_length() -> None:
    spec = ModelSpec("reviews", (Text("review"),), OUTPUT)
    texts = [["a" * number] for number in range(1, 101)]
    profiles = profile_inputs(spec, spec.encode_rows(texts))
    assert profiles == {"review": Profile.of(np.arange(1.0, 101)).to_dict()}


def test_classes_are_profiled_by_their_shares() -> None:
    spec = ModelSpec("colours", SPEC.inputs, Classes(("red", "green", "blue")))
    predictions = np.array([[0.2, 0.7, 0.1], [0.1, 0.8, 0.1], [0.9, 0.1, 0], [0.1, 0.6, 0.3]])
    assert profile_outputs(spec, predictions)["shares"] == [0.25, 0.75, 0]


def test_values_are_profiled_by_their_quantiles() -> None:
    values = np.arange(100.0)
    predictions = np.stack([values, values - 1, values + 1], axis=1)
    assert profile_outputs(SPEC, predictions) == Profile.of(values).to_dict()


def test_the_profile_of_a_classifier_has_the_classes_that_its_threshold_decides() -> None:
    spec = ModelSpec("m", (Number("x", "", 0, 1),), Classes(("no", "yes"), threshold=0.2))
    predictions = np.array([[0.9, 0.1], [0.7, 0.3], [0.6, 0.4], [0.1, 0.9]])
    assert profile_outputs(spec, predictions)["shares"] == [0.25, 0.75]
