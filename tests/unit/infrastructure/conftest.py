"""A small forest, and packages of it, for the tests of the adapters."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier

from application.ports import RegisteredVersion, TrainingRecord
from domain.models import iris
from infrastructure.inference.onnx_runtime import load_onnx
from infrastructure.packaging.model_package import PackageDraft
from infrastructure.packaging.onnx_export import export_onnx
from infrastructure.tracking.mlflow_tracker import MlflowTracker

MakePackage = Callable[..., Path]


@pytest.fixture(scope="session", name="forest")
def _forest() -> RandomForestClassifier:
    """A forest that has learned all 150 flowers."""
    flowers = iris.load()
    estimator = iris.build({"n_estimators": 10, "max_depth": 5, "random_state": 0})
    return estimator.fit(flowers.inputs.to_numpy(np.float32), flowers.codes(iris.SPEC.classes))


@pytest.fixture(scope="session", name="onnx_file")
def _onnx_file(forest: RandomForestClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The forest as it is served."""
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    export_onnx(forest, iris.SPEC, path)
    return path


@pytest.fixture(scope="session", name="make_package")
def _make_package(forest: RandomForestClassifier, onnx_file: Path) -> MakePackage:
    """Writes a whole package of the forest: `make_package(packages_dir, model_name, version)`."""

    def make(packages_dir: Path, model_name: str, version: str) -> Path:
        rows = iris.load().inputs.to_numpy(np.float32)[[0, 50, 100]]
        answers = load_onnx(onnx_file)(rows)
        with PackageDraft(packages_dir, model_name, version) as draft:
            (draft.folder / "model.onnx").write_bytes(onnx_file.read_bytes())
            draft.write_native(forest)
            draft.write_json("contract.json", iris.SPEC.to_dict())
            draft.write_json("holdout.json", {"holdout": ["00"], "training": ["01"]})
            draft.write_json("profile.json", {})
            draft.write_json(
                "golden.json", {"rows": rows.tolist(), "probabilities": answers.tolist()}
            )
            draft.write_json("metrics.json", {"holdout_accuracy": 0.9})
            draft.write_json("provenance.json", {"git_commit": "unknown"})
            (draft.folder / "card.md").write_text(f"# {model_name}\n", encoding="utf-8")
            (draft.folder / "figures/confidence.png").write_bytes(b"\x89PNG\r\n")
            return draft.seal()

    return make


@pytest.fixture(scope="session", name="golden")
def _golden() -> Callable[[Path], tuple[np.ndarray, np.ndarray]]:
    """Reads golden rows and answers of a package, float32 arrays."""

    def read(package: Path) -> tuple[np.ndarray, np.ndarray]:
        recorded = json.loads((package / "golden.json").read_text(encoding="utf-8"))
        return (
            np.array(recorded["rows"], np.float32),
            np.array(recorded["probabilities"], np.float32),
        )

    return read


@dataclass(frozen=True)
class Tracking:
    """A tracking database of its own, beside packages that it knows of."""

    folder: Path
    make_package: MakePackage

    @property
    def uri(self) -> str:
        """Its address."""
        return f"sqlite:///{self.folder}/mlflow.db"

    @property
    def packages_dir(self) -> Path:
        """Where the packages lie."""
        return self.folder / "packages"

    def record(
        self, model_name: str, version: str, experiment: str = "iris_production_pipeline"
    ) -> tuple[TrainingRecord, RegisteredVersion]:
        """Write a package of that name and version, and record its training."""
        record = TrainingRecord(
            experiment_name=experiment,
            model_name=model_name,
            package=self.make_package(self.packages_dir, model_name, version),
            package_version=version,
            spec=iris.SPEC,
            parameters={"model.n_estimators": 10, "model.max_depth": 5},
            metrics={"holdout_accuracy": 0.9, "fit_seconds": 0.01},
            tags={"git_commit": "0123abc"},
            dataset={"name": "iris", "digest": "d1" * 16, "source": "scikit-learn", "rows": "150"},
            example=[[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]],
        )
        return record, MlflowTracker(self.uri).record(record)


@pytest.fixture(scope="session", name="tracking")
def _tracking(
    make_package: MakePackage, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Tracking]:
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MLFLOW_TRACKING_URI", "")  # MLflow sets it; it is put back
        yield Tracking(tmp_path_factory.mktemp("tracking"), make_package)
