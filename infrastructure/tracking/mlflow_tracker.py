"""Training runs in MLflow: parameters, metrics, figures, lineage, and a registered version.

MLflow takes longer to import than a small model takes to train, so it is imported inside functions;
a second process can `import_mlflow` and `warm_up` while the first one trains.
"""

# pylint: disable=import-outside-toplevel

from __future__ import annotations

import json
import os
import platform
import shutil
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING

from application.ports import RegisteredVersion, TrainingRecord
from infrastructure.tracking.mlflow_import import import_mlflow

if TYPE_CHECKING:
    from mlflow.tracking import MlflowClient

SERVED_BY = ("mlflow", "numpy", "onnx", "onnxruntime")


def open_client(uri: str) -> MlflowClient:
    """A client for tracking and registry, which lie at the same place."""
    import_mlflow()
    import mlflow
    from mlflow.tracking import MlflowClient

    mlflow.set_tracking_uri(uri)
    return MlflowClient(uri, uri)


def get_or_create_experiment(client: MlflowClient, name: str) -> str:
    """Identity of an experiment; a new one keeps its artifacts beside an SQLite database.

    A tracking server knows its own place for artifacts. Without one they would lie in the folder
    that the process happens to be started in.
    """
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    scheme, uri = "sqlite:///", client.tracking_uri
    place = None
    if uri.startswith(scheme):
        place = (Path(uri.removeprefix(scheme)).parent / "mlartifacts").as_uri()
    return client.create_experiment(name, artifact_location=place)


@dataclass(frozen=True)
class MlflowTracker:
    """Records training runs under a tracking URI."""

    uri: str

    def warm_up(self) -> None:
        """Connect now, so that `record` need not."""
        open_client(self.uri).search_experiments(max_results=1)

    def record(self, record: TrainingRecord) -> RegisteredVersion:
        """Record one run and register its model with the alias ``candidate``."""
        client = open_client(self.uri)
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

        now = int(time.time() * 1000)
        own_tags = {  # what MLflow's pages show of a run
            "mlflow.user": os.environ.get("USER", "unknown"),
            "mlflow.source.name": "train",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": record.tags["git_commit"],
        }
        experiment_id = get_or_create_experiment(client, record.experiment_name)
        run = client.create_run(
            experiment_id,
            run_name=record.package_version,
            start_time=now,
        )
        run_id = run.info.run_id
        client.log_batch(
            run_id,
            metrics=[Metric(name, value, now, 0) for name, value in record.metrics.items()],
            params=[Param(name, str(value)) for name, value in record.parameters.items()],
            tags=[RunTag(name, value) for name, value in {**record.tags, **own_tags}.items()],
        )
        data = Dataset(
            name=record.dataset["name"],
            digest=record.dataset["digest"],
            source_type="local",
            source=json.dumps({"source": record.dataset["source"]}),
            profile=json.dumps({"num_rows": int(record.dataset["rows"])}),
        )
        client.log_inputs(
            run_id, [DatasetInput(data, [InputTag("mlflow.data.context", "training")])]
        )
        client.log_artifacts(run_id, str(record.package), "package")
        model_version = self._register(client, experiment_id, run_id, record)
        client.set_terminated(run_id)
        return RegisteredVersion(record.model_name, str(model_version), run_id)

    def _register(
        self, client: MlflowClient, experiment_id: str, run_id: str, record: TrainingRecord
    ) -> str:
        from mlflow.exceptions import MlflowException

        logged = client.create_logged_model(experiment_id, "model", run_id)
        with tempfile.TemporaryDirectory() as folder:
            _write_mlflow_model(record, Path(folder), run_id, logged.model_id)
            client.log_model_artifacts(logged.model_id, folder)
        client.finalize_logged_model(logged.model_id, "READY")
        try:
            client.create_registered_model(record.model_name, description=record.spec.description)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        registered = client.create_model_version(
            record.model_name,
            source=f"models:/{logged.model_id}",
            run_id=run_id,
            model_id=logged.model_id,
            tags={"package_version": record.package_version},
        )
        client.set_registered_model_alias(record.model_name, "candidate", registered.version)
        return registered.version


def _write_mlflow_model(record: TrainingRecord, folder: Path, run_id: str, model_id: str) -> None:
    """Write what `mlflow.pyfunc.load_model` reads: the served ONNX, signature and requirements.

    `mlflow.onnx.save_model` would scan every installed package to compare it with requirements that
    were just read from those packages; that took longer than training the forest.
    """
    import numpy as np
    from mlflow.models import Model, ModelSignature
    from mlflow.types import Schema, TensorSpec

    spec, floats = record.spec, np.dtype("float32")
    requirements = [f"{name}=={version(name)}" for name in SERVED_BY]
    model = Model(
        run_id=run_id,
        model_id=model_id,
        signature=ModelSignature(
            Schema([TensorSpec(floats, (-1, len(spec.features)), "inputs")]),
            Schema(
                [
                    TensorSpec(np.dtype("int64"), (-1,), "label"),
                    TensorSpec(floats, (-1, len(spec.classes)), "probabilities"),
                ]
            ),
        ),
        saved_input_example_info={
            "artifact_path": "input_example.json",
            "serving_input_path": "serving_input_example.json",
            "type": "ndarray",
        },
        metadata={"package_version": record.package_version},
    )
    # what `pyfunc.add_to_model` writes; importing pyfunc for it would cost as much as the rest
    model.add_flavor(
        "python_function",
        loader_module="mlflow.onnx",
        python_version=platform.python_version(),
        data="model.onnx",
        env={"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
    )
    model.add_flavor(
        "onnx",
        onnx_version=version("onnx"),
        data="model.onnx",
        providers=["CPUExecutionProvider"],
        onnx_session_options=None,
        code=None,
    )
    model.save(str(folder / "MLmodel"))
    shutil.copyfile(record.package / "model.onnx", folder / "model.onnx")
    example = {"inputs": [list(row) for row in record.example]}
    pip = {"pip": requirements}
    python = platform.python_version()
    for name, text in {
        "input_example.json": json.dumps(example),
        "serving_input_example.json": json.dumps({"inputs": example}),
        "requirements.txt": "\n".join(requirements) + "\n",
        # JSON is YAML, so that no writer of YAML is needed
        "conda.yaml": json.dumps(
            {"name": "mlflow-env", "dependencies": [f"python={python}", "pip", pip]}
        ),
        "python_env.yaml": json.dumps({"python": python, "dependencies": requirements}),
    }.items():
        (folder / name).write_text(text, encoding="utf-8")
