"""Slices of the rows, and how much worse than all rows a slice may be."""

from __future__ import annotations

import warnings
from functools import partial
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest, sem, t

from domain.contract import Category, Classes, HashedText, ModelSpec, Number, Quantity
from domain.errors import ConfigError
from domain.evaluation.intervals import score_interval, wilson_interval
from domain.evaluation.measures import Measure
from domain.evaluation.reference import reference_predictions
from domain.evaluation.slices import Slice, SliceReport, measure_slices, slices_of
from domain.gates import worst_slice
from tests.kinds import KINDS

SPEC = ModelSpec(
    "tumours",
    (
        Number("worst_area", "px²", 0, 5000, nullable=True),
        Category("district", ("east", "north", "1"), nullable=True),
    ),
    Classes(("benign", "malignant")),
)
ACCURACY = Measure(SPEC, "accuracy")
ERROR = Measure(ModelSpec("q", SPEC.inputs, Quantity("y")), "neg_mean_absolute_error")
ROWS = np.array([[area, row % 3] for row, area in enumerate(np.arange(0.0, 60.0))], np.float32)
ROWS[:6, 0], ROWS[5::10, 1] = np.nan, np.nan


def automatic(spec: ModelSpec, encoded: np.ndarray, smallest: int = 1) -> dict[str, int]:
    """Number of rows of each automatic slice, by its name."""
    return {each.name: int(each.mask.sum()) for each in slices_of(spec, encoded, {}, smallest)}


def declared(*conditions: Any, smallest: int = 1, **others: Any) -> Slice:
    """The slice that is declared with these conditions on area and district."""
    by_input = dict(zip(("worst_area", "district"), conditions)) | others
    declaration = {name: each for name, each in by_input.items() if each != "any"}
    return slices_of(SPEC, ROWS, {"mine": declaration}, smallest)[0]


def test_every_input_gives_slices_with_readable_names() -> None:
    assert automatic(SPEC, ROWS) == {
        "worst area up to 23": 18,
        "worst area above 23, up to 41": 18,
        "worst area above 41": 18,
        "worst area missing": 6,
        "district east": 18,
        "district north": 18,
        "district 1": 18,
        "district missing": 6,
    }


def test_slices_with_too_few_rows_or_all_rows_are_left_out() -> None:
    assert "worst area missing" not in automatic(SPEC, ROWS, smallest=7)
    assert "worst area up to 23" in automatic(SPEC, ROWS, smallest=18)
    same = np.column_stack([np.full(30, 7.0), np.zeros(30)]).astype(np.float32)
    assert not automatic(SPEC, same)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([1, 2, 3, 4, 5], {f"worst area {value}": 1 for value in range(1, 6)}),
        ([0] * 9 + [1, 2], {"worst area 0": 9, "worst area 1": 1, "worst area 2": 1}),
        ([0] * 20 + [1, 2, 3, 4, 5], {"worst area up to 0": 20, "worst area above 0": 5}),
        ([9] * 20 + [1, 2, 3, 4, 5], {"worst area up to 5": 5, "worst area above 5": 20}),
        ([None] * 3, {}),
    ],
)
def test_frequent_values_are_not_divided(values: list[Any], expected: dict[str, int]) -> None:
    rows = np.array([[value, 0] for value in values], np.float32)
    assert automatic(SPEC, rows) == expected


def test_a_tensor_gives_slices_by_its_mean_and_spread() -> None:
    spec = KINDS["tensor"].SPEC
    images = np.arange(9)[:, None] * np.ones((9, 12)) / 4
    images[:, :6] += np.arange(9)[::-1, None] / 8
    found = automatic(spec, images.astype(np.float32))
    assert [name.split(" up")[0].split(" above")[0] for name in found] == (
        ["image mean"] * 3 + ["image spread"] * 3
    )
    assert list(found.values()) == [3] * 6


def test_a_text_gives_slices_by_its_length() -> None:
    spec = KINDS["text"].SPEC
    texts = np.array([["x" * length] for length in range(30)], object)
    assert list(automatic(spec, texts)) == [
        "length of review up to 9",
        "length of review above 9, up to 19",
        "length of review above 19",
    ]


def test_a_hashed_text_gives_slices_by_its_number_of_tokens() -> None:
    spec = ModelSpec("notes", (HashedText("note", features=4),), Classes(("a", "b")))
    rows = spec.encode_rows([[" ".join(["word"] * length)] for length in range(1, 31)])
    assert list(automatic(spec, rows)) == [
        "number of tokens in note up to 10",
        "number of tokens in note above 10, up to 20",
        "number of tokens in note above 20",
    ]


@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_has_slices(kind: str) -> None:
    spec = KINDS[kind].SPEC
    assert automatic(spec, KINDS[kind].load().encoded(spec), smallest=20)


@pytest.mark.parametrize(
    ("conditions", "rows"),
    [
        (([20, 29],), 10),
        (([50, None],), 10),
        (([None, 9],), 4),
        (("any", ["north"]), 18),
        (("any", ["north", None]), 24),
        (("any", [1.0]), 18),  # in JSON, a word of digits may be a number
        (([20, 29], ["east", None]), 4),
    ],
)
def test_all_conditions_of_a_declared_slice_must_hold(conditions: Any, rows: int) -> None:
    found = declared(*conditions)
    assert (found.name, found.declared, found.judged) == ("mine", True, True)
    assert found.mask.sum() == rows


def test_the_order_of_the_conditions_does_not_matter() -> None:
    found = slices_of(SPEC, ROWS, {"mine": {"district": ["east"], "worst_area": [20, 29]}}, 1)[0]
    assert found.mask.sum() == 3


def test_only_declared_slices_are_marked_as_declared() -> None:
    found = slices_of(SPEC, ROWS, {"mine": {"worst_area": [20, 29]}}, 1)
    assert [each.declared for each in found] == [True] + [False] * 8


def test_a_limit_beyond_float32_range_excludes_no_row() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert declared([50, 1e300]).mask.sum() == 10


def test_a_limit_is_compared_in_float32() -> None:
    rows = np.array([[0.1, 0], [0.2, 0]], np.float32)
    found = slices_of(SPEC, rows, {"mine": {"worst_area": [None, 0.1]}}, 1)[0]
    assert found.mask.tolist() == [True, False]


def test_a_declared_slice_of_too_few_rows_comes_back_unjudged() -> None:
    assert declared([20, 29], smallest=10).judged
    found = declared([20, 29], smallest=11)
    assert not found.judged
    report = of_losses([found], np.zeros(60), 0.1)[0]
    assert (report.rows, report.score, report.declared) == (10, 1, True)
    assert np.isnan(report.p)
    nowhere = of_losses([declared([4000, None])], np.zeros(60), 0.1)[0]
    assert nowhere.rows == 0
    assert np.isnan([nowhere.score, nowhere.low, nowhere.high, nowhere.p]).all()


@pytest.mark.parametrize(
    ("conditions", "message"),
    [
        ({}, "the slice 'mine' has no condition"),
        ({"area": [1, 2]}, "'mine', area: .* available: worst_area, district"),
        ({"worst_area": [1]}, "'mine', worst_area: expected .low, high.*, got .1.$"),
        ({"worst_area": [1, 2, 3]}, "expected .low, high."),
        ({"worst_area": [2, 1]}, "expected .low, high."),
        ({"worst_area": ["1", 2]}, "expected .low, high."),
        ({"worst_area": [True, 2]}, "expected .low, high."),
        ({"district": []}, "'mine', district: the list of words is empty"),
        ({"district": ["south"]}, "'mine', district: 'south' is not one of east, north, 1"),
    ],
)
def test_a_malformed_condition_is_reported_by_slice_and_input(
    conditions: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        slices_of(SPEC, ROWS, {"mine": conditions}, 1)


def test_a_condition_on_a_text_is_refused() -> None:
    with pytest.raises(ConfigError, match="available: none"):
        slices_of(KINDS["text"].SPEC, np.array([["a"]], object), {"m": {"review": [1, 2]}}, 1)


def of_losses(slices: list[Slice], losses: np.ndarray, margin: float) -> list[SliceReport]:
    """Reports of classes that are wrong, or of absolute errors, in each row."""
    actual = np.zeros(len(losses), int)
    if np.isin(losses, (0, 1)).all():
        return measure_slices(slices, ACCURACY, actual, np.eye(2)[losses.astype(int)], margin)
    predictions = np.stack([losses] * 3, axis=1)
    return measure_slices(slices, ERROR, actual, predictions, margin)


def masks(rows: int, *starts: int, length: int = 30) -> list[Slice]:
    """Slices of consecutive rows."""
    places = np.arange(rows)
    return [
        Slice(f"from {start}", (places >= start) & (places < start + length), declared=False)
        for start in starts
    ]


def test_the_error_of_classes_has_a_wilson_interval_and_the_worst_slice_comes_first() -> None:
    losses = np.zeros(120)
    losses[30:48] = losses[60:63] = 1
    first, second, third = of_losses(masks(120, 0, 30, 60), losses, 0.1)
    assert [each.name for each in (first, second, third)] == ["from 30", "from 60", "from 0"]
    assert first.score == pytest.approx(0.4)
    assert (first.low, first.high) == pytest.approx(wilson_interval(12, 30))
    assert first.p < 0.001 < second.p < third.p


def test_the_probability_for_classes_is_exact() -> None:
    losses = np.array([1.0] * 3 + [0.0] * 9)
    report = of_losses([Slice("all wrong", np.arange(12) < 3, False)], losses, 0.25)[0]
    assert report.p == pytest.approx(0.5**3)


@pytest.mark.parametrize("seed", range(5))
def test_the_probability_for_a_quantity_comes_from_random_draws_of_rows(seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses = rng.exponential(size=400)
    losses[:20] *= 1.9
    report = of_losses(masks(400, 0, length=20), losses, 0.0)[0]
    drawn = np.array([rng.permutation(losses)[:20].mean() for _ in range(20_000)])
    assert report.p == pytest.approx((drawn >= -report.score).mean(), abs=0.002, rel=0.2)


def test_the_margin_applies_to_the_losses_of_a_quantity() -> None:
    rng = np.random.default_rng(0)
    losses = rng.exponential(size=400)
    losses[:20] *= 2.0
    margin = 0.3
    report = of_losses(masks(400, 0, length=20), losses, margin)[0]
    larger = losses * (losses.mean() + margin) / losses.mean()
    drawn = np.array([rng.permutation(larger)[:20].mean() for _ in range(20_000)])
    assert report.p == pytest.approx((drawn >= -report.score).mean(), abs=0.002, rel=0.2)
    assert 0.002 < report.p < 0.1


def test_a_margin_that_allows_every_row_to_be_wrong_refuses_nothing() -> None:
    losses = np.array([1.0] * 30 + [0.0] * 30)
    assert of_losses(masks(60, 0), losses, 0.9)[0].p == 1


@pytest.mark.parametrize("rows", [2, 5])
def test_the_interval_of_a_quantity_uses_students_t(rows: int) -> None:
    losses = np.linspace(2, 3, 50)
    report = of_losses(masks(50, 0, length=rows), losses, 0.0)[0]
    chosen = losses[:rows]
    expected = t.interval(0.95, rows - 1, chosen.mean(), sem(chosen))
    assert (-report.high, -report.low) == pytest.approx(expected)


def test_the_interval_of_a_score_does_not_go_beyond_the_best() -> None:
    losses = np.array([0.1, 0.9, 0.1, 0.2])
    assert of_losses([Slice("two", np.arange(4) < 2, False)], losses, 0.0)[0].high == 0


def test_equally_improbable_slices_are_ordered_by_score() -> None:
    losses = np.array([0.4] * 30 + [0.6] * 30 + [2.0] * 60)
    assert [each.name for each in of_losses(masks(120, 0, 30), losses, 0.0)] == [
        "from 30",
        "from 0",
    ]


def test_an_empty_slice_has_no_score_and_causes_no_warning() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        empty = Slice("empty", np.zeros(9, bool), declared=True, judged=False)
        assert np.isnan(of_losses([empty], np.ones(9), 0.1)[0].score)


@pytest.mark.parametrize("margin", [0.0, 0.2])
def test_equal_losses_are_not_refused(margin: float) -> None:
    losses = np.full(100, 0.7)
    report = of_losses(masks(100, 0, length=30), losses, margin)[0]
    assert report.p == 1
    assert report.low == pytest.approx(-0.7) == report.high


def test_a_slice_with_all_of_the_loss_is_refused() -> None:
    losses = np.zeros(100)
    losses[:30] = 3.0
    assert of_losses(masks(100, 0), losses, 0.15)[0].p < 1e-6


def test_a_slice_slightly_worse_than_all_rows_has_a_probability_near_one_half() -> None:
    losses = np.tile([0.2, 0.8], 50)
    losses[0] += 1e-6
    assert of_losses(masks(100, 0), losses, 0.0)[0].p == 0.5


def test_a_slice_of_the_largest_losses_has_the_probability_of_drawing_only_those() -> None:
    losses = np.array([0.5] * 30 + [0.1] * 270)
    report = of_losses(masks(300, 0), losses, 0.0)[0]
    supposed = 0.1**30  # they are a tenth of all rows, and scaling makes no larger ones
    assert 0 < report.p < supposed
    assert np.log(report.p) == pytest.approx(np.log(0.1) * 30 / 0.9, rel=0.01)


def test_a_nan_loss_is_the_worst_possible() -> None:
    losses = np.full(100, 0.7)
    losses[3] = np.nan
    bad, good = of_losses(masks(100, 40, 0), losses, 0.1)
    assert (bad.name, bad.p, good.p) == ("from 0", 0, 1)


def test_a_quantity_with_one_row_has_no_interval() -> None:
    report = of_losses(masks(50, 7, length=1), np.linspace(0, 2, 50), 0.0)[0]
    assert report.p == 1
    assert np.isnan([report.low, report.high]).all()


def refusals(draw: Any, margin: float, runs: int = 200) -> float:
    """Share of sound models that are refused, each with 300 rows in 15 slices."""
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(runs):
        losses = draw(rng)
        slices = [
            Slice(f"{part}", rng.permutation(300) < (20, 100, 60)[part % 3], False)
            for part in range(15)
        ]
        reports = of_losses(slices, losses, margin)
        refused += not worst_slice(reports, "", 0.0, margin).accepted
    return refused / runs


def _classes(rng: np.random.Generator) -> np.ndarray:
    return (rng.random(300) < 0.1).astype(float)


def _skewed(rng: np.random.Generator) -> np.ndarray:
    return rng.exponential(0.5, size=300)


@pytest.mark.parametrize("draw", [_classes, _skewed])
@pytest.mark.parametrize("margin", [0.0, 0.15])
def test_a_sound_model_is_refused_in_at_most_five_of_a_hundred_cases(
    draw: Any, margin: float
) -> None:
    assert refusals(draw, margin) <= 0.05


@pytest.mark.parametrize("seed", range(20))
def test_a_collapsed_slice_of_thirty_rows_is_refused(seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses = (rng.random(300) < 0.05).astype(float)
    losses[:30] = rng.permutation(30) < 20  # as if one of three classes were guessed
    reports = of_losses(masks(300, *range(0, 300, 20)), losses, 0.15)
    verdict = worst_slice(reports, "accuracy", 1 - float(losses.mean()), 0.15)
    assert not verdict.accepted
    assert "the worst of 15 slices, from 0: accuracy 0." in verdict.reason


@pytest.mark.parametrize("seed", range(20))
def test_a_collapsed_slice_of_a_quantity_is_refused(seed: int) -> None:
    rng = np.random.default_rng(seed)
    losses = np.abs(rng.normal(0, 0.3, size=300))
    losses[:30] = np.abs(rng.normal(0, 1.4, size=30))  # as if values of other rows were predicted
    reports = of_losses(masks(300, *range(0, 300, 20)), losses, 0.15)
    assert reports[0].name == "from 0"
    verdict = worst_slice(reports, ERROR.name, -float(losses.mean()), 0.15)
    assert not verdict.accepted
    assert "the worst of 15 slices, from 0: neg_mean_absolute_error −" in verdict.reason


AUC = Measure(SPEC, "roc_auc")
SQUARES = Measure(ERROR.spec, "neg_root_mean_squared_error")


def ranked(
    rng: np.random.Generator, rows: int, share: float = 0.2
) -> tuple[np.ndarray, np.ndarray]:
    """Classes, and calibrated probabilities with a ROC AUC of 0.86, shape (rows, 2)."""
    actual = (rng.random(rows) < share).astype(int)
    scores = rng.normal(size=rows) + 1.5 * actual
    positive = 1 / (1 + (1 - share) / share * np.exp(1.5**2 / 2 - 1.5 * scores))
    return actual, np.stack([1 - positive, positive], axis=1)


def part(mask: np.ndarray, name: str = "part", declares: bool = False) -> Slice:
    """A slice of these rows."""
    return Slice(name, mask, declares)


def test_a_slice_has_the_score_of_its_rows_and_an_interval_around_it() -> None:
    actual, predictions = ranked(np.random.default_rng(0), 900)
    mask = np.arange(900) < 300
    (report,) = measure_slices([part(mask)], AUC, actual, predictions, 0.1)
    assert report.score == pytest.approx(AUC.score(actual[mask], predictions[mask]))
    assert report.low < report.score < report.high
    low, high = score_interval(AUC, actual[mask], predictions[mask])
    assert report.high - report.low == pytest.approx(high - low, rel=0.5)
    assert (report.rows, report.declared) == (300, False)


def test_the_standard_error_is_that_of_a_grouped_jackknife() -> None:
    rng = np.random.default_rng(0)
    actual = rng.normal(size=100)
    predictions = actual[:, None] + rng.normal(size=(100, 1)) * [1, 1, 1]
    mask = np.arange(100) < 40
    (report,) = measure_slices([part(mask)], SQUARES, actual, predictions, 0.2)
    scores = [
        SQUARES.score(actual[:40][kept], predictions[:40][kept])
        for kept in (np.arange(40) % 20 != group for group in range(20))
    ]
    error = np.sqrt(19 / 20 * np.square(scores - np.mean(scores)).sum())
    half = t.ppf(0.975, 19) * error
    assert (report.low, report.high) == pytest.approx((report.score - half, report.score + half))
    least = SQUARES.score(actual, predictions) - 0.2
    assert report.p == pytest.approx(t.cdf((report.score - least) / error, 19))


def test_the_interval_of_a_slice_stays_within_possible_scores() -> None:
    rng, measure = np.random.default_rng(0), Measure(SPEC, "f1")
    actual = rng.permutation(np.repeat([0, 1], 45))
    predictions = np.eye(2)[np.where(np.arange(90) < 4, 1 - actual, actual)]
    (report,) = measure_slices([part(np.arange(90) < 60)], measure, actual, predictions, 0.1)
    assert 0 <= report.low < report.score < report.high <= 1


def test_a_slice_with_other_shares_of_the_classes_is_weighted_to_those_of_all_rows() -> None:
    rng = np.random.default_rng(0)
    actual, predictions = ranked(rng, 4000, share=0.3)
    rare = (rng.random(4000) < 0.5) & ((actual == 0) | (rng.random(4000) < 0.2))
    measure = Measure(SPEC, "average_precision")
    (report,) = measure_slices([part(rare)], measure, actual, predictions, 0.05)
    whole = measure.score(actual, predictions)
    assert measure.score(actual[rare], predictions[rare]) < whole - 0.15
    assert report.score == pytest.approx(whole, abs=0.07)
    assert report.p > 0.05


def test_a_slice_in_which_a_class_has_too_few_rows_is_left_out_unless_it_is_declared() -> None:
    actual, predictions = ranked(np.random.default_rng(0), 600)
    positions = np.concatenate([np.flatnonzero(actual == 1)[:19], np.flatnonzero(actual == 0)[:99]])
    few = np.isin(np.arange(600), positions)
    found = measure_slices(
        [part(few), part(few, "mine", declares=True)], AUC, actual, predictions, 0.1
    )
    (report,) = found
    assert (report.name, report.rows) == ("mine", 118)
    assert np.isnan([report.score, report.low, report.high, report.p]).all()


def test_a_quantity_needs_as_many_rows_as_there_are_groups() -> None:
    actual = np.linspace(0, 1, 60)
    predictions = np.stack([actual + 0.1] * 3, axis=1)
    slices = [part(np.arange(60) < rows, str(rows), declares=True) for rows in (0, 19, 20)]
    found = {each.name: each for each in measure_slices(slices, SQUARES, actual, predictions, 0)}
    assert np.isnan([found["0"].score, found["0"].p, found["19"].p]).all()
    assert found["19"].score == found["20"].score == pytest.approx(-0.1)
    assert found["20"].p == pytest.approx(1)  # exactly as good as all rows


def test_a_declared_slice_that_is_not_judged_has_a_score_but_no_probability() -> None:
    actual, predictions = ranked(np.random.default_rng(0), 600)
    mine = Slice("mine", np.arange(600) < 300, declared=True, judged=False)
    (report,) = measure_slices([mine], AUC, actual, predictions, 0.1)
    assert report.score > 0.5
    assert np.isnan(report.p)


SCORES = ("roc_auc", "average_precision", "balanced_accuracy", "f1")


@pytest.mark.parametrize("name", SCORES)
def test_a_collapsed_slice_is_refused_under_each_measure(name: str) -> None:
    rng, measure = np.random.default_rng(0), Measure(SPEC, name)
    actual, predictions = ranked(rng, 1500, share=0.4)
    predictions[:300] = [0.9, 0.1]  # the most frequent class for every row
    slices = [part(np.arange(1500) // 300 == place, str(place)) for place in range(5)]
    overall = measure.score(actual, predictions)
    margin = (overall - measure.score(actual, np.tile([0.9, 0.1], (1500, 1)))) / 2
    reports = measure_slices(slices, measure, actual, predictions, margin)
    verdict = worst_slice(reports, name, overall, margin)
    assert not verdict.accepted
    assert f"the worst of 5 slices, 0: {name} " in verdict.reason


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("margin", [0.0, 0.1])
def test_a_sound_model_is_refused_in_at_most_five_of_a_hundred_cases_under_each_measure(
    name: str, margin: float, nightly: bool
) -> None:
    runs = 200 if nightly else 40
    rng, measure, refused = np.random.default_rng(0), Measure(SPEC, name), 0
    for _ in range(runs):
        actual, predictions = ranked(rng, 600)
        shares = (0.5, 0.3, 0.4)
        slices = [part(rng.random(600) < shares[place % 3], str(place)) for place in range(9)]
        reports = measure_slices(slices, measure, actual, predictions, margin)
        refused += not worst_slice(reports, name, 0.0, margin).accepted
    assert binomtest(refused, runs, 0.05, "greater").pvalue > 0.01


PLAN = ModelSpec(
    "plans",
    (Category("plan", ("basic", "standard", "premium")), Number("x", "", -10, 10)),
    Classes(("no", "yes")),
)
CHOSEN = ("accuracy", "neg_log_loss", "neg_brier_score", "balanced_accuracy", "f1", "roc_auc")


def plans(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Encoded rows of which 5, 10 and 40 % are positive by plan, true probabilities, classes."""
    plan, x = rng.choice(3, rows, p=[0.5, 0.3, 0.2]), rng.normal(size=rows)
    shares = np.array([0.05, 0.1, 0.4])[plan]
    positive = 1 / (1 + (1 - shares) / shares * np.exp(-0.7 * x))
    actual = (rng.random(rows) < positive).astype(int)
    encoded = np.column_stack([plan, x]).astype(np.float32)
    return encoded, np.stack([1 - positive, positive], axis=1), actual


@pytest.mark.parametrize("name", CHOSEN)
def test_slices_that_are_hard_for_any_model_are_accepted(name: str) -> None:
    measure = Measure(PLAN, name)
    for seed in range(5):
        rng = np.random.default_rng(seed)
        learned, _, target = plans(rng, 3000)
        encoded, predictions, actual = plans(rng, 800)
        reports = measure_slices(
            slices_of(PLAN, encoded, {}, 20),
            *(measure, actual, predictions, 0.02),
            partial(reference_predictions, PLAN, learned, target, encoded),
        )
        assert worst_slice(reports, name, 0.0, 0.02).accepted
    if name == "accuracy":
        (premium,) = (each for each in reports if each.name == "plan premium")
        assert premium.hard and premium.reachable == pytest.approx(premium.score, abs=0.1)


@pytest.mark.parametrize("name", CHOSEN)
def test_a_slice_that_a_reference_model_predicts_better_is_refused(name: str) -> None:
    rng = np.random.default_rng(0)
    learned, _, target = plans(rng, 3000)
    learned[:, 1] += 3 * target
    encoded, _, actual = plans(rng, 1000)
    encoded[:, 1] += 3 * actual
    reference = reference_predictions(PLAN, learned, target, encoded)
    assert reference is not None
    predictions = np.where((encoded[:, 0] == 2)[:, None], [[0.95, 0.05]], reference)
    reports = measure_slices(
        slices_of(PLAN, encoded, {}, 20),
        *(Measure(PLAN, name), actual, predictions, 0.02),
        lambda: reference,
    )
    verdict = worst_slice(reports, name, 0.0, 0.02)
    assert not verdict.accepted
    assert ", plan premium: " in verdict.reason
    assert "; plain gradient boosting reaches " in verdict.reason


@pytest.mark.parametrize(("worse_shops", "hard"), [(1, False), (8, True)])
def test_a_reference_must_be_better_by_a_test_over_all_slices_that_are_worse(
    worse_shops: int, hard: bool
) -> None:
    words = tuple(f"shop{number:02d}" for number in range(20))
    spec = ModelSpec("sales", (Category("shop", words),), Classes(("no", "yes")))
    shop, place = np.repeat(np.arange(20), 200), np.tile(np.arange(200), 20)
    actual = np.zeros(len(shop), np.int64)
    wrong = (shop < worse_shops) & (place < 100)
    fixed, broken = wrong & (place < 16), (shop < worse_shops) & (place >= 194)

    def predictions_with(errors: np.ndarray) -> np.ndarray:
        return np.where(errors[:, None], [0.1, 0.9], [0.9, 0.1])

    reports = measure_slices(
        slices_of(spec, shop[:, None].astype(np.float32), {}, 20),
        Measure(spec, "accuracy"),
        actual,
        predictions_with(wrong),
        0.05,
        lambda: predictions_with((wrong & ~fixed) | broken),
    )
    first = next(report for report in reports if report.name == "shop shop00")
    # 16 rows are right by the reference alone and 6 by the model alone: a one-sided p of 0.02
    assert (first.score, first.reachable, first.hard) == (0.5, 0.55, hard)
