"""Train a model and write its package; the heavy parts beside it run at the same time."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass
from multiprocessing.pool import Pool
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


def train(
    model: CatalogModel,
    config: TrainingConfig,
    draft: PackageDraft,
    *,
    export: Exporter,
    load_exported: Loader,
    draw: DrawFigures,
    tracker: Tracker,
    beside: Pool,
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
    fit_seconds = time.perf_counter() - start
    progress("fit", f"{type(estimator).__name__} in {fit_seconds:.2f} s")

    actual = holdout.codes(spec.classes)
    probabilities = estimator.predict_proba(_rows(holdout, spec))
    report = ClassificationReport.of(actual, probabilities.argmax(axis=1), len(spec.classes))
    low, high = report.interval
    progress(
        "quality",
        f"hold-out accuracy {report.accuracy:.3f} ({report.correct} of {report.rows}, "
        f"95 % interval {low:.3f} to {high:.3f})",
    )
    figure_data = FigureData(
        spec.classes, report, _importances(estimator, spec), probabilities, actual
    )
    figures = beside.apply_async(draw, (figure_data, draft.folder / "figures"))

    onnx = draft.folder / "model.onnx"
    export(estimator, spec, onnx)
    exported = load_exported(onnx)
    everything = _rows(dataset, spec)
    parity = Parity.of(estimator.predict_proba(everything), exported(everything))
    progress(
        "export",
        f"ONNX {onnx.stat().st_size / 1024:.0f} KiB, differs from native by at most "
        f"{parity.largest_difference:.0e}",
    )

    metrics = {
        **{f"holdout_{name}": value for name, value in report.to_dict().items()},
        "holdout_log_loss": log_loss(actual, probabilities),
        "parity_largest_difference": parity.largest_difference,
        "fit_seconds": fit_seconds,
    }
    golden_rows = _rows(_one_per_class(holdout, spec), spec)
    draft.write_native(estimator)
    draft.write_json("contract.json", spec.to_dict())
    draft.write_json(
        "holdout.json",
        {"holdout": holdout.row_hashes.tolist(), "training": training.row_hashes.tolist()},
    )
    draft.write_json("profile.json", profile_inputs(spec.feature_names, _rows(training, spec)))
    draft.write_json("golden.json", _golden(exported, golden_rows))
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
    (draft.folder / "card.md").write_text(
        _card(spec, config, dataset, report, parity), encoding="utf-8"
    )
    figures.get()
    progress("figures", "confusion matrix, importances and confidence")

    package = draft.seal()
    record = TrainingRecord(
        experiment_name=config.experiment_name,
        model_name=config.model_name,
        package=package,
        package_version=package.name,
        spec=spec,
        parameters=config.parameters(),
        metrics=metrics,
        tags={"git_commit": str(provenance["git_commit"])},
        dataset={
            "name": dataset.name,
            "digest": dataset.fingerprint,
            "source": dataset.source,
            "rows": str(len(dataset)),
        },
        example=golden_rows.tolist(),
    )
    try:
        registered = beside.apply(tracker.record, (record,))
    except BaseException:
        shutil.rmtree(package)  # a package that no registry knows of could never be judged
        raise
    progress(
        "record", f"run {registered.run_id[:8]}, {config.model_name} version {registered.version}"
    )
    return Candidate(package, registered, report, parity)


def _rows(dataset: Dataset, spec: ModelSpec) -> np.ndarray:
    """float32 array of shape (n_rows, n_features), as the service sees them."""
    return np.ascontiguousarray(dataset.inputs[list(spec.feature_names)], dtype=np.float32)


def _importances(estimator: Any, spec: ModelSpec) -> dict[str, float]:
    values = getattr(estimator, "feature_importances_", np.zeros(0))
    return dict(zip(spec.feature_names, map(float, values)))


def _one_per_class(dataset: Dataset, spec: ModelSpec) -> Dataset:
    codes = dataset.codes(spec.classes)
    return dataset.take(np.array([np.flatnonzero(codes == code)[0] for code in np.unique(codes)]))


def _golden(model: Classifier, rows: np.ndarray) -> dict[str, Any]:
    probabilities = model(rows)
    return {"rows": rows.tolist(), "probabilities": probabilities.tolist()}


def _card(
    spec: ModelSpec,
    config: TrainingConfig,
    dataset: Dataset,
    report: ClassificationReport,
    parity: Parity,
) -> str:
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

The served ONNX model differs from the native one by at most {parity.largest_difference:.1e} in a probability.

## Data

{dataset.source}: {len(dataset)} rows, fingerprint {dataset.fingerprint}.
"""
