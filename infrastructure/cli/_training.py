"""Training with its adapters; slow to import."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from application.ports.snapshots import SOURCE, Fetched
from application.training.config import TrainingConfig
from application.training.train import Candidate, train
from application.training.transcription import SpeechCandidate, package_weights
from domain import catalog
from domain.errors import ConfigError
from infrastructure.compute.background import Background
from infrastructure.compute.receipts import write_receipt
from infrastructure.frameworks.dispatch import Frameworks
from infrastructure.frameworks.native import not_locked
from infrastructure.inference.loading import load_served
from infrastructure.inference.speech_tools import speech_tools
from infrastructure.packaging.model_package import PackageDraft, new_version
from infrastructure.provenance import collect_provenance, uncommitted
from infrastructure.registry.ledger import open_ledger
from infrastructure.reporting.figures import draw_figures
from infrastructure.storage.snapshots import SnapshotStore, open_snapshots
from infrastructure.tracking.mlflow_tracker import MlflowTracker
from shared.console import show_progress, show_step
from shared.files import write_atomically
from shared.paths import ROOT
from shared.settings import Settings


def train_candidate(
    name: str,
    config: TrainingConfig,
    source: Path,
    receipt: Path | None,
    if_changed: bool = False,
    *,
    settings: Settings,
    tracker: MlflowTracker,
    check_tracking: Callable[[], None],
    background: Background,
) -> None:
    """Train, package and register.

    Args:
        name: the model's name in the catalog.
        source: file that the configuration was read from, for error messages.
        receipt: where to write a receipt.
        if_changed: train only if the data of data.source or the configuration, except `watch`,
            differ from those of the receipt. Labelled rows that a retraining has added do
            not count as one.
        check_tracking: called before fitting; raises if the run could not be recorded.
    """
    ledger = open_ledger(settings.ledger)
    model = catalog.get(name)
    check_tracking()
    snapshots = open_snapshots(settings)
    fetched = _fetch(config, snapshots)
    if if_changed and receipt and _is_as_trained(receipt, config, fetched):
        of = f"{fetched.address} has the data" if fetched else f"{source} has the settings"
        show_step("unchanged", f"{of} that were trained on")
        return
    for path in uncommitted(ROOT, _model_files(name, source)):
        show_step("WARNING", f"{path} is not committed: make reproduce will lack these changes")
    version = new_version(config.version)
    with PackageDraft(settings.packages_dir, config.model_name, version) as draft:
        run = _package_weights if model.SPEC.task == "transcription" else _train_estimator
        try:
            candidate = run(model, config, draft, tracker, background, settings, fetched)
        except ConfigError as error:
            raise ConfigError(f"{source}: {error}") from error
    quality: dict[str, Any] = {}
    if candidate.report:
        quality[candidate.report.measure] = candidate.report.score
    ledger.append("train", config.model_name, version, run=candidate.registered.run_id, **quality)
    show_step("package", str(candidate.package))
    for library in not_locked(candidate.package, ROOT / "poetry.lock"):
        show_step(
            "WARNING",
            f"the model is served with {library}, which poetry.lock does not have: add it to "
            "pyproject.toml and run poetry lock, or make install will leave it out",
        )
    if receipt:
        watched = [*map(str, candidate.data_files), *(fetched.watched if fetched else ())]
        _write_data_files(receipt, watched)
        write_receipt(
            receipt,
            model_name=config.model_name,
            package=str(candidate.package),
            version=version,
            registry_version=candidate.registered.version,
            run_id=candidate.registered.run_id,
            snapshots=dict(candidate.snapshots),
            **quality,
        )


def _fetch(config: TrainingConfig, snapshots: SnapshotStore) -> Fetched | None:
    source = config.data.source
    if source is None:
        return None
    fetched = snapshots.fetch(source.address, source.query)
    show_step("source", f"{source.address}: snapshot {fetched.snapshot}")
    return fetched


def _is_as_trained(receipt: Path, config: TrainingConfig, fetched: Fetched | None) -> bool:
    """Whether the training of a receipt had this configuration and these data."""
    try:
        trained = json.loads(receipt.read_text(encoding="utf-8"))
        provenance = (Path(trained["package"]) / "provenance.json").read_text(encoding="utf-8")
        before = TrainingConfig.recorded(json.loads(provenance)).model_dump()
        source = trained["snapshots"].get(SOURCE)
    except (OSError, ValueError, KeyError):
        return False
    now = config.model_dump()
    for settings in (before, now):
        del settings["watch"]
        if config.data.labelled is None:
            del settings["data"]["labelled"], settings["data"]["reference_rows"]
    return before == now and (fetched is None or source == fetched.snapshot)


def _model_files(name: str, config: Path) -> list[Path]:
    return [ROOT / "domain" / "models" / f"{name}.py", ROOT / config]


def _train_estimator(
    model: catalog.CatalogModel,
    config: TrainingConfig,
    draft: PackageDraft,
    tracker: MlflowTracker,
    background: Background,
    settings: Settings,
    fetched: Fetched | None,
) -> Candidate:
    return train(
        model,
        config,
        draft,
        framework=Frameworks(),
        load_served=load_served,
        draw=draw_figures,
        tracker=tracker,
        background=background,
        provenance=collect_provenance(ROOT),
        keep=open_snapshots(settings).keep,
        fetched=fetched,
        progress=show_step,
        on_progress=show_progress,
    )


def _package_weights(
    model: catalog.CatalogModel,
    config: TrainingConfig,
    draft: PackageDraft,
    tracker: MlflowTracker,
    background: Background,
    settings: Settings,
    _: Fetched | None,
) -> SpeechCandidate:
    return package_weights(
        model,
        config,
        draft,
        tools=speech_tools(ROOT, settings.whisper_model, settings.whisper_download),
        tracker=tracker,
        background=background,
        provenance=collect_provenance(ROOT),
        progress=show_step,
    )


def _write_data_files(receipt: Path, files: Iterable[str]) -> None:
    """List the data files and addresses that were read, next to the receipt: make trains again if
    one changes.

    Write the list before the receipt: make would miss changes if it found a receipt without one.
    """
    text = "".join(f"{file}\n" for file in files)
    write_atomically(receipt.with_suffix(".files"), text)
