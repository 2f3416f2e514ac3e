"""The import contracts hold, and each breaks when somebody violates it."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import pytest

from shared.paths import ROOT

PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))
CONTRACTS = {
    contract["name"]: contract for contract in PYPROJECT["tool"]["importlinter"]["contracts"]
}
PACKAGES = PYPROJECT["tool"]["importlinter"]["root_packages"]

LAYERS = "infrastructure → application → domain → shared"
DOMAIN = "the domain knows no vendor, no configuration and no network"
PORTS = "use cases reach vendors only through ports"
ENTRY_POINTS = "nobody imports an entry point"
CIRCLES = "no package imports in a circle"

PIPELINE = "application.training.pipelines.iris_training_pipeline"
SERVICE = "application.inference.services.iris_service"

# contract, file, module that it must not import
VIOLATIONS = [
    (LAYERS, "application/training/train.py", "infrastructure.provenance"),
    (LAYERS, "domain/data/dataset.py", "application.ports"),
    (LAYERS, "shared/paths.py", "domain.errors"),
    (DOMAIN, "domain/evaluation/metrics.py", "mlflow"),
    (DOMAIN, "domain/catalog.py", "pydantic"),
    (DOMAIN, "domain/estimators/conformal.py", "whisper"),
    (PORTS, "application/validation/validate.py", "mlflow"),
    (PORTS, "application/monitoring/summary.py", "sqlalchemy"),
    (PORTS, "application/inference/transcriber.py", "torch"),
    (ENTRY_POINTS, "infrastructure/provenance.py", PIPELINE),
    (ENTRY_POINTS, "application/training/config.py", SERVICE),
    (ENTRY_POINTS, "infrastructure/registry/ledger.py", "infrastructure.cli.gc"),
    (CIRCLES, "application/scaffold/model_file.py", "application.scaffold.new_model"),
    (CIRCLES, "infrastructure/packaging/model_package.py", "infrastructure.registry.ledger"),
]

# What the domain may use, of all that the project depends on. An estimator is written in the
# library that trains it; how it is exported, and what hears recordings, is no matter of the domain.
DOMAIN_LIBRARIES = {"numpy", "pandas", "scikit-learn", "scipy", "threadpoolctl"}
ESTIMATOR_LIBRARIES = {"catboost", "lightgbm", "skorch", "tensorflow", "torch", "xgboost"}

# The module of a library, where it has another name.
MODULES = {
    "openai-whisper": "whisper",
    "protobuf": "google",
    "python-json-logger": "pythonjsonlogger",
}


def libraries(requirements: Iterable[str]) -> set[str]:
    """Names of required packages."""
    return {re.split(r"[ (\[]", line)[0] for line in requirements}


EXTRAS = libraries(chain(*PYPROJECT["project"].get("optional-dependencies", {}).values()))


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    """Run the check in a folder, on the packages in it."""
    return subprocess.run(
        [ROOT / ".venv/bin/lint-imports", "--no-cache"],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


@pytest.fixture(scope="module", name="pristine")
def _pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the four packages that may be changed."""
    folder = tmp_path_factory.mktemp("copy")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            target = folder / path.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(path, target)
    return folder


def test_every_contract_is_kept() -> None:
    done = lint_imports(ROOT)
    assert done.returncode == 0, done.stdout
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in done.stdout


def test_a_copy_gets_the_same_verdicts_as_the_clone(pristine: Path) -> None:
    done = lint_imports(pristine)
    assert done.returncode == 0, done.stdout
    assert f"Contracts: {len(CONTRACTS)} kept, 0 broken." in done.stdout


def test_every_contract_has_a_violation_here() -> None:
    assert {name for name, _, _ in VIOLATIONS} == set(CONTRACTS)


@pytest.mark.parametrize(("contract", "file", "imported"), VIOLATIONS)
def test_a_contract_breaks_when_it_is_violated(
    pristine: Path, contract: str, file: str, imported: str
) -> None:
    path = pristine / file
    source = path.read_text("utf-8")
    path.write_text(f"{source}\nimport {imported}\n", encoding="utf-8")
    try:
        done = lint_imports(pristine)
    finally:
        path.write_text(source, encoding="utf-8")
    assert done.returncode != 0
    assert re.search(rf"^{re.escape(contract)} BROKEN", done.stdout, re.MULTILINE), done.stdout
    if contract != CIRCLES:  # of which it shows the packages
        importer = file.removesuffix(".py").replace("/", ".")
        assert f"{importer} -> {imported}" in " ".join(done.stdout.split())


@pytest.mark.parametrize("contract", [LAYERS, PORTS])
def test_only_entry_points_are_exempt_from_a_contract(contract: str) -> None:
    importers = {line.partition(" -> ")[0] for line in CONTRACTS[contract]["ignore_imports"]}
    entry_points = CONTRACTS[ENTRY_POINTS]["protected_modules"]
    assert importers
    assert {importer.removesuffix(".**") for importer in importers} <= set(entry_points)


def test_every_dependency_foreign_to_the_domain_is_forbidden_there() -> None:
    core = libraries(PYPROJECT["project"]["dependencies"])
    assert DOMAIN_LIBRARIES < core
    foreign = (core - DOMAIN_LIBRARIES) | (EXTRAS - ESTIMATOR_LIBRARIES)
    modules = {MODULES.get(name, name.replace("-", "_")) for name in foreign}
    assert modules <= set(CONTRACTS[DOMAIN]["forbidden_modules"])


def test_no_extra_is_imported_by_a_use_case() -> None:
    modules = {MODULES.get(name, name) for name in EXTRAS}
    assert modules <= set(CONTRACTS[PORTS]["forbidden_modules"])
