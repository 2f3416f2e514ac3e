"""Hold-out rows that are nearly in training."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from domain.contract import Category, Classes, ModelSpec, Number, Tensor, Text
from domain.evaluation import near_duplicates as module
from domain.evaluation.near_duplicates import COPIES, copied_share, near_duplicates
from tests.kinds import KINDS
from tests.leaky_tables import CASES, Case, many_snapshots

RNG = np.random.default_rng(0)

TABLE = ModelSpec(
    "table",
    (
        Number("area", "m²", -9, 9, nullable=True),
        Number("height", "m", -9, 9, nullable=True),
        Category("box", ("small", "large"), nullable=True),
    ),
    Classes(("no", "yes")),
)
ROWS = np.column_stack([RNG.normal(size=(200, 2)), RNG.integers(0, 2, 200)]).astype(np.float32)


def moved(column: int, change: float) -> int:
    """Near-duplicates when one value of a training row is changed."""
    row = ROWS[7:8].copy()
    row[0, column] += change
    return near_duplicates(TABLE, row, ROWS)


@pytest.mark.parametrize(
    ("column", "change", "expected"),
    [(0, 5e-4, 1), (1, -5e-4, 1), (0, 2e-3, 0), (0, 0.0, 0), (2, 1.0, 0), (0, np.nan, 0)],
)
def test_a_row_close_to_a_training_row_is_a_near_duplicate(
    column: int, change: float, expected: int
) -> None:
    assert moved(column, change) == expected


def test_equal_rows_are_not_near_duplicates_but_do_not_hide_them() -> None:
    assert near_duplicates(TABLE, ROWS, ROWS) == 0
    assert near_duplicates(TABLE, ROWS, ROWS[:0]) == near_duplicates(TABLE, ROWS[:0], ROWS) == 0
    close = ROWS + np.array([3e-4, 0, 0], np.float32)
    assert near_duplicates(TABLE, ROWS, np.concatenate([ROWS, close])) == 200


def test_near_duplicates_have_the_same_missing_values() -> None:
    holdout, training = ROWS[:1].copy(), ROWS.copy()
    holdout[0, 0] = training[0, 0] = np.nan
    holdout[0, 1] += 3e-4
    assert near_duplicates(TABLE, holdout, training) == 1
    training[0, 0] = 0  # what stands for a missing value
    assert near_duplicates(TABLE, holdout, training) == 0


def test_the_unit_of_a_number_does_not_matter() -> None:
    scale = np.array([1e6, 1e-6, 1], np.float32)
    assert (
        near_duplicates(
            TABLE, (ROWS[:9] + np.array([3e-4, 0, 0], np.float32)) * scale, ROWS * scale
        )
        == 9
    )


def test_every_column_may_differ_by_the_tolerance() -> None:
    close = ROWS + np.array([8e-4, 8e-4, 0], np.float32)
    assert near_duplicates(TABLE, close, ROWS) == 200
    scale = np.array([1e-6, 1e-6, 1], np.float32)
    far = ROWS + np.array([2e-2, 0, 0], np.float32)
    assert near_duplicates(TABLE, far * scale, ROWS * scale) < 10


def test_every_value_of_a_tensor_must_be_near() -> None:
    spec = ModelSpec("images", (Tensor("image", (3, 4), 0, 16),), Classes(("no", "yes")))
    images = RNG.uniform(0, 16, (50, 12)).astype(np.float32)
    near, far = images + np.float32(1e-3), images.copy()
    far[:, 5] += 0.5
    assert near_duplicates(spec, near, images) == 50
    assert near_duplicates(spec, far, images) == 0


@pytest.mark.parametrize(
    ("text", "expected"),
    [("A  fine\tFilm ", 1), ("a fine film", 0), ("a fine films", 0), ("GROSS", 1)],
)
def test_texts_that_differ_in_case_and_spaces_are_near_duplicates(text: str, expected: int) -> None:
    spec = ModelSpec("reviews", (Text("review", 99),), Classes(("bad", "good")))
    training = np.array([["a fine film"], ["groß"]], object)
    assert near_duplicates(spec, np.array([[text]], object), training) == expected


@pytest.mark.parametrize("kind", KINDS)
def test_rows_of_any_kind_are_not_near_duplicates_of_themselves(kind: str) -> None:
    spec = KINDS[kind].SPEC
    rows = KINDS[kind].load().encoded(spec)
    assert near_duplicates(spec, rows[:40], rows[:40]) == 0


def test_near_duplicates_are_searched_in_a_sample_of_many_rows() -> None:
    rows = np.column_stack([RNG.normal(size=(20_000, 2)), np.zeros(20_000)]).astype(np.float32)
    close = rows + np.array([5e-4, 0, 0], np.float32)
    found = near_duplicates(TABLE, rows, close)
    assert found == near_duplicates(TABLE, rows, close)
    assert 9_000 < found <= 10_000


def test_no_row_of_the_sample_is_drawn_twice() -> None:
    rows = np.column_stack([RNG.normal(size=(10_001, 2)), np.zeros(10_001)]).astype(np.float32)
    close = rows[:10_000] + np.array([5e-4, 0, 0], np.float32)
    assert near_duplicates(TABLE, close, rows) >= 9_999


def test_fewer_rows_are_sampled_when_they_are_wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_VALUES", 100)
    close = ROWS + np.array([3e-4, 0, 0], np.float32)
    assert near_duplicates(TABLE, close, ROWS) == 33


COPIED = [case for case in CASES if case.kind == "copies"]


@pytest.mark.parametrize("seed", [1, 2])
@pytest.mark.parametrize("case", COPIED, ids=lambda case: case.make.__name__)
def test_copies_on_both_sides_are_refused_and_sound_twins_pass(case: Case, seed: int) -> None:
    verdict = case.verdict(seed)
    assert verdict.accepted != case.refused, verdict.reason


@pytest.mark.parametrize("rows_each", [2, 6, 10, 12, 15, 24, 60, 100])
def test_copies_are_found_however_many_there_are_of_each(rows_each: int) -> None:
    case = Case(lambda rng: many_snapshots(rng, rows_each), "copies")
    assert not case.verdict(seed=1).accepted


def test_the_copied_share_is_that_of_the_rows_with_a_copy() -> None:
    rows = np.column_stack([RNG.normal(size=(3000, 2)), RNG.integers(0, 2, 3000)])
    extra = np.column_stack([RNG.normal(size=(3000, 6)), rows])
    spec = replace(TABLE, inputs=(*(Number(f"x{n}", "", -9, 9) for n in range(6)), *TABLE.inputs))
    training, holdout = extra[:2000], extra[2000:]
    holdout[:500] = training[:500] + np.array([0.01] * 8 + [0])
    assert copied_share(spec, holdout, training) == pytest.approx(0.5, abs=0.07)
    assert copied_share(spec, holdout[500:], training) == 0


def test_equal_rows_and_too_few_rows_are_no_copies() -> None:
    assert copied_share(TABLE, ROWS, ROWS) == 0
    assert copied_share(TABLE, ROWS + np.float32(1e-4), ROWS[:19]) == 0
    assert copied_share(TABLE, ROWS[:0], ROWS) == 0


def test_a_copy_has_the_same_missing_values_and_categories() -> None:
    rows = RNG.normal(size=(200, 3)).astype(np.float32)
    rows[:, 2] = 0
    near = rows + np.array([1e-3, 1e-3, 0], np.float32)
    assert copied_share(TABLE, near, rows) > COPIES
    assert copied_share(TABLE, near + np.array([0, 0, 1], np.float32), rows) == 0
    near[:, 0] = np.nan
    assert copied_share(TABLE, near, rows) == 0


def test_the_copied_share_of_texts_is_that_of_near_duplicates() -> None:
    spec = ModelSpec("reviews", (Text("review", 99),), Classes(("bad", "good")))
    training = np.array([[f"film {number}"] for number in range(20)], object)
    holdout = np.array([["FILM 1"], ["film 2"], ["Film  3"], ["a book"]], object)
    assert copied_share(spec, holdout, training) == 0.5
