"""Train a recorded version again: `python -m infrastructure.reproduction.command --help`."""

# pylint: disable=import-outside-toplevel

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

from domain.errors import MlopsError, PackageError
from shared.arguments import valid_model_name
from shared.commands import entry_point
from shared.console import show_step
from shared.endings import end_as_interrupted
from shared.paths import ROOT
from shared.settings import Settings

if TYPE_CHECKING:
    import numpy as np

    from infrastructure.packaging.model_package import ModelPackage

DIFFERENT = 3


@entry_point(MlopsError)
def main(arguments: list[str] | None = None) -> int:
    """0 the predictions are the same, 3 they differ, 1 it could not be done."""
    parser = argparse.ArgumentParser(
        description="Train a recorded version again from its commit, and say what differs."
    )
    parser.add_argument(
        "--model", type=valid_model_name, default="iris", help="name in domain/models (%(default)s)"
    )
    parser.add_argument(
        "--run", required=True, help="a run, a registry version, an alias or a package version"
    )
    options = parser.parse_args(arguments)
    end_as_interrupted()
    return _reproduce(options.model, options.run)


def _reproduce(model: str, run: str) -> int:
    from application.training.reproduction import DIRTY, compare_packages, is_reproduced
    from infrastructure.packaging.model_package import ModelPackage
    from infrastructure.reproduction.worktree import commit_of, open_worktree

    settings = Settings()
    recorded = _find_package(model, run, settings)
    provenance = recorded.read_json("provenance.json")
    commit = commit_of(provenance, ROOT)
    show_step("recorded", f"{recorded.version} from commit {commit}")
    dirty = str(provenance["git_commit"]).endswith(DIRTY)
    if dirty:
        show_step("careful", "it was trained with changes that nobody has committed")
    with open_worktree(commit, ROOT) as worktree:
        show_step("worktree", str(worktree.clone))
        read = settings.receipts_dir / model / "train.files"
        files = read.read_text(encoding="utf-8").splitlines() if read.exists() else []
        for brought in worktree.bring_data(provenance["config"], files):
            show_step("data", f"{brought} as it is in this clone: git does not track it")
        config, lock = provenance["config"], provenance["lock_sha256"]
        rebuilt = ModelPackage(worktree.train(model, config, lock, show_step))
        findings = compare_packages(recorded, rebuilt, lambda: _answers(recorded, rebuilt))
    for finding in findings:
        show_step(finding.word, f"{finding.what}: {finding.detail}")
    same = is_reproduced(findings)
    told = "the predictions are the same" if same else "the predictions differ"
    but = "; the commit alone is not what was trained" if dirty else ""
    show_step("result", f"{told}{but}")
    return 0 if same else DIFFERENT


def _find_package(model: str, run: str, settings: Settings) -> ModelPackage:
    """The package of a version, compared with the digest that is on record."""
    from application.training.config import registered_name
    from infrastructure.registry.mlflow_registry import MlflowRegistry

    registry = MlflowRegistry(settings.tracking_uri, settings.packages_dir)
    version = registry.find(registered_name(model), run)
    if version.package_digest is None:
        raise PackageError(f"{version.model_name} version {version.number} has no digest on record")
    return registry.open_package(version)


def _answers(recorded: ModelPackage, rebuilt: ModelPackage) -> tuple[np.ndarray, np.ndarray]:
    """What both answer to all rows that the recorded configuration loads in this clone."""
    from application.training.config import TrainingConfig
    from domain import catalog
    from infrastructure.inference.loading import load_served

    spec = recorded.spec
    config = TrainingConfig.recorded(recorded.read_json("provenance.json"))
    model = catalog.get(spec.name)
    rows = model.load(**config.load_arguments(model)).encoded(spec)
    first, second = (load_served(package.served, spec)(rows) for package in (recorded, rebuilt))
    return first, second


if __name__ == "__main__":
    sys.exit(main())
