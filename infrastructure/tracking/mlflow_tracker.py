"""Training runs in MLflow: parameters, metrics, figures, lineage, and a registered version.

MLflow takes longer to import than a small model takes to train, so it is imported inside functions;
a second process can `import_mlflow` and `warm_up` while the first one trains.
"""

# pylint: disable=import-outside-toplevel

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache, wraps
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from application.ports.tracker import RegisteredVersion, TrainingRecord
from domain.contract import Category, Input, ModelSpec, Number, Tensor, Text, as_word
from domain.errors import TrackingError, reason_of
from infrastructure.packaging.model_package import MANIFEST
from infrastructure.tracking.database import (
    artifacts_uri,
    database_error,
    database_file,
    is_prepared,
    prepare_database,
)
from infrastructure.tracking.mlflow_import import import_mlflow
from shared.digests import sha256_of
from shared.paths import ROOT

if TYPE_CHECKING:
    from mlflow.models import ModelSignature
    from mlflow.tracking import MlflowClient

_CODE = (  # what `served_model` needs to load a package anywhere
    *("domain/__init__.py", "domain/errors.py", "domain/contract/__init__.py"),
    *("domain/contract/encoding.py", "domain/contract/features.py", "domain/contract/outputs.py"),
    *("domain/contract/spec.py", "domain/evaluation/__init__.py", "domain/evaluation/metrics.py"),
    "domain/evaluation/predictions.py",
    *("domain/estimators/__init__.py", "domain/estimators/conformal.py"),
    *("application/__init__.py", "application/ports/__init__.py", "application/ports/model.py"),
    "infrastructure/__init__.py",
    *("infrastructure/inference/__init__.py", "infrastructure/inference/loading.py"),
    *("infrastructure/inference/native.py", "infrastructure/inference/onnx_runtime.py"),
    *("infrastructure/tracking/__init__.py", "infrastructure/tracking/served_model.py"),
)


_PROCESS = "training_process"  # tag of a run: host, process and its start
_CONNECT_SECONDS = 5.0
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
# what a failed statement of SQL becomes, with or without MLflow around it
_DATABASE_CODES = ("", "TEMPORARILY_UNAVAILABLE", "BAD_REQUEST")


def open_client(uri: str) -> MlflowClient:
    """A client for tracking and registry, which lie at the same place.

    It raises TrackingError where MLflow's own raises MlflowException or what lies below that.

    Raises:
        TrackingError: the server does not respond, or the database does not work.
    """
    import_mlflow()
    prepare_database(uri)
    _check_server(uri)
    import mlflow

    mlflow.set_tracking_uri(uri)
    return cast("MlflowClient", _Client(uri))


class _Client:
    """MLflow's client, with every failure as a TrackingError."""

    def __init__(self, uri: str) -> None:
        from mlflow.tracking import MlflowClient

        with _tracking_errors(uri):
            self._client = MlflowClient(uri, uri)

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._client, name)
        if not callable(value):
            return value

        @wraps(value)
        def call(*args: Any, **kwargs: Any) -> Any:
            with _tracking_errors(self._client.tracking_uri):
                return value(*args, **kwargs)

        return call


@cache
def _check_server(uri: str) -> None:
    """Connect to a server once per process: MLflow itself retries for up to two minutes.

    Raises:
        TrackingError: nothing responds there.
    """
    if not uri.startswith(("http://", "https://")):
        _check_database_server(uri)
        return
    from mlflow.utils.credentials import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    with _tracking_errors(uri):
        http_request(
            get_default_host_creds(uri),
            "/health",
            "GET",
            max_retries=0,
            timeout=_CONNECT_SECONDS,
            raise_on_status=False,
        )


def _check_database_server(uri: str) -> None:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(uri)
    except ArgumentError:  # not a database: MLflow knows what it is
        return
    port = url.port or _DATABASE_PORTS.get(url.get_backend_name())
    if not url.host or port is None:
        return
    try:
        socket.create_connection((url.host, port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        raise _no_response(uri, error) from error


@contextmanager
def _tracking_errors(uri: str) -> Iterator[None]:
    """Raise what MLflow raises as one line that says what to do."""
    try:
        yield
    except Exception as error:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        if not isinstance(error, (MlflowException, SQLAlchemyError, OSError, ImportError)):
            raise
        raise _tracking_error(uri, error) from error


def _tracking_error(uri: str, error: Exception) -> TrackingError:
    from mlflow.exceptions import MlflowException
    from requests import RequestException

    chain: list[BaseException] = [error]
    while cause := chain[-1].__cause__ or chain[-1].__context__:
        chain.append(cause)
    if any(isinstance(item, RequestException) for item in chain):
        return _no_response(uri, chain[-1])
    code = error.error_code if isinstance(error, MlflowException) else ""
    path = database_file(uri)
    if path and not isinstance(error, OSError | ImportError) and code in _DATABASE_CODES:
        return database_error(path, error)
    return TrackingError(f"MLflow at {_without_password(uri)}: {reason_of(error)}", code)


def _no_response(uri: str, error: BaseException) -> TrackingError:
    return TrackingError(
        f"the tracking server {_without_password(uri)} does not respond ({reason_of(error)}): "
        "start it, or correct MLFLOW_TRACKING_URI in the environment or in .env"
    )


def _without_password(uri: str) -> str:
    return re.sub(r"//[^/@]*@", "//", uri)


def get_or_create_experiment(client: MlflowClient, name: str) -> str:
    """Identity of an experiment; a new one keeps its artifacts beside an SQLite database.

    A tracking server knows its own place for artifacts. Without one they would lie in the folder
    that the process happens to be started in.
    """
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    path = database_file(client.tracking_uri)
    return client.create_experiment(name, artifact_location=artifacts_uri(path) if path else None)


@dataclass(frozen=True)
class MlflowTracker:
    """Records training runs under a tracking URI."""

    uri: str

    def warm_up(self) -> None:
        """Connect now, so that `record` need not, and end what killed trainings have left."""
        self.end_orphaned_runs()

    def warm_up_in(self, background: Executor) -> Callable[[], None]:
        """Let a second process warm up.

        Returns:
            What to call before a fit: it raises what would lose the result. It waits for the
            second process only where that alone can tell: of a server, and of a database that is
            yet to be upgraded.

        Raises:
            TrackingError: the database is locked or damaged.
        """
        prepared = is_prepared(self.uri)
        warming_up = background.submit(self.warm_up)

        def check() -> None:
            if warming_up.done() or not prepared:
                warming_up.result()

        return check

    def end_orphaned_runs(self) -> list[str]:
        """End the runs whose process on this machine is gone as ``KILLED``; their identities."""
        client = open_client(self.uri)
        experiments = [found.experiment_id for found in all_pages(client.search_experiments)]
        here = socket.gethostname()
        running = all_pages(
            client.search_runs,
            experiment_ids=experiments,
            filter_string=f"attributes.status = 'RUNNING' and tags.{_PROCESS} LIKE '{here} %'",
        )
        lost = [run.info.run_id for run in running if not _is_alive(run.data.tags[_PROCESS])]
        for run_id in lost:
            client.set_terminated(run_id, "KILLED")
        return lost

    def begin(self, experiment_name: str, run_name: str) -> str:
        """Begin a run; its identity."""
        client = open_client(self.uri)
        experiment_id = get_or_create_experiment(client, experiment_name)
        process = {_PROCESS: f"{socket.gethostname()} {os.getpid()} {_started(os.getpid())}"}
        run = client.create_run(experiment_id, run_name=run_name, tags=process)
        return str(run.info.run_id)

    def log_epoch(self, run_id: str, figures: Mapping[str, float], epoch: int) -> None:
        """Add figures of an epoch to a run."""
        client = open_client(self.uri)
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        client.log_batch(
            run_id, [Metric(name, value, now, epoch) for name, value in figures.items()]
        )

    def fail(self, run_id: str) -> None:
        """End a run that came to nothing."""
        open_client(self.uri).set_terminated(run_id, "FAILED")

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
        run_id = record.run_id or self.begin(record.experiment_name, record.package_version)
        experiment_id = client.get_run(run_id).info.experiment_id
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
        source, model_id = f"runs:/{run_id}/package", None
        served = _served_file(record.package)
        if served is not None:
            model_id = self._log_model(client, experiment_id, run_id, record, served)
            source = f"models:/{model_id}"
        try:
            client.create_registered_model(record.model_name, description=record.spec.description)
        except TrackingError as error:
            if error.code != "RESOURCE_ALREADY_EXISTS":
                raise
        registered = client.create_model_version(
            record.model_name,
            source=source,
            run_id=run_id,
            model_id=model_id,
            tags={
                "package_version": record.package_version,
                "package_digest": sha256_of(record.package / MANIFEST),
            },
        )
        client.set_registered_model_alias(record.model_name, "candidate", registered.version)
        return registered.version

    def _log_model(
        self,
        client: MlflowClient,
        experiment_id: str,
        run_id: str,
        record: TrainingRecord,
        served: Path,
    ) -> str:
        logged = client.create_logged_model(experiment_id, "model", run_id)
        with tempfile.TemporaryDirectory() as folder:
            _write_mlflow_model(record, served, Path(folder), run_id, logged.model_id)
            client.log_model_artifacts(logged.model_id, folder)
        client.finalize_logged_model(logged.model_id, "READY")
        return str(logged.model_id)


def all_pages(search: Callable[..., Any], **arguments: Any) -> list[Any]:
    """Every page of one of the client's searches."""
    found: list[Any] = []
    token: str | None = None
    while True:
        page = search(**arguments, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _started(process: int) -> int | None:
    """When a process of this machine began, in seconds; None where there is none."""
    from psutil import NoSuchProcess, Process

    try:
        return round(Process(process).create_time())
    except NoSuchProcess:
        return None


def _is_alive(tag: str) -> bool:
    """Whether the process that began a run on this machine is still there."""
    _, process, started = tag.rsplit(" ", 2)
    now = _started(int(process))
    return now is not None and abs(now - int(started)) <= 1  # the clock may have been set


def _write_mlflow_model(
    record: TrainingRecord, served: Path, folder: Path, run_id: str, model_id: str
) -> None:
    """Write what `mlflow.pyfunc.load_model` reads: the served model, its contract, and code.

    `mlflow.pyfunc.save_model` would scan every installed package to compare it with requirements
    that were just read from those packages; that took longer than training the forest.
    """
    from mlflow.models import Model

    requirements = [f"{name}=={version(name)}" for name in _requirements(served)]
    example = _example(record.spec, record.example)
    model = Model(
        run_id=run_id,
        model_id=model_id,
        signature=_signature(record.spec),
        saved_input_example_info={
            "artifact_path": "input_example.json",
            "serving_input_path": "serving_input_example.json",
            **example.info,
        },
        metadata={"package_version": record.package_version, "task": record.spec.task},
    )
    # what `pyfunc.add_to_model` writes; importing pyfunc for it would cost as much as the rest
    model.add_flavor(
        "python_function",
        loader_module="infrastructure.tracking.served_model",
        python_version=platform.python_version(),
        data=f"data/{served.name}",
        code="code",
        env={"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
    )
    model.save(str(folder / "MLmodel"))
    for source, target in [
        *(
            (file, folder / "data" / file.name)
            for file in (served, record.package / "contract.json")
        ),
        *((ROOT / name, folder / "code" / name) for name in _CODE),
    ]:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
    python = platform.python_version()
    for name, text in {
        "input_example.json": json.dumps(example.logged),
        "serving_input_example.json": json.dumps(example.served),
        "requirements.txt": "\n".join(requirements) + "\n",
        # JSON is YAML, so that no writer of YAML is needed
        "conda.yaml": json.dumps(
            {
                "name": "mlflow-env",
                "dependencies": [f"python={python}", "pip", {"pip": requirements}],
            }
        ),
        "python_env.yaml": json.dumps({"python": python, "dependencies": requirements}),
    }.items():
        (folder / name).write_text(text, encoding="utf-8")


def _served_file(package: Path) -> Path | None:
    """What MLflow can load; None for speech, whose weights stay in the package alone."""
    files = (package / name for name in ("model.onnx", "model.skops"))
    return next((file for file in files if file.exists()), None)


def _requirements(served: Path) -> list[str]:
    native = ["scikit-learn", "skops"] if served.suffix == ".skops" else []
    return ["mlflow", "numpy", "onnxruntime", "pandas", *native]


@dataclass(frozen=True)
class _Example:
    """An input example as MLflow keeps it: the one that is logged, and the one that is sent."""

    logged: Any
    served: Any
    info: dict[str, str]


def _example(spec: ModelSpec, rows: Sequence[Sequence[Any]]) -> _Example:
    if isinstance(spec.inputs[0], Tensor) and len(spec.inputs) == 1:
        tensors = [row[0] for row in rows]
        return _Example(tensors, {"inputs": tensors}, {"type": "ndarray"})
    words = [isinstance(item, Category) for item in spec.inputs]  # MLflow's strings are strict
    data = [
        [as_word(v) if word and v is not None else v for v, word in zip(row, words)] for row in rows
    ]
    table = {"columns": list(spec.input_names), "data": data}
    info = {"type": "dataframe", "pandas_orient": "split"}
    return _Example(table, {"dataframe_split": table}, info)


def _signature(spec: ModelSpec) -> ModelSignature:
    """What goes in and comes out, in MLflow's terms."""
    import numpy as np
    from mlflow.models import ModelSignature
    from mlflow.types import ColSpec, DataType, Schema, TensorSpec

    first = spec.inputs[0]
    if isinstance(first, Tensor) and len(spec.inputs) == 1:
        inputs = Schema([TensorSpec(np.dtype("float32"), (-1, *first.shape))])
    else:
        inputs = Schema(
            [
                ColSpec(_column_type(item), item.name, required=not item.nullable)
                for item in spec.inputs
            ]
        )
    labels = [ColSpec(DataType.string, "prediction")] if spec.classes else []
    answers = [ColSpec(DataType.float, name) for name in spec.output_columns]
    return ModelSignature(inputs, Schema([*labels, *answers]))


def _column_type(item: Input) -> Any:
    from mlflow.types import DataType
    from mlflow.types.schema import AnyType, Array

    if isinstance(item, Number | Category):
        # MLflow takes no integer for a double and no boolean for a string; the contract, which
        # `served_model` checks, does
        return AnyType()
    kind: Any = DataType.string if isinstance(item, Text) else DataType.double
    for _ in item.shape if isinstance(item, Tensor) else ():
        kind = Array(kind)
    return kind
