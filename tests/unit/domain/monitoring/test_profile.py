"""Reference profiles."""

from __future__ import annotations

import json

import numpy as np
import pytest

from domain.monitoring.profile import InputProfile, profile_inputs


def samples() -> dict[str, np.ndarray]:
    """Values of many kinds."""
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
    profile = InputProfile.of(samples()[kind])
    assert profile.shares.sum() == pytest.approx(1)
    assert (profile.shares >= 0).all()
    assert len(profile.edges) + 1 == len(profile.shares) <= 10
    assert (np.diff(profile.edges) > 0).all()


@pytest.mark.parametrize("kind", samples())
def test_every_value_is_counted_once_wherever_it_lies(kind: str) -> None:
    profile = InputProfile.of(samples()[kind])
    values = np.array([-1e9, -1.0, 0.0, 0.5, 3.5, 1e9])
    assert profile.count(values).sum() == len(values)
    assert len(profile.count(values)) == len(profile.shares)


def test_distinct_values_fall_into_bins_of_equal_share() -> None:
    assert InputProfile.of(np.arange(100.0)).shares == pytest.approx(np.full(10, 0.1))


def test_the_number_of_bins_can_be_chosen() -> None:
    profile = InputProfile.of(np.arange(100.0), bins=4)
    assert profile.shares == pytest.approx(np.full(4, 0.25))


def test_a_value_on_an_edge_belongs_to_the_bin_below() -> None:
    profile = InputProfile(np.array([1.0, 2.0]), np.array([0.5, 0.3, 0.2]))
    assert profile.count(np.array([0.9, 1.0, 1.1, 2.0, 2.1])).tolist() == [2, 2, 1]


def test_bins_of_a_value_that_occurs_often_are_merged() -> None:
    profile = InputProfile.of(np.array([0.0] * 80 + list(range(1, 21))))
    assert profile.edges[0] == 0
    assert profile.shares[0] == 0.8


def test_a_constant_input_has_all_its_rows_in_one_bin() -> None:
    profile = InputProfile.of(np.full(50, 3.5))
    assert profile.edges.tolist() == [3.5]
    assert profile.shares.tolist() == [1.0, 0.0]


@pytest.mark.parametrize("kind", samples())
def test_a_profile_survives_being_written_as_json(kind: str) -> None:
    profile = InputProfile.of(samples()[kind])
    read = InputProfile.from_dict(json.loads(json.dumps(profile.to_dict())))
    assert read.edges.tolist() == profile.edges.tolist()
    assert read.shares.tolist() == profile.shares.tolist()


def test_each_input_has_the_profile_of_its_column() -> None:
    values = np.random.default_rng(1).normal(size=(60, 2)).astype(np.float32)
    profiles = profile_inputs(("width", "height"), values)
    assert list(profiles) == ["width", "height"]
    assert profiles["height"] == InputProfile.of(values[:, 1].astype(float)).to_dict()


def test_names_that_do_not_fit_the_columns_are_refused() -> None:
    with pytest.raises(ValueError, match="zip"):
        profile_inputs(("width",), np.zeros((5, 2)))
