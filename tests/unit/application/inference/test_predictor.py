"""Answering a request, and replaying golden ones."""

from __future__ import annotations

import time

import numpy as np
import pytest

from application.inference.predictor import MAX_ROWS, Predictor, replay_golden
from domain.errors import InputError, PackageError
from domain.models import iris
from tests.fakes import SETOSA, VERSICOLOR, VIRGINICA, FakeAccounts, FakeClassifier

ROWS = [list(VIRGINICA), list(SETOSA), list(VERSICOLOR)]


class Desk:
    """A predictor with its model and its accounts at hand."""

    def __init__(self, model: FakeClassifier | None = None, max_rows: int = MAX_ROWS) -> None:
        self.model = model or FakeClassifier()
        self.accounts = FakeAccounts()
        self.predictor = Predictor(iris.SPEC, self.model, self.accounts, max_rows)


def test_each_row_is_answered_with_its_most_probable_class_and_its_probability() -> None:
    answered = Desk().predictor.predict("a", ROWS)
    assert answered.predicted.tolist() == [2, 0, 1]
    assert answered.confidence == pytest.approx([0.8, 0.8, 0.8])
    assert (answered.confidence == answered.probabilities.max(axis=1)).all()
    assert answered.request_id == "a"


def test_a_request_is_one_call_of_the_model_and_one_entry_in_the_accounts() -> None:
    desk = Desk()
    for rows in ([list(SETOSA)], ROWS, ROWS * 100):
        desk.predictor.predict("a", rows)
    assert [len(asked) for asked in desk.model.asked] == [1, 3, 300]
    assert [len(answered.rows) for answered in desk.accounts.answered] == [1, 3, 300]


def test_what_is_accounted_is_what_was_answered() -> None:
    desk = Desk()
    answered = desk.predictor.predict("a", ROWS)
    assert desk.accounts.answered == [answered]


def test_the_model_is_given_single_precision_in_c_order() -> None:
    desk = Desk()
    desk.predictor.predict("a", ROWS)
    (asked,) = desk.model.asked
    assert asked.dtype == np.float32 and asked.flags.c_contiguous
    assert (asked == np.array(ROWS, dtype=np.float32)).all()


def test_an_answer_has_its_time_and_how_long_it_took() -> None:
    before = time.time()
    answered = Desk().predictor.predict("a", ROWS)
    assert before <= answered.at <= time.time()
    assert 0 < answered.latency < 10


def test_the_same_rows_get_the_same_answers_alone_and_together() -> None:
    rows = np.random.default_rng(0).uniform(0.1, 8, size=(50, 4)).tolist()
    desk = Desk()
    together = desk.predictor.predict("a", rows).predicted.tolist()
    assert [int(desk.predictor.predict("b", [row]).predicted[0]) for row in rows] == together


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "there are no rows"),
        ([list(SETOSA), [1.0]], "row 1 has 1 values, expected 4"),
        ([[5.1, 3.5, float("nan"), 0.2]], "row 0, petal_length: nan is not a finite number"),
        ([[5.1, 3.5, 99.0, 0.2]], "row 0, petal_length: 99 is out of range"),
    ],
)
def test_rows_that_break_the_contract_reach_neither_the_model_nor_the_accounts(
    rows: list[list[float]], message: str
) -> None:
    desk = Desk()
    with pytest.raises(InputError, match=message):
        desk.predictor.predict("a", rows)
    assert not desk.model.asked
    assert not desk.accounts.answered


def test_too_many_rows_are_refused_with_how_many_may_be_sent() -> None:
    desk = Desk(max_rows=3)
    desk.predictor.predict("a", ROWS)
    with pytest.raises(InputError) as refused:
        desk.predictor.predict("b", [*ROWS, list(SETOSA)])
    assert str(refused.value) == "4 rows are too many: send at most 3"
    assert len(desk.model.asked) == 1


def test_as_many_rows_as_allowed_are_answered_by_default() -> None:
    rows = [list(SETOSA)] * MAX_ROWS
    assert len(Desk().predictor.predict("a", rows).predicted) == MAX_ROWS
    with pytest.raises(InputError, match=f"{MAX_ROWS + 1} rows are too many"):
        Desk().predictor.predict("a", [*rows, list(SETOSA)])


def test_a_request_that_the_model_fails_on_is_not_accounted() -> None:
    desk = Desk(FakeClassifier(RuntimeError("out of memory")))
    with pytest.raises(RuntimeError, match="out of memory"):
        desk.predictor.predict("a", ROWS)
    assert not desk.accounts.answered


def test_a_model_that_answers_as_in_training_may_serve() -> None:
    golden = FakeClassifier()(np.array(ROWS, dtype=np.float32)).tolist()
    model = FakeClassifier()
    replay_golden(model, ROWS, golden)
    assert len(model.asked) == 1


@pytest.mark.parametrize("row", range(3))
@pytest.mark.parametrize("change", [2e-5, -2e-5, 0.5, float("nan")])
def test_a_model_that_answers_one_golden_request_otherwise_must_not_serve(
    row: int, change: float
) -> None:
    golden = FakeClassifier()(np.array(ROWS, dtype=np.float32)).astype(float)
    golden[row, 1] += change
    with pytest.raises(PackageError) as refused:
        replay_golden(FakeClassifier(), ROWS, golden.tolist())
    assert f"differ by {abs(change):.1e}" in str(refused.value)
    assert "tolerance 1e-05" in str(refused.value)


def test_a_difference_of_rounding_does_not_keep_a_model_from_serving() -> None:
    golden = FakeClassifier()(np.array(ROWS, dtype=np.float32)).astype(float) + 5e-6
    replay_golden(FakeClassifier(), ROWS, golden.tolist())


def test_a_model_with_another_number_of_classes_must_not_serve() -> None:
    with pytest.raises(PackageError):
        replay_golden(FakeClassifier(), ROWS, [[0.5, 0.5]] * 3)
