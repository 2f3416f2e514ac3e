"""Evidence of drift that may be looked at any time."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import numpy as np
import pytest

from domain.monitoring.evidence import (
    LEVEL,
    Bins,
    Evidence,
)
from domain.monitoring.evidence import _log_gamma as log_gamma
from domain.monitoring.evidence import alarms, p_value, varies_in_time
from domain.monitoring.profile import Profile

Draw = Callable[[int], np.ndarray]
gammaln = np.vectorize(math.lgamma)


def log_dirichlet_multinomial(counts: np.ndarray, prior: np.ndarray) -> float:
    """The same as the module's, by SciPy."""
    return float(
        gammaln(prior.sum())
        - gammaln(prior.sum() + counts.sum())
        + (gammaln(prior + counts) - gammaln(prior)).sum()
    )


def watch(profile: Profile, draw: Draw, rows: int, batch: int = 100) -> int | None:
    """After how many rows the evidence first reached 1 / LEVEL; None if it never did."""
    bins = Bins(profile)
    evidence = Evidence(bins.reference)
    for done in range(0, rows, batch):
        evidence.add(bins.count(draw(batch)))
        if evidence.log() >= -math.log(LEVEL):
            return done + batch
    return None


def test_the_logarithm_of_the_gamma_function_is_exact() -> None:
    values = np.array([1e-6, 0.1, 0.5, 1, 2.5, 10, 1e3, 1e7])
    assert log_gamma(values) == pytest.approx(gammaln(values), rel=1e-11, abs=1e-11)


def test_the_evidence_of_few_rows_is_a_mixture_over_what_may_have_changed() -> None:
    reference, counts = np.array([40.0, 60.0]), np.array([30.0, 5.0])
    evidence = Evidence(reference)
    assert evidence.log() == pytest.approx(0)
    evidence.add(counts)
    prior = reference + 0.5
    ratios = [
        log_dirichlet_multinomial(counts, c * prior / prior.sum())
        - log_dirichlet_multinomial(counts, prior)
        for c in (3, 10, 30, 100, 300, 1000)
    ]
    # half is on a change with the first block, half on a later one, which has not begun
    assert evidence.log() == pytest.approx(np.log(np.exp(ratios).mean() / 2 + 1 / 2))
    assert evidence.rows == 35


def test_without_drift_the_expected_evidence_is_one_at_any_time() -> None:
    rng = np.random.default_rng(0)
    values = []
    for _ in range(1_500):
        bins = Bins(Profile.of(rng.normal(size=60), bins=3))
        evidence = Evidence(bins.reference)
        for _ in range(3):
            evidence.add(bins.count(rng.normal(size=150)))
        values.append(np.exp(evidence.log()))
    assert np.mean(values) == pytest.approx(1, abs=0.2)


@pytest.mark.parametrize("rows", [100, 2_000])
def test_false_alarms_are_rare_however_often_one_looks(rows: int) -> None:
    rng = np.random.default_rng(1)
    false = [
        watch(Profile.of(rng.normal(size=rows)), lambda n: rng.normal(size=n), 2_000)
        for _ in range(60)
    ]
    assert sum(each is not None for each in false) <= 3  # expected: at most 1


def test_false_alarms_are_rare_for_many_rare_words() -> None:
    rng = np.random.default_rng(2)
    shares = 1 / np.arange(1, 51) ** 1.5
    shares /= shares.sum()

    def draw(rows: int) -> np.ndarray:
        return rng.choice(50, rows, p=shares).astype(float)

    false = [watch(Profile.of_codes(draw(100), 50), draw, 2_000) for _ in range(40)]
    assert sum(each is not None for each in false) <= 2


@pytest.mark.parametrize(
    ("name", "draw", "most"),
    [
        ("a shift of a quarter of a deviation", lambda r, n: r.normal(0.25, 1, n), 2_000),
        ("a shift of half a deviation", lambda r, n: r.normal(0.5, 1, n), 500),
        ("a shift of a deviation", lambda r, n: r.normal(1, 1, n), 200),
        ("half the deviation again", lambda r, n: r.normal(0, 1.5, n), 500),
        ("20 % missing", lambda r, n: np.where(r.random(n) < 0.2, np.nan, r.normal(0, 1, n)), 200),
    ],
)
def test_drift_is_found_after_few_rows_from_the_start_and_later(
    name: str, draw: Callable[[np.random.Generator, int], np.ndarray], most: int
) -> None:
    rng = np.random.default_rng(3)
    profile = Profile.of(rng.normal(size=2_000), with_missing=True)
    delays = [watch(profile, lambda n: draw(rng, n), 4_000) or 10**9 for _ in range(10)]
    assert max(delays) <= most, name
    seen = iter(range(10**6))
    later = watch(
        profile, lambda n: draw(rng, n) if next(seen) >= 50 else rng.normal(size=n), 9_000
    )
    assert later and 5_000 < later <= 5_000 + 2 * most, name


def test_rows_can_be_compared_with_earlier_ones_only() -> None:
    rng = np.random.default_rng(4)
    bins = Bins(Profile.of(rng.normal(size=1_000)))
    evidence = Evidence(np.zeros_like(bins.reference))
    for _ in range(30):  # not what training had, but always the same
        evidence.add(bins.count(rng.normal(0.4, 1, 100)))
        assert evidence.log() < 1
    for _ in range(10):
        evidence.add(bins.count(rng.normal(-0.4, 1, 100)))
    assert evidence.log() > -math.log(LEVEL)


def test_the_state_is_small_and_can_be_stored() -> None:
    rng = np.random.default_rng(5)
    bins = Bins(Profile.of(rng.normal(size=500)))
    evidence = Evidence(bins.reference)
    for _ in range(2_000):
        evidence.add(bins.count(rng.normal(size=200)))
    text = json.dumps(evidence.to_dict())
    assert len(text) < 20_000
    other = Evidence(bins.reference).restored(json.loads(text))
    for each in (evidence, other):
        each.add(bins.count(np.arange(150.0)))
    assert other.log() == evidence.log() and other.rows == evidence.rows == 400_150


def test_rare_bins_are_joined() -> None:
    profile = Profile.of_codes(np.repeat([0, 1, 2, 3], [50, 3, 40, 7]).astype(float), 4)
    bins = Bins(profile)
    assert bins.reference.tolist() == [50, 40, 10]
    assert bins.count(np.array([0.0, 1, 1, 2, 3])).tolist() == [1, 1, 3]


def test_a_profile_of_an_unknown_number_of_rows_gives_no_evidence() -> None:
    bins = Bins(Profile(np.array([0.5]), np.array([0.5, 0.5])))
    evidence = Evidence(bins.reference)
    evidence.add(bins.count(np.ones(10_000)))
    assert evidence.log() == pytest.approx(0)


def test_a_p_value_is_at_most_one() -> None:
    assert p_value(-3.0) == 1 and p_value(math.log(100)) == pytest.approx(0.01)


def test_a_single_variable_needs_evidence_of_one_over_the_level() -> None:
    assert alarms({"a": math.log(101)}, 0.01) == ["a"]
    assert not alarms({"a": math.log(99)}, 0.01)


def test_several_variables_need_more_evidence_but_less_if_others_drift_too() -> None:
    assert not alarms({"a": math.log(150), "b": 0.0, "c": 0.0}, 0.01)
    assert alarms({"a": math.log(301), "b": 0.0, "c": 0.0}, 0.01) == ["a"]
    assert alarms({"a": math.log(151), "b": math.log(160), "c": 0.0}, 0.01) == ["b", "a"]
    assert not alarms({}, 0.01)


def test_a_season_and_what_counts_forward_vary_in_time_but_noise_and_a_weekday_do_not() -> None:
    rng = np.random.default_rng(6)
    day = np.arange(0, 730, 0.5)
    noise = rng.normal(size=len(day))
    variables = {
        "temperature": 10 * np.sin(2 * np.pi * day / 365) + 3 * noise,
        "year": np.floor(day / 365),
        "noise": noise,
        "weekday": day // 1 % 7,
    }
    shuffled = rng.permutation(len(day))
    varying = [
        name
        for name, values in variables.items()
        if varies_in_time(Profile.of(values), values[shuffled], day[shuffled])
    ]
    assert varying == ["temperature", "year"]


def test_too_few_rows_do_not_vary_in_time() -> None:
    values = np.arange(59.0)
    assert not varies_in_time(Profile.of(values), values, values)
