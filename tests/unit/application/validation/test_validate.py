"""Judging and promoting."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np
import pytest

from application.validation.validate import CrossValidation, cross_validate, judge, promote
from domain.data.dataset import Dataset
from domain.data.splitting import hold_out
from domain.errors import GateRefusal, RegistryError
from domain.evaluation.gates import Verdict
from domain.models import iris
from tests.fakes import FakePackage, FakeRegistry

DATA = iris.load()
CODES = DATA.codes(iris.SPEC.classes)
TRAINING, HOLDOUT = hold_out(DATA, 0.2, 42)
FOREST = iris.build({"n_estimators": 10, "max_depth": 3, "random_state": 0}).fit(
    TRAINING.inputs.to_numpy(np.float32), TRAINING.codes(iris.SPEC.classes)
)
GATES = ["holdout_is_unseen", "holdout_is_whole", "quality", "parity"]
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
    rows = HOLDOUT.inputs.to_numpy(np.float32)
    right = int((served(rows).argmax(axis=1) == HOLDOUT.codes(iris.SPEC.classes)).sum())
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
    rows, codes = HOLDOUT.inputs.to_numpy(np.float32), HOLDOUT.codes(iris.SPEC.classes)
    accuracy = float((served(rows).argmax(axis=1) == codes).mean())
    assert not refusing(package(), threshold=accuracy)
    assert refusing(package(), threshold=float(np.nextafter(accuracy, 1.0))) == ["quality"]


def test_a_served_model_that_differs_slightly_from_the_native_one_is_refused() -> None:
    assert refusing(package(), lambda rows: served(rows) + 2e-5) == ["parity"]


def test_a_served_model_that_answers_no_number_is_refused() -> None:
    def broken(rows: np.ndarray) -> np.ndarray:
        answers = served(rows)
        answers[0, answers[0].argmin()] = np.nan
        return answers

    assert "parity" in refusing(package(), broken)


def test_a_served_model_with_its_classes_swapped_is_refused() -> None:
    refused = refusing(package(), lambda rows: served(rows)[:, [1, 2, 0]])
    assert refused == ["quality", "parity"]


def test_a_refused_package_is_named_with_every_refusing_gate_and_nothing_is_moved() -> None:
    journal: list[str] = []
    registry = FakeRegistry(journal)
    with pytest.raises(GateRefusal) as refused:
        promote(package(), [SEEN, FINE, LOW], lambda: str(journal.append("stored")), registry, "m")
    assert str(refused.value) == (
        f"m 1.0.0-fake is refused: {SEEN.gate}: {SEEN.reason}; {LOW.gate}: {LOW.reason}"
    )
    assert not journal
    assert not registry.packages


def test_an_accepted_package_is_stored_first_and_promoted_then() -> None:
    journal: list[str] = []

    def store() -> str:
        journal.append("stored")
        return "m:tag"

    tag, version = promote(package(), [FINE, FINE], store, FakeRegistry(journal), "m")
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
    result = cross_validate(FOREST, DATA, iris.SPEC, seed=1)
    assert result.scores.shape == (10,)
    assert ((result.scores >= 0) & (result.scores <= 1)).all()
    assert 0.9 < result.scores.mean() < 1


def test_cross_validation_of_labels_at_random_is_no_better_than_chance() -> None:
    labels = DATA.labels.sample(frac=1, random_state=0).set_axis(DATA.labels.index)
    random = Dataset("random", "", DATA.inputs, labels)
    assert 0.15 < cross_validate(FOREST, random, iris.SPEC, seed=1).scores.mean() < 0.5


def test_cross_validation_leaves_the_estimator_as_it_was() -> None:
    rows = DATA.inputs.to_numpy(np.float32)
    before = FOREST.predict_proba(rows)
    cross_validate(FOREST, DATA, iris.SPEC, seed=1)
    assert (FOREST.predict_proba(rows) == before).all()


def test_the_same_seed_gives_the_same_folds_and_every_row_is_tested_once() -> None:
    seen: list[list[np.ndarray]] = []

    def watch(folds: Iterable[Any]) -> Iterable[Any]:
        seen.append([test for _, test in folds])
        return folds

    scores = [cross_validate(FOREST, DATA, iris.SPEC, 3, watch).scores.tolist() for _ in range(2)]
    assert scores[0] == scores[1]
    assert [fold.tolist() for fold in seen[0]] == [fold.tolist() for fold in seen[1]]
    assert sorted(np.concatenate(seen[0])) == list(range(150))
    assert all((np.bincount(CODES[fold]) == 5).all() for fold in seen[0])


def test_cross_validation_reads_as_mean_and_spread() -> None:
    assert str(CrossValidation(np.array([0.9, 1.0]))) == "0.950 ± 0.071 (2 folds)"
