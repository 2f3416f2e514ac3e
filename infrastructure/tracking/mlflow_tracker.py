"""Records training runs in MLflow: parameters, metrics, figures, lineage, a registered version.

Importing MLflow takes longer than training a small model, so it is imported inside functions; a
second process can call `import_mlflow` and `warm_up` while the first one trains.
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
from domain.contract import (
    Category,
    Datetime,
    HashedText,
    Input,
    ModelSpec,
    Number,
    Tensor,
    Text,
    as_word,
)
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
    *(f"domain/contract/{name}.py" for name in ("datetimes", "encoding", "faults", "features")),
    *(f"domain/contract/{name}.py" for name in ("outputs", "range_policy", "row_ids", "spec")),
    "domain/evaluation/__init__.py",
    "domain/evaluation/predictions.py",
    *(f"domain/estimators/{name}.py" for name in ("__init__", "conformal", "fitting", "search")),
    *("application/__init__.py", "application/ports/__init__.py", "application/ports/model.py"),
    "infrastructure/__init__.py",
    *("infrastructure/inference/__init__.py", "infrastructure/inference/loading.py"),
    *("infrastructure/inference/native.py", "infrastructure/inference/onnx_runtime.py"),
    *("infrastructure/tracking/__init__.py", "infrastructure/tracking/served_model.py"),
)


_PROCESS = "training_process"  # tag of a run: host, pid and start time of its process
_CONNECT_SECONDS = 5.0
_DATABASE_PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
# error codes of a failed SQL statement, raised by SQLAlchemy or by MLflow
_DATABASE_CODES = ("", "TEMPORARILY_UNAVAILABLE", "BAD_REQUEST")


def open_client(uri: str) -> MlflowClient:
    """A client for tracking and registry, which have the same URI.

    It raises TrackingError where MLflow's own client raises MlflowException or a cause of it.

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
    """MLflow's client, which raises every failure as a TrackingError."""

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
    """Connect to a server once per process, since MLflow itself would retry for two minutes.

    Raises:
        TrackingError: the server does not respond.
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
    except ArgumentError:  # not a database URL: leave it to MLflow
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
    """Raise MLflow's errors as TrackingErrors of one line."""
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
        "start it, or correct MLFLOW_TRACKING_URI in the environment or .env"
    )


def _without_password(uri: str) -> str:
    return re.sub(r"//[^/@]*@", "//", uri)


def get_or_create_experiment(client: MlflowClient, name: str) -> str:
    """The ID of an experiment; with SQLite, a new one has its artifacts next to the database.

    A tracking server has its own place for artifacts. Without a server, MLflow would write them to
    the current working directory.
    """
    found = client.get_experiment_by_name(name)
    if found is not None:
        return found.experiment_id
    path = database_file(client.tracking_uri)
    return client.create_experiment(name, artifact_location=artifacts_uri(path) if path else None)


@dataclass(frozen=True)
class MlflowTracker:
    """Records training runs at a tracking URI."""

    uri: str

    def warm_up(self) -> None:
        """Connect, so that `record` is faster, and end the runs of killed trainings."""
        self.end_orphaned_runs()

    def warm_up_in(self, background: Executor) -> Callable[[], None]:
        """Warm up in a second process.

        Returns:
            A check to call before fitting: it raises if the result could not be recorded. It waits
            for the second process only if necessary: for a server, or for a database that needs an
            upgrade.

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
        """Mark runs as ``KILLED`` if their process on this machine has ended; return their IDs."""
        client = open_client(self.uri)
        experiments = [found.experiment_id for found in all_pages(client.search_experiments)]
        here = socket.gethostname()
        running = all_pages(
            client.search_runs,
            experiment_ids=experiments,
            filter_string=f"attributes.status = 'RUNNING' and tags.{_PROCESS} LIKE '{here} %'",
        )
        orphaned = [run.info.run_id for run in running if not _is_alive(run.data.tags[_PROCESS])]
        for run_id in orphaned:
            client.set_terminated(run_id, "KILLED")
        return orphaned

    def begin(self, experiment_name: str, run_name: str) -> str:
        """Begin a run and return its ID."""
        client = open_client(self.uri)
        experiment_id = get_or_create_experiment(client, experiment_name)
        process = {_PROCESS: f"{socket.gethostname()} {os.getpid()} {_start_time(os.getpid())}"}
        run = client.create_run(experiment_id, run_name=run_name, tags=process)
        return str(run.info.run_id)

    def log_epoch(self, run_id: str, figures: Mapping[str, float], epoch: int) -> None:
        """Log the metrics of an epoch to a run."""
        client = open_client(self.uri)
        from mlflow.entities import Metric

        now = int(time.time() * 1000)
        client.log_batch(
            run_id, [Metric(name, value, now, epoch) for name, value in figures.items()]
        )

    def fail(self, run_id: str) -> None:
        """Mark a run as failed."""
        open_client(self.uri).set_terminated(run_id, "FAILED")

    def record(self, record: TrainingRecord) -> RegisteredVersion:
        """Record a run, and register its model with the alias ``candidate``."""
        client = open_client(self.uri)
        from mlflow.entities import Dataset, DatasetInput, InputTag, Metric, Param, RunTag

        now = int(time.time() * 1000)
        own_tags = {  # shown by MLflow's web interface
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
    """The results of all pages of a client's search."""
    found: list[Any] = []
    token: str | None = None
    while True:
        page = search(**arguments, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _start_time(pid: int) -> int | None:
    """Start time of a process on this machine in seconds; None if there is no such process."""
    from psutil import NoSuchProcess, Process

    try:
        return round(Process(pid).create_time())
    except NoSuchProcess:
        return None


def _is_alive(tag: str) -> bool:
    """Whether the process that began a run on this machine is still running."""
    _, pid, recorded = tag.rsplit(" ", 2)
    started = _start_time(int(pid))
    return started is not None and abs(started - int(recorded)) <= 1  # the clock may be adjusted


def _write_mlflow_model(
    record: TrainingRecord, served: Path, folder: Path, run_id: str, model_id: str
) -> None:
    """Write what `mlflow.pyfunc.load_model` reads: the served model, its contract, and code.

    `mlflow.pyfunc.save_model` would scan all installed packages, only to compare them with
    requirements that were read from these packages; that takes longer than training a forest.
    """
    from mlflow.models import Model

    requirements = _requirements(served)
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
    # as `pyfunc.add_to_model` writes it; importing pyfunc would take as long as everything else
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
            for name in (served.name, "contract.json", "model.json")
            if (file := record.package / name).exists()
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
        # JSON is valid YAML, so no YAML library is needed
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
    """The file that MLflow can load; None for speech, whose weights are only in the package."""
    files = (package / name for name in ("model.onnx", "model.skops"))
    return next((file for file in files if file.exists()), None)


def _requirements(served: Path) -> list[str]:
    facts = served.with_suffix(".json")
    native = json.loads(facts.read_text(encoding="utf-8"))["requirements"] if facts.exists() else []
    always = [f"{name}=={version(name)}" for name in ("mlflow", "numpy", "onnxruntime", "pandas")]
    return [*always, *native]


@dataclass(frozen=True)
class _Example:
    """An input example in MLflow's formats: as logged, and as the body of a request."""

    logged: Any
    served: Any
    info: dict[str, str]


def _example(spec: ModelSpec, rows: Sequence[Sequence[Any]]) -> _Example:
    if isinstance(spec.inputs[0], Tensor) and len(spec.inputs) == 1:
        tensors = [row[0] for row in rows]
        return _Example(tensors, {"inputs": tensors}, {"type": "ndarray"})
    is_word = [isinstance(item, Category) for item in spec.inputs]  # MLflow requires strings
    data = [
        [as_word(v) if word and v is not None else v for v, word in zip(row, is_word)]
        for row in rows
    ]
    table = {"columns": list(spec.input_names), "data": data}
    info = {"type": "dataframe", "pandas_orient": "split"}
    return _Example(table, {"dataframe_split": table}, info)


def _signature(spec: ModelSpec) -> ModelSignature:
    """The contract as an MLflow signature."""
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
    outputs = [ColSpec(DataType.float, name) for name in spec.output_columns]
    return ModelSignature(inputs, Schema([*labels, *outputs]))


def _column_type(item: Input) -> Any:
    from mlflow.types import DataType
    from mlflow.types.schema import AnyType, Array

    if isinstance(item, Number | Category | Datetime):
        # MLflow rejects integers for doubles, and booleans and times for strings; the contract,
        # which `served_model` checks, accepts them
        return AnyType()
    kind: Any = DataType.string if isinstance(item, Text | HashedText) else DataType.double
    for _ in item.shape if isinstance(item, Tensor) else ():
        kind = Array(kind)
    return kind
