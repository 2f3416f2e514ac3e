"""Train any model of the catalog: `python …/pipelines/iris_training_pipeline.py --help`.

Slow libraries are imported inside functions: a second process imports MLflow and matplotlib while
this one imports scikit-learn and trains.
"""

# pylint: disable=import-outside-toplevel

from __future__ import annotations

import argparse
import gc
import sys
from concurrent.futures.process import BrokenProcessPool
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.errors import ConfigError, MlopsError
from infrastructure.compute.background import Background
from infrastructure.tracking.mlflow_import import import_mlflow
from shared.arguments import valid_model_name
from shared.commands import entry_point
from shared.console import show_progress, show_step
from shared.endings import end_as_interrupted
from shared.files import write_atomically
from shared.paths import ROOT

if TYPE_CHECKING:
    from application.training.config import TrainingConfig
    from application.training.train import Candidate
    from application.training.transcription import SpeechCandidate
    from domain.catalog import CatalogModel
    from infrastructure.packaging.model_package import PackageDraft
    from infrastructure.tracking.mlflow_tracker import MlflowTracker

# imported before garbage is looked for again; most models are exported by skl2onnx
_LATER = ("application.training.train", "infrastructure.frameworks.dispatch", "skl2onnx")


@entry_point(MlopsError, BrokenProcessPool)
def main(arguments: list[str] | None = None) -> int:
    """Train, package and register a candidate; 0 when that is done."""
    parser = argparse.ArgumentParser(
        description="Train a model, package it, register it as candidate."
    )
    parser.add_argument(
        "--model", type=valid_model_name, default="iris", help="name in domain/models (%(default)s)"
    )
    parser.add_argument("--config", type=Path, help="JSON file (configs/<model>_config.json)")
    parser.add_argument("--receipt", type=Path, help="write a receipt to this file")
    options = parser.parse_args(arguments)
    end_as_interrupted()
    _train(options.model, options.config, options.receipt)
    gc.freeze()  # nor is it looked through at the end
    return 0


def _train(name: str, config_file: Path | None, receipt: Path | None) -> None:
    gc.disable()  # what an import makes is never garbage; looking through it took a fifth of a run
    with Background() as beside:
        beside.submit(import_mlflow)
        from application.training.config import TrainingConfig, config_path
        from infrastructure.tracking.mlflow_tracker import MlflowTracker
        from shared.settings import Settings

        path = config_file or config_path(name)
        config = TrainingConfig.read(path)
        settings = Settings()
        tracker = MlflowTracker(settings.tracking_uri)
        check_tracking = tracker.warm_up_beside(beside)
        beside.submit(import_module, "matplotlib.backends.backend_agg")
        for module in _LATER:
            import_module(module)
        from domain import catalog
        from infrastructure.compute.receipts import write_receipt
        from infrastructure.packaging.model_package import PackageDraft, new_version
        from infrastructure.registry.ledger import FileLedger

        model = catalog.get(name)
        gc.freeze()
        gc.enable()
        check_tracking()
        version = new_version(config.version)
        with PackageDraft(settings.packages_dir, config.model_name, version) as draft:
            try:
                candidate = _make(model, config, draft, tracker, beside)
            except ConfigError as error:
                raise ConfigError(f"{path}: {error}") from error
    quality: dict[str, Any] = {}
    if candidate.report:
        quality[candidate.report.measure] = candidate.report.score
    FileLedger(settings.ledger).append(
        "train", config.model_name, version, run=candidate.registered.run_id, **quality
    )
    show_step("package", str(candidate.package))
    if receipt:
        _name_files(receipt, candidate.data_files)
        write_receipt(
            receipt,
            model_name=config.model_name,
            package=str(candidate.package),
            version=version,
            registry_version=candidate.registered.version,
            run_id=candidate.registered.run_id,
            **quality,
        )


def _make(model: CatalogModel, *given: Any) -> Candidate | SpeechCandidate:
    transcribes = model.SPEC.task == "transcription"
    return (_package_weights if transcribes else _train_estimator)(model, *given)


def _train_estimator(
    model: CatalogModel,
    config: TrainingConfig,
    draft: PackageDraft,
    tracker: MlflowTracker,
    beside: Background,
) -> Candidate:
    from application.training.train import train
    from infrastructure.frameworks.dispatch import Frameworks
    from infrastructure.inference.loading import load_served
    from infrastructure.provenance import collect_provenance
    from infrastructure.reporting.matplotlib_figures import draw_figures

    return train(
        model,
        config,
        draft,
        framework=Frameworks(),
        load_served=load_served,
        draw=draw_figures,
        tracker=tracker,
        beside=beside,
        provenance=collect_provenance(ROOT),
        progress=show_step,
        passing=show_progress,
    )


def _package_weights(
    model: CatalogModel,
    config: TrainingConfig,
    draft: PackageDraft,
    tracker: MlflowTracker,
    beside: Background,
) -> SpeechCandidate:
    from application.training.transcription import package_weights
    from infrastructure.inference.speech_tools import speech_tools
    from infrastructure.provenance import collect_provenance
    from shared.settings import Settings

    settings = Settings()
    return package_weights(
        model,
        config,
        draft,
        tools=speech_tools(ROOT, settings.whisper_model, settings.whisper_download),
        tracker=tracker,
        beside=beside,
        provenance=collect_provenance(ROOT),
        progress=show_step,
    )


def _name_files(receipt: Path, files: tuple[Path, ...]) -> None:
    """Tell make which files were read: when one changes, the receipt is out of date.

    Before the receipt: with a receipt alone, no change would be noticed.
    """
    text = "".join(f"{file}\n" for file in files)
    write_atomically(receipt.with_suffix(".files"), text)


if __name__ == "__main__":
    sys.exit(main())
