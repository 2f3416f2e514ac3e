"""Judge a candidate: `python application/validation/model_validation/validate_model.py --help`."""

# pylint: disable=import-outside-toplevel

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.errors import ConfigError, GateRefusal, MlopsError, PackageError
from shared.console import fail, show_step
from shared.settings import Settings

if TYPE_CHECKING:
    from application.training.config import TrainingConfig
    from domain.evaluation.gates import Verdict
    from domain.models.contract import ModelSpec
    from infrastructure.packaging.model_package import ModelPackage
    from infrastructure.registry.mlflow_registry import MlflowRegistry


def main(arguments: list[str] | None = None) -> int:
    """Judge, and promote what is accepted; 0 accepted, 3 refused, 1 not judged."""
    parser = argparse.ArgumentParser(description="Judge a candidate; promote it when accepted.")
    parser.add_argument("--model", default="iris", help="name in domain/models (%(default)s)")
    parser.add_argument(
        "--model-path", type=Path, help="folder of the package (default: the model's candidate)"
    )
    parser.add_argument(
        "--threshold",
        type=_at_most_one,
        help="smallest accuracy or R² on the hold-out (default: the configuration's)",
    )
    parser.add_argument(
        "--train-receipt", type=Path, help="take the package from this receipt of a training"
    )
    parser.add_argument("--receipt", type=Path, help="write a receipt to this file")
    options = parser.parse_args(arguments)
    try:
        _validate(options)
    except GateRefusal as error:
        fail(error)
        return 3
    except MlopsError as error:
        return fail(error)
    return 0


def _validate(options: argparse.Namespace) -> None:
    settings = Settings()
    os.environ["BENTOML_HOME"] = str(settings.bento_home)
    from application.training.config import TrainingConfig
    from application.validation.validate import promote
    from domain.models.contract import ModelSpec
    from infrastructure.compute.receipts import write_receipt
    from infrastructure.packaging.bento_store import add_package, service_of
    from infrastructure.packaging.model_package import ModelPackage
    from infrastructure.registry.mlflow_registry import MlflowRegistry

    registry = MlflowRegistry(settings.tracking_uri, settings.packages_dir)
    package = ModelPackage(_find_package(options, registry).resolve())
    config = TrainingConfig.model_validate(package.read_json("provenance.json")["config"])
    threshold = config.validation.threshold if options.threshold is None else options.threshold
    spec = ModelSpec.from_dict(package.read_json("contract.json"))
    ask = _judge_speech if spec.task == "transcription" else _judge
    verdicts, scores = ask(package, spec, config, threshold)

    def add_to_store() -> str:
        figures = package.read_json("metrics.json")
        measure = figures.get("measure")
        quality = {measure: f"{figures[f'holdout_{measure}']:.4f}"} if measure else {}
        labels = {"owner": "mlops-template", "stage": "champion", **quality}
        metadata = {"package_version": package.version, "threshold": str(threshold)}
        return add_package(package.folder, config.model_name, labels, metadata)

    tag, version = promote(package, verdicts, add_to_store, registry, config.model_name)
    show_step("champion", f"version {version} of {config.model_name}, {tag} in the Bento store")
    if options.receipt:
        write_receipt(
            options.receipt,
            model_name=config.model_name,
            version=package.version,
            registry_version=version,
            model_tag=tag,
            service=service_of(package),
            threshold=threshold,
            verdicts=[verdict.to_dict() for verdict in verdicts],
            cross_validation=scores,
        )


def _judge(
    package: ModelPackage, spec: ModelSpec, config: TrainingConfig, threshold: float | None
) -> tuple[list[Verdict], list[float]]:
    """Verdicts, and the scores of a cross-validation as context."""
    from application.training.train import make_estimator
    from application.validation.validate import cross_validate, judge, skip
    from domain.models import catalog
    from infrastructure.inference.loading import load_served

    if threshold is None:
        raise ConfigError("validation.threshold is null: only a transcriber can do without one")
    model = catalog.get(spec.name)
    dataset = model.load(**config.load_arguments(model))
    served = load_served(package.served, spec)
    verdicts = skip(judge(package, served, dataset, threshold), config.validation.skip)
    _show(verdicts)
    folds = config.validation.folds
    if not folds:
        return verdicts, []
    recipe, seed = make_estimator(model, config), config.data.split[1]
    try:
        crossed = cross_validate(recipe, dataset, model.SPEC, folds, seed, _show_progress)
    except ValueError as error:
        raise ConfigError(f"validation.folds {folds} does not suit the data: {error}") from error
    show_step("context", f"cross-validation of the same recipe: {crossed}")
    return verdicts, crossed.scores.tolist()


def _judge_speech(
    package: ModelPackage, spec: ModelSpec, _config: TrainingConfig, threshold: float | None
) -> tuple[list[Verdict], list[float]]:
    from application.validation.transcription import judge
    from domain.models.catalog import needing_extras

    with needing_extras(spec.name, "whisper"):
        from infrastructure.inference.whisper_engine import open_package

    verdicts = judge(package, threshold, lambda: open_package(package))
    _show(verdicts)
    return verdicts, []


def _show(verdicts: Iterable[Verdict]) -> None:
    for verdict in verdicts:
        show_step(verdict.word, f"{verdict.gate}: {verdict.reason}")


def _find_package(options: argparse.Namespace, registry: MlflowRegistry) -> Path:
    """The folder that was named, else that of a training's receipt, else the candidate's."""
    from application.training.config import TrainingConfig, config_path
    from infrastructure.registry.mlflow_registry import CANDIDATE

    if options.model_path:
        return Path(options.model_path)
    if options.train_receipt:
        try:
            receipt = json.loads(options.train_receipt.read_text(encoding="utf-8"))
        except OSError as error:
            raise PackageError(f"no receipt of a training: {error}") from error
        return Path(receipt["package"])
    name = TrainingConfig.read(config_path(options.model)).model_name
    return registry.package_of(name, CANDIDATE)


def _show_progress(folds: Iterable[Any]) -> Iterable[Any]:
    from tqdm import tqdm

    return tqdm(folds, "  cross-validation", leave=False, disable=None)


def _at_most_one(text: str) -> float:
    value = float(text)
    if math.isnan(value) or value > 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number up to 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
