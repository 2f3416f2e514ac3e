"""Judge a candidate: `python application/validation/model_validation/validate_model.py --help`."""

# pylint: disable=import-outside-toplevel

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.errors import GateRefusal, MlopsError
from shared.console import fail, show_step
from shared.settings import Settings

if TYPE_CHECKING:
    from infrastructure.registry.mlflow_registry import MlflowRegistry


def main(arguments: list[str] | None = None) -> int:
    """Judge, and promote what is accepted; 0 accepted, 3 refused, 1 not judged."""
    parser = argparse.ArgumentParser(description="Judge a candidate; promote it when accepted.")
    parser.add_argument("--model", default="iris", help="name in domain/models (%(default)s)")
    parser.add_argument(
        "--model-path", type=Path, help="folder of the package (default: the model's candidate)"
    )
    parser.add_argument(
        "--threshold", type=_share, help="smallest hold-out accuracy (default: the configuration's)"
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
    from application.validation.validate import cross_validate, judge, promote
    from domain.models import catalog
    from infrastructure.compute.receipts import write_receipt
    from infrastructure.inference.onnx_runtime import load_onnx
    from infrastructure.packaging.bento_store import add_package
    from infrastructure.packaging.model_package import ModelPackage
    from infrastructure.registry.mlflow_registry import MlflowRegistry

    registry = MlflowRegistry(settings.tracking_uri, settings.packages_dir)
    package = ModelPackage(_find_package(options, registry).resolve())
    config = TrainingConfig.model_validate(package.read_json("provenance.json")["config"])
    threshold = config.validation.threshold if options.threshold is None else options.threshold
    model = catalog.get(package.read_json("contract.json")["name"])
    dataset = model.load()
    verdicts = judge(package, load_onnx(package.onnx), dataset, threshold)
    for verdict in verdicts:
        show_step(verdict.word, f"{verdict.gate}: {verdict.reason}")
    scores = cross_validate(
        model.build(config.model.model_dump()),
        dataset,
        model.SPEC,
        config.data.random_state,
        _show_progress,
    )
    show_step("context", f"cross-validated accuracy of the same recipe {scores}")

    def add_to_store() -> str:
        accuracy = package.read_json("metrics.json")["holdout_accuracy"]
        labels = {"owner": "mlops-template", "stage": "champion", "accuracy": f"{accuracy:.4f}"}
        metadata = {
            "package_version": package.version,
            "threshold": threshold,
            "cross_validated_accuracy": float(scores.scores.mean()),
        }
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
            threshold=threshold,
            verdicts=[verdict.to_dict() for verdict in verdicts],
            cross_validation=scores.scores.tolist(),
        )


def _find_package(options: argparse.Namespace, registry: MlflowRegistry) -> Path:
    """The folder that was named, else that of a training's receipt, else the candidate's."""
    from application.training.config import TrainingConfig, config_path
    from infrastructure.registry.mlflow_registry import CANDIDATE

    if options.model_path:
        return Path(options.model_path)
    if options.train_receipt:
        return Path(json.loads(options.train_receipt.read_text(encoding="utf-8"))["package"])
    name = TrainingConfig.read(config_path(options.model)).model_name
    return registry.package_of(name, CANDIDATE)


def _show_progress(folds: Iterable[Any]) -> Iterable[Any]:
    from tqdm import tqdm

    return tqdm(folds, "  cross-validation", leave=False, disable=None)


def _share(text: str) -> float:
    value = float(text)
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1")
    return value


if __name__ == "__main__":
    sys.exit(main())
