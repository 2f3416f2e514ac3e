"""What a training run leaves in a real MLflow on SQLite."""

from __future__ import annotations

import pickle
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

import mlflow
import numpy as np
import pytest
import yaml
from mlflow.artifacts import download_artifacts
from mlflow.entities import Run
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model

from application.ports import RegisteredVersion, TrainingRecord
from domain.models.iris import SPEC
from infrastructure.tracking.mlflow_tracker import MlflowTracker, open_client

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

NAME = "iris_classifier_pipeline"
CANDIDATE = f"models:/{NAME}@candidate"


@dataclass(frozen=True)
class Recorded:
    """A recorded run and what MLflow says of it."""

    record: TrainingRecord
    registered: RegisteredVersion
    client: MlflowClient
    run: Run
    model_version: ModelVersion
    model: Path


@pytest.fixture(scope="module", name="recorded")
def _recorded(tracking: Any) -> Recorded:
    MlflowTracker(tracking.uri).warm_up()
    record, registered = tracking.record(NAME, "1.0.0-20260131-120000-3fa9c1")
    client = open_client(tracking.uri)
    return Recorded(
        record,
        registered,
        client,
        client.get_run(registered.run_id),
        client.get_model_version_by_alias(NAME, "candidate"),
        Path(download_artifacts(CANDIDATE)),
    )


def test_the_run_is_finished_and_named_after_the_package(recorded: Recorded) -> None:
    info = recorded.run.info
    assert info.status == "FINISHED"
    assert info.run_name == recorded.record.package_version
    assert info.end_time >= info.start_time > 0


def test_the_run_lies_in_the_experiment_of_the_configuration(recorded: Recorded) -> None:
    experiment = recorded.client.get_experiment(recorded.run.info.experiment_id)
    assert experiment.name == "iris_production_pipeline"


def test_the_run_has_parameters_metrics_and_tags(recorded: Recorded) -> None:
    data = recorded.run.data
    assert data.params == {"model.n_estimators": "10", "model.max_depth": "5"}
    assert data.metrics == recorded.record.metrics
    assert data.tags["git_commit"] == "0123abc"


def test_the_run_names_its_data_by_their_digest(recorded: Recorded) -> None:
    (given,) = recorded.run.inputs.dataset_inputs
    assert (given.dataset.name, given.dataset.digest) == ("iris", "d1" * 16)
    assert "scikit-learn" in given.dataset.source
    assert "150" in given.dataset.profile
    assert {tag.key: tag.value for tag in given.tags} == {"mlflow.data.context": "training"}


def test_the_run_keeps_every_file_of_the_package(recorded: Recorded, tmp_path: Path) -> None:
    kept = Path(
        download_artifacts(
            run_id=recorded.registered.run_id, artifact_path="package", dst_path=str(tmp_path)
        )
    )
    package = recorded.record.package
    names = [path.relative_to(package) for path in package.rglob("*") if path.is_file()]
    assert len(names) > 10
    for name in names:
        assert (kept / name).read_bytes() == (package / name).read_bytes()


def test_artifacts_lie_beside_the_database(recorded: Recorded, tracking: Any) -> None:
    assert recorded.run.info.artifact_uri.startswith((tracking.folder / "mlartifacts").as_uri())


def test_the_registered_version_has_the_alias_candidate(recorded: Recorded) -> None:
    assert recorded.model_version.version == int(recorded.registered.version)
    assert recorded.registered.model_name == NAME
    assert recorded.model_version.run_id == recorded.registered.run_id


def test_the_registered_version_names_the_package(recorded: Recorded) -> None:
    tags = recorded.model_version.tags
    assert tags["package_version"] == recorded.record.package_version


def test_the_registered_model_says_what_it_predicts(recorded: Recorded) -> None:
    assert recorded.client.get_registered_model(NAME).description == SPEC.description


def test_the_signature_follows_the_contract(recorded: Recorded) -> None:
    signature = Model.load(str(recorded.model)).signature
    assert signature is not None
    (inputs,) = signature.inputs.inputs
    assert (inputs.type, inputs.shape) == (np.dtype("float32"), (-1, len(SPEC.features)))
    label, probabilities = signature.outputs.inputs
    assert (label.type, label.shape) == (np.dtype("int64"), (-1,))
    assert probabilities.shape == (-1, len(SPEC.classes))


def test_the_input_example_is_read_by_mlflow_and_answered_by_the_model(recorded: Recorded) -> None:
    example = Model.load(str(recorded.model)).load_input_example(str(recorded.model))
    np.testing.assert_allclose(example["inputs"], recorded.record.example, rtol=1e-6)
    answers = mlflow.pyfunc.load_model(CANDIDATE).predict(example)
    assert answers["probabilities"].shape == (2, 3)


def test_requirements_are_what_serving_needs_at_the_installed_versions(recorded: Recorded) -> None:
    expected = [f"{name}=={version(name)}" for name in ("mlflow", "numpy", "onnx", "onnxruntime")]
    assert (recorded.model / "requirements.txt").read_text("utf-8").splitlines() == expected
    conda = yaml.safe_load((recorded.model / "conda.yaml").read_text("utf-8"))
    assert conda["dependencies"][-1] == {"pip": expected}
    python = yaml.safe_load((recorded.model / "python_env.yaml").read_text("utf-8"))
    assert python["dependencies"] == expected
    assert conda["dependencies"][0] == f"python={python['python']}"


def test_the_candidate_is_loaded_by_mlflow_and_gives_the_golden_answers(
    recorded: Recorded, golden: Callable[[Path], tuple[np.ndarray, np.ndarray]]
) -> None:
    rows, probabilities = golden(recorded.record.package)
    answers = mlflow.pyfunc.load_model(CANDIDATE).predict(rows)
    np.testing.assert_allclose(answers["probabilities"], probabilities, atol=1e-6)
    assert answers["label"].tolist() == probabilities.argmax(axis=1).tolist()


def test_the_registered_model_is_the_one_that_is_served_and_no_native_file(
    recorded: Recorded,
) -> None:
    served = recorded.record.package / "model.onnx"
    assert (recorded.model / "model.onnx").read_bytes() == served.read_bytes()
    assert not list(recorded.model.rglob("*.joblib")) + list(recorded.model.rglob("*.pkl"))


def test_a_later_run_becomes_the_candidate_and_shares_the_experiment(tracking: Any) -> None:
    _, first = tracking.record("iris_twice", "1.0.0-a")
    _, second = tracking.record("iris_twice", "1.0.0-b")
    client = open_client(tracking.uri)
    assert (first.version, second.version) == ("1", "2")
    candidate = client.get_model_version_by_alias("iris_twice", "candidate")
    assert candidate.tags["package_version"] == "1.0.0-b"
    runs = [client.get_run(registered.run_id) for registered in (first, second)]
    assert len({run.info.experiment_id for run in runs}) == 1


def test_recording_leaves_no_temporary_files(
    tracking: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    tracking.record("iris_tidy", "1.0.0-a")
    assert not list(tmp_path.iterdir())


def test_a_tracker_and_its_record_reach_another_process_unchanged(
    recorded: Recorded, tracking: Any
) -> None:
    sent = (MlflowTracker(tracking.uri), recorded.record)
    assert pickle.loads(pickle.dumps(sent)) == sent
