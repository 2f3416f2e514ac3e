"""Judging a candidate on its hold-out."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import count
from math import inf, nan
from typing import Any, get_args

import numpy as np
import pandas as pd
import pytest
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss, roc_auc_score
from sklearn.model_selection import StratifiedKFold

from application.ports.model import Model
from application.training.config import Gate, ValidationConfig
from application.validation import validate
from application.validation.judgement import Judgement
from application.validation.validate import (
    Case,
    Champion,
    CrossValidation,
    cross_validate,
    judge,
    skip,
)
from domain.contract import Classes, ModelSpec, Number
from domain.data.dataset import Dataset
from domain.data.split_keys import SplitKeys
from domain.data.splitting import hold_out, with_keys
from domain.errors import ConfigError, GateRefusal
from domain.estimators.conformal import ConformalRegressor
from domain.evaluation.measures import Measure, default_measure
from domain.evaluation.predictions import predict_function
from domain.gates import Verdict
from domain.monitoring.profile import profile_inputs
from tests import petals
from tests.fakes import FakePackage
from tests.kinds import KINDS

DATA = petals.load()
ACCURACY = default_measure(petals.SPEC)
CODES = DATA.encoded_target(petals.SPEC)
TRAINING, HOLDOUT = hold_out(DATA, petals.SPEC, 0.2, 42)
FOREST = petals.build(10, 3, 2, 1, 0).fit(
    TRAINING.encoded(petals.SPEC), TRAINING.encoded_target(petals.SPEC)
)
GATES = [
    *("holdout_is_unseen", "holdout_is_complete", "contract_is_versioned"),
    *("quality", "beats_baseline", "calibration", "worst_slice"),
    *("predictions_are_valid", "deterministic", "column_order", "robustness"),
    *("no_target_leakage", "parity", "parity_at_edges"),
    *("not_worse_than_champion", "latency", "size"),
]
REGRESSION_GATES = ["interval_coverage" if gate == "calibration" else gate for gate in GATES]
RULES = ValidationConfig(threshold=0.5)
IMPORTANCES = dict.fromkeys(petals.SPEC.input_names, 0.25)
FINE = Verdict("quality", True, "good enough")
LOW = Verdict("quality", False, "accuracy 0.5 is too low")
SEEN = Verdict("holdout_is_unseen", False, "3 of 30 hold-out rows were in training")


def package(version: str = "1.0.0", spec: ModelSpec = petals.SPEC, **holdout: Any) -> FakePackage:
    """A package of the forest; parts of its ``holdout.json`` may be replaced."""
    record = {"holdout": HOLDOUT.row_hashes.tolist(), "training": TRAINING.row_hashes.tolist()}
    files = {
        "contract.json": spec.to_dict(),
        "holdout.json": record | holdout,
        "provenance.json": {"config": {"version": version}},
        "metrics.json": {"importances": IMPORTANCES},
        "profile.json": profile_inputs(petals.SPEC, TRAINING.encoded(petals.SPEC)),
    }
    return FakePackage(files, FOREST, f"{version}-fake")


def served(rows: np.ndarray) -> np.ndarray:
    """The served forest, in single precision."""
    return np.asarray(FOREST.predict_proba(rows), dtype=np.float32)


def judged(
    made: FakePackage,
    model: Model = served,
    *,
    dataset: Dataset = DATA,
    rules: ValidationConfig = RULES,
    champion: Champion | None = None,
) -> Judgement:
    """The judgement on a package."""
    return judge(Case(made, model, dataset, rules, champion, bytes=1000))


def refusing(
    made: FakePackage,
    model: Model = served,
    *,
    dataset: Dataset = DATA,
    rules: ValidationConfig = RULES,
    champion: Champion | None = None,
) -> list[str]:
    """Names of the gates that refuse."""
    judgement = judged(made, model, dataset=dataset, rules=rules, champion=champion)
    return [verdict.gate for verdict in judgement.refused]


def test_a_sound_package_is_accepted_by_every_gate() -> None:
    judgement = judged(package())
    assert [verdict.gate for verdict in judgement.verdicts] == GATES
    assert judgement.accepted, judgement.refused


def test_slow_gates_are_announced_in_order_before_they_run() -> None:
    named: list[str] = []
    judgement = judge(Case(package(), served, DATA, RULES, bytes=1000), named.append)
    order = [verdict.gate for verdict in judgement.verdicts]
    assert tuple(order) == validate.GATES
    assert named == sorted(named, key=order.index)
    assert {"quality", "parity_at_edges", "latency"} < set(named)


def test_the_verdict_on_training_rows_has_figures() -> None:
    figures = {verdict.gate: verdict.figures for verdict in judged(package()).verdicts}
    assert figures["holdout_is_unseen"] == {"seen": 0, "near_duplicates": 0, "copied": 0}


def test_a_near_duplicate_of_a_training_row_is_reported() -> None:
    inputs = DATA.inputs.copy()
    near, trained = (
        np.flatnonzero(DATA.row_hashes == h.row_hashes[0])[0] for h in (HOLDOUT, TRAINING)
    )
    inputs.iloc[near] = inputs.iloc[trained] + 1e-6
    data = replace(DATA, inputs=inputs)
    held = [data.row_hashes[near], *HOLDOUT.row_hashes[1:]]
    verdict = judged(package(holdout=held), dataset=data).verdicts[0]
    assert verdict.accepted
    assert verdict.figures["near_duplicates"] == 1


def test_a_hold_out_of_copies_of_training_rows_is_refused() -> None:
    inputs = DATA.inputs.copy()
    held = np.isin(DATA.row_hashes, HOLDOUT.row_hashes)
    trained = np.flatnonzero(np.isin(DATA.row_hashes, TRAINING.row_hashes))[: held.sum()]
    inputs.iloc[held] = inputs.iloc[trained].to_numpy() + 1e-4
    data = replace(DATA, inputs=inputs)
    verdict = judged(package(holdout=list(data.row_hashes[held])), dataset=data).verdicts[0]
    assert not verdict.accepted
    assert verdict.figures["copied"] > 0.5


def test_a_declared_slice_that_is_predicted_wrongly_is_refused() -> None:
    def collapsed(rows: np.ndarray) -> np.ndarray:
        right = served(rows)
        return np.where((rows[:, 2] >= 4.9)[:, None], right[:, [2, 0, 1]], right)

    slices: dict[str, dict[str, list[float | str | None]]] = {"long": {"petal_length": [4.9, None]}}
    rules = ValidationConfig(threshold=0.5, slices=slices, slice_rows=8, slice_margin=0.05)
    judgement = judged(package(), collapsed, rules=rules)
    (verdict,) = (v for v in judgement.verdicts if v.gate == "worst_slice")
    assert not verdict.accepted
    assert judgement.slices[0].score < 0.25
    assert judgement.report is not None
    assert verdict.figures["overall"] == judgement.report.score
    assert verdict.figures["margin"] == 0.05
    assert "accuracy" in verdict.reason
    sound = judged(package(), rules=rules)
    assert "long" in [each.name for each in sound.slices]
    assert sound.accepted, sound.refused


def test_a_shuffled_model_does_not_beat_the_baseline_by_macro_f1() -> None:
    order = np.random.default_rng(0).permutation(len(DATA))
    target = DATA.encoded_target(petals.SPEC)[order]
    known = {row.tobytes(): code for row, code in zip(DATA.encoded(petals.SPEC), target)}

    def guessed(rows: np.ndarray) -> np.ndarray:
        codes = [known.get(row.tobytes(), 0) for row in rows]
        return (0.8 * np.eye(3)[codes] + 0.2 / 3).astype(np.float32)

    rules = ValidationConfig.model_validate({"measure": "f1_macro", "threshold": 0.0})
    judgement = judged(package(), guessed, rules=rules)
    (verdict,) = (v for v in judgement.verdicts if v.gate == "beats_baseline")
    assert not verdict.accepted
    assert "; the same predictions in random order 0.3" in verdict.reason


def test_a_judgement_has_the_measurements_behind_its_verdicts() -> None:
    judgement = judged(package())
    assert judgement.report is not None
    assert judgement.report.rows == len(HOLDOUT)
    assert judgement.predictions.shape == (len(HOLDOUT), 3)
    assert judgement.actual.tolist() == HOLDOUT.encoded_target(petals.SPEC).tolist()
    assert judgement.calibration is not None
    assert judgement.importances == IMPORTANCES
    assert judgement.champion is None
    assert judgement.comparison is None
    assert not judgement.drift


def test_the_order_of_the_data_does_not_matter() -> None:
    shuffled = DATA.take(np.random.default_rng(0).permutation(150))
    reasons = [[v.reason for v in judged(package(), dataset=d).verdicts] for d in (DATA, shuffled)]
    assert reasons[0][:5] == reasons[1][:5]


def test_quality_is_measured_for_the_served_model_on_the_hold_out_only() -> None:
    rows = HOLDOUT.encoded(petals.SPEC)
    right = int((served(rows).argmax(axis=1) == HOLDOUT.encoded_target(petals.SPEC)).sum())
    (quality,) = (v for v in judged(package()).verdicts if v.gate == "quality")
    assert f"({right} of {len(HOLDOUT)}, " in quality.reason


def test_one_hold_out_row_in_training_is_refused() -> None:
    seen = [*TRAINING.row_hashes.tolist(), HOLDOUT.row_hashes[0]]
    assert refusing(package(training=seen)) == ["holdout_is_unseen"]


def test_one_hold_out_row_that_is_missing_from_the_data_is_refused() -> None:
    position = int(np.flatnonzero(DATA.row_hashes == HOLDOUT.row_hashes[0])[0])
    without = DATA.take(np.delete(np.arange(150), position))
    assert refusing(package(), dataset=without) == ["holdout_is_complete"]


def test_a_hold_out_with_no_row_in_the_data_is_refused_without_scoring() -> None:
    verdicts = judged(package(), dataset=TRAINING).verdicts
    assert [verdict.gate for verdict in verdicts] == GATES[:3]
    assert [verdict.accepted for verdict in verdicts] == [True, False, True]
    assert judged(package(), dataset=TRAINING).spec == petals.SPEC


def test_an_empty_hold_out_is_refused() -> None:
    assert refusing(package(holdout=[])) == GATES[:2]


def test_only_a_transcriber_may_lack_a_threshold() -> None:
    with pytest.raises(ConfigError, match="validation.threshold is null"):
        judged(package(), rules=ValidationConfig(threshold=None))


def test_a_package_below_the_threshold_is_refused() -> None:
    assert refusing(package(), rules=ValidationConfig(threshold=1.0)) == ["quality"]


def test_a_package_at_the_threshold_is_accepted() -> None:
    rows, codes = HOLDOUT.encoded(petals.SPEC), HOLDOUT.encoded_target(petals.SPEC)
    accuracy = float((served(rows).argmax(axis=1) == codes).mean())
    assert not refusing(package(), rules=ValidationConfig(threshold=accuracy))
    above = ValidationConfig(threshold=float(np.nextafter(accuracy, 1.0)))
    assert refusing(package(), rules=above) == ["quality"]


@pytest.mark.parametrize("gate", get_args(Gate))
def test_every_rule_of_the_configuration_can_be_skipped(gate: str) -> None:
    rules = RULES.model_copy(update={"skip": [gate]})
    verdicts = {v.gate: v for v in judged(package(), rules=rules).verdicts}
    if gate == "interval_coverage":  # which a classifier does not have
        assert gate not in verdicts
    else:
        assert verdicts[gate].word == "skipped"
        assert verdicts[gate].reason.startswith("by the configuration; accepted: ")


def champion_with(
    version: str = "1.0.0",
    spec: ModelSpec = petals.SPEC,
    model: Model = served,
    size: int = 1000,
    **holdout: Any,
) -> Champion:
    """A champion with the same forest, or another model."""
    return Champion(package(version, spec, **holdout), model, size)


def test_a_challenger_that_predicts_like_the_champion_is_accepted() -> None:
    judgement = judged(package(), champion=champion_with())
    assert judgement.accepted, judgement.refused
    assert judgement.champion == "1.0.0-fake"
    assert judgement.comparison is not None
    assert judgement.comparison.identical
    assert max(judgement.drift.values()) < 0.05


def test_a_challenger_worse_than_the_champion_by_more_than_the_margin_is_refused() -> None:
    truth = dict(zip(map(bytes, DATA.encoded(petals.SPEC)), CODES))

    def knows(rows: np.ndarray) -> np.ndarray:
        return np.eye(3, dtype=np.float32)[[truth.get(bytes(row), 0) for row in rows]]

    def guesses(rows: np.ndarray) -> np.ndarray:
        predictions = knows(rows)
        wrong = np.arange(len(rows)) % 5 == 0
        predictions[wrong] = predictions[wrong][:, [1, 2, 0]]
        return predictions

    assert "not_worse_than_champion" in refusing(
        package(), guesses, champion=champion_with(model=knows)
    )
    assert "not_worse_than_champion" not in refusing(
        package(), knows, champion=champion_with(model=guesses)
    )


def test_a_challenger_that_is_worse_on_the_rows_that_are_not_from_the_log_is_refused() -> None:
    rng = np.random.default_rng(0)
    drawn = DATA.inputs.iloc[rng.integers(150, size=600)]
    inputs = (drawn + rng.normal(0, 0.05, (600, 4))).clip(0.1, 30)
    flipped = Dataset(DATA.name, "", inputs, DATA.target.iloc[rng.integers(150, size=600)])
    data = DATA.with_log_rows(flipped, petals.SPEC)
    rows, codes = data.encoded(petals.SPEC), data.encoded_target(petals.SPEC)
    truth = dict(zip(map(bytes, rows), codes))
    training, holdout = hold_out(data, petals.SPEC, 0.2, 42)
    made = package(holdout=holdout.row_hashes.tolist(), training=training.row_hashes.tolist())

    def challenger(rows: np.ndarray) -> np.ndarray:
        """Learned the wrong labels of the log by heart, and nothing else."""
        known = [truth.get(bytes(row), 0) for row in rows]
        own = {bytes(row) for row in DATA.encoded(petals.SPEC)}
        return np.eye(3, dtype=np.float32)[
            [0 if bytes(row) in own else code for row, code in zip(rows, known)]
        ]

    champion = champion_with(training=TRAINING.row_hashes.tolist())
    judgement = judged(made, challenger, dataset=data, champion=champion)
    (verdict,) = (v for v in judgement.verdicts if v.gate == "not_worse_than_champion")
    assert judgement.comparison is not None and judgement.comparison.difference > 0.2
    assert not verdict.accepted
    assert verdict.reason.startswith("on the rows that are not from the prediction log (do its")


def test_hold_out_rows_that_the_champion_was_trained_on_are_left_out() -> None:
    learned = [*TRAINING.row_hashes.tolist(), *HOLDOUT.row_hashes[[0, 10, 20, 21]].tolist()]
    judgement = judged(package(), champion=champion_with(training=learned))
    assert judgement.comparison is not None
    assert judgement.comparison.rows == len(HOLDOUT) - 4
    assert judgement.accepted
    (verdict,) = (v for v in judgement.verdicts if v.gate == "not_worse_than_champion")
    assert verdict.figures["left_out"] == 4


def test_a_champion_with_another_split_is_compared_on_rows_with_the_class_shares() -> None:
    classes = HOLDOUT.encoded_target(petals.SPEC)
    few = np.r_[np.flatnonzero(classes == 1), np.flatnonzero(classes == 2)[:5]]
    learned = [*TRAINING.row_hashes.tolist(), *HOLDOUT.row_hashes[np.setdiff1d(few, few[5:10])]]
    rules = ValidationConfig(threshold=0.5, fewest_rows=15)
    judgement = judged(package(), rules=rules, champion=champion_with(training=learned))
    assert judgement.comparison is not None
    assert judgement.comparison.rows == 15  # 5 of each class; 10, 5 and 5 are unseen by both


def test_training_rows_of_the_champion_are_recognised_without_a_newer_input() -> None:
    wider = replace(petals.SPEC, inputs=(*petals.SPEC.inputs, Number("age", "d", 0, 99)))
    data = replace(DATA, inputs=DATA.inputs.assign(age=np.arange(150) % 50 + 0.5))
    training, holdout = hold_out(data, wider, 0.2, 2)
    made = package("2.0.0", wider)
    made.files["holdout.json"] = {
        "holdout": holdout.row_hashes.tolist(),
        "training": training.row_hashes.tolist(),
    }
    made.native = petals.build(10, 3, 2, 1, 0).fit(
        training.encoded(wider), training.encoded_target(wider)
    )
    known = np.isin(DATA.row_hashes, TRAINING.row_hashes)
    seen = int(known[np.isin(data.row_hashes, holdout.row_hashes)].sum())
    assert 15 < seen < 30
    model = predict_function(made.native, wider)
    judgement = judged(made, model, dataset=data, champion=champion_with())
    (verdict,) = (v for v in judgement.verdicts if v.gate == "not_worse_than_champion")
    assert verdict.figures["left_out"] == seen


def split_by_time(package_: FakePackage, time: str | None = "day") -> FakePackage:
    """The package, as if its rows had been split by this column."""
    package_.files["provenance.json"] = {
        "config": {"version": "1.0.0", "data": {"split": {"time": time}}}
    }
    return package_


BY_DAY = with_keys(replace(DATA, others=pd.DataFrame({"day": np.arange(150) * 7 % 150})), "day")


def package_by_day() -> FakePackage:
    """A package of the forest whose hold-out are the last days."""
    training, holdout = hold_out(BY_DAY, petals.SPEC, 0.2, 0)
    record = {"holdout": holdout.row_hashes.tolist(), "training": training.row_hashes.tolist()}
    return split_by_time(package(**record))


@pytest.mark.parametrize("column", ["day", None])
def test_rows_that_the_champion_learned_from_are_recognised_in_a_split_by_time(
    column: str | None,
) -> None:
    made = package_by_day()
    days = BY_DAY if column else replace(BY_DAY, keys=None)
    learned = days.take(np.isin(BY_DAY.row_hashes, made.files["holdout.json"]["holdout"][::6]))
    champion = champion_with(training=learned.row_hashes.tolist())
    split_by_time(champion.package, column)  # type: ignore[arg-type]
    judgement = judged(made, dataset=BY_DAY, champion=champion)
    assert judgement.comparison is not None
    assert judgement.comparison.rows == 25


def test_a_champion_split_by_another_time_is_not_compared() -> None:
    champion = champion_with()
    split_by_time(champion.package, "week")  # type: ignore[arg-type]
    judgement = judged(package_by_day(), dataset=BY_DAY, champion=champion)
    (verdict,) = (v for v in judgement.verdicts if v.gate == "not_worse_than_champion")
    assert not verdict.accepted
    assert verdict.reason.startswith("1.0.0-fake was split by the time week, so the rows")


@pytest.mark.parametrize("left", [0, 3, 19])
def test_too_few_rows_unseen_by_the_champion_are_refused(left: int) -> None:
    mixed = HOLDOUT.row_hashes.reshape(3, 10).T.ravel()  # its classes are in order
    learned = [*TRAINING.row_hashes.tolist(), *mixed[left:].tolist()]
    judgement = judged(package(), champion=champion_with(training=learned))
    assert [verdict.gate for verdict in judgement.refused] == ["not_worse_than_champion"]
    assert str(left) in judgement.refused[0].reason


def test_a_changed_contract_needs_a_new_version() -> None:
    narrower = replace(
        petals.SPEC, inputs=(replace(petals.SPEC.inputs[0], maximum=10), *petals.SPEC.inputs[1:])
    )
    assert refusing(package(spec=narrower), champion=champion_with()) == ["contract_is_versioned"]
    assert not refusing(package("2.0.0", spec=narrower), champion=champion_with())


def test_a_champion_with_another_output_is_reported_as_not_compared() -> None:
    other = replace(petals.SPEC, output=replace(petals.SPEC.output, names=("a", "b", "c")))
    judgement = judged(package("2.0.0"), champion=champion_with(spec=other))
    assert judgement.accepted
    (reason,) = (v.reason for v in judgement.verdicts if v.gate == "not_worse_than_champion")
    assert reason == "cannot be compared with 1.0.0-fake: the output changed"


def spec_up_to(longest: float) -> ModelSpec:
    """The contract of petals, with another longest petal."""
    lengths = (replace(item, maximum=longest) for item in petals.SPEC.inputs[2:3])
    return replace(petals.SPEC, inputs=(*petals.SPEC.inputs[:2], *lengths, *petals.SPEC.inputs[3:]))


def test_rows_that_the_champion_refuses_are_left_out() -> None:
    longest = HOLDOUT.inputs["petal_length"].sort_values().iloc[-6]
    judgement = judged(package("1.1.0"), champion=champion_with(spec=spec_up_to(longest)))
    assert judgement.comparison is not None
    assert 24 <= judgement.comparison.rows < len(HOLDOUT)
    assert judgement.accepted, judgement.refused
    assert "latency" in [verdict.gate for verdict in judgement.verdicts]


def test_a_champion_that_accepts_no_row_is_a_refusal_and_is_not_timed() -> None:
    judgement = judged(package("1.1.0"), champion=champion_with(spec=spec_up_to(0.5)))
    assert [verdict.gate for verdict in judgement.refused] == ["not_worse_than_champion"]
    reasons = {verdict.gate: verdict.reason for verdict in judgement.verdicts}
    assert reasons["latency"].endswith("no hold-out row fits its contract")


def test_a_champion_with_a_removed_input_is_compared_by_size_only() -> None:
    wider = replace(petals.SPEC, inputs=(*petals.SPEC.inputs, Number("colour", "nm", 400, 800)))
    previous = champion_with(spec=wider, size=300)
    judgement = judged(package("2.0.0"), champion=previous)
    reasons = {v.gate: v.reason for v in judgement.verdicts}
    message = "cannot be compared with 1.0.0-fake: the input colour was removed"
    for gate in ("not_worse_than_champion", "latency"):
        assert reasons[gate] == message
    assert [verdict.gate for verdict in judgement.refused] == ["size"]


def test_a_served_file_many_times_larger_is_refused() -> None:
    assert refusing(package(), champion=champion_with(size=300)) == ["size"]


def test_a_file_may_grow_with_the_rows_that_the_model_has_learned_from() -> None:
    fewer = TRAINING.row_hashes.tolist()[::2]
    judgement = judged(package(), champion=champion_with(size=300, training=fewer))
    (size,) = (verdict for verdict in judgement.verdicts if verdict.gate == "size")
    assert size.accepted
    assert size.figures["limit"] == pytest.approx(3 * len(TRAINING) / len(fewer))
    assert refusing(package(), champion=champion_with(size=100, training=fewer)) == ["size"]


def test_a_challenger_without_the_champions_labelled_rows_is_refused() -> None:
    config = {"config": {"version": "1.0.0", "data": {"labelled": "snapshots/labels.parquet"}}}
    learned, retrained = package(), package()
    learned.files["provenance.json"] = config
    champion = Champion(learned, served, 1000)
    (refusal,) = judged(package(), champion=champion).refused
    assert refusal.gate == "not_worse_than_champion"
    assert "run make retrain" in refusal.reason
    retrained.files["provenance.json"] = config
    assert not refusing(retrained, champion=champion)


def test_a_model_many_times_slower_is_refused() -> None:
    def slow(rows: np.ndarray) -> np.ndarray:
        return [served(rows) for _ in range(10)][0]

    assert refusing(package(), slow, champion=champion_with()) == ["latency"]


def test_a_model_that_fails_on_valid_rows_is_refused_by_name() -> None:
    def fails(rows: np.ndarray) -> np.ndarray:
        raise RuntimeError("no kernel\nand a long story")

    with pytest.raises(GateRefusal, match="model fails on rows .* accepts: no kernel$"):
        judged(package(), fails)


def test_a_champion_that_fails_is_a_refusal_that_can_be_skipped() -> None:
    def fails(rows: np.ndarray) -> np.ndarray:
        raise RuntimeError("no kernel")

    broken = champion_with(model=fails)
    judgement = judged(package(), champion=broken)
    assert [verdict.gate for verdict in judgement.refused] == ["not_worse_than_champion"]
    assert "1.0.0-fake fails: no kernel; restore another champion" in judgement.refused[0].reason
    rules = RULES.model_copy(update={"skip": ["not_worse_than_champion"]})
    assert not refusing(package(), rules=rules, champion=broken)


def test_an_unavailable_champion_is_a_refusal_that_can_be_skipped() -> None:
    case = Case(package(), served, DATA, RULES, unavailable="its package is gone")
    judgement = judge(case)
    assert [verdict.gate for verdict in judgement.refused] == ["not_worse_than_champion"]
    assert "is unavailable: its package is gone" in judgement.refused[0].reason
    reasons = {verdict.gate: verdict.reason for verdict in judgement.verdicts}
    for gate in ("contract_is_versioned", "latency", "size"):
        assert "its package is gone" in reasons[gate]
    rules = RULES.model_copy(update={"skip": ["not_worse_than_champion"]})
    assert judge(replace(case, rules=rules)).accepted


def test_a_native_model_that_fails_is_refused() -> None:
    made = package()
    made.native = LogisticRegression().fit(np.eye(3), [0, 1, 2])  # of three columns, not four
    assert refusing(made) == ["parity", "parity_at_edges"]


def test_a_champion_with_another_unit_of_an_input_is_not_compared() -> None:
    inches = (replace(item, unit="in") for item in petals.SPEC.inputs)
    judgement = judged(
        package("2.0.0"), champion=champion_with(spec=replace(petals.SPEC, inputs=tuple(inches)))
    )
    reasons = {verdict.gate: verdict.reason for verdict in judgement.verdicts}
    change = "the type, unit or shape of the input sepal_length changed"
    for gate in ("not_worse_than_champion", "latency"):
        assert reasons[gate] == f"cannot be compared with 1.0.0-fake: {change}"
    assert judgement.comparison is None


def test_a_champion_with_another_unit_of_its_quantity_is_not_compared() -> None:
    made, dataset, model = kind_package("regression")
    spec = KINDS["regression"].SPEC
    other, _, _ = kind_package("regression")
    other.files["contract.json"] = replace(spec, output=replace(spec.output, unit="USD")).to_dict()
    other.files["profile.json"] = {}
    made.files["provenance.json"] = {"config": {"version": "2.0.0"}}
    judgement = judged(made, model, dataset=dataset, champion=Champion(other, model, 1000))
    (verdict,) = (v for v in judgement.verdicts if v.gate == "not_worse_than_champion")
    assert verdict.reason.endswith("the output changed")
    assert judgement.comparison is None


def test_a_model_that_depends_on_tiny_differences_is_refused() -> None:
    def brittle(rows: np.ndarray) -> np.ndarray:
        right = served(rows)
        odd = (rows[:, 0] * 1000).round().astype(int) % 100 != 0  # never so in the data
        return np.where(odd[:, None], right[:, [1, 2, 0]], right)

    assert "robustness" in refusing(package(), brittle)


class Unordered(Dataset):
    """Data that are encoded in the order of their columns."""

    def encoded(self, spec: ModelSpec) -> np.ndarray:
        return self.inputs.to_numpy(np.float32)


def test_predictions_that_depend_on_the_order_of_the_columns_are_refused() -> None:
    data = Unordered(DATA.name, DATA.source, DATA.inputs, DATA.target)
    assert refusing(package(), dataset=data) == ["column_order"]


def test_judging_the_same_package_is_repeatable() -> None:
    rules = ValidationConfig(threshold=0.5, noise=0.5)
    first, second = (judged(package(), uneven, rules=rules).verdicts for _ in range(2))
    assert [verdict.reason for verdict in first] == [verdict.reason for verdict in second]


def uneven(rows: np.ndarray) -> np.ndarray:
    """The forest, with a difference that depends on the row."""
    mixed = (rows[:, :1].astype(np.float64) * 1e3 % 1 * 1e-6).astype(np.float32)
    return served(rows) * (1 - mixed) + mixed / 3


def test_a_model_whose_predictions_change_on_repeat_is_refused() -> None:
    rng = np.random.default_rng(0)

    def unsteady(rows: np.ndarray) -> np.ndarray:
        mixed = rng.uniform(0, 4e-6, (len(rows), 1)).astype(np.float32)
        return served(rows) * (1 - mixed) + mixed / 3

    assert refusing(package(), unsteady) == ["deterministic", "column_order"]


def test_a_served_model_that_differs_slightly_from_the_native_one_is_refused() -> None:
    def flatter(rows: np.ndarray) -> np.ndarray:
        return served(rows) * (1 - 6e-5) + 2e-5

    assert refusing(package(), flatter) == ["parity", "parity_at_edges"]


def test_a_served_model_that_differs_only_next_to_a_split_point_is_refused_at_the_edges() -> None:
    split = np.float32(FOREST.estimators_[0].tree_.threshold[0])
    column = FOREST.estimators_[0].tree_.feature[0]
    known = DATA.encoded(petals.SPEC)[:, column]

    def off_by_one_float(rows: np.ndarray) -> np.ndarray:
        """Moves the float32 next to the split to its other side."""
        moved = rows.copy()
        near = (moved[:, column] <= split) & (moved[:, column] >= np.nextafter(split, 0))
        assert not (known[None] == moved[near, column][:, None]).any()
        moved[near, column] = np.nextafter(split, np.float32(np.inf))
        return served(moved)

    assert refusing(package(), off_by_one_float) == ["parity_at_edges"]


def test_a_served_model_that_differs_only_at_the_end_of_a_range_is_refused_at_the_edges() -> None:
    def clipped(rows: np.ndarray) -> np.ndarray:
        """Wrong at 30 cm, which no flower has."""
        right = served(rows)
        return np.where((rows == 30).any(axis=1)[:, None], right[:, ::-1], right)

    assert refusing(package(), clipped) == ["parity_at_edges"]


@pytest.mark.parametrize(("tolerance", "refused"), [(1e-3, []), (1e-9, GATES[-5:-3])])
def test_the_configuration_sets_the_tolerance_of_parity(
    tolerance: float, refused: list[str]
) -> None:
    rules = ValidationConfig(threshold=0.5, parity_tolerance=tolerance)
    assert refusing(package(), uneven, rules=rules) == refused

    def fails(rows: np.ndarray) -> np.ndarray:
        if (rows == 30).any():
            raise RuntimeError("no such flower")
        return uneven(rows)

    assert ("parity" in refusing(package(), fails, rules=rules)) is bool(refused)


def test_a_served_model_that_fails_at_the_end_of_a_range_is_refused_at_the_edges() -> None:
    def fails(rows: np.ndarray) -> np.ndarray:
        if (rows == 30).any():
            raise RuntimeError("no such flower")
        return served(rows)

    judgement = judged(package(), fails)
    assert [each.gate for each in judgement.verdicts] == GATES
    (verdict,) = judgement.refused
    assert (verdict.gate, verdict.accepted) == ("parity_at_edges", False)
    assert verdict.reason.startswith("the model fails on a row that the contract accepts: ")
    assert verdict.reason.endswith("no such flower")


def test_a_served_model_that_returns_nan_is_refused() -> None:
    def broken(rows: np.ndarray) -> np.ndarray:
        predictions = served(rows)
        predictions[0, predictions[0].argmin()] = np.nan
        return predictions

    assert "parity" in refusing(package(), broken)


def test_a_served_model_with_its_classes_swapped_is_refused() -> None:
    refused = refusing(package(), lambda rows: served(rows)[:, [1, 2, 0]])
    assert refused[:2] == ["quality", "beats_baseline"]
    assert refused[-2:] == ["parity", "parity_at_edges"]


def kind_package(kind: str) -> tuple[FakePackage, Dataset, Callable[[np.ndarray], np.ndarray]]:
    """A package of a model of a kind, its data and the served model."""
    model = KINDS[kind]
    spec, dataset = model.SPEC, model.load()
    training, holdout = hold_out(dataset, spec, 0.25, 0)
    estimator = model.build() if spec.classes else ConformalRegressor(model.build(), 0.8)
    estimator.fit(training.encoded(spec), training.encoded_target(spec))
    record = {"holdout": holdout.row_hashes.tolist(), "training": training.row_hashes.tolist()}
    native = predict_function(estimator, spec)
    files = {
        "contract.json": spec.to_dict(),
        "holdout.json": record,
        "provenance.json": {"config": {"version": "1.0.0"}},
        "metrics.json": {},
    }
    return FakePackage(files, estimator), dataset, lambda rows: native(rows).astype(np.float32)


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("regression", REGRESSION_GATES),
        ("categories", GATES),
        ("tensor", GATES),
        ("text", GATES),
    ],
)
def test_a_sound_package_of_every_kind_is_accepted_by_every_gate(
    kind: str, expected: list[str]
) -> None:
    made, dataset, model = kind_package(kind)
    judgement = judged(made, model, dataset=dataset)
    assert [verdict.gate for verdict in judgement.verdicts] == expected
    assert judgement.accepted, judgement.refused


@pytest.mark.parametrize("kind", KINDS)
def test_a_package_of_every_kind_with_the_wrong_served_model_is_refused(kind: str) -> None:
    made, dataset, model = kind_package(kind)

    def wrong(rows: np.ndarray) -> np.ndarray:
        return model(rows) * np.float32(1.001)

    assert "parity" in refusing(made, wrong, dataset=dataset)


def test_the_quality_of_a_regression_is_its_r2() -> None:
    made, dataset, model = kind_package("regression")
    (quality,) = (v for v in judged(made, model, dataset=dataset).verdicts if v.gate == "quality")
    _, holdout = hold_out(dataset, KINDS["regression"].SPEC, 0.25, 0)
    expected = made.native.score(holdout.encoded(KINDS["regression"].SPEC), holdout.target)
    assert quality.reason.startswith(f"hold-out r2 {expected:.3f} (95 % interval ")
    assert "interval coverage " in quality.reason
    perfect = ValidationConfig(threshold=1.0)
    assert refusing(made, model, dataset=dataset, rules=perfect) == ["quality"]


def test_a_wrong_served_interval_is_refused() -> None:
    made, dataset, model = kind_package("regression")

    def swapped(rows: np.ndarray) -> np.ndarray:
        return model(rows)[:, [0, 2, 1]]

    refused = refusing(made, swapped, dataset=dataset)
    assert refused == ["interval_coverage", "predictions_are_valid", "parity", "parity_at_edges"]


def test_a_served_model_that_treats_missing_as_zero_is_refused_at_the_edges() -> None:
    made, dataset, model = kind_package("regression")
    known = dataset.take(dataset.inputs["area"].notna().to_numpy())
    holdout = made.files["holdout.json"]["holdout"]
    made.files["holdout.json"]["holdout"] = [h for h in holdout if h in known.row_hashes]

    def zero_for_missing(rows: np.ndarray) -> np.ndarray:
        rows = rows.copy()
        rows[np.isnan(rows[:, 0]), 0] = 0
        return model(rows)

    rules = ValidationConfig(threshold=0.5, coverage_error=0.2)
    assert refusing(made, zero_for_missing, dataset=known, rules=rules) == ["parity_at_edges"]


def test_cross_validation_gives_a_plausible_score_for_each_fold() -> None:
    result = cross_validate(FOREST, DATA, ACCURACY, folds=10, seed=1)
    assert result.measure == "accuracy"
    assert result.scores.shape == (10,)
    assert ((result.scores >= 0) & (result.scores <= 1)).all()
    assert 0.9 < result.scores.mean() < 1


def test_cross_validation_decides_by_the_threshold_of_the_contract() -> None:
    model = KINDS["categories"]
    spec, dataset = model.SPEC, model.load()
    output = Classes(spec.classes, spec.output.name, threshold=1e-9)  # all but sure noes are yes
    decided = replace(spec, output=output)
    rows, target = dataset.encoded(spec), dataset.encoded_target(spec)
    found = cross_validate(model.build(), dataset, default_measure(decided), folds=4, seed=1)
    plain = cross_validate(model.build(), dataset, default_measure(spec), folds=4, seed=1)
    splitter = StratifiedKFold(4, shuffle=True, random_state=1)
    expected = [
        (
            (model.build().fit(rows[fit], target[fit]).predict_proba(rows[test])[:, 1] > 0)
            == target[test]
        ).mean()
        for fit, test in splitter.split(rows, target)
    ]
    assert found.scores.tolist() == pytest.approx(expected)
    assert found.scores.mean() < plain.scores.mean()


def test_cross_validation_of_random_labels_is_no_better_than_chance() -> None:
    target = DATA.target.sample(frac=1, random_state=0).set_axis(DATA.target.index)
    random = Dataset("random", "", DATA.inputs, target)
    scores = cross_validate(FOREST, random, ACCURACY, folds=10, seed=1).scores
    assert 0.15 < scores.mean() < 0.5


def regression(target: pd.Series | None = None) -> CrossValidation:
    """Cross-validation of the regression, perhaps of another target."""
    model = KINDS["regression"]
    data = model.load()
    if target is not None:
        data = Dataset("other", "", data.inputs, target)
    estimator, measure = ConformalRegressor(model.build(), 0.8), default_measure(model.SPEC)
    return cross_validate(estimator, data, measure, 4, seed=1)


def test_cross_validation_of_a_regression_gives_its_r2_for_each_fold() -> None:
    result = regression()
    assert result.measure == "r2"
    assert result.scores.shape == (4,)
    assert ((result.scores > 0.8) & (result.scores < 1)).all()


def test_cross_validation_of_a_random_quantity_is_no_better_than_its_mean() -> None:
    target = KINDS["regression"].load().target
    shuffled = target.sample(frac=1, random_state=0).set_axis(target.index)
    assert regression(shuffled).scores.mean() < 0.1


def test_cross_validation_of_a_regression_fits_no_intervals() -> None:
    model = KINDS["regression"]
    measure = default_measure(model.SPEC)
    with_intervals = ConformalRegressor(model.build(), 0.8)
    scores = [
        cross_validate(each, model.load(), measure, folds=3, seed=0).scores
        for each in (model.build(), with_intervals)
    ]
    assert (scores[0] == scores[1]).all()


@pytest.mark.parametrize("kind", ["categories", "tensor", "text"])
def test_cross_validation_accepts_every_kind_of_input(kind: str) -> None:
    model = KINDS[kind]
    measure = default_measure(model.SPEC)
    result = cross_validate(model.build(), model.load(), measure, folds=3, seed=0)
    assert result.scores.min() > 0.6


@pytest.mark.parametrize("keys", [{"time": "day"}, {"group": "plant"}])
def test_cross_validation_follows_the_split(keys: dict[str, Any]) -> None:
    # labels of chance, which plants and neighbouring days share
    coins = np.repeat(np.random.default_rng(0).choice(petals.SPEC.classes, 50), 3)
    inputs = DATA.inputs.assign(petal_width=np.repeat(np.arange(50), 3) / 5 + 0.1)
    others = pd.DataFrame({"day": np.arange(150) // 3, "plant": np.arange(150) // 3})
    coin = Dataset("coins", "made here", inputs, pd.Series(coins), (), others)
    trees = petals.build(10, None, 2, 1, 0)
    scores = [
        cross_validate(trees, each, ACCURACY, folds=5, seed=1).scores.mean()
        for each in (coin, with_keys(coin, **keys))
    ]
    assert scores[0] > 0.6
    assert scores[1] < 0.5


def test_cross_validation_leaves_the_estimator_unchanged() -> None:
    rows = DATA.encoded(petals.SPEC)
    before = FOREST.predict_proba(rows)
    cross_validate(FOREST, DATA, ACCURACY, folds=3, seed=1)
    assert (FOREST.predict_proba(rows) == before).all()


def test_the_same_seed_gives_the_same_folds_and_every_row_is_tested_once() -> None:
    seen: list[list[np.ndarray]] = []

    def watch(folds: Iterable[Any]) -> Iterable[Any]:
        folds = list(folds)
        seen.append([test for _, test in folds])
        return folds

    scores = [
        cross_validate(FOREST, DATA, ACCURACY, 10, 3, watch).scores.tolist() for _ in range(2)
    ]
    assert scores[0] == scores[1]
    assert [fold.tolist() for fold in seen[0]] == [fold.tolist() for fold in seen[1]]
    assert sorted(np.concatenate(seen[0])) == list(range(150))
    assert all((np.bincount(CODES[fold]) == 5).all() for fold in seen[0])


def test_cross_validation_shows_mean_and_spread() -> None:
    assert str(CrossValidation("accuracy", np.array([0.9, 1.0]), 2)) == (
        "accuracy 0.950 ± 0.071 (2 folds)"
    )
    assert str(CrossValidation("r2", np.array([0.5, 0.3]), 10)) == (
        "r2 0.400 ± 0.141 (2 of 10 folds in time)"
    )
    assert str(CrossValidation("r2", np.array([0.5]), 10)) == "r2 0.500 (1 of 10 folds in time)"


@pytest.mark.parametrize("name", ["roc_auc", "neg_log_loss"])
def test_cross_validation_scores_by_the_chosen_measure(name: str) -> None:
    result = cross_validate(FOREST, DATA, Measure(petals.SPEC, name), folds=3, seed=1)
    rows, seen = DATA.encoded(petals.SPEC), []
    for fit, test in StratifiedKFold(3, shuffle=True, random_state=1).split(rows, CODES):
        probabilities = clone(FOREST).fit(rows[fit], CODES[fit]).predict_proba(rows[test])
        if name == "roc_auc":
            seen.append(roc_auc_score(CODES[test], probabilities, multi_class="ovr"))
        else:
            seen.append(-log_loss(CODES[test], probabilities))
    assert result.measure == name
    assert result.scores == pytest.approx(seen)


def test_the_top_rows_of_a_fold_are_the_same_share_as_of_the_holdout() -> None:
    data = KINDS["categories"].load()
    measure = Measure(KINDS["categories"].SPEC, "precision_at_top", top=20)
    estimator = KINDS["categories"].build()
    fold = len(data) // 4
    whole = cross_validate(estimator, data, measure, 4, 1, holdout=fold)
    assert whole.measure == "precision_at_top(20)"
    assert whole.scores == pytest.approx(cross_validate(estimator, data, measure, 4, 1).scores)
    half = replace(measure, top=10)
    halved = cross_validate(estimator, data, measure, 4, 1, holdout=2 * fold)
    assert halved.scores == pytest.approx(cross_validate(estimator, data, half, 4, 1).scores)


def test_folds_for_which_the_measure_is_not_defined_are_named() -> None:
    found = CrossValidation("roc_auc", np.array([0.7, nan, 0.8, 0.9]), 4)
    assert str(found) == "roc_auc 0.800 ± 0.100 (4 folds, in 1 of them it is not defined)"
    found = CrossValidation("roc_auc", np.array([nan, nan]), 2)
    assert str(found) == "roc_auc unknown (2 folds, in 2 of them it is not defined)"


@pytest.mark.parametrize(
    ("budget", "run"),
    [(0.001, 1), (15, 1), (20, 2), (29, 2), (30, 3), (95, 9), (100, 10), (inf, 10)],
)
def test_folds_that_would_exceed_the_budget_are_left_out(budget: float, run: int) -> None:
    times = count(0.0, 10.0)  # each fold takes ten seconds

    result = cross_validate(FOREST, DATA, ACCURACY, 10, 1, iter, budget, lambda: next(times))
    assert (len(result.scores), result.folds) == (run, 10)
    everything = cross_validate(FOREST, DATA, ACCURACY, 10, 1)
    assert result.scores.tolist() == everything.scores[:run].tolist()


def test_a_gate_that_is_skipped_accepts_and_keeps_its_reason() -> None:
    verdicts = skip([LOW, SEEN, FINE], ["quality"])
    assert [verdict.accepted for verdict in verdicts] == [True, False, True]
    assert verdicts[0].reason == ("by the configuration; REFUSED: accuracy 0.5 is too low")
    assert verdicts[1] == SEEN
    assert verdicts[2].reason.startswith("by the configuration; accepted: ")


def test_later_rows_of_known_customers_are_no_copies_in_a_split_by_time() -> None:
    inputs = DATA.inputs.copy()
    held = np.isin(DATA.row_hashes, HOLDOUT.row_hashes)
    trained = np.flatnonzero(np.isin(DATA.row_hashes, TRAINING.row_hashes))[: held.sum()]
    inputs.iloc[held] = inputs.iloc[trained].to_numpy() + 1e-4
    days = SplitKeys(time=held.astype(float))
    data = replace(DATA, inputs=inputs, keys=days)
    made = package(training=data.row_hashes[~held].tolist(), holdout=data.row_hashes[held].tolist())
    verdict = judged(made, dataset=data).verdicts[0]
    assert verdict.accepted
    assert verdict.figures["copied"] == 0


def test_a_champion_that_learned_rounded_rows_is_pointed_out() -> None:
    rounded = replace(DATA, inputs=DATA.inputs * 1.001)
    learned = rounded.take(np.isin(DATA.row_hashes, TRAINING.row_hashes)).row_hashes.tolist()
    champion = champion_with(model=lambda rows: served(rows)[:, [2, 0, 1]], training=learned)
    judgement = judged(package(), champion=champion)
    (verdict,) = (v for v in judgement.verdicts if v.gate == "not_worse_than_champion")
    assert (
        "none of the champion's training rows are in the data as they were: if the others"
        in verdict.reason
    )
