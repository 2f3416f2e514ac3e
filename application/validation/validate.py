"""Judge a candidate on its hold-out."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from math import inf
from time import perf_counter
from typing import Any

import numpy as np
from sklearn.base import clone

from application.ports.model import Model
from application.ports.snapshots import labelled_path
from application.training.config import ValidationConfig
from application.validation.judgement import JudgedPackage, Judgement
from application.validation.latency import time_predictions
from domain import gates
from domain.contract import Classes, Input, ModelSpec, Output
from domain.data.dataset import Dataset, are_among
from domain.data.splitting import with_equal_shares
from domain.errors import ConfigError, GateRefusal, InputError, reason_of
from domain.estimators.conformal import ConformalRegressor
from domain.estimators.fitting import fit_on, make_folds
from domain.evaluation.calibration import calibration_of
from domain.evaluation.comparison import Comparison, compare
from domain.evaluation.contract_change import change_between
from domain.evaluation.measures import Measure, format_score, repeat
from domain.evaluation.metrics import ClassificationReport, RegressionReport, Report, evaluate
from domain.evaluation.near_duplicates import copied_share, near_duplicates
from domain.evaluation.parity import Parity, edge_rows
from domain.evaluation.predictions import predict_function
from domain.evaluation.reference import reference_predictions
from domain.evaluation.robustness import instability, perturbed
from domain.evaluation.slices import measure_slices, slices_of
from domain.monitoring.drift import drift_between

# in the order of `judge`; a regression has interval_coverage instead of calibration
GATES = (
    *("holdout_is_unseen", "holdout_is_complete", "contract_is_versioned", "quality"),
    *("beats_baseline", "calibration", "worst_slice", "predictions_are_valid", "deterministic"),
    *("column_order", "robustness", "no_target_leakage", "parity", "parity_at_edges"),
    *("not_worse_than_champion", "latency", "size"),
)
_CONTRADICTION = (
    "on the rows that are not from the prediction log (do its labels contradict them? then correct "
    "them, or train without the old data): "
)
_NOISY_ROWS = 1000
_TIMED_ROWS = 20
_SLICE_SHARE = 0.5  # of what the model gains over the baseline: the default margin of a slice


@dataclass(frozen=True)
class CrossValidation:
    """Quality of the same recipe, trained on other parts of the data.

    Attributes:
        measure: name of the measure.
        scores: score of each fold that was run, shape (n_run,); NaN where the fold's rows do not
            define it, such as the area under a curve for rows of one class.
        folds: number of folds that were planned.
    """

    measure: str
    scores: np.ndarray
    folds: int

    def __str__(self) -> str:
        run = len(self.scores)
        counted = f"{run} folds" if run == self.folds else f"{run} of {self.folds} folds in time"
        known = self.scores[~np.isnan(self.scores)]
        if len(known) < run:
            counted += f", in {run - len(known)} of them it is not defined"
        if len(known) == 0:
            return f"{self.measure} unknown ({counted})"
        spread = f" ± {known.std(ddof=1):.3f}" if len(known) > 1 else ""
        return f"{self.measure} {format_score(known.mean())}{spread} ({counted})"


def cross_validate(
    estimator: Any,
    dataset: Dataset,
    measure: Measure,
    folds: int,
    seed: int,
    watch: Callable[[Iterable[Any]], Iterable[Any]] = iter,
    seconds: float = inf,
    clock: Callable[[], float] = perf_counter,
    *,
    holdout: int | None = None,
) -> CrossValidation:
    """Cross-validation that follows the split, else stratified for classes.

    Intervals of a regression are left out: they would take a cross-validation within each fold.

    Args:
        watch: wraps the folds, to show progress.
        seconds: budget: a fold is left out if it would exceed it, going by those before; the first
            one is always run.
        holdout: number of rows for which the measure's `top` is meant; in a fold it is the same
            share of the rows. None to leave it as it is.

    Raises:
        ValueError: the data have too few rows for these folds.
    """
    spec, keys = measure.spec, dataset.keys
    rows, target = dataset.encoded(spec), dataset.encoded_target(spec)
    if isinstance(estimator, ConformalRegressor):
        estimator = estimator.estimator
    splits = make_folds(keys, len(rows), folds, seed, target if spec.classes else None)
    scores: list[float] = []
    start = clock()
    for fit, test in watch(splits):
        if scores and (clock() - start) * (1 + 1 / len(scores)) > seconds:
            break
        fitted = fit_on(fit, clone(estimator), rows, target, keys)
        share = len(test) / holdout if holdout else 1.0
        of_fold = replace(measure, top=max(1, round(share * measure.top)))
        scores.append(of_fold.score(target[test], predict_function(fitted, spec)(rows[test])))
    return CrossValidation(measure.title, np.array(scores), folds)


@dataclass(frozen=True)
class Champion:
    """The champion that a candidate is compared with.

    Attributes:
        package: its package.
        served: its served model.
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
    """A package to be judged.

    Attributes:
        served: the served model.
        dataset: all data; the package records which rows are its hold-out.
        rules: the limits of the gates.
        champion: None if there is none, it is unavailable, or the package is the champion's.
        unavailable: why the champion is unavailable; empty if it is available, or without one.
        bytes: size of the served file.
    """

    package: JudgedPackage
    served: Model
    dataset: Dataset
    rules: ValidationConfig
    champion: Champion | None = None
    unavailable: str = ""
    bytes: int = 0

    @cached_property
    def spec(self) -> ModelSpec:
        """The package's contract."""
        return spec_of(self.package)

    @cached_property
    def measure(self) -> Measure:
        """The measure of quality."""
        return self.rules.measure_of(self.spec)

    @cached_property
    def baseline(self) -> np.ndarray:
        """The constant prediction that is best for the hold-out, shape (n_outputs,)."""
        return self.measure.constant(self.actual)

    @cached_property
    def held(self) -> np.ndarray:
        """Which rows of the data are the package's hold-out, bool of shape (n_rows,)."""
        return are_among(self.dataset.row_hashes, self.split["holdout"])

    @cached_property
    def learned(self) -> np.ndarray:
        """Which rows of the data the package was trained on, bool of shape (n_rows,)."""
        return are_among(self.dataset.row_hashes, self.split["training"])

    @cached_property
    def holdout(self) -> Dataset:
        """The hold-out rows of the package."""
        return self.dataset.take(self.held)

    @cached_property
    def training(self) -> Dataset:
        """The training rows of the package."""
        return self.dataset.take(self.learned)

    @cached_property
    def rows(self) -> np.ndarray:
        """The encoded hold-out, shape (n_holdout, width)."""
        return self.all_rows[self.held]

    @cached_property
    def training_rows(self) -> np.ndarray:
        """The encoded training rows, shape (n_training, width)."""
        return self.all_rows[self.learned]

    @cached_property
    def all_rows(self) -> np.ndarray:
        """All encoded rows, shape (n_rows, width)."""
        return self.dataset.encoded(self.spec)

    @cached_property
    def actual(self) -> np.ndarray:
        """Class numbers or values of the hold-out, shape (n_holdout,)."""
        return self.holdout.encoded_target(self.spec)

    @cached_property
    def predictions(self) -> np.ndarray:
        """The served model's predictions on the hold-out, shape (n_holdout, n_outputs)."""
        return self.all_predictions[self.held]

    def reference(self) -> np.ndarray | None:
        """Predictions of a reference model on the hold-out, shape (n_holdout, n_outputs); None if
        the inputs do not suit it."""
        target = self.training.encoded_target(self.spec)
        return reference_predictions(self.spec, self.training_rows, target, self.rows)

    @cached_property
    def all_predictions(self) -> np.ndarray:
        """The served model's predictions for all rows, shape (n_rows, n_outputs)."""
        return self.served(self.all_rows)

    @cached_property
    def comparable(self) -> np.ndarray:
        """Which hold-out rows fit the champion's contract, bool of shape (n_holdout,)."""
        if self.champion is None:
            return np.zeros(len(self.holdout), bool)
        return _valid_rows(self.champion.spec, self.holdout)

    @cached_property
    def split(self) -> dict[str, list[str]]:
        """Hashes of the hold-out and of the training rows, as the package records them."""
        return self.package.read_json("holdout.json")


def judge(case: Case, on_gate: Callable[[str], object] = lambda gate: None) -> Judgement:
    """Run every gate. Without any hold-out rows, the gates that need them are left out.

    Args:
        on_gate: takes the name of the gate that runs next, for gates that take time.

    Raises:
        ConfigError: there is no threshold.
        GateRefusal: the model fails on rows that its contract accepts.
    """
    threshold = case.rules.threshold
    if threshold is None:
        raise ConfigError(
            "validation.threshold is null: set it; only a transcriber can do without a threshold"
        )
    case = replace(case, served=_refusing_errors(case.served))
    spec, rules, champion = case.spec, case.rules, case.champion
    on_gate("holdout_is_unseen")
    verdicts = [
        *_holdout_verdicts(case),
        contract_verdict(case.package, champion.package if champion else None, case.unavailable),
    ]
    if len(case.holdout) == 0:
        return Judgement(spec, verdicts)
    on_gate("quality")
    measure, predictions, actual = case.measure, case.predictions, case.actual
    report = evaluate(measure, predictions, actual)
    constant = repeat(case.baseline, len(actual))
    against_constant = compare(measure, constant, predictions, actual, case.baseline)
    calibration = None
    if isinstance(report, RegressionReport):
        uncertainty = gates.interval_coverage(report, rules.coverage_error)
    else:
        calibration = calibration_of(predictions, actual)
        uncertainty = gates.calibration(calibration, rules.calibration_error)
    on_gate("worst_slice")
    parts = slices_of(spec, case.rows, rules.slices, rules.slice_rows)
    gain = max(0.0, report.score - against_constant.champion)
    slice_margin = _SLICE_SHARE * gain if rules.slice_margin is None else rules.slice_margin
    slices = measure_slices(parts, measure, actual, predictions, slice_margin, case.reference)
    verdicts += [
        gates.quality(
            report, threshold, against_constant.champion, measure.best, _only_class(spec, report)
        ),
        gates.beats_baseline(against_constant, measure.chance(actual, predictions)),
        uncertainty,
        gates.worst_slice(slices, measure.title, report.score, slice_margin),
        *_behaviour(case, on_gate),
    ]
    on_gate("no_target_leakage")
    verdicts += [
        gates.no_target_leakage(spec, case.all_rows, case.dataset.encoded_target(spec)),
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
        case.predictions,
        case.actual,
        calibration,
        slices,
        champion.package.version if champion else None,
        comparison,
        case.package.read_json("metrics.json").get("importances", {}),
        _drift(case),
    )


def _only_class(spec: ModelSpec, report: Report) -> str:
    """The class that the decision threshold predicts for every row of the hold-out; empty if it
    predicts several, or without a threshold."""
    decides = isinstance(spec.output, Classes) and spec.output.threshold is not None
    if not decides or not isinstance(report, ClassificationReport):
        return ""
    predicted = np.flatnonzero(report.confusion.sum(axis=0))
    return spec.classes[predicted[0]] if len(predicted) == 1 else ""


def _holdout_verdicts(case: Case) -> list[gates.Verdict]:
    """Whether the hold-out is unseen, and complete."""
    recorded, near, copied = case.split["holdout"], 0, 0.0
    if len(case.holdout):
        both, keys = (case.rows, case.training_rows), case.dataset.keys
        near = near_duplicates(case.spec, *both)
        if keys is None or keys.time is None:  # later rows of known customers are not copies
            copied = copied_share(case.spec, *both)
    return [
        gates.holdout_is_unseen(recorded, case.split["training"], near, copied),
        gates.holdout_is_complete(recorded, case.holdout.row_hashes),
    ]


def _refusing_errors(served: Model) -> Model:
    """The model, with any exception turned into a refusal."""

    def predict(rows: np.ndarray) -> np.ndarray:
        try:
            return served(rows)
        except Exception as error:  # whatever its runtime raises
            raise GateRefusal(
                f"the model fails on rows that its contract accepts: {reason_of(error)}"
            ) from error

    return predict


def contract_verdict(
    package: JudgedPackage, champion: JudgedPackage | None, unavailable: str = ""
) -> gates.Verdict:
    """Whether the version reflects how the contract differs from the champion's."""
    if unavailable:
        return _not_compared("contract_is_versioned", f"the champion: {unavailable}")
    change, old = None, None
    if champion:
        change, old = change_between(spec_of(champion), spec_of(package)), _release(champion)
    return gates.contract_is_versioned(change, old, _release(package))


def spec_of(package: JudgedPackage) -> ModelSpec:
    """The contract of a package."""
    return ModelSpec.from_dict(package.read_json("contract.json"))


def _release(package: JudgedPackage) -> str:
    """The version in the configuration, without the time of the training."""
    return str(package.read_json("provenance.json")["config"]["version"])


def _behaviour(case: Case, on_gate: Callable[[str], object]) -> list[gates.Verdict]:
    """Whether predictions are valid, deterministic, independent of column order, and robust."""
    spec, dataset, noise = case.spec, case.dataset, case.rules.noise
    on_gate("predictions_are_valid")
    again = case.served(case.all_rows)
    reordered = replace(dataset, inputs=dataset.inputs[dataset.inputs.columns[::-1]]).encoded(spec)
    same = reordered.tobytes() == case.all_rows.tobytes()  # then so are the predictions
    repeats = -(-_NOISY_ROWS // len(case.rows))
    rows = np.tile(case.rows, (repeats, 1))
    changed = instability(
        spec, np.tile(case.predictions, (repeats, 1)), case.served(perturbed(spec, rows, noise, 0))
    )
    return [
        gates.predictions_are_valid(spec, case.all_predictions),
        gates.deterministic(case.all_predictions, again),
        gates.column_order(case.all_predictions, again if same else case.served(reordered)),
        gates.robustness(changed, case.rules.sensitivity, noise),
    ]


def _parity(case: Case, on_gate: Callable[[str], object]) -> list[gates.Verdict]:
    """Whether the served model predicts the same as the native one, on data and at its edges."""
    native, spec = predict_function(case.package.load_native(), case.spec), case.spec

    def on_data() -> Parity:
        on_gate("parity")
        return Parity.of(native(case.all_rows), case.all_predictions, spec)

    def at_edges() -> Parity:
        on_gate("parity_at_edges")
        edges = edge_rows(native, case.all_rows, spec, random_state=0)
        return Parity.of(native(edges), case.served(edges), spec)

    tolerance = case.rules.parity_tolerance
    return [
        _parity_verdict("parity", on_data, tolerance),
        _parity_verdict("parity_at_edges", at_edges, tolerance),
    ]


def _parity_verdict(gate: str, measure: Callable[[], Parity], tolerance: float) -> gates.Verdict:
    try:
        measured = measure()
    except Exception as error:  # pylint: disable=broad-exception-caught  # whatever a model raises
        reason = f"the model fails on a row that the contract accepts: {reason_of(error)}"
        return gates.Verdict(gate, False, reason)
    return gates.parity(gate, measured, tolerance)


def _against_champion(case: Case) -> tuple[Comparison | None, gates.Verdict]:
    """Compare challenger and champion on hold-out rows that the champion was not trained on.

    If their contracts make them incomparable, nothing is compared; the gate contract_is_versioned
    then requires a new version.
    """
    champion, spec, rules = case.champion, case.spec, case.rules
    if case.unavailable:
        return None, champion_unavailable(case.unavailable)
    if champion is None:
        return None, gates.not_worse_than_champion(None, rules.margin, rules.fewest_rows)
    version = champion.package.version
    if verdict := _uncompared(case, champion):
        return None, verdict
    time = _time_column(champion.package)
    training_hashes = champion.package.read_json("holdout.json")["training"]
    inputs = list(champion.spec.input_names)  # inputs may have been added
    hashes = _identified_by(case.holdout, inputs, time).row_hashes
    fits, unseen = case.comparable, ~are_among(hashes, training_hashes)
    common = fits & unseen
    if spec.classes:  # another split of the champion's may have left few rows of one class
        common[fits] = with_equal_shares(unseen[fits], case.actual[fits])
    dropped_rows = int((~common).sum())
    recognised = 1.0
    if len(training_hashes):
        in_data = _identified_by(case.dataset, inputs, time).row_hashes
        recognised = float(are_among(training_hashes, in_data).mean())
    champion_predictions = np.empty((0, len(spec.output_columns)), np.float32)
    if common.any():
        rows = case.holdout.take(common).encoded(champion.spec)
        try:
            champion_predictions = champion.served(rows)
        except Exception as error:  # pylint: disable=broad-exception-caught  # whatever it raises
            return None, champion_unavailable(f"{version} fails: {reason_of(error)}")
    comparison, contradicted = _compare_parts(case, champion, common, champion_predictions)
    return comparison, contradicted or gates.not_worse_than_champion(
        comparison, rules.margin, rules.fewest_rows, dropped_rows, version, recognised
    )


def _uncompared(case: Case, champion: Champion) -> gates.Verdict | None:
    """The verdict if challenger and champion cannot be compared, or need not be."""
    gate, version = "not_worse_than_champion", champion.package.version
    if incomparable := _why_incomparable(champion.spec, case.spec):
        return _not_compared(gate, f"{version}: {incomparable}")
    time = _time_column(champion.package)
    if time not in (None, _time_column(case.package)):
        return gates.Verdict(
            gate,
            False,
            f"{version} was split by the time {time}, so the rows that it was trained on cannot be "
            "recognised: keep data.split.time, or skip this gate once with validation.skip",
        )
    if _has_labelled_rows(champion.package) and not _has_labelled_rows(case.package):
        return gates.Verdict(
            gate,
            False,
            f"{version} has also learned from labelled rows, which this training did not have: run "
            "make retrain, or skip this gate once with validation.skip",
        )
    return None


def _compare_parts(
    case: Case, champion: Champion, common: np.ndarray, champion_predictions: np.ndarray
) -> tuple[Comparison | None, gates.Verdict | None]:
    """Compare on all of these hold-out rows, and on those that are not from the prediction log: the
    refusal of a challenger that is certainly worse there, and by more than the margin; else None.
    """
    if not common.any():
        return None, None
    rules, both = case.rules, np.flatnonzero(common)

    def compared(chosen: np.ndarray) -> Comparison:
        rows = both[chosen]
        return compare(
            case.measure,
            champion_predictions[chosen],
            case.predictions[rows],
            case.actual[rows],
            case.baseline,
            champion.spec,
        )

    comparison = compared(np.ones(len(both), bool))
    from_log = case.holdout.from_log
    own = np.ones(len(both), bool) if from_log is None else ~from_log[both]
    if not rules.fewest_rows <= own.sum() < len(both):
        return comparison, None
    part = compared(own)
    if part.high >= 0 or part.difference >= -part.margin(rules.margin):
        return comparison, None
    return comparison, gates.Verdict("not_worse_than_champion", False, f"{_CONTRADICTION}{part}")


def _identified_by(dataset: Dataset, inputs: list[str], time: str | None) -> Dataset:
    """The rows with the identity that they have for the champion: these inputs, and perhaps the
    time. The data set itself, which knows its hashes, if nothing differs."""
    keys = dataset.keys if time else None
    if keys is dataset.keys and list(dataset.inputs.columns) == inputs:
        return dataset
    return replace(dataset, inputs=dataset.inputs[inputs], keys=keys)


def _time_column(package: JudgedPackage) -> str | None:
    """The column of time that is part of the identity of the package's rows; None without one."""
    data = package.read_json("provenance.json")["config"].get("data", {})
    return (data.get("split") or {}).get("time")


def _has_labelled_rows(package: JudgedPackage) -> bool:
    """Whether a model has learned from labelled rows of a prediction log."""
    return bool(labelled_path(package.read_json("provenance.json")))


def champion_unavailable(reason: str) -> gates.Verdict:
    """The refusal of a challenger whose champion is unavailable."""
    return gates.Verdict(
        "not_worse_than_champion",
        False,
        f"the champion is unavailable: {reason}; restore another champion with make rollback, or "
        "accept this one without a comparison by validation.skip",
    )


def _why_incomparable(old: ModelSpec, new: ModelSpec) -> str:
    """Why the predictions of two models cannot be compared; empty if they can."""
    inputs = {item.name: item for item in new.inputs}
    for item in old.inputs:
        if item.name not in inputs:
            return f"the input {item.name} was removed"
        if _meaning(item) != _meaning(inputs[item.name]):
            return f"the type, unit or shape of the input {item.name} changed"
    if old.output_columns != new.output_columns or _meaning(old.output) != _meaning(new.output):
        return "the output changed"
    return ""


def _meaning(item: Input | Output) -> tuple[object, ...]:
    """What the values mean; values with another meaning cannot be compared."""
    return type(item), item.name, getattr(item, "unit", ""), getattr(item, "shape", ())


def _valid_rows(spec: ModelSpec, dataset: Dataset) -> np.ndarray:
    """Which rows fit a contract, bool of shape (n_rows,)."""
    valid = np.ones(len(dataset), bool)
    pending = [np.arange(len(dataset))]
    while pending:  # halve what is refused, down to single rows
        rows = pending.pop()
        try:
            dataset.take(rows).encoded(spec)
        except InputError:
            if len(rows) == 1:
                valid[rows] = False
            else:
                pending += np.array_split(rows, 2)
    return valid


def _not_compared(gate: str, reason: str) -> gates.Verdict:
    return gates.Verdict(gate, True, f"cannot be compared with {reason}")


def _budgets(case: Case) -> list[gates.Verdict]:
    """Whether latency and file size stay within their ratio to the champion's."""
    rules, champion = case.rules, case.champion
    if case.unavailable:
        reason = f"the champion: {case.unavailable}"
        return [_not_compared(gate, reason) for gate in ("latency", "size")]
    champion_bytes = champion.bytes if champion else None
    size_ratio = rules.size_ratio * (_growth(case.split, champion) if champion else 1.0)
    size = gates.budget("size", case.bytes, champion_bytes, size_ratio, "B")
    if champion is None:
        return [gates.budget("latency", 0.0, None, rules.latency_ratio, "s"), size]
    version = champion.package.version
    if incomparable := _why_incomparable(champion.spec, case.spec):
        return [_not_compared("latency", f"{version}: {incomparable}"), size]
    timed = np.flatnonzero(case.comparable)[:_TIMED_ROWS]
    if len(timed) == 0:
        reason = f"{version}: no hold-out row fits its contract"
        return [_not_compared("latency", reason), size]
    champion_rows = case.holdout.take(timed).encoded(champion.spec)
    try:
        seconds, champion_seconds = time_predictions(
            (case.served, case.rows[timed]), (champion.served, champion_rows)
        )
    except GateRefusal:
        raise
    except Exception as error:  # pylint: disable=broad-exception-caught  # whatever it raises
        return [_not_compared("latency", f"{version}: {reason_of(error)}"), size]
    latency = gates.budget("latency", seconds, champion_seconds, rules.latency_ratio, "s")
    return [latency, size]


def _growth(split: Mapping[str, Any], champion: Champion) -> float:
    """How many times as many rows a challenger has learned from as the champion, at least 1: many
    models grow with the number of rows."""
    before = champion.package.read_json("holdout.json")["training"]
    return max(1.0, len(split["training"]) / max(1, len(before)))


def _drift(case: Case) -> dict[str, float]:
    """Drift of the training rows against those of the champion, by monitored input."""
    if case.champion is None:
        return {}
    rows, predictions = case.training_rows, case.all_predictions[case.learned]
    profiles = case.champion.package.read_json("profile.json")
    return drift_between(profiles, case.spec, rows, predictions)


def skip(verdicts: Iterable[gates.Verdict], names: Collection[str]) -> list[gates.Verdict]:
    """The verdicts, with those of the named gates accepted; the reason keeps the actual verdict."""

    def skipped(verdict: gates.Verdict) -> gates.Verdict:
        reason = f"by the configuration; {verdict.word}: {verdict.reason}"
        return replace(verdict, accepted=True, reason=reason, skipped=True)

    return [skipped(verdict) if verdict.gate in names else verdict for verdict in verdicts]
