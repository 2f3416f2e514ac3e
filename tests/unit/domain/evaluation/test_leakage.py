"""Inputs that give the target away, and those that honestly predict it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from domain.evaluation.leakage import encoded_target_share, input_leak, names_rows, pair_leaks
from tests.leaky_tables import CASES, ROWS, Case

RNG = np.random.default_rng(0)
TARGET = np.arange(600) % 2
NOISE = RNG.normal(size=(3, 600))
LEAKS = [case for case in CASES if case.kind != "copies"]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("case", LEAKS, ids=lambda case: case.make.__name__)
def test_leaks_are_refused_by_name_and_their_sound_twins_pass(case: Case, seed: int) -> None:
    verdict = case.verdict(seed)
    assert verdict.accepted != case.refused, verdict.reason
    for name in case.inputs:
        assert name in verdict.reason


@pytest.mark.parametrize(
    ("errors", "refused"), [(0, True), (1, True), (6, True), (12, False), (27, False)]
)
def test_a_strong_input_is_pointed_out_and_one_near_perfection_is_refused(
    errors: int, refused: bool
) -> None:
    column = np.where(np.arange(600) < errors, 1 - TARGET, TARGET) * 1.0
    skill, leak = input_leak("copy", column, TARGET, "classification")
    assert skill.value == pytest.approx(1 - errors / 300)
    assert leak is not None and (leak.inputs, leak.refused) == (("copy",), refused)
    assert f"copy alone removes {1 - errors / 300:.1%} of the baseline's error" in leak.reason


def test_an_ordinary_input_is_not_mentioned() -> None:
    _, leak = input_leak("noise", NOISE[0], TARGET, "classification")
    assert leak is None


def test_a_strong_input_for_a_quantity_is_pointed_out() -> None:
    for noise, refused in ((0.01, True), (0.15, False)):
        _, leak = input_leak("size", NOISE[0], NOISE[0] + noise * NOISE[1], "regression")
        assert leak is not None and leak.refused == refused


@pytest.mark.parametrize(
    "values",
    [
        np.arange(600),
        RNG.permutation(600) * 7 + 10_000_000,
        np.sort(RNG.choice(10_000, 600, replace=False)),
        -np.arange(600),
        np.where(np.arange(600) == 5, np.nan, np.arange(600)),
    ],
)
def test_whole_numbers_that_never_repeat_name_rows(values: np.ndarray) -> None:
    assert names_rows(values)


@pytest.mark.parametrize(
    "values",
    [
        RNG.integers(0, 10_000, 600),
        RNG.normal(60_000, 8_000, 600).round(),
        RNG.lognormal(7, 1, 600).round(),
        RNG.poisson(1, 600),
        RNG.choice(10**9, 600, replace=False),  # too far apart to tell
        np.arange(600) / 2,
        np.full(600, 3.0),
        np.full(600, np.nan),
        np.arange(40),
    ],
)
def test_a_quantity_does_not_name_rows(values: np.ndarray) -> None:
    assert not names_rows(np.asarray(values, np.float64))


def test_words_that_do_not_repeat_name_rows() -> None:
    assert names_rows(np.arange(600.0), words=True)
    assert not names_rows(np.arange(600.0) // 2, words=True)


def test_words_whose_beginning_tells_the_class_are_refused() -> None:
    codes = np.argsort(np.argsort(TARGET + 0.5 * RNG.random(600)))  # as of A-0001 and B-0002
    codes[:30] = codes[:30][::-1]
    _, leak = input_leak("ticket", codes * 1.0, TARGET, "classification", words=True)
    assert leak is not None and leak.refused
    assert leak.reason.startswith("ticket only identifies rows")


def test_a_number_that_counts_time_is_pointed_out_for_a_quantity() -> None:
    day = np.arange(600.0)
    _, leak = input_leak("day", day, day / 100 + NOISE[0], "regression")
    assert leak is not None and not leak.refused
    assert "counts time" in leak.reason


def test_a_number_that_names_rows_and_is_the_quantity_is_refused() -> None:
    cents = RNG.permutation(600).astype(np.float64)
    _, leak = input_leak("cents", cents, cents / 100, "regression")
    assert leak is not None and leak.refused


def encoded(
    rows_of_group: int, unit: float = 1.0, digits: int = 4
) -> tuple[np.ndarray, np.ndarray]:
    """A mean target of groups, each row's own included, and the target."""
    rng = np.random.default_rng(1)
    target, group = rng.random(ROWS) < 0.3, rng.integers(0, ROWS // rows_of_group, ROWS)
    means = pd.Series(target.astype(float)).groupby(group).transform("mean")
    return (means * unit).round(digits).to_numpy(), target.astype(np.int64)


@pytest.mark.parametrize("digits", [2, 4, 12])
@pytest.mark.parametrize("unit", [1, 100])
def test_a_mean_target_is_found_in_shares_and_percent(unit: int, digits: int) -> None:
    assert encoded_target_share(*encoded(4, unit, digits), "classification") > 0.1


@pytest.mark.parametrize("rows_of_group", [3, 10, 30, 300])
def test_the_weight_of_the_own_target_is_about_one_over_the_size_of_a_group(
    rows_of_group: int,
) -> None:
    share = encoded_target_share(*encoded(rows_of_group), "classification")
    assert 0.5 / rows_of_group < share < 3 / rows_of_group


def test_a_share_of_other_classes_is_found_too() -> None:
    values, target = encoded(4)
    assert encoded_target_share(1 - values, target, "classification") > 0.1
    three = target + 2 * (RNG.random(ROWS) < 0.2)
    values = pd.Series(three == 2).groupby(RNG.integers(0, 900, ROWS)).transform("mean")
    assert encoded_target_share(values.to_numpy(np.float64), three, "classification") > 0.1


def test_an_encoding_is_found_though_some_rows_were_removed() -> None:
    values, target = encoded(4)
    assert encoded_target_share(values[60:], target[60:], "classification") > 0


@pytest.mark.parametrize("seed", range(5))
def test_a_calibrated_probability_is_no_encoding(seed: int) -> None:
    rng = np.random.default_rng(seed)
    values = rng.beta(1, 2, ROWS).round(2)
    target = (rng.random(ROWS) < values).astype(np.int64)
    assert encoded_target_share(values, target, "classification") == 0
    assert encoded_target_share(values, values + rng.normal(size=ROWS), "regression") == 0


def test_too_few_values_are_no_encoding() -> None:
    assert encoded_target_share(TARGET * 1.0, TARGET, "classification") == 0
    assert encoded_target_share(np.full(600, np.nan), TARGET, "classification") == 0


def test_a_pair_is_refused_only_if_neither_input_is_strong() -> None:
    wrong = np.where(np.arange(600) < 60, 1 - TARGET, TARGET)
    hint = (np.arange(600) < 60) * 1.0
    columns = {"wrong": wrong * 1.0, "hint": hint, "noise": NOISE[0]}
    for alone, refused in ((0.6, True), (0.85, False)):
        skills = {"wrong": alone, "hint": 0.1, "noise": 0.0}
        found, (leak,) = pair_leaks(columns, skills, TARGET, "classification")
        assert (leak.inputs, leak.refused) == (("wrong", "hint"), refused)
        assert found["wrong and hint"].value == 1
        assert "wrong and hint together remove 100.0% of the baseline's error" in leak.reason


def test_only_the_strongest_inputs_are_paired() -> None:
    columns = {f"x{number}": NOISE[number % 3] for number in range(120)}
    skills = {name: float(number) for number, name in enumerate(columns)}
    found, _ = pair_leaks(columns, skills, TARGET, "classification")
    assert len(found) == 3
    assert all(int(name[1:]) >= 20 for pair in found for name in pair.split(" and "))
