"""Gates that compare a challenger with the champion."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from math import inf, nan

import numpy as np
import pytest

from domain import gates
from domain.contract import Classes, ModelSpec, Number
from domain.evaluation.comparison import Comparison, compare, tango_interval
from domain.evaluation.contract_change import ContractChange
from domain.evaluation.measures import Measure, names_of

CHURN = ModelSpec("churn", (Number("x", "", 0, 1),), Classes(("no", "yes")))
UNDECIDED = Comparison("r2", 100, 0.9, 0.89, 0.0, -0.06, 0.04)
BREAKING = ContractChange(breaking=("area is a new input",), compatible=("x may now be missing",))
COMPATIBLE = ContractChange(compatible=("x may now be missing",))
WORDING = ContractChange(wording=("the description of x has changed",))


def comparison_of(won: int, lost: int, rows: int) -> Comparison:
    """The comparison of a champion that is right in nine tenths of the rows with a challenger."""
    limits = tango_interval(won, lost, rows)
    accuracy = 0.9 + (won - lost) / rows
    return Comparison("accuracy", rows, 0.9, accuracy, 0.5, *limits, won, lost, 0.5)


def judged(
    comparison: Comparison | None, margin: float | None = 0.05, fewest: int = 20, left_out: int = 0
) -> gates.Verdict:
    """The verdict on a challenger to champion 1.0."""
    return gates.not_worse_than_champion(comparison, margin, fewest, left_out, "1.0")


def test_the_first_model_is_accepted_without_a_champion() -> None:
    verdict = gates.not_worse_than_champion(None, 0.05, 20)
    assert verdict.accepted
    assert verdict.gate == "not_worse_than_champion"
    assert verdict.reason == "no champion to compare with"


def test_a_challenger_that_is_not_worse_is_accepted_with_its_figures() -> None:
    found = comparison_of(won=20, lost=18, rows=1000)
    verdict = judged(found, left_out=7)
    assert verdict.accepted
    assert verdict.reason == f"{found}, margin 0.05"
    assert verdict.figures == {
        "rows": 1000,
        "left_out": 7,
        "champion": 0.9,
        "challenger": found.challenger,
        "baseline": 0.5,
        "difference": found.difference,
        "low": found.low,
        "high": found.high,
        "margin": 0.05,
        "won": 20,
        "lost": 18,
        "p": 0.5,
    }
    assert json.loads(json.dumps(verdict.to_dict()))["figures"] == verdict.figures


def test_a_quantity_has_no_counts() -> None:
    found = Comparison("r2", 100, 0.5, 0.5, 0.0, -0.01, 0.01)
    assert {"won", "lost", "p"}.isdisjoint(judged(found).figures)


def test_a_challenger_that_is_worse_by_more_than_the_margin_is_refused_as_worse() -> None:
    verdict = judged(comparison_of(won=10, lost=110, rows=1000))
    assert not verdict.accepted
    assert verdict.reason.startswith("worse by more than the margin: accuracy 0.800, champion 0.9")
    assert "difference −0.100 (worse)" in verdict.reason


def test_a_challenger_with_too_few_rows_is_refused_with_the_number_it_needs() -> None:
    verdict = judged(comparison_of(won=10, lost=10, rows=143))
    assert not verdict.accepted
    assert verdict.reason.startswith("too few rows to decide: about 365 are needed, or a larger ")


@pytest.mark.parametrize("lost", range(0, 30, 3))
def test_exactly_those_with_an_interval_above_the_margin_are_accepted(lost: int) -> None:
    found = comparison_of(won=5, lost=lost, rows=300)
    assert judged(found).accepted is (found.low > -0.05)
    assert not judged(found, margin=-found.low).accepted
    assert judged(found, margin=-found.low + 1e-9).accepted


@pytest.mark.parametrize("margin", [0.05, 0.15])
@pytest.mark.parametrize("rows", [20, 143, 500])
def test_a_refusal_for_too_few_rows_requires_more_than_there_are(rows: int, margin: float) -> None:
    for won in range(0, rows // 4, 2):
        for lost in range(0, rows // 4, 2):
            found = comparison_of(won, lost, rows)
            if "too few" in judged(found, margin).reason:
                assert found.rows_needed(margin) > rows


def test_a_refusal_counts_the_rows_that_the_champion_was_trained_on() -> None:
    verdict = judged(comparison_of(won=3, lost=0, rows=19), margin=0.9, left_out=11)
    assert not verdict.accepted
    assert verdict.reason == (
        "only 19 of 30 hold-out rows can be compared, 20 are needed: the champion was trained on "
        "the other 11, its contract refuses them, or they would change the class shares; keep "
        "data.random_state, hold out more rows, or skip this gate once with validation.skip"
    )
    assert judged(comparison_of(won=3, lost=0, rows=20), margin=0.9, left_out=10).accepted


def test_a_champion_trained_on_every_row_leaves_no_rows_to_compare() -> None:
    verdict = judged(None, left_out=30)
    assert not verdict.accepted
    assert verdict.reason.startswith("only 0 of 30 hold-out rows can be compared")
    assert not judged(None, fewest=0, left_out=30).accepted


def test_a_retrained_champion_is_accepted_on_rows_that_prove_nothing() -> None:
    found = comparison_of(won=0, lost=0, rows=30)
    assert not judged(found).accepted
    verdict = judged(replace(found, identical=True))
    assert verdict.accepted
    assert verdict.reason == "the predictions for all 30 rows are the same as the champion's"
    assert not judged(replace(found, identical=True), fewest=31).accepted


@pytest.mark.parametrize(("low", "high"), [(nan, nan), (-inf, -inf), (nan, 1.0), (-inf, inf)])
def test_a_nan_comparison_is_refused(low: float, high: float) -> None:
    found = Comparison("r2", 100, 0.5, -inf, 0.0, low, high)
    assert not judged(found).accepted
    assert not judged(replace(found, challenger=nan)).accepted
    assert not judged(replace(found, challenger=0.5)).accepted


@pytest.mark.parametrize(
    ("comparison", "accepted"),
    [
        (comparison_of(won=20, lost=18, rows=1000), True),
        (replace(comparison_of(won=0, lost=0, rows=30), identical=True), True),
        (comparison_of(won=10, lost=110, rows=1000), False),
        (UNDECIDED, False),
    ],
)
def test_every_verdict_on_a_challenger_has_its_name_and_figures(
    comparison: Comparison, accepted: bool
) -> None:
    verdict = judged(comparison)
    assert (verdict.gate, verdict.accepted) == ("not_worse_than_champion", accepted)
    assert verdict.figures["low"] == comparison.low


def test_no_row_of_a_champion_is_left_out_by_default() -> None:
    verdict = gates.not_worse_than_champion(None, 0.05, 20, champion="1.0")
    assert verdict.accepted is False
    assert verdict.reason.startswith("only 0 of 0 hold-out rows can be compared")


def test_a_refusal_distinguishes_a_worse_challenger_from_too_few_rows() -> None:
    assert judged(UNDECIDED).reason.startswith("too few rows")
    at_margin = replace(UNDECIDED, champion=0.55, challenger=0.5)
    assert judged(at_margin).reason.startswith("worse by more than the margin")
    nothing = replace(UNDECIDED, champion=-inf, challenger=-inf, low=-inf, high=-inf)
    assert judged(nothing).reason.startswith("worse by more than the margin")


def test_the_default_margin_is_a_quarter_of_what_the_champion_gains() -> None:
    found = comparison_of(won=20, lost=18, rows=1000)
    verdict = judged(found, margin=None)
    assert verdict.accepted
    assert verdict.figures["margin"] == pytest.approx(0.1)
    assert verdict.reason == (
        f"{found}, margin 0.1 (a quarter of what the champion gains over the baseline, less its "
        "uncertainty)"
    )
    worse = judged(comparison_of(won=10, lost=130, rows=1000), margin=None)
    assert worse.reason.startswith("worse by more than the margin")


def test_a_configured_margin_counts_up_to_half_of_what_the_champion_gains() -> None:
    verdict = judged(comparison_of(won=10, lost=410, rows=1000), margin=1.0)
    assert not verdict.accepted
    assert verdict.figures["margin"] == pytest.approx(0.2)
    assert verdict.reason.endswith(
        ", margin 0.2 (limited to half of what the champion gains over the baseline)"
    )


@pytest.mark.parametrize("margin", [None, 0.05, 1.0])
@pytest.mark.parametrize("name", names_of(CHURN))
def test_a_constant_prediction_never_replaces_a_champion_that_ranks(
    name: str, margin: float | None
) -> None:
    rng, actual = np.random.default_rng(7), (np.arange(1000) < 80).astype(int)
    scores = rng.normal(size=1000) + 1.3 * actual  # ROC AUC 0.82 on 8 % positive rows
    positive = 1 / (1 + 11.5 * np.exp(1.3**2 / 2 - 1.3 * scores))
    champion = np.stack([1 - positive, positive], axis=1)
    assert Measure(CHURN, "roc_auc").score(actual, champion) == pytest.approx(0.82, abs=0.03)
    costs = {"yes": {"no": 10.0}, "no": {"yes": 1.0}} if "cost" in name else {}
    measure = Measure(CHURN, name, precision=0.25, costs=costs)
    baseline = measure.constant(actual)
    for constant in (baseline, [1.0, 0.0], [0.0, 1.0]):
        challenger = np.tile(constant, (1000, 1))
        found = compare(measure, champion, challenger, actual, baseline)
        assert not judged(found, margin).accepted, constant


@pytest.mark.parametrize(
    ("change", "old", "new", "accepted"),
    [
        (BREAKING, "1.2.3", "1.3.0", False),
        (BREAKING, "1.2.3", "2.0.0", True),
        (BREAKING, "9.0.0", "10.0.0", True),
        (BREAKING, "1.2.3", "0.9.9", False),
        (COMPATIBLE, "1.2.3", "1.2.3", False),
        (COMPATIBLE, "1.2.3", "1.2.10", False),
        (COMPATIBLE, "1.9.3", "1.10.0", True),
        (COMPATIBLE, "1.2.3", "2.0.0", True),
        (WORDING, "1.2.3", "1.2.3", True),
        (ContractChange(), "1.2.3", "1.2.3", True),
        (ContractChange(), "1.2.3", "1.0.0", False),
    ],
)
def test_a_changed_contract_needs_a_higher_version(
    change: ContractChange, old: str, new: str, accepted: bool
) -> None:
    assert gates.contract_is_versioned(change, old, new).accepted is accepted


def test_a_version_that_is_too_low_is_refused_with_one_that_would_do() -> None:
    assert gates.contract_is_versioned(BREAKING, "1.2.3", "1.2.4").reason == (
        "breaking change since champion 1.2.3: area is a new input; "
        "raise the version to 2.0.0 (it is 1.2.4)"
    )
    assert gates.contract_is_versioned(COMPATIBLE, "1.2.3", "1.2.4").reason == (
        "compatible change since champion 1.2.3: x may now be missing; "
        "raise the version to 1.3.0 (it is 1.2.4)"
    )
    wording = gates.contract_is_versioned(WORDING, "1.2.3", "1.2.4").reason
    assert wording == (
        "no change for requests since champion 1.2.3: the description of x has changed"
    )
    unchanged = gates.contract_is_versioned(ContractChange(), "1.2.3", "1.2.4").reason
    assert unchanged == "no change for requests since champion 1.2.3"


@pytest.mark.parametrize(
    ("change", "lowest"),
    [(ContractChange(), "1.2.0"), (WORDING, "1.2.0"), (COMPATIBLE, "1.3.0"), (BREAKING, "2.0.0")],
)
def test_a_lower_version_is_refused(change: ContractChange, lowest: str) -> None:
    verdict = gates.contract_is_versioned(change, "1.2.0", "1.1.9")
    assert not verdict.accepted
    assert verdict.reason == (
        f"version 1.1.9 is lower than the champion's, 1.2.0; raise it to at least {lowest}"
    )


def test_the_first_model_has_no_contract_to_compare() -> None:
    verdict = gates.contract_is_versioned(None, None, "1.0.0")
    assert verdict.accepted
    assert verdict.reason == "no champion to compare with"


@pytest.mark.parametrize(("change", "old"), [(BREAKING, None), (None, "1.0.0")])
def test_an_incomplete_champion_has_no_contract_to_compare(
    change: ContractChange | None, old: str | None
) -> None:
    verdict = gates.contract_is_versioned(change, old, "1.0.0")
    assert verdict.accepted
    assert verdict.reason == "no champion to compare with"


def test_every_change_is_listed() -> None:
    change = ContractChange(breaking=("x is gone", "y is new"))
    assert "x is gone; y is new" in gates.contract_is_versioned(change, "1.0.0", "2.0.0").reason


@pytest.mark.parametrize(
    ("challenger", "champion", "accepted"),
    [
        (3e-4, 1e-4, True),
        (3.1e-4, 1e-4, False),
        (1e-5, 1e-4, True),
        (np.nan, 1e-4, False),
        (1e-4, np.nan, False),
        (1e-4, 0.0, False),
        (1e-4, None, True),
    ],
)
def test_a_budget_is_a_ratio_to_the_champion(
    challenger: float, champion: float | None, accepted: bool
) -> None:
    assert gates.budget("latency", challenger, champion, 3.0000001, "s").accepted is accepted


def test_a_budget_is_shown_in_readable_units() -> None:
    slow = gates.budget("latency", 2.12e-4, 5.3e-5, 3.0, "s")
    assert slow.gate == "latency"
    assert slow.reason == "212 µs, champion 53 µs: ratio 4.00, limit 3.00"
    assert slow.figures == pytest.approx(
        {"challenger": 2.12e-4, "champion": 5.3e-5, "ratio": 4.0, "limit": 3.0}
    )
    large = gates.budget("size", 3 * 2**20, 512 * 2**10, 10, "B")
    assert large.reason == "3 MiB, champion 512 KiB: ratio 6.00, limit 10.00"
    first = gates.budget("latency", 0.0251, None, 3.0, "s")
    assert first.reason == "no champion to compare with"


def test_a_budget_that_is_just_met_is_accepted() -> None:
    assert gates.budget("size", 3, 1, 3.0, "B").accepted
    assert gates.budget("latency", 1e-3, 1e-3, 3.0, "s").reason.startswith("1 ms, champion 1 ms")


@pytest.mark.parametrize(
    ("call", "gate", "figures"),
    [
        (
            lambda: gates.contract_is_versioned(BREAKING, "1.0.0", "2.0.0"),
            "contract_is_versioned",
            {"breaking": 1, "compatible": 1},
        ),
        (
            lambda: gates.contract_is_versioned(WORDING, "1.0.0", "1.0.0"),
            "contract_is_versioned",
            {"breaking": 0, "compatible": 0},
        ),
        (lambda: gates.contract_is_versioned(None, None, "1.0.0"), "contract_is_versioned", {}),
        (
            lambda: judged(None, left_out=30),
            "not_worse_than_champion",
            {"rows": 0, "left_out": 30, "fewest": 20},
        ),
        (lambda: gates.budget("size", 10, None, 3.0, "B"), "size", {}),
    ],
)
def test_every_verdict_has_the_name_and_figures_of_its_gate(
    call: Callable[[], gates.Verdict], gate: str, figures: dict[str, float]
) -> None:
    verdict = call()
    assert (verdict.gate, verdict.figures) == (gate, figures)
    assert isinstance(verdict.accepted, bool | np.bool)


def test_a_champion_whose_training_rows_are_not_in_the_data_is_pointed_out() -> None:
    found = comparison_of(won=20, lost=18, rows=1000)
    shares = {0.03: "3%", 0.004: "under 1%", 0.0: "none"}
    for recognised, share in shares.items():
        few = gates.not_worse_than_champion(found, None, 20, 0, "1.0", recognised=recognised)
        words = f"; {share} of the champion's training rows are in the data as they were: if the"
        assert few.accepted and words in few.reason
    most = gates.not_worse_than_champion(found, None, 20, 0, "1.0", recognised=0.6)
    assert "training rows" not in most.reason
