"""Train a model and write its package; figures and tracking run in the background."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from concurrent.futures import BrokenExecutor, Executor, Future, wait
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any, Self

import numpy as np

from application.ports.figures import DrawFigures, FigureData
from application.ports.framework import Framework
from application.ports.model import Loader, Model
from application.ports.package_draft import PackageDraft
from application.ports.progress import Progress
from application.ports.snapshots import SOURCE, Fetched
from application.ports.tracker import RegisteredVersion, Tracker, TrainingRecord
from application.training.card import write_card
from application.training.config import DecisionConfig, TrainingConfig
from application.training.registration import dataset_facts, register
from application.training.schema import check_data
from application.training.threshold import check_decision, decide, describe, facts
from domain.catalog import CatalogModel
from domain.contract import Classes, ModelSpec, Quantity
from domain.data.dataset import Dataset
from domain.data.split_keys import SplitKeys
from domain.data.splitting import hold_out_masks
from domain.errors import ConfigError, ExportError, reason_of
from domain.estimators.conformal import ConformalRegressor
from domain.estimators.search import chosen_parameters
from domain.evaluation.importance import permutation_importances
from domain.evaluation.isotonic import calibrate
from domain.evaluation.measures import Measure, format_score
from domain.evaluation.metrics import Report, evaluate
from domain.evaluation.parity import Parity
from domain.evaluation.prediction_digest import digest_of
from domain.evaluation.predictions import predict_function
from domain.evaluation.slices import slices_of
from domain.monitoring.drift import PREDICTION, mark_seasonal
from domain.monitoring.profile import profile_inputs, profile_outputs
from shared.paths import path_in_clone

_MOST_GOLDEN = 20
_FEWEST_LOGGED, _MOST_LOGGED = 200, 1000  # rows of the log that drift is measured against
_COMPARED_ROWS = 10_000  # and the hold-out: native predictions of all rows may cost half a fit


@dataclass(frozen=True)
class Candidate:
    """The result of a training run."""

    package: Path
    registered: RegisteredVersion
    report: Report
    parity: Parity
    data_files: tuple[Path, ...]
    snapshots: Mapping[str, str]


@dataclass(frozen=True)
class Fitted:
    """A fitted estimator with its training rows and its hold-out.

    Attributes:
        rows: all rows of the data set, encoded, shape (n_rows, width).
        learned, held: which of them are for training and held out, bool of shape (n_rows,).
        compared: for which rows its predictions are compared with those of the served model: the
            hold-out and the first rows; validation compares all. bool of shape (n_rows,).
        native: predictions of the estimator for the compared rows, shape (n_compared, n_outputs).
        seconds: how long the fit took.
        decision: how the decision threshold was chosen, for ``metrics.json``.
    """

    measure: Measure
    dataset: Dataset
    rows: np.ndarray
    learned: np.ndarray
    held: np.ndarray
    estimator: Any
    compared: np.ndarray
    native: np.ndarray
    seconds: float
    decision: Mapping[str, Any]

    @property
    def spec(self) -> ModelSpec:
        """The contract."""
        return self.measure.spec

    @cached_property
    def training(self) -> Dataset:
        """The training rows."""
        return self.dataset.take(self.learned)

    @cached_property
    def holdout(self) -> Dataset:
        """The hold-out."""
        return self.dataset.take(self.held)

    @cached_property
    def predictions(self) -> np.ndarray:
        """Predictions on the hold-out, shape (n_holdout, n_outputs)."""
        return self.native[self.held[self.compared]]

    @cached_property
    def actual(self) -> np.ndarray:
        """Class numbers or values of the hold-out, shape (n_holdout,)."""
        return self.holdout.encoded_target(self.spec)

    @cached_property
    def chosen(self) -> dict[str, Any]:
        """Parameters that the estimator chose by a search, by name."""
        return chosen_parameters(self.estimator)

    @cached_property
    def report(self) -> Report:
        """Quality on the hold-out."""
        return evaluate(self.measure, self.predictions, self.actual)

    @cached_property
    def cross_validation(self) -> dict[str, list[float | None]]:
        """Scores of the folds that gave a regression its intervals, for ``metrics.json``; None in a
        fold for which the measure is not defined."""
        target = self.dataset.encoded_target(self.spec)[self.learned]
        folds = getattr(self.estimator, "fold_predictions_", ())
        scores = [self.measure.score(target[test], made[:, None]) for test, made in folds]
        known = [score if np.isfinite(score) else None for score in scores]
        return {"cross_validation": known} if known else {}

    @cached_property
    def golden(self) -> np.ndarray:
        """Positions of a few hold-out rows: the first of each class, or those with the smallest,
        the middle and the largest value."""
        if self.spec.classes:
            return np.unique(self.actual, return_index=True)[1][:_MOST_GOLDEN]
        return np.argsort(self.actual)[[0, len(self.actual) // 2, -1]]

    @cached_property
    def golden_rows(self) -> list[tuple[Any, ...]]:
        """The golden rows, as requests have them."""
        return self.holdout.take(self.golden).rows()

    @property
    def golden_truth(self) -> list[str | float]:
        """The truth of the golden rows, as feedback has it: names of classes, or values."""
        truth = self.actual[self.golden].tolist()
        return [self.spec.classes[code] for code in truth] if self.spec.classes else truth


@dataclass
class _BackgroundTasks:
    """Draws figures and records epochs while training goes on.

    The first epoch starts a run, which shows the epochs. If the block of the context manager fails,
    it waits for the pending tasks and ends the run as failed.
    """

    experiment_name: str
    package_version: str
    tracker: Tracker
    background: Executor
    on_progress: Progress
    curves: dict[str, list[float]] = field(default_factory=dict)
    run_id: str | None = None
    pending: list[Future[None]] = field(default_factory=list)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is None:
            return
        wait(self.pending)
        if self.run_id is not None:
            with suppress(BrokenExecutor):  # it would hide the original error
                self.background.submit(self.tracker.fail, self.run_id).result()

    def report(self, figures: Mapping[str, float], epoch: int) -> None:
        """Show and record the metrics of an epoch."""
        if self.run_id is None:
            begin = self.tracker.begin
            self.run_id = self.background.submit(
                begin, self.experiment_name, self.package_version
            ).result()
        values = ", ".join(f"{name} {format_score(value)}" for name, value in figures.items())
        self.on_progress("epoch", f"{epoch + 1}: {values}")
        for name, value in figures.items():
            self.curves.setdefault(name, []).append(float(value))
        self.pending.append(
            self.background.submit(self.tracker.log_epoch, self.run_id, dict(figures), epoch)
        )

    def finish(self) -> None:
        """Wait for all tasks."""
        for pending in self.pending:
            pending.result()


# pylint: disable-next=too-many-arguments,too-many-locals  # the ports of the use case
def train(
    model: CatalogModel,
    config: TrainingConfig,
    draft: PackageDraft,
    *,
    framework: Framework,
    load_served: Loader,
    draw: DrawFigures,
    tracker: Tracker,
    background: Executor,
    provenance: Mapping[str, Any],
    keep: Callable[[Path], str],
    fetched: Fetched | None = None,
    progress: Progress,
    on_progress: Progress = lambda step, result: None,
) -> Candidate:
    """Train on all rows except the hold-out, measure, package and register as ``candidate``.

    Args:
        draft: the package to write.
        background: draws and records while this process continues; its tasks must be picklable.
        provenance: the environment, for ``provenance.json``.
        keep: keeps a snapshot of a data file that `load` has read, and returns its name.
        fetched: what the configuration's ``data.source`` has.
        progress: reports each finished step.
        on_progress: reports each epoch.

    Raises:
        ConfigError: the configuration lacks keys that the model's `build` and `load` need.
        DataError: the data break the contract; nothing has been recorded then.
        ExportError: the estimator cannot be exported in the served format.
    """
    with _BackgroundTasks(
        config.experiment_name, draft.version, tracker, background, on_progress
    ) as tasks:
        fitted = _fit(model, config, fetched, framework, tasks, progress)
        snapshots = _keep(fitted.dataset, fetched, keep)
        spec, report = fitted.spec, fitted.report
        progress("quality", f"hold-out {report}")
        data = _figure_data(fitted, tasks.curves)
        tasks.pending.append(background.submit(draw, data, draft.folder / "figures"))

        served_file = _write_served(fitted, config, draft, framework)
        served = load_served(served_file, spec)
        predictions = _predictions_of(served, fitted)
        parity = Parity.of(fitted.native, predictions[fitted.compared], spec)
        progress(
            "export",
            f"{served_file.name}, {served_file.stat().st_size / 1024:.0f} KiB, differs from native "
            f"by at most {parity.largest_difference:.0e}",
        )
        metrics = {
            **{f"holdout_{name}": value for name, value in report.to_dict().items()},
            "parity_largest_difference": parity.largest_difference,
            "fit_seconds": fitted.seconds / getattr(fitted.estimator, "fits_", 1),
        }
        digest = digest_of(predictions, fitted.dataset.row_hashes)
        origin = {**provenance, "predictions": digest}
        profiles = _profiles(fitted, predictions, config.data.reference_rows)
        draft.write_json("profile.json", profiles)
        on_progress("importance", "of each input on the hold-out")
        known = {**metrics, **_facts_for_monitoring(fitted, config, served, predictions)}
        _write_package(draft, fitted, config, served, known, origin, snapshots)
        tasks.finish()
        figures = (draft.folder / "figures").iterdir()
        progress("figures", ", ".join(sorted(path.stem for path in figures)))
        record = _record(draft.seal(), fitted, config, metrics, provenance, tasks.run_id)
        registered = register(record, tracker, background, progress)
    files = _local_files(fitted.dataset, fetched)
    return Candidate(record.package, registered, report, parity, files, snapshots)


def make_estimator(model: CatalogModel, config: TrainingConfig) -> Any:
    """An unfitted estimator as configured; a regressor gets prediction intervals.

    Raises:
        ConfigError: the configuration lacks keys that the model's `build` needs, or a classifier
            has no probabilities.
    """
    estimator = model.build(**config.build_arguments(model))
    output = model.SPEC.output
    if model.SPEC.classes and not hasattr(estimator, "predict_proba"):
        raise ConfigError(
            f"{_name_of(estimator)} has no predict_proba: wrap it in CalibratedClassifierCV"
        )
    if isinstance(output, Quantity):
        return ConformalRegressor(
            estimator,
            output.coverage,
            config.validation.folds or None,
            config.data.share_and_seed[1],
        )
    return estimator


def _keep(dataset: Dataset, fetched: Fetched | None, keep: Callable[[Path], str]) -> dict[str, str]:
    """Names of the snapshots of what was read, by the path of the file in the clone."""
    source = {SOURCE: fetched.snapshot} if fetched else {}
    files = [file for file in _local_files(dataset, fetched) if file.is_file()]
    return source | {path_in_clone(file): keep(file) for file in files}


def _local_files(dataset: Dataset, fetched: Fetched | None) -> tuple[Path, ...]:
    """The files that were read, except the snapshot of the source, which never changes."""
    snapshot = fetched.file.resolve() if fetched else None
    return tuple(file for file in dataset.files if file.resolve() != snapshot)


def _load(model: CatalogModel, config: TrainingConfig, fetched: Fetched | None) -> Dataset:
    dataset = config.load_data(model, fetched.file if fetched else None)
    source = dataset.source
    if fetched:
        source = f"{fetched.address}, snapshot {fetched.snapshot}"
    if dataset.from_log is not None:
        rows = int(dataset.from_log.sum())
        source += f"; {rows:,} labelled rows of the prediction log, {config.data.labelled}"
    return replace(dataset, source=source)


def _fit(
    model: CatalogModel,
    config: TrainingConfig,
    fetched: Fetched | None,
    framework: Framework,
    tasks: _BackgroundTasks,
    progress: Progress,
) -> Fitted:
    spec, estimator = model.SPEC, make_estimator(model, config)
    config.validation.measure_of(spec)  # refuse an invalid measure now, not after the fit
    check_decision(spec, config.decision)
    check = framework.check_export if config.serving.format == "onnx" else framework.check_save
    check(estimator)
    dataset = _load(model, config, fetched)
    rows = check_data(dataset, spec)
    learned, held = hold_out_masks(dataset, spec, *config.data.share_and_seed)
    # refuse invalid slices now, not after the fit
    slices_of(spec, rows[held], config.validation.slices, 1)
    unused = int((~learned & ~held).sum())
    progress(
        "data",
        f"{len(dataset)} rows × {len(spec.inputs)} inputs, {held.sum()} held out, "
        + f"{unused} on neither side of the split, " * bool(unused)
        + f"fingerprint {dataset.fingerprint[:12]}",
    )
    training_rows, target = rows[learned], dataset.encoded_target(spec)[learned]
    keys = None if dataset.keys is None else dataset.keys.take(learned)
    start = time.perf_counter()
    try:
        framework.fit(estimator, training_rows, target, tasks.report, keys)
    except ValueError as error:  # scikit-learn checks its parameters here
        raise ConfigError(
            f"{_name_of(estimator)} cannot be trained with this configuration: {error}"
        ) from error
    seconds = time.perf_counter() - start
    epochs = max(map(len, tasks.curves.values()), default=0)
    progress("fit", f"{_name_of(estimator)} in {seconds:.2f} s{_effort(estimator, epochs)}")
    spec, decision = _decide(spec, config, estimator, training_rows, target, keys, progress)
    compared = held | (np.arange(len(rows)) < _COMPARED_ROWS)
    native = predict_function(estimator, spec)(rows[compared])
    return Fitted(
        config.validation.measure_of(spec),
        *(dataset, rows, learned, held, estimator, compared, native, seconds, decision),
    )


def _effort(estimator: Any, epochs: int) -> str:
    """How many epochs or fits a training took, if there were several."""
    fits = getattr(estimator, "fits_", 1)
    for_intervals = f" for {fits} fits, {fits - 1} of them for the intervals" if fits > 1 else ""
    return (f" and {epochs} epochs" if epochs else "") + for_intervals


def _decide(
    spec: ModelSpec,
    config: TrainingConfig,
    estimator: Any,
    rows: np.ndarray,
    target: np.ndarray,
    keys: SplitKeys | None,
    progress: Progress,
) -> tuple[ModelSpec, Mapping[str, Any]]:
    """The contract with its decision threshold, and facts of the decision."""
    seed = config.data.share_and_seed[1]
    spec, choice = decide(spec, config.decision, estimator, rows, target, seed, keys)
    output = spec.output
    if not isinstance(output, Classes) or config.decision == DecisionConfig():
        return spec, {}
    progress("decision", describe(output, config.decision, choice))
    return spec, {"decision": facts(output, config.decision, choice)}


def _figure_data(fitted: Fitted, curves: Mapping[str, list[float]]) -> FigureData:
    return FigureData(
        fitted.spec,
        fitted.report,
        _importances(fitted.estimator, fitted.spec),
        fitted.predictions,
        fitted.actual,
        curves,
    )


def _write_served(
    fitted: Fitted, config: TrainingConfig, draft: PackageDraft, framework: Framework
) -> Path:
    """Write the served model in the configured format."""
    write, name = {
        "onnx": (framework.export, "model.onnx"),
        "native": (framework.save, "model.skops"),
    }[config.serving.format]
    write(fitted.estimator, fitted.spec, draft.folder / name)
    return draft.folder / name


def _predictions_of(served: Model, fitted: Fitted) -> np.ndarray:
    """The served model's predictions for all rows.

    Raises:
        ExportError: the served model fails, or its predictions are not finite.
    """
    try:
        predictions = served(fitted.rows)
    except Exception as error:  # whatever its runtime raises
        raise ExportError(
            f"{_name_of(fitted.estimator)} was exported, but the exported model fails: "
            f"{reason_of(error)}"
        ) from error
    invalid = int((~np.isfinite(predictions)).any(axis=1).sum())
    if invalid:
        raise ExportError(
            f"the predictions of {_name_of(fitted.estimator)} are not finite for {invalid} of "
            f"{len(predictions)} rows"
        )
    return predictions


def _profiles(
    fitted: Fitted, predictions: np.ndarray, reference_rows: int | None
) -> dict[str, Any]:
    """Profiles of the training rows and of the served model's predictions for them.

    After a retraining, of the latest training rows from the prediction log: what differed before
    must not raise an alarm again.

    Args:
        predictions: for all rows, shape (n_rows, n_outputs).
        reference_rows: of the configuration.
    """
    spec, rows, keys = fitted.spec, fitted.rows[fitted.learned], fitted.training.keys
    known, logged = np.flatnonzero(fitted.learned), fitted.dataset.from_log
    if logged is not None and logged[known].sum() >= _FEWEST_LOGGED:
        known = known[logged[known]][-_MOST_LOGGED:]  # drift is a change from now on
        if reference_rows is not None:
            since_drift = int((known >= len(logged) - reference_rows).sum())
            known = known[-max(since_drift, _FEWEST_LOGGED) :]
    profiles = {
        PREDICTION: profile_outputs(spec, predictions[known]),
        # an input of this name takes precedence
        **profile_inputs(spec, fitted.rows[known]),
    }
    if keys is not None and keys.time is not None:
        decided = spec.decide(predictions[fitted.learned])
        columns = np.column_stack([spec.monitored(rows), decided])
        mark_seasonal(profiles, spec, columns, keys.time)
    return profiles


def _facts_for_monitoring(
    fitted: Fitted, config: TrainingConfig, served: Model, predictions: np.ndarray
) -> dict[str, Any]:
    """What the hold-out tells of later predictions, for ``metrics.json``: importances of the
    inputs, and the calibration of a classifier.

    Args:
        predictions: of the served model for all rows, shape (n_rows, n_outputs).
    """
    rows, actual = fitted.rows[fitted.held], fitted.actual
    importances = permutation_importances(served, rows, actual, fitted.measure)
    known = {name: value for name, value in importances.items() if np.isfinite(value)}
    found: dict[str, Any] = {"importances": known}
    if fitted.spec.classes:
        held, tolerance = predictions[fitted.held], config.validation.calibration_error
        found["calibration"] = calibrate(fitted.spec, held, actual, tolerance).to_dict()
    return found


def _record(
    package: Path,
    fitted: Fitted,
    config: TrainingConfig,
    metrics: Mapping[str, float],
    provenance: Mapping[str, Any],
    run_id: str | None,
) -> TrainingRecord:
    return TrainingRecord(
        experiment_name=config.experiment_name,
        model_name=config.model_name,
        package=package,
        package_version=package.name,
        spec=fitted.spec,
        parameters=config.parameters()
        | {f"chosen.{name}": value for name, value in fitted.chosen.items()},
        metrics=metrics,
        tags={"git_commit": str(provenance["git_commit"]), "measure": fitted.measure.title},
        dataset=dataset_facts(fitted.dataset),
        example=fitted.golden_rows,
        run_id=run_id,
    )


def _write_package(
    draft: PackageDraft,
    fitted: Fitted,
    config: TrainingConfig,
    served: Model,
    metrics: Mapping[str, Any],
    provenance: Mapping[str, Any],
    snapshots: Mapping[str, str],
) -> None:
    spec, dataset, report = fitted.spec, fitted.dataset, fitted.report
    golden = fitted.golden_rows
    draft.write_native(fitted.estimator)
    draft.write_json("contract.json", spec.to_dict())
    draft.write_json(
        "holdout.json",
        {
            "holdout": fitted.holdout.row_hashes.tolist(),
            "training": fitted.training.row_hashes.tolist(),
        },
    )
    predictions = served(spec.encode_rows(golden))
    draft.write_json(
        "golden.json",
        {"rows": golden, "answers": predictions.tolist(), "actual": fitted.golden_truth},
    )
    draft.write_json(
        "metrics.json",
        {
            **metrics,
            **report.details(),
            **fitted.decision,
            **fitted.cross_validation,
            "measure": report.measure,
            "measure_options": fitted.measure.options,
            "chosen_parameters": fitted.chosen,
            "holdout_rows": report.rows,
            f"holdout_{report.measure}_interval": report.interval,
        },
    )
    draft.write_json(
        "provenance.json",
        {
            **provenance,
            "config": config.model_dump(),
            "data": {
                "source": dataset.source,
                "fingerprint": dataset.fingerprint,
                "snapshots": snapshots,
            },
        },
    )
    parity = metrics["parity_largest_difference"]
    rows = len(fitted.training)
    card = write_card(config, spec, report, dataset, rows, parity, provenance, fitted.chosen)
    (draft.folder / "card.md").write_text(card, encoding="utf-8")


def _name_of(estimator: Any) -> str:
    """Name of the estimator itself, without preprocessing steps and wrappers."""
    if isinstance(estimator, ConformalRegressor):
        return _name_of(estimator.estimator)
    steps = getattr(estimator, "steps", None)
    return _name_of(steps[-1][1]) if steps else type(estimator).__name__


def _importances(estimator: Any, spec: ModelSpec) -> dict[str, float]:
    values = getattr(estimator, "feature_importances_", np.zeros(0))
    return dict(zip(spec.input_names, map(float, values))) if len(values) == spec.width else {}
