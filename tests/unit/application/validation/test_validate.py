"""Judging and promoting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pandas as pd
import pytest

from application.validation.validate import CrossValidation, cross_validate, judge, promote, skip
from domain.data.dataset import Dataset
from domain.data.splitting import hold_out
from domain.errors import GateRefusal, RegistryError
from domain.estimators.conformal import ConformalRegressor
from domain.evaluation.answers import answers_of
from domain.evaluation.gates import Verdict
from domain.models import iris
from tests.fakes import FakePackage, FakeRegistry
from tests.kinds import KINDS

DATA = iris.load()
CODES = DATA.answers(iris.SPEC)
TRAINING, HOLDOUT = hold_out(DATA, iris.SPEC, 0.2, 42)
FOREST = iris.build(10, 3, 2, 1, 0).fit(TRAINING.encoded(iris.SPEC), TRAINING.answers(iris.SPEC))
GATES = [
    *("holdout_is_unseen", "holdout_is_whole", "quality", "better_than_trivial"),
    *("answers_are_valid", "deterministic", "no_input_is_the_target", "parity", "parity_at_edges"),
]
FINE = Verdict("quality", True, "good enough")
LOW = Verdict("quality", False, "accuracy 0.5 is too low")
SEEN = Verdict("holdout_is_unseen", False, "3 of 30 hold-out rows were in training")


def package(**holdout: Any) -> FakePackage:
    """A package of the forest; parts of its ``holdout.json`` may be replaced."""
    record = {"holdout": HOLDOUT.row_hashes.tolist(), "training": TRAINING.row_hashes.tolist()}
    files = {"contract.json": iris.SPEC.to_dict(), "holdout.json": record | holdout}
    return FakePackage(files, FOREST)


def served(rows: np.ndarray) -> np.ndarray:
    """The forest as it is served, in single precision."""
    return np.asarray(FOREST.predict_proba(rows), dtype=np.float32)


def refusing(
    judged: FakePackage,
    model: Callable[[np.ndarray], np.ndarray] = served,
    *,
    dataset: Dataset = DATA,
    threshold: float = 0.5,
) -> list[str]:
    """Names of the gates that refuse."""
    verdicts = judge(judged, model, dataset, threshold)
    return [verdict.gate for verdict in verdicts if not verdict.accepted]


def test_a_sound_package_is_accepted_by_every_gate() -> None:
    verdicts = judge(package(), served, DATA, 0.5)
    assert [verdict.gate for verdict in verdicts] == GATES
    assert all(verdict.accepted for verdict in verdicts)


def test_the_order_of_the_data_does_not_matter() -> None:
    shuffled = DATA.take(np.random.default_rng(0).permutation(150))
    verdicts = judge(package(), served, shuffled, 0.5)
    assert [v.reason for v in verdicts[:3]] == [
        v.reason for v in judge(package(), served, DATA, 0.5)[:3]
    ]


def test_quality_is_that_of_the_served_model_on_the_hold_out_alone() -> None:
    rows = HOLDOUT.encoded(iris.SPEC)
    right = int((served(rows).argmax(axis=1) == HOLDOUT.answers(iris.SPEC)).sum())
    quality = judge(package(), served, DATA, 0.5)[2]
    assert f"({right} of {len(HOLDOUT)}, " in quality.reason


def test_one_hold_out_row_that_was_learned_from_is_refused() -> None:
    seen = [*TRAINING.row_hashes.tolist(), HOLDOUT.row_hashes[0]]
    assert refusing(package(training=seen)) == ["holdout_is_unseen"]


def test_one_hold_out_row_that_is_missing_from_the_data_is_refused() -> None:
    position = int(np.flatnonzero(DATA.row_hashes == HOLDOUT.row_hashes[0])[0])
    without = DATA.take(np.delete(np.arange(150), position))
    assert refusing(package(), dataset=without) == ["holdout_is_whole"]


def test_a_hold_out_none_of_which_is_in_the_data_is_refused_without_being_scored() -> None:
    verdicts = judge(package(), served, TRAINING, 0.5)
    assert [verdict.gate for verdict in verdicts] == GATES[:2]
    assert [verdict.accepted for verdict in verdicts] == [True, False]


def test_an_empty_hold_out_is_refused() -> None:
    assert refusing(package(holdout=[])) == GATES[:2]


def test_a_package_below_the_threshold_is_refused() -> None:
    assert refusing(package(), threshold=1.0) == ["quality"]


def test_a_package_at_the_threshold_is_accepted() -> None:
    rows, codes = HOLDOUT.encoded(iris.SPEC), HOLDOUT.answers(iris.SPEC)
    accuracy = float((served(rows).argmax(axis=1) == codes).mean())
    assert not refusing(package(), threshold=accuracy)
    assert refusing(package(), threshold=float(np.nextafter(accuracy, 1.0))) == ["quality"]


def test_a_served_model_that_differs_slightly_from_the_native_one_is_refused() -> None:
    def flatter(rows: np.ndarray) -> np.ndarray:
        return served(rows) * (1 - 6e-5) + 2e-5

    assert refusing(package(), flatter) == GATES[-2:]


def test_a_served_model_that_differs_beside_a_split_point_only_is_refused_at_the_edges() -> None:
    split = np.float32(FOREST.estimators_[0].tree_.threshold[0])
    column = FOREST.estimators_[0].tree_.feature[0]
    known = DATA.encoded(iris.SPEC)[:, column]

    def off_by_one_float(rows: np.ndarray) -> np.ndarray:
        """Takes the float32 next to the split for the one on its other side."""
        moved = rows.copy()
        beside = (moved[:, column] <= split) & (moved[:, column] >= np.nextafter(split, 0))
        assert not (known[None] == moved[beside, column][:, None]).any()
        moved[beside, column] = np.nextafter(split, np.float32(np.inf))
        return served(moved)

    assert refusing(package(), off_by_one_float) == ["parity_at_edges"]


def test_a_served_model_that_differs_at_the_end_of_a_range_only_is_refused_at_the_edges() -> None:
    def clipped(rows: np.ndarray) -> np.ndarray:
        """Wrong at 30 cm, which no flower has."""
        answers = served(rows)
        return np.where((rows == 30).any(axis=1)[:, None], answers[:, ::-1], answers)

    assert refusing(package(), clipped) == ["parity_at_edges"]


def test_a_served_model_that_answers_no_number_is_refused() -> None:
    def broken(rows: np.ndarray) -> np.ndarray:
        answers = served(rows)
        answers[0, answers[0].argmin()] = np.nan
        return answers

    assert "parity" in refusing(package(), broken)


def test_a_served_model_with_its_classes_swapped_is_refused() -> None:
    refused = refusing(package(), lambda rows: served(rows)[:, [1, 2, 0]])
    assert refused == ["quality", "better_than_trivial", "parity", "parity_at_edges"]


def kind_package(kind: str) -> tuple[FakePackage, Dataset, Callable[[np.ndarray], np.ndarray]]:
    """A package of a model of a kind, its data and the served model."""
    model = KINDS[kind]
    spec, dataset = model.SPEC, model.load()
    training, holdout = hold_out(dataset, spec, 0.25, 0)
    estimator = model.build() if spec.classes else ConformalRegressor(model.build(), 0.8)
    estimator.fit(training.encoded(spec), training.answers(spec))
    record = {"holdout": holdout.row_hashes.tolist(), "training": training.row_hashes.tolist()}
    native = answers_of(estimator, spec)
    files = {"contract.json": spec.to_dict(), "holdout.json": record}
    return FakePackage(files, estimator), dataset, lambda rows: native(rows).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("regression", [*GATES[:4], "interval_coverage", *GATES[4:]]),
        ("categories", GATES),
        ("tensor", GATES),
        ("text", GATES),
    ],
)
def test_a_sound_package_of_every_kind_is_accepted_by_every_gate(
    kind: str, expected: list[str]
) -> None:
    judged, dataset, model = kind_package(kind)
    verdicts = judge(judged, model, dataset, 0.6)
    assert [verdict.gate for verdict in verdicts] == expected
    assert all(verdict.accepted for verdict in verdicts), verdicts


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_of_every_kind_is_refused_where_the_served_model_is_another(kind: str) -> None:
    judged, dataset, model = kind_package(kind)

    def wrong(rows: np.ndarray) -> np.ndarray:
        return model(rows) * np.float32(1.001)

    assert "parity" in refusing(judged, wrong, dataset=dataset)


def test_the_quality_of_a_regression_is_its_r2() -> None:
    judged, dataset, model = kind_package("regression")
    quality = judge(judged, model, dataset, 0.6)[2]
    _, holdout = hold_out(dataset, KINDS["regression"].SPEC, 0.25, 0)
    expected = judged.native.score(holdout.encoded(KINDS["regression"].SPEC), holdout.target)
    assert quality.reason.startswith(f"hold-out R² {expected:.3f} (32 rows, ")
    assert "intervals hold " in quality.reason
    assert refusing(judged, model, dataset=dataset, threshold=1.0) == ["quality"]


def test_an_interval_that_is_served_wrongly_is_refused() -> None:
    judged, dataset, model = kind_package("regression")

    def swapped(rows: np.ndarray) -> np.ndarray:
        return model(rows)[:, [0, 2, 1]]

    refused = refusing(judged, swapped, dataset=dataset)
    assert refused == ["interval_coverage", "answers_are_valid", "parity", "parity_at_edges"]


def test_a_missing_value_that_is_served_as_another_answer_is_refused_at_the_edges() -> None:
    judged, dataset, model = kind_package("regression")
    known = dataset.take(dataset.inputs["area"].notna().to_numpy())
    holdout = judged.files["holdout.json"]["holdout"]
    judged.files["holdout.json"]["holdout"] = [h for h in holdout if h in known.row_hashes]

    def zero_for_missing(rows: np.ndarray) -> np.ndarray:
        rows = rows.copy()
        rows[np.isnan(rows[:, 0]), 0] = 0
        return model(rows)

    assert refusing(judged, zero_for_missing, dataset=known) == ["parity_at_edges"]


def storing(journal: list[str]) -> Callable[[], str]:
    """A store that tells the journal."""

    def store() -> str:
        journal.append("stored")
        return "m:tag"

    return store


def test_a_refused_package_is_named_with_every_refusing_gate_and_nothing_is_moved() -> None:
    journal: list[str] = []
    registry = FakeRegistry(journal)
    with pytest.raises(GateRefusal) as refused:
        promote(package(), [SEEN, FINE, LOW], storing(journal), registry, "m")
    assert str(refused.value) == (
        f"m 1.0.0-fake is refused: {SEEN.gate}: {SEEN.reason}; {LOW.gate}: {LOW.reason}"
    )
    assert not journal
    assert not registry.packages


def test_a_package_that_no_gate_has_judged_is_refused() -> None:
    journal: list[str] = []
    with pytest.raises(GateRefusal, match="no gate has judged it"):
        promote(package(), [], storing(journal), FakeRegistry(journal), "m")
    assert not journal


def test_an_accepted_package_is_stored_first_and_promoted_then() -> None:
    journal: list[str] = []
    registry = FakeRegistry(journal)
    tag, version = promote(package(), [FINE, FINE], storing(journal), registry, "m")
    assert (tag, version) == ("m:tag", "7")
    assert journal == ["stored", "promoted m 1.0.0-fake"]


def test_a_package_that_cannot_be_stored_is_not_promoted() -> None:
    registry = FakeRegistry()

    def store() -> str:
        raise OSError("no space left")

    with pytest.raises(OSError, match="no space left"):
        promote(package(), [FINE], store, registry, "m")
    with pytest.raises(RegistryError, match="m has no champion"):
        registry.package_of("m", "champion")


def test_cross_validation_gives_a_sane_score_for_each_fold() -> None:
    result = cross_validate(FOREST, DATA, iris.SPEC, folds=10, seed=1)
    assert result.measure == "accuracy"
    assert result.scores.shape == (10,)
    assert ((result.scores >= 0) & (result.scores <= 1)).all()
    assert 0.9 < result.scores.mean() < 1


def test_cross_validation_of_labels_at_random_is_no_better_than_chance() -> None:
    target = DATA.target.sample(frac=1, random_state=0).set_axis(DATA.target.index)
    random = Dataset("random", "", DATA.inputs, target)
    scores = cross_validate(FOREST, random, iris.SPEC, folds=10, seed=1).scores
    assert 0.15 < scores.mean() < 0.5


def regression(target: pd.Series | None = None) -> CrossValidation:
    """Cross-validation of the regression, perhaps of another target."""
    model = KINDS["regression"]
    data = model.load()
    if target is not None:
        data = Dataset("other", "", data.inputs, target)
    return cross_validate(ConformalRegressor(model.build(), 0.8), data, model.SPEC, 4, seed=1)


def test_cross_validation_of_a_regression_gives_its_r2_for_each_fold() -> None:
    result = regression()
    assert result.measure == "r2"
    assert result.scores.shape == (4,)
    assert ((result.scores > 0.8) & (result.scores < 1)).all()


def test_cross_validation_of_a_quantity_at_random_is_no_better_than_its_mean() -> None:
    target = KINDS["regression"].load().target
    shuffled = target.sample(frac=1, random_state=0).set_axis(target.index)
    assert regression(shuffled).scores.mean() < 0.1


@pytest.mark.parametrize("kind", ["categories", "tensor", "text"])
def test_cross_validation_takes_every_kind_of_input(kind: str) -> None:
    model = KINDS[kind]
    result = cross_validate(model.build(), model.load(), model.SPEC, folds=3, seed=0)
    assert result.scores.min() > 0.6


def test_cross_validation_leaves_the_estimator_as_it_was() -> None:
    rows = DATA.encoded(iris.SPEC)
    before = FOREST.predict_proba(rows)
    cross_validate(FOREST, DATA, iris.SPEC, folds=3, seed=1)
    assert (FOREST.predict_proba(rows) == before).all()


def test_the_same_seed_gives_the_same_folds_and_every_row_is_tested_once() -> None:
    seen: list[list[np.ndarray]] = []

    def watch(folds: Iterable[Any]) -> Iterable[Any]:
        folds = list(folds)
        seen.append([test for _, test in folds])
        return folds

    scores = [
        cross_validate(FOREST, DATA, iris.SPEC, 10, 3, watch).scores.tolist() for _ in range(2)
    ]
    assert scores[0] == scores[1]
    assert [fold.tolist() for fold in seen[0]] == [fold.tolist() for fold in seen[1]]
    assert sorted(np.concatenate(seen[0])) == list(range(150))
    assert all((np.bincount(CODES[fold]) == 5).all() for fold in seen[0])


def test_cross_validation_reads_as_mean_and_spread() -> None:
    assert str(CrossValidation("accuracy", np.array([0.9, 1.0]))) == (
        "accuracy 0.950 ± 0.071 (2 folds)"
    )
    assert str(CrossValidation("r2", np.array([0.5, 0.3]))) == "r2 0.400 ± 0.141 (2 folds)"


def test_a_gate_that_is_skipped_accepts_and_still_says_what_it_found() -> None:
    verdicts = skip([LOW, SEEN, FINE], ["quality"])
    assert [verdict.accepted for verdict in verdicts] == [True, False, True]
    assert verdicts[0].reason == ("skipped by the configuration; REFUSED: accuracy 0.5 is too low")
    assert verdicts[1] == SEEN
    assert verdicts[2].reason.startswith("skipped by the configuration; accepted: ")
