"""A small forest, models of every kind, and packages of them, for the tests of the adapters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from application.ports.tracker import RegisteredVersion, TrainingRecord
from application.training import config
from domain import catalog
from domain.catalog import CatalogModel
from domain.contract import Quantity
from domain.estimators.conformal import ConformalRegressor
from infrastructure.frameworks.dispatch import Frameworks
from infrastructure.inference.loading import load_served
from infrastructure.packaging.model_package import PackageDraft
from infrastructure.registry.mlflow_registry import MlflowRegistry
from infrastructure.tracking.mlflow_tracker import MlflowTracker
from shared.paths import ROOT
from tests import petals
from tests.fakes import PETALS_CONFIG, fake_model
from tests.kinds import KINDS
from tests.local_environment import SERVICE, Machine
from tests.served import free_port

MakePackage = Callable[..., Path]
MODELS: dict[str, CatalogModel] = {
    "petals": fake_model(petals.load(), build=lambda: petals.build(10, 5, 2, 1, 0)),
    **KINDS,
}


@cache
def fit(kind: str) -> Any:
    """A model of `MODELS`, fitted on all its data."""
    model = MODELS[kind]
    spec, estimator = model.SPEC, model.build()
    if isinstance(spec.output, Quantity):
        estimator = ConformalRegressor(estimator, spec.output.coverage)
    dataset = model.load()
    return estimator.fit(dataset.encoded(spec), dataset.encoded_target(spec))


@pytest.fixture(name="petals_in_catalog")
def _petals_in_catalog(monkeypatch: pytest.MonkeyPatch) -> None:
    """Commands find the model petals and its configuration."""
    monkeypatch.setattr(config, "CONFIGS", PETALS_CONFIG.parent)
    monkeypatch.setattr(catalog, "get", {"petals": petals}.__getitem__)


@pytest.fixture(scope="session", name="fitted")
def _fitted() -> Callable[[str], Any]:
    """A fitted estimator of a kind, or of ``petals``."""
    return fit


@pytest.fixture(scope="session", name="forest")
def _forest() -> RandomForestClassifier:
    """A forest fitted on all 150 flowers."""
    return fit("petals")


@pytest.fixture(scope="session", name="onnx_file")
def _onnx_file(forest: RandomForestClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The forest as it is served."""
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    Frameworks().export(forest, petals.SPEC, path)
    return path


@pytest.fixture(scope="session", name="make_package")
def _make_package() -> MakePackage:
    """Writes a package of the forest: `make_package(packages_dir, model_name, version)`."""

    def make(
        packages_dir: Path, model_name: str, version: str, kind: str = "petals", form: str = "onnx"
    ) -> Path:
        model, estimator = MODELS[kind], fit(kind)
        spec = model.SPEC
        rows = [model.load().rows()[row] for row in (0, 50, 100)]
        with PackageDraft(packages_dir, model_name, version) as draft:
            served = draft.folder / ("model.onnx" if form == "onnx" else "model.skops")
            (Frameworks().export if form == "onnx" else Frameworks().save)(estimator, spec, served)
            predictions = load_served(served, spec)(spec.encode_rows(rows))
            draft.write_native(estimator)
            draft.write_json("contract.json", spec.to_dict())
            draft.write_json("holdout.json", {"holdout": ["00"], "training": ["01"]})
            draft.write_json("profile.json", {})
            draft.write_json("golden.json", {"rows": rows, "answers": predictions.tolist()})
            calibration = {"edges": [0.5], "rows": [100, 300], "occurred": [20, 270]}
            metrics = {"holdout_accuracy": 0.9, "calibration": calibration}
            draft.write_json("metrics.json", metrics)
            draft.write_json("provenance.json", {"git_commit": "unknown"})
            (draft.folder / "card.md").write_text(f"# {model_name}\n", encoding="utf-8")
            (draft.folder / "figures/confidence.png").write_bytes(b"\x89PNG\r\n")
            return draft.seal()

    return make


@pytest.fixture(scope="session", name="golden")
def _golden() -> Callable[[Path], tuple[list[Any], np.ndarray]]:
    """Reads a package's golden rows, in the form of requests, and float32 predictions."""

    def read(package: Path) -> tuple[list[Any], np.ndarray]:
        recorded = json.loads((package / "golden.json").read_text(encoding="utf-8"))
        return recorded["rows"], np.array(recorded["answers"], np.float32)

    return read


@dataclass(frozen=True)
class Tracking:
    """A separate tracking database, next to the packages that it has recorded."""

    folder: Path
    make_package: MakePackage

    @property
    def uri(self) -> str:
        """Its URI."""
        return f"sqlite:///{self.folder}/mlflow.db"

    @property
    def packages_dir(self) -> Path:
        """Folder of the packages."""
        return self.folder / "packages"

    def record(
        self,
        model_name: str,
        version: str,
        experiment: str = "iris_production_pipeline",
        kind: str = "petals",
        form: str = "onnx",
        run_id: str | None = None,
    ) -> tuple[TrainingRecord, RegisteredVersion]:
        """Write a package of that name and version, and record its training."""
        model = MODELS[kind]
        record = TrainingRecord(
            experiment_name=experiment,
            model_name=model_name,
            package=self.make_package(self.packages_dir, model_name, version, kind, form),
            package_version=version,
            spec=model.SPEC,
            parameters={"model.n_estimators": 10, "model.max_depth": 5},
            metrics={"holdout_accuracy": 0.9, "fit_seconds": 0.01},
            tags={"git_commit": "0123abc", "measure": "accuracy"},
            dataset={
                "name": "petals",
                "digest": "d1" * 16,
                "source": "scikit-learn",
                "rows": "150",
            },
            example=model.load().rows()[:2],
            run_id=run_id,
        )
        return record, MlflowTracker(self.uri).record(record)

    def make_champion(self, model_name: str, version: str) -> None:
        """Accept and promote a recorded version."""
        registry = MlflowRegistry(self.uri, self.packages_dir)
        verdict = self.folder / "verdict"
        verdict.mkdir(exist_ok=True)
        registry.record_verdict(registry.find(model_name, version), "accepted", verdict)
        registry.promote(model_name, version)

    def use(self, environment: pytest.MonkeyPatch) -> None:
        """Let commands use this database, its packages, and releases next to them."""
        environment.setenv("MLFLOW_TRACKING_URI", self.uri)
        environment.setenv("MODEL_REGISTRY_DIR", str(self.packages_dir))
        environment.setenv("RELEASES_DIR", str(self.folder / "releases"))
        environment.delenv("PREDICTION_LOG_URL", raising=False)


@pytest.fixture(scope="session", name="tracking")
def _tracking(
    make_package: MakePackage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tracking]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MLFLOW_TRACKING_URI", "")  # MLflow sets it; restored afterwards
        yield Tracking(tmp_path_factory.mktemp("tracking"), make_package)


@pytest.fixture(name="machine")
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    (tmp_path / "bentoml").mkdir()
    (tmp_path / "bentoml/__main__.py").write_text(SERVICE, encoding="utf-8")
    (tmp_path / "bentoml/__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setenv("RELEASES_DIR", str(tmp_path))
    monkeypatch.setenv("LEDGER", str(tmp_path / "ledger.jsonl"))
    monkeypatch.delenv("SERVING_API_KEYS", raising=False)
    made = Machine(tmp_path, free_port())
    yield made
    made.environment.stop()
