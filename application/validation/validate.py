"""Judge a candidate on rows that it has never seen."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import KFold, StratifiedKFold

from application.ports.model import Model
from application.training.config import ValidationConfig
from application.validation.judgement import JudgedPackage, Judgement
from application.validation.latency import time_predictions
from domain import gates
from domain.contract import Input, ModelSpec, Output
from domain.data.dataset import Dataset
from domain.errors import ConfigError, GateRefusal, InputError, reason_of
from domain.evaluation.calibration import calibration_of
from domain.evaluation.comparison import Comparison, compare
from domain.evaluation.contract_change import change_between
from domain.evaluation.importance import permutation_importances
from domain.evaluation.leakage import near_duplicates
from domain.evaluation.metrics import RegressionReport, evaluate, losses
from domain.evaluation.parity import Parity, edge_rows
from domain.evaluation.predictions import predict_function
from domain.evaluation.robustness import instability, perturbed
from domain.evaluation.slices import measure_slices, slices_of
from domain.monitoring.drift import drift_between

# in the order in which `judge` runs them; a regression has interval_coverage for calibration
GATES = (
    *("holdout_is_unseen", "holdout_is_complete", "contract_is_versioned", "quality"),
    *("beats_baseline", "calibration", "worst_slice", "predictions_are_valid", "deterministic"),
    *("column_order", "robustness", "no_target_leakage", "parity", "parity_at_edges"),
    *("not_worse_than_champion", "latency", "size"),
)
_NOISY_ROWS = 1000
_TIMED_ROWS = 20


@dataclass(frozen=True)
class CrossValidation:
    """Quality of the same recipe trained on other parts of the data.

    Attributes:
        measure: what the scores are, ``accuracy`` or ``r2``.
        scores: score of each fold, shape (n_folds,).
    """

    measure: str
    scores: np.ndarray

    def __str__(self) -> str:
        return (
            f"{self.measure} {self.scores.mean():.3f} ± {self.scores.std(ddof=1):.3f} "
            f"({len(self.scores)} folds)"
        )


def cross_validate(
    estimator: Any,
    dataset: Dataset,
    spec: ModelSpec,
    folds: int,
    seed: int,
    watch: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> CrossValidation:
    """Cross-validation, stratified for classes; `watch` wraps the folds, to show progress."""
    rows, target = dataset.encoded(spec), dataset.encoded_target(spec)
    splitter = (StratifiedKFold if spec.classes else KFold)(folds, shuffle=True, random_state=seed)
    reports = [
        evaluate(
            spec,
            predict_function(clone(estimator).fit(rows[fit], target[fit]), spec)(rows[test]),
            target[test],
        )
        for fit, test in watch(list(splitter.split(rows, target)))
    ]
    return CrossValidation(reports[0].measure, np.array([report.score for report in reports]))


@dataclass(frozen=True)
class Champion:
    """What a candidate is compared with.

    Attributes:
        package: its package.
        served: the model as that serves it.
        bytes: size of the served file.
    """

    package: JudgedPackage
    served: Model
    bytes: int

    @cached_property
    def spec(self) -> ModelSpec:
        """Its contract."""
        return spec_of(self.package)


@dataclass(frozen=True)
class Case:
    """A package before its judges.

    Attributes:
        served: the model as the package serves it.
        dataset: all data; the package says which rows are its hold-out.
        rules: what it must reach.
        champion: None where there is none, or where the package is the champion's.
        lost: why the champion that there is cannot be asked.
        bytes: size of the served file.
    """

    package: JudgedPackage
    served: Model
    dataset: Dataset
    rules: ValidationConfig
    champion: Champion | None = None
    lost: str = ""
    bytes: int = 0

    @cached_property
    def spec(self) -> ModelSpec:
        """The package's contract."""
        return spec_of(self.package)

    @cached_property
    def holdout(self) -> Dataset:
        """Rows of the data that the package has held out."""
        return self._rows("holdout")

    @cached_property
    def training(self) -> Dataset:
        """Rows of the data that the model has learned from."""
        return self._rows("training")

    @cached_property
    def rows(self) -> np.ndarray:
        """The hold-out as the model gets it, shape (n_holdout, width)."""
        return self.holdout.encoded(self.spec)

    @cached_property
    def everything(self) -> np.ndarray:
        """All data as the model gets them, shape (n_rows, width)."""
        return self.dataset.encoded(self.spec)

    @cached_property
    def actual(self) -> np.ndarray:
        """Class numbers or values of the hold-out, shape (n_holdout,)."""
        return self.holdout.encoded_target(self.spec)

    @cached_property
    def answers(self) -> np.ndarray:
        """The served model's answers on the hold-out, shape (n_holdout, n_answers)."""
        return self.served(self.rows)

    @cached_property
    def answered(self) -> np.ndarray:
        """The served model's answers to all data, shape (n_rows, n_answers)."""
        return self.served(self.everything)

    @cached_property
    def taken(self) -> np.ndarray:
        """Which rows of the hold-out the champion takes, bool of shape (n_holdout,)."""
        if self.champion is None:
            return np.zeros(len(self.holdout), bool)
        return _takes(self.champion.spec, self.holdout)

    def _rows(self, part: str) -> Dataset:
        recorded = np.array(self.package.read_json("holdout.json")[part])
        return self.dataset.take(np.isin(self.dataset.row_hashes, recorded))


def judge(case: Case, on_gate: Callable[[str], object] = lambda gate: None) -> Judgement:
    """Run every gate; those that need the hold-out are missing where none of it was found.

    Args:
        on_gate: takes the name of the gate that is run next, of those that take time.

    Raises:
        ConfigError: there is no threshold.
        GateRefusal: the model fails on rows that its contract takes.
    """
    threshold = case.rules.threshold
    if threshold is None:
        raise ConfigError("validation.threshold is null: only a transcriber can do without one")
    case = replace(case, served=_answering(case.served))
    spec, rules, champion = case.spec, case.rules, case.champion
    on_gate("holdout_is_unseen")
    record = case.package.read_json("holdout.json")
    recorded = np.array(record["holdout"])
    twins = (
        near_duplicates(spec, case.rows, case.training.encoded(spec)) if len(case.holdout) else 0
    )
    verdicts = [
        gates.holdout_is_unseen(recorded, np.array(record["training"]), twins),
        gates.holdout_is_complete(recorded, case.holdout.row_hashes),
        contract_verdict(case.package, champion.package if champion else None, case.lost),
    ]
    if len(case.holdout) == 0:
        return Judgement(spec, verdicts)
    on_gate("quality")
    report = evaluate(spec, case.answers, case.actual)
    learned = case.training.encoded_target(spec)
    calibrated = None
    if isinstance(report, RegressionReport):
        uncertainty = gates.interval_coverage(report, rules.coverage_error)
    else:
        calibrated = calibration_of(case.answers, case.actual)
        uncertainty = gates.calibration(calibrated, rules.calibration_error)
    lost = losses(spec, case.answers, case.actual)
    on_gate("worst_slice")
    parts = slices_of(spec, case.rows, rules.slices, rules.slice_rows)
    slices = measure_slices(parts, lost, rules.slice_margin)
    verdicts += [
        gates.quality(report, threshold),
        gates.beats_baseline(report, case.answers, case.actual, learned),
        uncertainty,
        gates.worst_slice(spec, slices, float(lost.mean()), rules.slice_margin),
        *_steadiness(case, on_gate),
    ]
    on_gate("no_target_leakage")
    verdicts += [
        gates.no_target_leakage(spec, case.everything, case.dataset.encoded_target(spec)),
        *_parity(case, on_gate),
    ]
    on_gate("not_worse_than_champion")
    comparison, verdict = _against_champion(case)
    on_gate("latency")
    verdicts += [verdict, *_budgets(case)]
    return Judgement(
        spec,
        skip(verdicts, rules.skip),
        report,
        case.answers,
        case.actual,
        calibrated,
        slices,
        champion.package.version if champion else None,
        comparison,
        permutation_importances(case.served, case.rows, case.actual, spec),
        _drift(case),
    )


def _answering(served: Model) -> Model:
    """The model; whatever it raises is a refusal."""

    def answer(rows: np.ndarray) -> np.ndarray:
        try:
            return served(rows)
        except Exception as error:  # whatever its runtime raises
            raise GateRefusal(
                f"the model does not answer rows that its contract takes: {reason_of(error)}"
            ) from error

    return answer


def contract_verdict(
    package: JudgedPackage, champion: JudgedPackage | None, lost: str = ""
) -> gates.Verdict:
    """Whether a contract that differs from the champion's has a version that says so."""
    if lost:
        return _not_compared("contract_is_versioned", f"the champion: {lost}")
    change, old = None, None
    if champion:
        change, old = change_between(spec_of(champion), spec_of(package)), _release(champion)
    return gates.contract_is_versioned(change, old, _release(package))


def spec_of(package: JudgedPackage) -> ModelSpec:
    """A package's contract."""
    return ModelSpec.from_dict(package.read_json("contract.json"))


def _release(package: JudgedPackage) -> str:
    """The version that the configuration gives, without the time of the training."""
    return str(package.read_json("provenance.json")["config"]["version"])


def _steadiness(case: Case, on_gate: Callable[[str], object]) -> list[gates.Verdict]:
    """Whether answers are answers, stay when asked again, and do not hang on trifles."""
    spec, dataset, noise = case.spec, case.dataset, case.rules.noise
    on_gate("predictions_are_valid")
    turned = replace(dataset, inputs=dataset.inputs[dataset.inputs.columns[::-1]])
    repeats = -(-_NOISY_ROWS // len(case.rows))
    rows = np.tile(case.rows, (repeats, 1))
    changed = instability(
        spec, np.tile(case.answers, (repeats, 1)), case.served(perturbed(spec, rows, noise, 0))
    )
    return [
        gates.predictions_are_valid(spec, case.answered),
        gates.deterministic(case.answered, case.served(case.everything)),
        gates.column_order(case.answered, case.served(turned.encoded(spec))),
        gates.robustness(changed, case.rules.sensitivity, noise),
    ]


def _parity(case: Case, on_gate: Callable[[str], object]) -> list[gates.Verdict]:
    """Whether the served model answers as the native one, on data and beside its jumps."""
    native, spec = predict_function(case.package.load_native(), case.spec), case.spec

    def on_data() -> Parity:
        on_gate("parity")
        return Parity.of(native(case.everything), case.answered, spec)

    def at_edges() -> Parity:
        on_gate("parity_at_edges")
        edges = edge_rows(native, case.everything, spec, random_state=0)
        return Parity.of(native(edges), case.served(edges), spec)

    tolerance = case.rules.parity_tolerance
    return [
        _compared("parity", on_data, tolerance),
        _compared("parity_at_edges", at_edges, tolerance),
    ]


def _compared(gate: str, measure: Callable[[], Parity], tolerance: float) -> gates.Verdict:
    try:
        measured = measure()
    except Exception as error:  # pylint: disable=broad-exception-caught  # whatever a model raises
        told = f"a row that the contract takes is not answered: {reason_of(error)}"
        return gates.Verdict(gate, False, told)
    return gates.parity(gate, measured, tolerance)


def _against_champion(case: Case) -> tuple[Comparison | None, gates.Verdict]:
    """Challenger against champion on hold-out rows that the champion has not learned from.

    Where their contracts do not let them answer the same question, nothing is compared: it is the
    version of the contract that says so then, and a gate of its own asks for that.
    """
    champion, spec, rules = case.champion, case.spec, case.rules
    if case.lost:
        return None, champion_unavailable(case.lost)
    if champion is None:
        return None, gates.not_worse_than_champion(None, rules.margin, rules.fewest_rows)
    version = champion.package.version
    apart = _apart(champion.spec, spec)
    if apart:
        return None, _not_compared("not_worse_than_champion", f"{version}: {apart}")
    learned = np.array(champion.package.read_json("holdout.json")["training"])
    inputs = case.holdout.inputs[list(champion.spec.input_names)]  # there may be others since
    seen = replace(case.holdout, inputs=inputs).row_hashes
    common = ~np.isin(seen, learned) & case.taken
    left_out = int((~common).sum())
    comparison = None
    if common.any():
        rows = case.holdout.take(common).encoded(champion.spec)
        try:
            before = champion.served(rows)
        except Exception as error:  # pylint: disable=broad-exception-caught  # whatever it raises
            return None, champion_unavailable(f"{version} does not answer: {reason_of(error)}")
        comparison = compare(spec, before, case.answers[common], case.actual[common])
    verdict = gates.not_worse_than_champion(
        comparison, rules.margin, rules.fewest_rows, left_out, version
    )
    return comparison, verdict


def champion_unavailable(why: str) -> gates.Verdict:
    """The refusal of a challenger whose champion cannot be asked."""
    return gates.Verdict(
        "not_worse_than_champion",
        False,
        f"the champion cannot be asked: {why}; make rollback to one that can, or accept this one "
        "without a comparison by validation.skip",
    )


def _apart(old: ModelSpec, new: ModelSpec) -> str:
    """Why two models cannot be asked the same question; empty where they can."""
    now = {item.name: item for item in new.inputs}
    for item in old.inputs:
        if item.name not in now:
            return f"the data have no {item.name} any more"
        if _meaning(item) != _meaning(now[item.name]):
            return f"{item.name} means something else"
    if old.output_columns != new.output_columns or _meaning(old.output) != _meaning(new.output):
        return "it answers something else"
    return ""


def _meaning(item: Input | Output) -> tuple[object, ...]:
    """What numbers mean: those of another unit, or name, are no better for being smaller."""
    return type(item), item.name, getattr(item, "unit", ""), getattr(item, "shape", ())


def _takes(spec: ModelSpec, dataset: Dataset) -> np.ndarray:
    """Which rows a contract takes, bool of shape (n_rows,); another one may take more."""
    taken = np.ones(len(dataset), bool)
    waiting = [np.arange(len(dataset))]
    while waiting:  # halves of what is refused, down to single rows
        rows = waiting.pop()
        try:
            dataset.take(rows).encoded(spec)
        except InputError:
            if len(rows) == 1:
                taken[rows] = False
            else:
                waiting += np.array_split(rows, 2)
    return taken


def _not_compared(gate: str, why: str) -> gates.Verdict:
    return gates.Verdict(gate, True, f"cannot be compared with {why}")


def _budgets(case: Case) -> list[gates.Verdict]:
    """Whether answers come about as fast, from a file about as large, as the champion's."""
    rules, champion = case.rules, case.champion
    if case.lost:
        return [_not_compared(gate, f"the champion: {case.lost}") for gate in ("latency", "size")]
    its_size = champion.bytes if champion else None
    size = gates.budget("size", case.bytes, its_size, rules.size_ratio, "B")
    if champion is None:
        return [gates.budget("latency", 0.0, None, rules.latency_ratio, "s"), size]
    version = champion.package.version
    if apart := _apart(champion.spec, case.spec):
        return [_not_compared("latency", f"{version}: {apart}"), size]
    asked = np.flatnonzero(case.taken)[:_TIMED_ROWS]
    if len(asked) == 0:
        return [_not_compared("latency", f"{version}: it takes no row of the hold-out"), size]
    others = case.holdout.take(asked).encoded(champion.spec)
    try:
        mine, its = time_predictions((case.served, case.rows[asked]), (champion.served, others))
    except GateRefusal:
        raise
    except Exception as error:  # pylint: disable=broad-exception-caught  # whatever it raises
        return [_not_compared("latency", f"{version}: {reason_of(error)}"), size]
    return [gates.budget("latency", mine, its, rules.latency_ratio, "s"), size]


def _drift(case: Case) -> dict[str, float]:
    """How far the training rows have moved from those of the champion, by what is watched."""
    if case.champion is None:
        return {}
    rows = case.training.encoded(case.spec)
    profiles = case.champion.package.read_json("profile.json")
    return drift_between(profiles, case.spec, rows, case.served(rows))


def skip(verdicts: Iterable[gates.Verdict], names: Collection[str]) -> list[gates.Verdict]:
    """The verdicts with those of these gates accepted; what they said stays to be read."""

    def skipped(verdict: gates.Verdict) -> gates.Verdict:
        reason = f"by the configuration; {verdict.word}: {verdict.reason}"
        return replace(verdict, accepted=True, reason=reason, skipped=True)

    return [skipped(verdict) if verdict.gate in names else verdict for verdict in verdicts]
