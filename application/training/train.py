"""Train a model and write its package; the heavy parts beside it run at the same time."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from application.ports import (
    Classifier,
    DrawFigures,
    Exporter,
    FigureData,
    Loader,
    Progress,
    RegisteredVersion,
    Tracker,
    TrainingRecord,
)
from application.training.config import TrainingConfig
from application.training.schema import check_data
from domain.data.dataset import Dataset
from domain.data.splitting import hold_out
from domain.evaluation.metrics import ClassificationReport, log_loss
from domain.evaluation.parity import Parity
from domain.models.catalog import CatalogModel
from domain.models.contract import ModelSpec
from domain.monitoring.profile import profile_inputs


class PackageDraft(Protocol):
    """A package that is being written; nothing of it is seen before `seal`."""

    folder: Path

    def write_json(self, name: str, data: Mapping[str, Any]) -> None:
        """Write a JSON file into the package."""

    def write_native(self, estimator: Any) -> None:
        """Write the native model."""

    def seal(self) -> Path:
        """Write the manifest, move the package to its place, and return that."""


@dataclass(frozen=True)
class Candidate:
    """What a training run made."""

    package: Path
    registered: RegisteredVersion
    report: ClassificationReport
    parity: Parity


@dataclass(frozen=True)
class _Fitted:
    """A fitted estimator with the data that it has seen and those that it has not.

    Attributes:
        probabilities: its answers on the hold-out, shape (n_holdout, n_classes).
        seconds: how long the fit took.
    """

    spec: ModelSpec
    dataset: Dataset
    training: Dataset
    holdout: Dataset
    estimator: Any
    probabilities: np.ndarray
    seconds: float

    @cached_property
    def actual(self) -> np.ndarray:
        """Class numbers of the hold-out, shape (n_holdout,)."""
        return self.holdout.codes(self.spec.classes)

    @cached_property
    def report(self) -> ClassificationReport:
        """Quality on the hold-out."""
        predicted = self.probabilities.argmax(axis=1)
        return ClassificationReport.of(self.actual, predicted, len(self.spec.classes))


def train(
    model: CatalogModel,
    config: TrainingConfig,
    draft: PackageDraft,
    *,
    export: Exporter,
    load_exported: Loader,
    draw: DrawFigures,
    tracker: Tracker,
    beside: Executor,
    provenance: Mapping[str, Any],
    progress: Progress,
) -> Candidate:
    """Train on all rows but the hold-out, measure, package and register as ``candidate``.

    Args:
        draft: where the package is written.
        beside: draws and records while this process goes on; its tasks must be picklable.
        provenance: what the environment adds to ``provenance.json``.

    Raises:
        DataError: the data break the contract; nothing has been recorded then.
    """
    fitted = _fit(model, config, progress)
    spec, report = fitted.spec, fitted.report
    progress("quality", f"hold-out {report}")
    figure_data = FigureData(
        spec.classes,
        report,
        _importances(fitted.estimator, spec),
        fitted.probabilities,
        fitted.actual,
    )
    figures = beside.submit(draw, figure_data, draft.folder / "figures")

    onnx = draft.folder / "model.onnx"
    export(fitted.estimator, spec, onnx)
    exported = load_exported(onnx)
    everything = _rows(fitted.dataset, spec)
    parity = Parity.of(fitted.estimator.predict_proba(everything), exported(everything))
    progress(
        "export",
        f"ONNX {onnx.stat().st_size / 1024:.0f} KiB, differs from native by at most "
        f"{parity.largest_difference:.0e}",
    )
    metrics = {
        **{f"holdout_{name}": value for name, value in report.to_dict().items()},
        "holdout_log_loss": log_loss(fitted.actual, fitted.probabilities),
        "parity_largest_difference": parity.largest_difference,
        "fit_seconds": fitted.seconds,
    }
    _write_package(draft, fitted, config, exported, metrics, provenance)
    figures.result()
    progress("figures", "confusion matrix, importances and confidence")

    package = draft.seal()
    try:
        record = _record(package, fitted, config, metrics, provenance)
        registered = beside.submit(tracker.record, record).result()
    except BaseException:
        shutil.rmtree(package)  # a package that no registry knows of could never be judged
        raise
    progress(
        "record", f"run {registered.run_id[:8]}, {config.model_name} version {registered.version}"
    )
    return Candidate(package, registered, report, parity)


def _record(
    package: Path,
    fitted: _Fitted,
    config: TrainingConfig,
    metrics: Mapping[str, float],
    provenance: Mapping[str, Any],
) -> TrainingRecord:
    dataset = fitted.dataset
    return TrainingRecord(
        experiment_name=config.experiment_name,
        model_name=config.model_name,
        package=package,
        package_version=package.name,
        spec=fitted.spec,
        parameters=config.parameters(),
        metrics=metrics,
        tags={"git_commit": str(provenance["git_commit"])},
        dataset={
            "name": dataset.name,
            "digest": dataset.fingerprint,
            "source": dataset.source,
            "rows": str(len(dataset)),
        },
        example=_golden_rows(fitted).tolist(),
    )


def _fit(model: CatalogModel, config: TrainingConfig, progress: Progress) -> _Fitted:
    spec, dataset = model.SPEC, model.load()
    check_data(dataset, spec)
    training, holdout = hold_out(dataset, config.data.test_size, config.data.random_state)
    progress(
        "data",
        f"{len(dataset)} rows × {len(spec.features)} inputs, {len(holdout)} held out, "
        f"fingerprint {dataset.fingerprint[:12]}",
    )
    estimator = model.build(config.model.model_dump())
    start = time.perf_counter()
    estimator.fit(_rows(training, spec), training.codes(spec.classes))
    seconds = time.perf_counter() - start
    progress("fit", f"{type(estimator).__name__} in {seconds:.2f} s")
    probabilities = estimator.predict_proba(_rows(holdout, spec))
    return _Fitted(spec, dataset, training, holdout, estimator, probabilities, seconds)


def _write_package(
    draft: PackageDraft,
    fitted: _Fitted,
    config: TrainingConfig,
    exported: Classifier,
    metrics: Mapping[str, float],
    provenance: Mapping[str, Any],
) -> None:
    spec, dataset, report = fitted.spec, fitted.dataset, fitted.report
    golden = _golden_rows(fitted)
    answers = exported(golden.astype(np.float32))
    draft.write_native(fitted.estimator)
    draft.write_json("contract.json", spec.to_dict())
    draft.write_json(
        "holdout.json",
        {
            "holdout": fitted.holdout.row_hashes.tolist(),
            "training": fitted.training.row_hashes.tolist(),
        },
    )
    draft.write_json(
        "profile.json", profile_inputs(spec.feature_names, _rows(fitted.training, spec))
    )
    draft.write_json("golden.json", {"rows": golden.tolist(), "probabilities": answers.tolist()})
    draft.write_json(
        "metrics.json",
        {
            **metrics,
            "holdout_rows": report.rows,
            "holdout_accuracy_interval": report.interval,
            "confusion_matrix": report.confusion.tolist(),
        },
    )
    draft.write_json(
        "provenance.json",
        {
            **provenance,
            "config": config.model_dump(),
            "data": {"source": dataset.source, "fingerprint": dataset.fingerprint},
        },
    )
    card = _card(fitted, config, metrics["parity_largest_difference"])
    (draft.folder / "card.md").write_text(card, encoding="utf-8")


def _rows(dataset: Dataset, spec: ModelSpec) -> np.ndarray:
    """float32 array of shape (n_rows, n_features), as the service sees them."""
    return np.ascontiguousarray(dataset.inputs[list(spec.feature_names)], dtype=np.float32)


def _importances(estimator: Any, spec: ModelSpec) -> dict[str, float]:
    values = getattr(estimator, "feature_importances_", np.zeros(0))
    return dict(zip(spec.feature_names, map(float, values)))


def _golden_rows(fitted: _Fitted) -> np.ndarray:
    """The first hold-out row of each class, float64 of shape (n_classes, n_features)."""
    first = np.unique(fitted.actual, return_index=True)[1]
    rows = fitted.holdout.take(first).inputs[list(fitted.spec.feature_names)]
    return np.asarray(rows, dtype=float)


def _card(fitted: _Fitted, config: TrainingConfig, parity: float) -> str:
    spec, report, dataset = fitted.spec, fitted.report, fitted.dataset
    low, high = report.interval
    inputs = "\n".join(
        f"| {f.name} | {f.unit} | {f.minimum:g} to {f.maximum:g} | {f.description} |"
        for f in spec.features
    )
    return f"""# {config.model_name} {config.version}

{spec.description}

Classes: {", ".join(spec.classes)}.

| input | unit | range | meaning |
|---|---|---|---|
{inputs}

## Quality

Measured on {report.rows} rows that the model never saw: accuracy {report.accuracy:.3f}
(95 % interval {low:.3f} to {high:.3f}), macro F1 {report.f1_score:.3f}.

![Confusion matrix](figures/confusion_matrix.png)

The served ONNX model differs from the native one by at most {parity:.1e} in a probability.

## Data

{dataset.source}: {len(dataset)} rows, fingerprint {dataset.fingerprint}.
"""
