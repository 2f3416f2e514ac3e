"""Validate a candidate: run the gates, record the verdicts, promote it if every gate accepts."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from application.ports.ledger import Ledger
from application.ports.model import Loader
from application.ports.progress import Progress
from application.ports.registry import ModelVersion, Registry, VersionReader
from application.ports.snapshots import Snapshots, recorded_source
from application.registry.promotion import promote
from application.training.config import TrainingConfig, ValidationConfig
from application.training.train import make_estimator
from application.validation.judgement import JudgedPackage, Judgement, Validation, refusal_of
from application.validation.validate import (
    GATES,
    Case,
    Champion,
    CrossValidation,
    cross_validate,
    judge,
)
from domain import catalog
from domain.contract import ModelSpec
from domain.data.dataset import Dataset
from domain.errors import ConfigError, GateRefusal, MlopsError, PackageError, RegistryError
from domain.estimators.fitting import default_folds
from domain.estimators.search import chosen_parameters, without_search
from domain.gates import Verdict

DIGESTS, ALONE = "digests_are_intact", "serves_alone"
CHAMPION = "champion"
_LONG_SECONDS = 10.0


class Package(JudgedPackage, Protocol):
    """A package that may become champion."""

    @property
    def folder(self) -> Path:
        """The folder of the package."""

    @property
    def served(self) -> Path:
        """The file that a service loads."""

    @property
    def spec(self) -> ModelSpec:
        """Its contract."""


AnyPackage = TypeVar("AnyPackage", bound=Package)


class ServingCheck(Protocol):
    """A check in a clean process, which runs while the gates run."""

    def verdict(self) -> Verdict:
        """Wait for the verdict."""


class ReportFolder(Protocol):
    """The folder with the report of a validation."""

    @property
    def path(self) -> Path:
        """The folder."""

    def write_report(self, validation: Validation) -> None:
        """Write the report and the card."""

    def write_verdicts(self, verdict: str, verdicts: Sequence[Verdict]) -> None:
        """Write all verdicts as JSON; `verdict` is ``accepted`` or ``refused``."""


@dataclass(frozen=True)
class ChampionPackage:
    """The champion's package; None if there is no champion, or its package cannot be opened.

    Attributes:
        unavailable: why the package cannot be opened; empty if it can, or without a champion.
    """

    package: Package | None = None
    unavailable: str = ""

    def load(self, load_served: Loader) -> tuple[Champion | None, str]:
        """Load the champion as a model; None with the reason if that fails."""
        if self.package is None:
            return None, self.unavailable
        served = self.package.served
        try:
            model = load_served(served, self.package.spec)
        except PackageError as error:
            return None, str(error)
        return Champion(self.package, model, served.stat().st_size), ""


JudgePackage = Callable[
    [AnyPackage, ValidationConfig, ChampionPackage], tuple[Judgement, CrossValidation | None]
]


@dataclass(frozen=True)
class Ports:
    """What a validation needs from outside.

    Attributes:
        open_package: opens the package in a folder; PackageError if its digest is not this one.
        judge: runs the gates for the package's task.
        start_serving_check: starts the gate ``serves_alone``.
        store: puts a package into the model store under a model's name; returns its tag.
        progress: reports each verdict and step.
    """

    registry: Registry
    ledger: Ledger
    report: ReportFolder
    open_package: Callable[[Path, str], Any]
    open_champion: Callable[[ModelVersion], Any]
    judge: JudgePackage[Any]
    start_serving_check: Callable[[Any], AbstractContextManager[ServingCheck]]
    store: Callable[[Any, str], str]
    progress: Progress


@dataclass(frozen=True)
class Accepted:
    """A candidate that every gate accepted.

    Attributes:
        tag: in the model store.
        promoted: whether it is champion now; if not, `make promote` makes it champion.
    """

    version: ModelVersion
    package: Any
    rules: ValidationConfig
    judgement: Judgement
    cross_validation: CrossValidation | None
    tag: str
    promoted: bool


def registered_version(folder: Path, registry: VersionReader) -> ModelVersion:
    """The registered version of the package in a folder.

    Raises:
        RegistryError: the package is not registered.
    """
    try:
        return registry.find(folder.parent.name, folder.name)
    except RegistryError as error:
        raise RegistryError(
            f"{folder} is not registered: only packages that make train registered can be validated"
        ) from error


def validate_candidate(
    folder: Path, version: ModelVersion, threshold: float | None, ports: Ports
) -> Accepted:
    """Run the gates on a package and record the verdicts. An accepted version is promoted, unless
    the configuration requires manual approval.

    Args:
        folder: folder of the package.
        version: registered version of the package.
        threshold: overrides that of the configuration.

    Raises:
        GateRefusal: a gate refuses.
        RegistryError: another version became champion during this validation.
    """
    start = time.monotonic()
    package, intact = _open(folder, version, ports)
    rules = recorded_config(package).validation
    if threshold is not None:
        rules = rules.model_copy(update={"threshold": threshold})
    with ports.start_serving_check(package) as check:
        champion = _champion(ports.registry, version)
        judgement, crossed = ports.judge(package, rules, _open_champion(champion, ports))
        alone = check.verdict()
    show_verdicts([alone], ports.progress)
    judgement = replace(judgement, verdicts=[intact, *judgement.verdicts, alone])
    outcome = "all accepted"
    if skipped := sum(verdict.skipped for verdict in judgement.verdicts):
        outcome = f"{skipped} skipped, the others accepted"
    if judgement.refused:
        outcome = f"{len(judgement.refused)} refused"
    seconds = time.monotonic() - start
    ports.progress("judged", f"{len(judgement.verdicts)} gates in {seconds:.1f} s: {outcome}")
    holdout = _holdout_of(package)
    looks = _looks_at(holdout, version, ports.ledger)
    if looks:
        others = "another version" if looks == 1 else f"{looks} other versions"
        ports.progress("context", f"this hold-out has judged {others} of the model before")
    try:
        ports.report.write_report(_validation_of(package, version, judgement, crossed, looks))
    finally:
        _record(judgement.verdicts, version, ports, holdout)
    judgement.check_accepted(f"{version.model_name} {package.version}", ports.report.path)
    tag = ports.store(package, version.model_name)
    stored = f"{version.model_name} version {version.number}, {tag} in the Bento store"
    if rules.approval == "manual" and CHAMPION not in version.aliases:
        ports.progress("accepted", f"{stored}; not promoted yet")
        return Accepted(version, package, rules, judgement, crossed, tag, promoted=False)
    previous = _promote(package, version, champion, ports)
    replaced = f"; the previous champion was version {previous.number}" if previous else ""
    ports.progress("champion", stored + replaced)
    return Accepted(version, package, rules, judgement, crossed, tag, promoted=True)


def judge_estimator(
    package: Package,
    rules: ValidationConfig,
    champion: ChampionPackage,
    *,
    load_served: Loader,
    snapshots: Snapshots,
    on_gate: Callable[[str], None],
    on_folds: Callable[[Iterable[Any]], Iterable[Any]],
    progress: Progress,
) -> tuple[Judgement, CrossValidation | None]:
    """Run the gates for a classifier or a regressor, and cross-validate its recipe as context.

    Args:
        on_gate: takes the name and the number of the running gate.
        on_folds: wraps the folds, to show progress.

    Raises:
        ConfigError: the data cannot be split into this number of folds.
    """
    spec, config = package.spec, recorded_config(package)
    model = catalog.get(spec.name)
    try:
        served = load_served(package.served, spec)
    except PackageError as error:
        judgement = Judgement(spec, [Verdict("loads", False, str(error))])
        show_verdicts(judgement.verdicts, progress)
        return judgement, None
    loaded, unavailable = champion.load(load_served)
    sources = recorded_source(package.read_json("provenance.json"), snapshots)
    dataset = config.load_data(model, *sources)
    size = package.served.stat().st_size
    case = Case(package, served, dataset, rules, loaded, unavailable, size)
    order = (DIGESTS, *GATES, ALONE)
    try:
        judgement = judge(
            case, lambda gate: on_gate(f"{gate} ({order.index(gate) + 1} of {len(order)})")
        )
    except GateRefusal as error:
        judgement = Judgement(spec, [Verdict("predictions_are_valid", False, str(error))])
    show_verdicts(judgement.verdicts, progress)
    if rules.folds == 0:
        return judgement, None
    return judgement, _cross_validate(package, rules, dataset, on_folds, progress)


def recorded_config(package: JudgedPackage) -> TrainingConfig:
    """The configuration that a package was trained with."""
    return TrainingConfig.recorded(package.read_json("provenance.json"))


def _cross_validate(
    package: Package,
    rules: ValidationConfig,
    dataset: Dataset,
    on_folds: Callable[[Iterable[Any]], Iterable[Any]],
    progress: Progress,
) -> CrossValidation | None:
    config, metrics = recorded_config(package), package.read_json("metrics.json")
    measure = rules.measure_of(package.spec)
    scores = metrics.get("cross_validation")
    if scores and not rules.repeat_search:
        crossed = CrossValidation(measure.title, np.array(scores, np.float64), len(scores))
        progress("context", f"cross-validation of the same recipe, by training: {crossed}")
        return crossed
    folds = default_folds(len(dataset)) if rules.folds is None else rules.folds
    fit_seconds = metrics.get("fit_seconds", 0.0)
    recipe = make_estimator(catalog.get(package.spec.name), config)
    if not rules.repeat_search:
        native = package.load_native()
        recipe = without_search(native) if chosen_parameters(native) else recipe
    if fit_seconds > rules.seconds:
        progress(
            "context",
            f"no cross-validation: one fit takes {fit_seconds:.0f} s, more than "
            f"validation.seconds, {rules.seconds:g}",
        )
        return None
    if folds * fit_seconds > _LONG_SECONDS:
        progress(
            "context",
            f"{folds} folds of cross-validation take about {folds * fit_seconds:.0f} s, at most "
            f"{rules.seconds:g} s (validation.seconds)",
        )
    try:
        crossed = cross_validate(
            recipe,
            dataset,
            measure,
            folds,
            config.data.share_and_seed[1],
            on_folds,
            rules.seconds,
            holdout=len(package.read_json("holdout.json")["holdout"]),
        )
    except ValueError as error:
        raise ConfigError(
            f"validation.folds: {folds} folds do not fit the data: {error}"
        ) from error
    progress("context", f"cross-validation of the same recipe: {crossed}")
    return crossed


def _open(folder: Path, version: ModelVersion, ports: Ports) -> tuple[Package, Verdict]:
    """The package, and the verdict on its digests.

    Raises:
        GateRefusal: a digest differs, so nothing in the package can be trusted.
    """
    try:
        if version.package_digest is None:
            raise PackageError(f"the registry has no digest of {folder}: train it again")
        package = ports.open_package(folder, version.package_digest)
    except PackageError as error:
        refusal = Verdict(DIGESTS, False, str(error))
        show_verdicts([refusal], ports.progress)
        _record([refusal], version, ports)
        name = f"{version.model_name} {folder.name}"
        raise refusal_of(name, [refusal], ports.report.path) from error
    verdict = Verdict(DIGESTS, True, "every file matches the digests in the registry")
    show_verdicts([verdict], ports.progress)
    return package, verdict


def _champion(registry: VersionReader, candidate: ModelVersion) -> ModelVersion | None:
    """The champion; None if there is none, or if the candidate is the champion."""
    try:
        champion = registry.find(candidate.model_name, CHAMPION)
    except RegistryError:
        return None
    return None if champion.number == candidate.number else champion


def _open_champion(champion: ModelVersion | None, ports: Ports) -> ChampionPackage:
    if champion is None:
        return ChampionPackage()
    try:
        return ChampionPackage(ports.open_champion(champion))
    except MlopsError as error:
        return ChampionPackage(unavailable=str(error))


def _validation_of(
    package: Package,
    version: ModelVersion,
    judgement: Judgement,
    crossed: CrossValidation | None,
    looks: int,
) -> Validation:
    provenance = package.read_json("provenance.json")
    return Validation(
        version.model_name,
        package.version,
        judgement,
        provenance["config"],
        provenance,
        package.read_json("metrics.json"),
        (package.folder / "card.md").read_text(encoding="utf-8"),
        str(crossed) if crossed else None,
        looks,
    )


def _holdout_of(package: Package) -> str:
    """Identifies the rule that chooses the hold-out rows: it is the same after rows were added."""
    other = {"labelled", "reference_rows"}
    split = recorded_config(package).data.model_dump(mode="json", exclude=other)
    return sha256(json.dumps(split, sort_keys=True).encode()).hexdigest()[:16]


def _looks_at(holdout: str, version: ModelVersion, ledger: Ledger) -> int:
    """How many other versions of the model this hold-out has judged. What is learned from each
    verdict makes it a little less unseen.

    References:
        A. Blum and M. Hardt, "The Ladder: a reliable leaderboard for machine learning
        competitions", 2015 (arXiv 1502.04585).
    """
    judged = {
        entry.version
        for entry in ledger.entries()
        if entry.event == "verdict"
        and entry.model_name == version.model_name
        and entry.details.get("holdout") == holdout
    }
    return len(judged - {version.package_version})


def _record(
    verdicts: Sequence[Verdict], version: ModelVersion, ports: Ports, holdout: str | None = None
) -> None:
    """Record the verdicts in the report folder, in the registry and in the ledger.

    Args:
        holdout: the hold-out that judged; None if the gates were not run.
    """
    refused_by = ", ".join(verdict.gate for verdict in verdicts if not verdict.accepted)
    verdict = "refused" if refused_by else "accepted"
    ports.report.write_verdicts(verdict, verdicts)
    ports.registry.record_verdict(version, verdict, ports.report.path)
    ports.ledger.append(
        "verdict",
        version.model_name,
        version.package_version,
        verdict=verdict,
        refused_by=refused_by or None,
        holdout=holdout,
    )


def _promote(
    package: Package, version: ModelVersion, compared: ModelVersion | None, ports: Ports
) -> ModelVersion | None:
    """Promote a version, if the champion is still the one that it was compared with.

    Returns:
        The previous champion; None if there was none, or if it is this version.
    """
    registry = ports.registry
    with registry.alone():
        champion = _champion(registry, version)
        if champion and (compared is None or champion.number != compared.number):
            raise RegistryError(
                f"version {champion.number} became champion in the meantime: run make validate "
                "again to compare with it"
            )
        promotion = promote(
            registry,
            ports.ledger,
            registry.find(version.model_name, version.number),
            lambda: ports.store(package, version.model_name),
        )
    return promotion.previous if promotion.moved else None


def show_verdicts(verdicts: Iterable[Verdict], progress: Progress) -> None:
    """Report each verdict with its gate and reason."""
    for verdict in verdicts:
        progress(verdict.word, f"{verdict.gate}: {verdict.reason}")
