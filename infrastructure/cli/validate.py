"""Judge a candidate; promote it to champion if every gate accepts.

Exit codes: 0 accepted, 3 refused, 1 not judged.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

from tqdm import tqdm

from application.ports.registry import ModelVersion
from application.training.config import ValidationConfig, registered_name
from application.validation.candidate import (
    Accepted,
    ChampionPackage,
    Ports,
    judge_estimator,
    registered_version,
    show_verdicts,
    validate_candidate,
)
from application.validation.judgement import Judgement
from application.validation.transcription import judge as judge_transcription
from application.validation.validate import CrossValidation
from domain.catalog import needing_extras
from domain.errors import GateRefusal, PackageError, RegistryError
from infrastructure.cli._arguments import add_model, add_receipt
from infrastructure.cli._registry import open_registry
from infrastructure.compute.receipts import write_receipt
from infrastructure.inference.loading import load_served
from infrastructure.packaging.bento_store import add_accepted, service_of
from infrastructure.packaging.model_package import MANIFEST, ModelPackage
from infrastructure.registry.ledger import open_ledger
from infrastructure.registry.mlflow_registry import CANDIDATE, CHAMPION, MlflowRegistry
from infrastructure.reporting.validation_folder import ValidationFolder
from infrastructure.serving.serving_check import start_serving_check
from infrastructure.storage.snapshots import open_snapshots
from shared.console import progress, show_step
from shared.settings import Settings

EXIT_CODES = {GateRefusal: 3}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the package, the threshold and the receipts."""
    add_model(parser)
    parser.add_argument(
        "--model-path",
        type=Path,
        help="folder of a package, or of packages, whose newest is judged (default: the model's "
        "candidate)",
    )
    parser.add_argument(
        "--threshold",
        type=_at_most_one,
        help="minimum score on the hold-out (default: from the configuration)",
    )
    parser.add_argument(
        "--train-receipt", type=Path, help="receipt of a training, whose package to judge"
    )
    add_receipt(parser)


def run(args: argparse.Namespace) -> None:
    """Judge the candidate, and promote it if it is accepted."""
    settings = Settings.load()
    registry, ledger = open_registry(settings), open_ledger(settings.ledger)
    folder = _find_package(args, registry).resolve()
    version = registered_version(folder, registry)
    name = folder.parent.name if args.model_path else args.model
    report_folder = settings.receipts_dir / name / "validation"
    shutil.rmtree(report_folder, ignore_errors=True)
    report_folder.mkdir(parents=True)
    ports = Ports(
        registry=registry,
        ledger=ledger,
        report=ValidationFolder(report_folder, show_step),
        open_package=lambda path, digest: ModelPackage(path, recorded=digest),
        open_champion=registry.open_package,
        judge=partial(_judge, settings),
        start_serving_check=lambda package: start_serving_check(
            package.folder, service_of(package)
        ),
        store=add_accepted,
        progress=show_step,
    )
    try:
        accepted = validate_candidate(folder, version, args.threshold, ports)
    except GateRefusal:
        _show_next(args.model, version.model_name, registry)
        raise
    if not accepted.promoted:
        show_step("next", f"make promote MODEL={args.model} makes it the champion")
    if args.receipt:
        _write_receipts(args.receipt, accepted)


def _show_next(model: str, name: str, registry: MlflowRegistry) -> None:
    """What to do after a refusal."""
    show_step("next", "docs/gates.md says what to do; `validation` in the config sets limits")
    with suppress(RegistryError):
        champion = registry.find(name, CHAMPION)
        show_step(
            "champion",
            f"version {champion.number}, {champion.package_version}, stays; to deploy it: "
            f"make promote deploy MODEL={model} VERSION={champion.number}",
        )


def _write_receipts(receipt: Path, accepted: Accepted) -> None:
    version: ModelVersion = accepted.version
    contents: dict[str, Any] = {
        "model_name": version.model_name,
        "version": accepted.package.version,
        "registry_version": version.number,
        "model_tag": accepted.tag,
        "service": service_of(accepted.package),
    }
    if accepted.promoted:
        write_receipt(receipt.with_name("champion.json"), **contents)
    cross_validation = accepted.cross_validation
    write_receipt(
        receipt,
        **contents,
        threshold=accepted.rules.threshold,
        verdicts=[verdict.to_dict() for verdict in accepted.judgement.verdicts],
        cross_validation=cross_validation.scores.tolist() if cross_validation else [],
    )


def _find_package(args: argparse.Namespace, registry: MlflowRegistry) -> Path:
    """The folder of --model-path, else of the training's receipt, else of the candidate.

    Raises:
        PackageError: there is no receipt, or the folder is not a package.
        RegistryError: there is no candidate.
    """
    if args.model_path:
        folder = _newest_package(args.model_path)
    elif args.train_receipt:
        try:
            receipt = json.loads(args.train_receipt.read_text(encoding="utf-8"))
        except OSError as error:
            raise PackageError(
                f"cannot read the receipt of the training: {error}: run make train"
            ) from error
        folder = Path(receipt["package"])
    else:
        folder = registry.package_of(registered_name(args.model), CANDIDATE)
    if not (folder / MANIFEST).is_file():
        raise PackageError(f"{folder} is not a model package: it has no {MANIFEST}")
    return folder


def _newest_package(folder: Path) -> Path:
    """The package that was written last: the folder, or one in it or in its subfolders. The folder
    itself if no package is found."""
    found = (path for depth in ("", "*/", "*/*/") for path in folder.glob(f"{depth}{MANIFEST}"))
    return max(found, key=lambda path: path.stat().st_mtime_ns, default=folder / MANIFEST).parent


def _judge(
    settings: Settings, package: ModelPackage, rules: ValidationConfig, champion: ChampionPackage
) -> tuple[Judgement, CrossValidation | None]:
    """Run the gates of the package's task."""
    if package.spec.task == "transcription":
        with needing_extras("speech", "whisper"):
            # pylint: disable-next=import-outside-toplevel  # an extra that may not be installed
            from infrastructure.inference.whisper_engine import open_package
        judgement = judge_transcription(
            package, rules, partial(open_package, package), champion.package, champion.unavailable
        )
        show_verdicts(judgement.verdicts, show_step)
        return judgement, None
    with progress("gate") as update:
        return judge_estimator(
            package,
            rules,
            champion,
            load_served=load_served,
            snapshots=open_snapshots(settings),
            on_gate=update,
            on_folds=_show_folds,
            progress=show_step,
        )


def _show_folds(folds: Iterable[Any]) -> Iterable[Any]:
    return tqdm(folds, "  cross-validation", leave=False, disable=None)


def _at_most_one(text: str) -> float:
    value = float(text)
    if math.isnan(value) or value > 1:
        raise argparse.ArgumentTypeError(f"{text} is not a number of at most 1")
    return value
