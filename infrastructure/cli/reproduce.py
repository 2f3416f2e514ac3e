"""Train a recorded version again from its commit, and report what differs.

Example: make reproduce RUN=champion

Exit codes: 0 the predictions are the same, 3 they differ, 1 the version could not be trained again.
"""

from __future__ import annotations

import argparse

import numpy as np

from application.ports.snapshots import recorded_source
from application.training.config import TrainingConfig, registered_name
from application.training.reproduction import (
    DIRTY,
    compare_packages,
    is_reproduced,
    use_snapshots,
)
from domain import catalog
from domain.errors import PackageError
from infrastructure.cli._arguments import add_model
from infrastructure.cli._registry import open_registry
from infrastructure.inference.loading import load_served
from infrastructure.packaging.model_package import ModelPackage
from infrastructure.reproduction.worktree import commit_of, open_worktree
from infrastructure.storage.snapshots import open_snapshots
from shared.console import show_step
from shared.paths import ROOT
from shared.settings import Settings

DIFFERENT = 3


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model and the version."""
    add_model(parser)
    parser.add_argument(
        "--run",
        required=True,
        help="version, by number, alias, package version or run ID",
    )


def run(args: argparse.Namespace) -> int:
    """Train again in a worktree of the recorded commit, and compare."""
    settings = Settings.load()
    recorded = _find_package(args.model, args.run, settings)
    provenance = recorded.read_json("provenance.json")
    commit = commit_of(provenance, ROOT)
    show_step("recorded", f"{recorded.version} from commit {commit}")
    dirty = str(provenance["git_commit"]).endswith(DIRTY)
    if dirty:
        show_step("WARNING", "trained with uncommitted changes, which cannot be reproduced")
    with open_worktree(commit, ROOT) as worktree:
        show_step("worktree", str(worktree.clone))
        data_list = settings.receipts_dir / args.model / "train.files"
        files = data_list.read_text(encoding="utf-8").splitlines() if data_list.exists() else []
        config, snapshots = use_snapshots(provenance, open_snapshots(settings))
        for name, snapshot in snapshots.items():
            show_step("data", f"{name}: snapshot {snapshot.name}")
        for name in worktree.link_data(config, files, snapshots):
            show_step("data", f"{name}: not tracked by git, so this clone's file is used")
        lock = provenance["lock_sha256"]
        rebuilt = ModelPackage(worktree.train(args.model, config, lock, show_step))
        findings = compare_packages(
            recorded, rebuilt, lambda: _predictions(recorded, rebuilt, settings)
        )
    for finding in findings:
        show_step(finding.word, f"{finding.what}: {finding.detail}")
    same = is_reproduced(findings)
    result = "the predictions are the same" if same else "the predictions differ"
    caveat = "; the recorded version had uncommitted changes" if dirty else ""
    show_step("result", f"{result}{caveat}")
    return 0 if same else DIFFERENT


def _find_package(model: str, run_or_version: str, settings: Settings) -> ModelPackage:
    """The package of a version, checked against the digest in the registry.

    Raises:
        PackageError: the registry has no digest of it, or a file differs.
    """
    registry = open_registry(settings)
    version = registry.find(registered_name(model), run_or_version)
    if version.package_digest is None:
        raise PackageError(
            f"{version.model_name} version {version.number} cannot be reproduced: the registry has "
            "no digest of its package"
        )
    return registry.open_package(version)


def _predictions(
    recorded: ModelPackage, rebuilt: ModelPackage, settings: Settings
) -> tuple[np.ndarray, np.ndarray]:
    """Predictions of both for all rows that the recorded configuration loads in this clone."""
    spec, provenance = recorded.spec, recorded.read_json("provenance.json")
    config, model = TrainingConfig.recorded(provenance), catalog.get(spec.name)
    sources = recorded_source(provenance, open_snapshots(settings))
    rows = config.load_data(model, *sources).encoded(spec)
    first, second = (load_served(package.served, spec)(rows) for package in (recorded, rebuilt))
    return first, second
