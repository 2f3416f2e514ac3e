"""Judge a candidate: `python application/validation/model_validation/validate_model.py --help`."""

# pylint: disable=import-outside-toplevel

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import sys
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.errors import ConfigError, GateRefusal, MlopsError, PackageError, RegistryError
from shared.arguments import valid_model_name
from shared.commands import entry_point
from shared.console import progress, show_step
from shared.files import write_atomically
from shared.settings import Settings

if TYPE_CHECKING:
    from application.ports.registry import ModelVersion
    from application.training.config import TrainingConfig, ValidationConfig
    from application.validation.judgement import Judgement
    from application.validation.validate import Champion, CrossValidation
    from domain.catalog import CatalogModel
    from domain.data.dataset import Dataset
    from domain.gates import Verdict
    from infrastructure.packaging.model_package import ModelPackage
    from infrastructure.packaging.serving_check import ServingCheck
    from infrastructure.registry.ledger import FileLedger
    from infrastructure.registry.mlflow_registry import MlflowRegistry

REFUSED = 3


@entry_point(MlopsError, codes={GateRefusal: REFUSED})
def main(arguments: list[str] | None = None) -> int:
    """Judge, and promote what is accepted; 0 accepted, 3 refused, 1 not judged."""
    parser = argparse.ArgumentParser(description="Judge a candidate; promote it when accepted.")
    parser.add_argument(
        "--model", type=valid_model_name, default="iris", help="name in domain/models (%(default)s)"
    )
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
    _validate(options)
    return 0


def _validate(options: argparse.Namespace) -> None:
    began = time.monotonic()
    settings = Settings()
    os.environ["BENTOML_HOME"] = str(settings.bento_home)
    from infrastructure.compute.receipts import write_receipt
    from infrastructure.packaging.bento_store import service_of
    from infrastructure.packaging.serving_check import start_serving_check
    from infrastructure.registry.ledger import FileLedger
    from infrastructure.registry.mlflow_registry import MlflowRegistry

    registry = MlflowRegistry(settings.tracking_uri, settings.packages_dir)
    folder = _find_package(options, registry).resolve()
    version = _on_record(folder, registry)
    name = folder.parent.name if options.model_path else options.model
    shown = settings.receipts_dir / name / "validation"
    shutil.rmtree(shown, ignore_errors=True)
    shown.mkdir(parents=True)
    record = _Record(version, registry, FileLedger(settings.ledger), shown)
    package, intact = _open(folder, record)
    rules = _config_of(package).validation
    if options.threshold is not None:
        rules = rules.model_copy(update={"threshold": options.threshold})
    with start_serving_check(package.folder, service_of(package)) as serving:
        ask = _judge_speech if package.spec.task == "transcription" else _judge
        champion = _champion_now(registry, version)
        judgement, crossed = ask(package, rules, _Rival.of(champion, registry))
        judgement = replace(judgement, verdicts=[intact, *judgement.verdicts, _wait_for(serving)])
    _show_total(judgement, time.monotonic() - began)
    try:
        _write_report(package, version, judgement, crossed, shown)
    finally:
        record.keep(judgement.verdicts)
    judgement.check_accepted(f"{version.model_name} {package.version}")
    tag, promoted = _accept(package, record, champion, rules.approval == "manual", options.model)
    if not options.receipt:
        return
    accepted: dict[str, Any] = {
        "model_name": version.model_name,
        "version": package.version,
        "registry_version": version.number,
        "model_tag": tag,
        "service": service_of(package),
    }
    if promoted:
        write_receipt(options.receipt.with_name("champion.json"), **accepted)
    write_receipt(
        options.receipt,
        **accepted,
        threshold=rules.threshold,
        verdicts=[verdict.to_dict() for verdict in judgement.verdicts],
        cross_validation=crossed.scores.tolist() if crossed else [],
    )


@dataclass(frozen=True)
class _Rival:
    """The champion's package, or why it cannot be asked; neither where there is no champion."""

    package: ModelPackage | None = None
    lost: str = ""

    @classmethod
    def of(cls, champion: ModelVersion | None, registry: MlflowRegistry) -> _Rival:
        """Open its package."""
        if champion is None:
            return cls()
        try:
            return cls(registry.open_package(champion))
        except MlopsError as error:
            return cls(lost=str(error))

    def load(self) -> tuple[Champion | None, str]:
        """The champion as a model that answers rows, or why it cannot be asked."""
        from application.validation.validate import Champion
        from infrastructure.inference.loading import load_served

        if self.package is None:
            return None, self.lost
        served = self.package.served
        try:
            answers = load_served(served, self.package.spec)
        except PackageError as error:
            return None, str(error)
        return Champion(self.package, answers, served.stat().st_size), ""


@dataclass(frozen=True)
class _Record:
    """Where a judgement is kept: beside the receipts, in the registry and in the ledger."""

    version: ModelVersion
    registry: MlflowRegistry
    ledger: FileLedger
    folder: Path

    def keep(self, verdicts: Sequence[Verdict]) -> None:
        """Keep the verdicts, with what is in the folder already."""
        from infrastructure.compute.receipts import write_receipt

        refusing = ", ".join(verdict.gate for verdict in verdicts if not verdict.accepted)
        word = "refused" if refusing else "accepted"
        told = [verdict.to_dict() for verdict in verdicts]
        write_receipt(self.folder / "verdicts.json", verdict=word, verdicts=told)
        self.registry.record_verdict(self.version, word, self.folder)
        self.ledger.append(
            "verdict",
            self.version.model_name,
            self.version.package_version,
            verdict=word,
            refused_by=refusing or None,
        )


def _open(folder: Path, record: _Record) -> tuple[ModelPackage, Verdict]:
    """The package, and the verdict on its digests.

    Raises:
        GateRefusal: a digest differs; nothing that is in the package can be asked then.
    """
    from domain.gates import Verdict
    from infrastructure.packaging.model_package import ModelPackage

    gate, version = "digests_are_intact", record.version
    try:
        if version.package_digest is None:
            raise PackageError(f"the registry has no digest of {folder} on record: train it again")
        package = ModelPackage(folder, recorded=version.package_digest)
    except PackageError as error:
        refusal = Verdict(gate, False, str(error))
        _show([refusal])
        record.keep([refusal])
        raise GateRefusal(f"{version.model_name} {folder.name} is refused: {error}") from error
    verdict = Verdict(gate, True, "every file is as the registry has it on record")
    _show([verdict])
    return package, verdict


def _accept(
    package: ModelPackage, record: _Record, compared: ModelVersion | None, manual: bool, model: str
) -> tuple[str, bool]:
    """Put an accepted package into the Bento store, and promote it or let it wait.

    Args:
        compared: the champion that it was compared with.

    Returns:
        Its tag, and whether it is the champion now.

    Raises:
        RegistryError: there is another champion by now than the one that it was compared with.
    """
    from application.registry.promotion import promote
    from infrastructure.packaging.bento_store import add_accepted
    from infrastructure.registry.mlflow_registry import CHAMPION

    version, registry = record.version, record.registry

    def store() -> str:
        return add_accepted(package, version.model_name)

    tag = store()
    stored = f"{version.model_name} version {version.number}, {tag} in the Bento store"
    if manual and CHAMPION not in version.aliases:
        show_step("waiting", f"{stored}; make it the champion: make promote MODEL={model}")
        return tag, False
    with registry.alone():
        champion = _champion_now(registry, version)
        if champion and (compared is None or champion.number != compared.number):
            raise RegistryError(
                f"version {champion.number} has become champion in the meantime: make validate "
                "compares with it"
            )
        accepted = registry.find(version.model_name, version.number)
        promotion = promote(registry, record.ledger, accepted, store)
    former = promotion.former
    was = f"; it was version {former.number}" if former and promotion.moved else ""
    show_step("champion", stored + was)
    return tag, True


def _on_record(folder: Path, registry: MlflowRegistry) -> ModelVersion:
    """The version that was made from the package in a folder."""
    from infrastructure.packaging.model_package import MANIFEST

    if not (folder / MANIFEST).is_file():
        raise PackageError(f"{folder} is no model package: it has no {MANIFEST}")
    try:
        return registry.find(folder.parent.name, folder.name)
    except RegistryError as error:
        raise RegistryError(
            f"{folder} is not on record: only what make train has registered can be judged"
        ) from error


def _champion_now(registry: MlflowRegistry, candidate: ModelVersion) -> ModelVersion | None:
    """The champion; None where there is none, or where it is the candidate."""
    from infrastructure.registry.mlflow_registry import CHAMPION

    try:
        champion = registry.find(candidate.model_name, CHAMPION)
    except RegistryError:
        return None
    return None if champion.number == candidate.number else champion


def _config_of(package: ModelPackage) -> TrainingConfig:
    from application.training.config import TrainingConfig

    return TrainingConfig.recorded(package.read_json("provenance.json"))


def _judge(
    package: ModelPackage, rules: ValidationConfig, rival: _Rival
) -> tuple[Judgement, CrossValidation | None]:
    """The judgement, and a cross-validation as context."""
    from application.validation.judgement import Judgement
    from application.validation.validate import GATES, Case, judge
    from domain import catalog
    from domain.gates import Verdict
    from infrastructure.inference.loading import load_served

    spec, config = package.spec, _config_of(package)
    model = catalog.get(spec.name)
    try:
        served = load_served(package.served, spec)
    except PackageError as error:
        refusal = Verdict("loads", False, str(error))
        _show([refusal])
        return Judgement(spec, [refusal]), None
    champion, lost = rival.load()
    dataset = model.load(**config.load_arguments(model))
    case = Case(package, served, dataset, rules, champion, lost, package.served.stat().st_size)
    order = ("digests_are_intact", *GATES, "serves_alone")
    try:
        with progress("gate") as update:
            judgement = judge(
                case, lambda gate: update(f"{gate} ({order.index(gate) + 1} of {len(order)})")
            )
    except GateRefusal as error:
        judgement = Judgement(spec, [Verdict("answers_are_valid", False, str(error))])
    _show(judgement.verdicts)
    return judgement, _cross_validate(model, config, rules.folds, dataset)


def _cross_validate(
    model: CatalogModel, config: TrainingConfig, folds: int, dataset: Dataset
) -> CrossValidation | None:
    from application.training.train import make_estimator
    from application.validation.validate import cross_validate

    if not folds:
        return None
    recipe, seed = make_estimator(model, config), config.data.split[1]
    try:
        crossed = cross_validate(recipe, dataset, model.SPEC, folds, seed, _show_progress)
    except ValueError as error:
        reason = f"validation.folds {folds} does not suit the data: {error}"
        raise ConfigError(reason) from error
    show_step("context", f"cross-validation of the same recipe: {crossed}")
    return crossed


def _judge_speech(
    package: ModelPackage, rules: ValidationConfig, rival: _Rival
) -> tuple[Judgement, None]:
    from application.validation.transcription import judge
    from domain.catalog import needing_extras

    with needing_extras("speech", "whisper"):
        from infrastructure.inference.whisper_engine import open_package

    judgement = judge(package, rules, lambda: open_package(package), rival.package, rival.lost)
    _show(judgement.verdicts)
    return judgement, None


def _write_report(
    package: ModelPackage,
    version: ModelVersion,
    judgement: Judgement,
    crossed: CrossValidation | None,
    folder: Path,
) -> None:
    """Write the report and the card, and say where they are."""
    from application.validation.judgement import Validation
    from application.validation.validated_card import validated_card
    from infrastructure.reporting.validation_report import write_report

    provenance = package.read_json("provenance.json")
    validation = Validation(
        version.model_name,
        package.version,
        judgement,
        provenance["config"],
        provenance,
        package.read_json("metrics.json"),
        (package.folder / "card.md").read_text(encoding="utf-8"),
        str(crossed) if crossed else None,
    )
    card = folder / "card.md"
    write_atomically(card, validated_card(validation))
    show_step("report", write_report(validation, folder).as_uri())
    show_step("card", card.as_uri())


def _wait_for(serving: ServingCheck) -> Verdict:
    with progress("gate") as update:
        update("serves_alone (the last one)")
        verdict = serving.verdict()
    _show([verdict])
    return verdict


def _show_total(judgement: Judgement, seconds: float) -> None:
    refusing = len(judgement.refused)
    result = f"{refusing} refused" if refusing else "all accepted"
    show_step("judged", f"{len(judgement.verdicts)} gates in {seconds:.1f} s: {result}")


def _show(verdicts: Iterable[Verdict]) -> None:
    for verdict in verdicts:
        show_step(verdict.word, f"{verdict.gate}: {verdict.reason}")


def _find_package(options: argparse.Namespace, registry: MlflowRegistry) -> Path:
    """The folder that was named, else that of a training's receipt, else the candidate's."""
    from application.training.config import registered_name
    from infrastructure.registry.mlflow_registry import CANDIDATE

    if options.model_path:
        return Path(options.model_path)
    if options.train_receipt:
        try:
            receipt = json.loads(options.train_receipt.read_text(encoding="utf-8"))
        except OSError as error:
            raise PackageError(f"no receipt of a training: {error}") from error
        return Path(receipt["package"])
    return registry.package_of(registered_name(options.model), CANDIDATE)


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
