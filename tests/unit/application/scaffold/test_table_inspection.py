"""How the columns of synthetic tables are classified."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import pytest

from application.scaffold.table_inspection import (
    MOST_HASHED,
    Finding,
    Inspection,
    describe_input,
    inspect_table,
)
from domain.contract import Category, Classes, Datetime, HashedText, Number, Quantity, Text
from domain.errors import DataError
from tests.reviews import chinese_reviews

ROWS = 400
RNG = np.random.default_rng(7)
NOISE = RNG.normal(size=ROWS)
TEXTS = [" ".join(words) for words in RNG.choice(list("abcdefghij"), (ROWS, 8))]
YES_NO = np.where(RNG.random(ROWS) < 0.3, "yes", "no")


def inspect(columns: dict[str, Any], target: Any = None, **options: Any) -> Inspection:
    """The inspection of these columns and the target y."""
    frame = pd.DataFrame({**columns, "y": YES_NO if target is None else target})
    return inspect_table(frame, "y", "made", **options)


def item_of(values: Any) -> Any:
    """The input that a column becomes."""
    return inspect({"x": values}).spec.inputs[0]


def finding_of(values: Any, name: str = "x") -> Finding:
    """The finding about a column next to an ordinary one."""
    inspection = inspect({name: values, "noise": NOISE})
    return next(finding for finding in inspection.findings if finding.column == name)


@pytest.mark.parametrize(
    ("values", "low", "high"),
    [
        (np.linspace(0, 72, ROWS), 0, 108),
        (np.linspace(-10, 10, ROWS), -20, 20),
        (np.linspace(2010, 2020, ROWS), 2005, 2025),
        (np.linspace(-5, -1, ROWS), -7, 0),
        (np.linspace(1e-9, 3e-9, ROWS), 0, 4e-9),
        (np.arange(ROWS) % 2, 0, 1),
        (np.arange(ROWS) % 8, 0, 11),  # 10.5 if these were not whole
        (-7 + np.arange(ROWS) % 8, -11, 0),
        (np.arange(ROWS) % 3 * 5e-324, 0, 1e-323),
        (2**60 + np.arange(ROWS) % 3, 2**60, 2**60),  # one number in float64
    ],
)
def test_a_number_has_a_range_wider_than_the_data(values: Any, low: float, high: float) -> None:
    item = item_of(values)
    assert isinstance(item, Number)
    assert (item.minimum, item.maximum) == pytest.approx((low, high))


@pytest.mark.parametrize("scale", [1e-20, 1e-3, 1.0, 12345.6, 1e9, 1e30])
@pytest.mark.parametrize("shift", [-2.0, 0.0, 1e6])
def test_every_value_in_the_data_is_in_the_range(scale: float, shift: float) -> None:
    values = (NOISE + shift) * scale
    assert item_of(values).encode(values).shape == (ROWS, 1)


@pytest.mark.parametrize(
    ("values", "categories"),
    [
        (np.where(NOISE > 0, "b", "a"), ("a", "b")),
        (NOISE > 0, ("false", "true")),
        (np.where(NOISE > 0, "10", "9"), ("9", "10")),
    ],
)
def test_words_and_booleans_are_categories_in_order(values: Any, categories: Any) -> None:
    assert item_of(values) == Category("x", categories)


def test_integers_stay_numbers_even_with_few_distinct_values() -> None:
    assert isinstance(item_of(np.arange(ROWS) % 3), Number)


@pytest.mark.parametrize(
    "values", [NOISE, np.where(NOISE > 0, "b", "a"), (NOISE > 0).astype(object)]
)
def test_only_inputs_with_missing_values_are_nullable(values: Any) -> None:
    some = pd.Series(values, dtype=object).where(np.arange(ROWS) % 7 > 0, None).infer_objects()
    assert not item_of(values).nullable
    assert item_of(some).nullable


def test_a_word_that_occurs_once_makes_unseen_words_acceptable() -> None:
    words = np.array(["a", "b"] * (ROWS // 2), dtype=object)
    assert item_of(words).unseen == "refuse"
    words[0] = "c"
    assert item_of(words).unseen == "missing"


def test_the_most_frequent_of_many_categories_are_kept() -> None:
    often, rare = [f"often{row % 50}" for row in range(300)], [
        f"rare{row % 60}" for row in range(100)
    ]
    inspection = inspect({"x": often + rare})
    item = inspection.spec.inputs[0]
    assert isinstance(item, Category)
    assert (set(item.categories), item.unseen) == (set(often), "missing")
    assert "the 50 most frequent are kept, 75% of the rows" in inspection.findings[0].reason


@pytest.mark.parametrize(("words", "left_out"), [(300, True), (70, False)])
def test_words_are_left_out_if_those_kept_cover_few_rows(words: int, left_out: bool) -> None:
    rows = 8 * ROWS
    frame = pd.DataFrame({"ward": [f"w{row % words}" for row in range(rows)], "x": range(rows)})
    frame = frame.assign(x=RNG.normal(size=rows), y=np.resize(YES_NO, rows))
    finding = inspect_table(frame, "y", "made").findings[0]
    assert (finding.column, finding.left_out) == ("ward", left_out)
    assert (
        "300 different words, of which the 50 most frequent are in only 17%" in finding.reason
    ) == (left_out)


def test_words_that_look_alike_are_pointed_out() -> None:
    finding = finding_of(np.where(NOISE > 0, "Ham ", np.where(NOISE < -1, "ham", "eggs")))
    assert not finding.left_out
    assert "'Ham ' and 'ham' look alike but count as different words" in finding.reason


def test_classes_that_look_alike_are_pointed_out() -> None:
    target = np.where(NOISE > 1, "yes ", np.where(RNG.random(ROWS) < 0.2, "Yes", YES_NO))
    finding = inspect({"x": RNG.normal(size=ROWS)}, target).findings[0]
    assert (finding.column, finding.left_out) == ("y", False)
    assert finding.reason.startswith("'Yes' and 'yes' and 'yes ' look alike")


@pytest.mark.parametrize(
    ("name", "values", "reason"),
    [
        ("x", [f"A-{row}" for row in range(ROWS)], "identifier"),
        ("x", np.arange(1000, 1000 + ROWS), "identifier"),
        ("customerID", RNG.permutation(10**6)[:ROWS], "identifier"),
        ("Unnamed: 0", np.arange(ROWS), "identifier"),
        ("rownames", np.sort(RNG.choice(10**6, ROWS, replace=False)), "identifier"),
        ("no", np.sort(RNG.choice(10**6, ROWS, replace=False)), "identifier"),
        ("nr", RNG.permutation(10**6)[:ROWS], "identifier"),
        ("invoice_no", RNG.permutation(10**6)[:ROWS], "identifier"),
        ("x", np.sort(RNG.choice(9 * ROWS, ROWS, replace=False)), "identifier"),
        ("x", ["same"] * ROWS, "constant"),
        ("x", [3.0] * ROWS, "constant"),
        ("x", [True, *[None] * (ROWS - 1)], "constant"),
        ("x", pd.to_timedelta(np.arange(ROWS), unit="s"), "a duration"),
        ("x", pd.to_datetime(["2024-01-31"] * ROWS), "constant: 2024-01-31"),
        ("x", [f"{1 + row % 28:02d}.03.{1990 + row % 30}" for row in range(ROWS)], "dates such"),
        ("x", 20240101 + np.arange(ROWS) % 28, "dates such as 20240101: write them as 2024-01-01"),
        ("x", 1764001548682 + 997 * np.arange(ROWS), "milliseconds since 1970"),
        ("x", 8 * 10**18 + 10**9 * RNG.permutation(ROWS), "an identifier of many digits: float32"),
        ("x", [[row] for row in range(ROWS)], "not a plain value"),
        ("x", np.where(NOISE > 1, np.inf, NOISE), "float32"),
        ("x", [f"the parcel {row} came late again" for row in range(ROWS)], "the same words"),
        ("x", [f"a{row} b{row} c{row} d{row} e{row}" for row in range(ROWS)], "the same words"),
    ],
)
def test_useless_columns_are_dropped_with_the_reason(name: str, values: Any, reason: str) -> None:
    finding = finding_of(values, name)
    assert finding.left_out
    assert reason in finding.reason


@pytest.mark.parametrize(
    "values", [RNG.integers(0, 10**6, ROWS), RNG.permutation(10**6)[:ROWS], NOISE]
)
def test_distinct_numbers_alone_do_not_make_an_identifier(values: Any) -> None:
    assert isinstance(item_of(values), Number)


@pytest.mark.parametrize("name", ["width", "valid", "paid", "idle", "no_of_calls", "borrowed"])
def test_a_name_that_only_contains_id_is_not_a_key(name: str) -> None:
    inspection = inspect({name: RNG.permutation(10**6)[:ROWS]})
    assert not inspection.findings


def test_dates_become_a_datetime() -> None:
    days = pd.Series(pd.date_range("2020-01-01", periods=ROWS))
    expected = Datetime("x", ("days_since", "day_of_year", "weekday"), "2019-01-01", "2099-12-31")
    for column in (days, days.dt.tz_localize("UTC"), days.dt.strftime("%Y-%m-%d")):
        inspection = inspect({"x": column})
        assert inspection.spec.inputs == (expected,)
        assert not inspection.findings
    gaps = days.where(np.arange(ROWS) % 9 > 0)
    assert item_of(gaps) == replace(expected, nullable=True)


def test_a_date_that_gives_the_target_away_is_left_out_ready_to_be_restored() -> None:
    left = pd.Series(np.where(YES_NO == "yes", "2024-03-01", None), dtype=object)
    days = pd.Series(pd.date_range("2024-01-01", periods=ROWS).strftime("%Y-%m-%d"))
    inspection = inspect({"noise": NOISE, "left": days.where(left.notna())})
    (finding,) = inspection.findings
    assert finding.left_out and isinstance(finding.item, Datetime)
    assert finding.reason.startswith("a LEAK: left ")
    assert inspection.spec.input_names == ("noise",)
    assert inspection.skills["left"] > 0.99 > 0.5 > inspection.skills["noise"]


def test_years_are_accepted_outside_their_range_since_they_grow() -> None:
    for values, outside in (([2003, 2009] * 200, "accept"), ([1003, 2009] * 200, "refuse")):
        item = item_of(values)
        assert isinstance(item, Number) and item.outside == outside


def test_a_heavy_tail_is_clipped_since_later_values_reach_further() -> None:
    incomes = np.exp(1.5 * NOISE)
    for values in (incomes, -incomes, np.append(NOISE[1:], 1e5)):
        item = item_of(values)
        assert isinstance(item, Number) and item.outside == "clip"
    for values in (NOISE, np.linspace(0, 1, ROWS), np.arange(ROWS) % 97 == 0, np.arange(ROWS) % 7):
        assert getattr(item_of(values), "outside", "refuse") == "refuse"


def test_numbers_that_float32_cannot_hold_are_pointed_out() -> None:
    finding = finding_of(1e9 + RNG.random(ROWS))
    assert not finding.left_out
    assert finding.reason.startswith("float32, which the model sees, holds only 1 of 400 different")


def test_a_key_with_repeated_values_is_kept_with_a_note() -> None:
    finding = finding_of(RNG.integers(0, 30, ROWS), "store_id")
    assert not finding.left_out
    assert "Category" in finding.reason


def test_numbers_mixed_with_a_few_words_are_reported() -> None:
    words = [f"{value:.1f}" for value in NOISE * 100]
    finding = finding_of([*words[:-8], *["n/k"] * 8])
    assert not finding.left_out
    assert "'n/k'" in finding.reason


@pytest.mark.parametrize(
    "form", ["{:.2f}", "${:.2f}", "{:.1f}%", "{:.0f} %", "(12{:.0f})", "{:.2f} €", "1,{:03.0f}"]
)
def test_numbers_written_as_text_are_dropped_with_that_reason(form: str) -> None:
    words = [form.format(abs(value) * 100).replace(".", ",") for value in NOISE]
    for values in (words, ["n/k"] * 8 + words[8:], ["12"] * 300 + words[300:]):
        finding = finding_of(values)
        assert finding.left_out
        assert "numbers written as text, such as " in finding.reason


@pytest.mark.parametrize("words", [["1.2.3", "1.10.0"], ["8-16", "17-20"], ["3 rooms", "4 rooms"]])
def test_words_that_begin_with_a_digit_are_not_numbers_written_as_text(words: list[str]) -> None:
    assert isinstance(item_of(np.where(NOISE > 0, *words)), Category)


def test_codes_with_leading_zeros_are_categories_with_a_note() -> None:
    finding = finding_of([f"{row % 60:05d}" for row in range(ROWS)])
    assert not finding.left_out
    assert "leading zeros, such as '000" in finding.reason
    assert "60 categories: the 50 most frequent are kept" in finding.reason


def test_words_that_may_mean_a_missing_value_are_reported() -> None:
    finding = finding_of(np.where(NOISE > 0, "NA", "EU"))
    assert not finding.left_out
    assert "'NA' count as words" in finding.reason


def test_numbers_with_too_many_digits_are_reported() -> None:
    finding = finding_of([10**30 + row % 60 for row in range(ROWS)])
    assert not finding.left_out
    assert "too many digits, such as '1000" in finding.reason


@pytest.mark.parametrize(
    "leak",
    [
        np.where(YES_NO == "yes", "gone", "here"),
        np.where(YES_NO == "yes", 1.0, np.nan) * RNG.uniform(1, 2, ROWS),
        np.where(YES_NO == "yes", 5.0, -5.0) + NOISE,
        YES_NO == "yes",
    ],
)
def test_a_column_that_leaks_the_class_is_dropped_with_a_warning(leak: Any) -> None:
    finding = finding_of(leak)
    assert finding.left_out and "LEAK" in finding.reason
    assert finding.item is not None, "it can be put back"


def test_a_column_that_leaks_the_quantity_is_dropped() -> None:
    price = np.exp(NOISE)
    inspection = inspect({"with_tax": price * 1.19, "noise": RNG.normal(size=ROWS)}, price)
    assert inspection.spec.input_names == ("noise",)
    assert "LEAK" in inspection.findings[0].reason


def test_two_columns_that_leak_the_class_together_are_dropped() -> None:
    flag = RNG.random(ROWS) < 0.5
    columns = {"a": flag, "noise": NOISE, "b": flag ^ (YES_NO == "yes")}
    inspection = inspect(columns)
    assert inspection.spec.input_names == ("noise",)
    assert {finding.column for finding in inspection.findings} == {"a", "b"}
    for finding in inspection.findings:
        assert finding.left_out and "LEAK: " in finding.reason and finding.item is not None
        assert "a and b together" in finding.reason or "b and a together" in finding.reason


def test_a_mean_of_the_target_by_groups_is_dropped() -> None:
    known = pd.Series((YES_NO == "yes").astype(float))
    rate = known.groupby(RNG.integers(0, 80, ROWS)).transform("mean").round(3)
    finding = finding_of(rate, "shop_rate")
    assert finding.left_out and "mean of the target" in finding.reason


def test_an_identifier_whose_ranges_predict_the_class_says_so() -> None:
    start = np.where((YES_NO == "yes") ^ (RNG.random(ROWS) < 0.05), 70_000, 10_000)
    finding = finding_of(start + RNG.permutation(ROWS), "account")
    assert finding.left_out
    assert finding.reason.startswith("an identifier: 400 different values in 400 rows; account")
    assert "order, ranges or last digits" in finding.reason
    words = [f"{word}-{number:04d}" for number, word in enumerate(YES_NO)]
    assert "order, ranges or last digits" in finding_of(words, "ticket").reason
    assert "order" not in finding_of(RNG.permutation(ROWS), "account").reason


def test_a_strong_column_is_kept_with_a_note() -> None:
    finding = finding_of(np.where(np.arange(ROWS) % 25 == 0, "no", YES_NO))
    assert not finding.left_out
    assert "make sure that it is known when a prediction is needed" in finding.reason


def test_a_column_that_predicts_well_but_not_perfectly_is_kept() -> None:
    good = np.where(YES_NO == "yes", 1.5, -1.5) + NOISE
    assert not inspect({"x": good}).findings


def test_a_leak_is_kept_if_it_is_the_only_column() -> None:
    inspection = inspect({"x": np.where(YES_NO == "yes", "gone", "here")})
    assert inspection.spec.input_names == ("x",)
    assert not inspection.findings[0].left_out


def test_text_is_the_input_if_there_is_no_other_column() -> None:
    inspection = inspect({"id": np.arange(ROWS), "message": TEXTS})
    assert inspection.spec.inputs == (Text("message"),)
    assert [finding.column for finding in inspection.findings] == ["id", "message"]


def test_texts_next_to_other_columns_are_hashed_words() -> None:
    gaps = pd.Series(TEXTS).where(np.arange(ROWS) % 9 > 0)
    inspection = inspect({"a": TEXTS, "noise": NOISE, "b": gaps})
    first, _, last = inspection.spec.inputs
    assert (first, last) == (HashedText("a"), HashedText("b", nullable=True))
    assert [(found.column, found.left_out) for found in inspection.findings] == [
        ("a", False),
        ("b", False),
    ]
    assert {found.reason for found in inspection.findings} == {
        "free text, not checked for leaks: see whether it gives the target away"
    }
    assert describe_input(last) == (
        "text, words counted in 256 columns, at most 10,000 characters, may be missing"
    )
    assert describe_input(Text("a")) == "text, at most 10,000 characters"
    assert inspect({"a": TEXTS, "b": TEXTS}).spec.inputs == (HashedText("a"), HashedText("b"))


@pytest.mark.parametrize(
    ("longest", "most"), [(4_000, 10_000), (30_000, 60_000), (60_000, 100_000), (100_000, 100_000)]
)
def test_a_text_may_be_twice_as_long_as_the_longest_up_to_a_limit(longest: int, most: int) -> None:
    texts = [*TEXTS[:-1], "long " * (longest // 5)]
    assert inspect({"a": texts, "noise": NOISE}).spec.inputs[0] == HashedText("a", most)


def test_a_text_beyond_the_limit_is_left_out() -> None:
    inspection = inspect({"a": [*TEXTS[:-1], "long " * 20_001], "noise": NOISE})
    assert [item.name for item in inspection.spec.inputs] == ["noise"]
    assert inspection.findings[0].reason == (
        "texts of up to 100,005 characters, more than 100,000: shorten them"
    )


@pytest.mark.parametrize(("texts", "features", "kept"), [(4, 128, 4), (10, 64, 8)])
def test_texts_share_a_bounded_number_of_columns(texts: int, features: int, kept: int) -> None:
    inspection = inspect({"noise": NOISE, **{f"text {column}": TEXTS for column in range(texts)}})
    noise, *hashed = inspection.spec.inputs
    assert noise.name == "noise"
    assert hashed == [HashedText(f"text {column}", features=features) for column in range(kept)]
    assert sum(item.width for item in hashed) <= MOST_HASHED
    left_out = [finding for finding in inspection.findings if finding.left_out]
    assert len(left_out) == texts - kept
    assert all("others have all 512 columns" in finding.reason for finding in left_out)


def test_sentences_without_blanks_are_text() -> None:
    sentences = chinese_reviews(ROWS)["句子"].tolist()
    inspection = inspect({"句子": sentences})
    assert isinstance(inspection.spec.inputs[0], Text) and inspection.by_character
    assert "free text" in finding_of(sentences).reason
    korean = [f"이 식당의 {row} 서비스는 정말 {'좋' if row % 2 else '나'}" for row in range(ROWS)]
    assert not inspect({"x": korean}).by_character


def test_names_and_words_without_blanks_are_no_text() -> None:
    names = [f"{chr(0x5000 + row)}{chr(0x6000 + row)}明" for row in range(ROWS)]
    assert "an identifier" in finding_of(names).reason
    assert isinstance(item_of(np.where(NOISE > 0, "臺北市中正區重慶南路", "新北市")), Category)


@pytest.mark.parametrize(
    ("target", "output"),
    [
        (np.where(NOISE > 0, "b", "a"), Classes(("a", "b"), "y")),
        (NOISE > 0, Classes(("false", "true"), "y")),
        (np.arange(ROWS) % 12, Classes(tuple(map(str, range(12))), "y")),
        ((np.arange(ROWS) % 2).astype(float), Classes(("0", "1"), "y")),
        (NOISE, Quantity("y")),
        (np.arange(ROWS) % 21, Quantity("y")),
        (np.arange(ROWS) % 2 + 0.5, Quantity("y")),
    ],
)
def test_the_target_determines_the_task(target: Any, output: Any) -> None:
    assert inspect({"x": RNG.normal(size=ROWS)}, target).spec.output == output


def test_the_task_can_be_chosen() -> None:
    stars = np.arange(ROWS) % 5
    columns = {"x": RNG.normal(size=ROWS)}
    assert inspect(columns, stars, task="regression").spec.output == Quantity("y")
    assert inspect(columns, stars / 2, task="classification").spec.classes == (
        "0",
        "0.5",
        "1",
        "1.5",
        "2",
    )
    assert inspect(columns, stars % 2 == 0, task="classification").spec.classes[0] == "false"


def test_the_baseline_is_the_share_of_the_most_frequent_class() -> None:
    inspection = inspect({"x": NOISE})
    assert inspection.baseline == pytest.approx((YES_NO == "no").mean())
    assert inspection.frequent == pytest.approx(inspection.baseline)


def test_a_class_with_few_rows_is_reported() -> None:
    target = np.where(np.arange(ROWS) < 5, "rare", YES_NO)
    finding = inspect({"x": NOISE}, target).findings[0]
    assert (finding.column, finding.left_out) == ("y", False)
    assert "rare (5)" in finding.reason


@pytest.mark.parametrize(
    ("columns", "target", "options", "message"),
    [
        ({"x": NOISE}, ["a"] * ROWS, {}, "only one class, a"),
        ({"x": NOISE}, [1.5] * ROWS, {}, "1.5 in every row"),
        ({"x": NOISE}, [f"w{row}" for row in range(ROWS)], {}, "too many to be classes"),
        ({"x": NOISE}, ["z", *YES_NO[1:]], {}, "only one row has the y z"),
        ({"x": NOISE}, ["no ", *YES_NO[1:]], {}, "y 'no ': .*; 'no' and 'no ' look alike"),
        ({"x": NOISE}, YES_NO, {"task": "regression"}, "y must be numeric"),
        ({"x": NOISE}, np.where(NOISE > 1, np.inf, NOISE), {}, "infinite"),
        ({"x": NOISE}, np.where(NOISE > 1, 1e300, NOISE), {}, "exceed the float32 range"),
        ({"x": NOISE}, [f"{v:.5f}".replace(".", ",") for v in NOISE], {}, "y has numbers written"),
        ({"x": NOISE, "void": [None] * ROWS}, YES_NO, {}, "LEAVE_OUT=void "),
        ({"x": NOISE, "a b": [None] * ROWS}, YES_NO, {}, "of 'a b': .* LEAVE_OUT='a b' "),
        ({"x": [1] * ROWS}, YES_NO, {}, "no column is left to predict y from: x is constant"),
        ({}, YES_NO, {}, "no column is left to predict y from: the table has no other column"),
    ],
)
def test_an_unusable_table_is_refused(
    columns: Any, target: Any, options: Any, message: str
) -> None:
    with pytest.raises(DataError, match=message):
        inspect(columns, target, **options)


def test_an_unknown_target_is_refused_with_the_existing_columns() -> None:
    with pytest.raises(DataError, match="unknown column 'z': the columns are x, y"):
        inspect_table(pd.DataFrame({"x": NOISE, "y": YES_NO}), "z", "made")


def test_too_few_rows_are_refused() -> None:
    with pytest.raises(DataError, match="12 rows are too few"):
        inspect_table(pd.DataFrame({"x": NOISE, "y": YES_NO})[:12], "y", "made")


def test_progress_over_the_columns_is_tracked() -> None:
    seen: list[str] = []
    inspect({"a": NOISE, "b": NOISE}, track=lambda names: seen.extend(names) or names)
    assert seen == ["a", "b"]
