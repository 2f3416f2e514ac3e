"""The contestants: how each is started, and its requests and responses.

Peers are started as in their documentation, with one worker, one thread per call of ONNX Runtime,
and without access logs if a setting can turn them off.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from shared.paths import ROOT
from tests.template.benchmarks.serving.environments import environment_python
from tests.template.benchmarks.serving.errors import BenchmarkError, ContestantError
from tests.template.benchmarks.serving.model import Served
from tests.template.benchmarks.serving.peers.common import CLASSES
from tests.served import free_port

PEERS = "tests.template.benchmarks.serving.peers"
BASE = "fastapi-onnx"  # the peer in most targets
TYPED = "fastapi-onnx-typed"
BOUND = "raw"
OURS = "ours"
UNMONITORED = "ours-unmonitored"
TWO_WORKERS = "ours-2-workers"
TUTORIAL = "tutorial"
# MLServer 1.7.1 does not start with the event loops of later uvloops
MLSERVER = ("mlserver==1.7.1", "mlserver-sklearn==1.7.1", "uvloop==0.21.0", "scikit-learn", "numpy")
FASTAPI_ONNX = ("fastapi", "uvicorn", "uvloop", "httptools", "onnxruntime", "numpy")

Rows = list[list[float]]


@dataclass(frozen=True)
class Place:
    """Interpreter, folder and port of a contestant.

    Attributes:
        python: interpreter of its environment.
        folder: working directory.
    """

    python: Path
    folder: Path
    port: int
    served: Served


def named_rows(rows: Rows) -> Any:
    """The body for hand-written peers."""
    return {"rows": rows}


def bare_rows(rows: Rows) -> Any:
    """The body of the tutorial's endpoint."""
    return rows


def codes_of(response: Any) -> list[int]:
    """Class numbers in a response with objects."""
    return [CLASSES.index(each["prediction"]) for each in response["predictions"]]


@dataclass(frozen=True)
class Contestant:
    """A server to compare.

    Attributes:
        command: starts it.
        variables: extra environment variables.
        prepare: writes files into its folder.
        requirements: packages of its environment; empty for the environment of this project.
        installed_as: the peer whose environment it shares.
        path, ready: paths of predictions and of readiness.
        body: a request for these rows.
        codes: class numbers in a response; None for a constant response.
    """

    name: str
    title: str
    command: Callable[[Place], Sequence[str]]
    variables: Callable[[Place], Mapping[str, str]] = lambda place: {}
    prepare: Callable[[Place], None] = lambda place: None
    requirements: Sequence[str] = ()
    installed_as: str = ""
    path: str = "/predict"
    ready: str = "/health"
    body: Callable[[Rows], Any] = named_rows
    codes: Callable[[Any], list[int]] | None = codes_of
    workers: int = 1

    @property
    def is_ours(self) -> bool:
        """Whether it is this project's service."""
        return self.name.split("-", maxsplit=1)[0] == OURS

    def place(self, folder: Path, served: Served) -> Place:
        """A place for a new start; creates the environment if it is missing.

        Raises:
            ContestantError: the environment cannot be created.
        """
        python = Path(sys.executable)
        if self.requirements:
            python = environment_python(self.installed_as or self.name, self.requirements)
        return Place(python, folder, free_port(), served)

    def environment(self, place: Place) -> dict[str, str]:
        """Environment variables: few of the user's, none of this project's settings."""
        kept = ("HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "USER")
        return {
            **{name: os.environ[name] for name in kept if name in os.environ},
            "PATH": f"{place.python.parent}:{os.environ['PATH']}",
            "MODEL_PACKAGE": str(place.served.package),
            "PYTHONPATH": str(ROOT),
            "PYTHONUNBUFFERED": "1",
            "BENTOML_HOME": str(place.folder / "bentoml"),
            "BENTOML_DO_NOT_TRACK": "True",
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "ORT_DISABLE_TELEMETRY": "1",
            "RAY_USAGE_STATS_ENABLED": "0",
            **self.variables(place),
        }


def choose(peers: str) -> list[Contestant]:
    """Selected contestants, with those that are compared in targets next to each other.

    Args:
        peers: "all", "none" (FastAPI + ONNX stays: the targets name it), or names or first parts
            of names with spaces between them.

    Raises:
        BenchmarkError: a name is unknown.
    """
    wanted = {"all": [], "none": [BASE]}.get(peers, peers.split())
    known = [each.name for each in CONTESTANTS if each.requirements]
    for name in wanted:
        if not any(_is_named(each, name) for each in known):
            raise BenchmarkError(f"unknown peer {name}: use {', '.join(known)}, all or none")
    return [
        each
        for each in CONTESTANTS
        if peers == "all"
        or not each.requirements
        or any(_is_named(each.name, name) for name in wanted)
    ]


def _is_named(name: str, wanted: str) -> bool:
    return name == wanted or name.startswith(f"{wanted}-")


def _uvicorn(application: str, *options: str) -> Callable[[Place], Sequence[str]]:
    return lambda place: [
        *(str(place.python), "-m", "uvicorn", f"{PEERS}.{application}", *options),
        *("--host", "127.0.0.1", "--port", str(place.port), "--no-access-log"),
        *("--loop", "uvloop", "--http", "httptools"),
    ]


def _bentoml(service: Callable[[Place], str]) -> Callable[[Place], Sequence[str]]:
    return lambda place: [
        *(str(place.python), "-m", "bentoml", "serve", service(place)),
        *("--host", "127.0.0.1", "--port", str(place.port)),
    ]


def _ours(name: str, title: str, workers: int = 1, **variables: str) -> Contestant:
    return Contestant(
        name,
        title,
        _bentoml(lambda place: str(place.served.bento)),
        variables=lambda place: {
            "PYTHONPATH": "",  # an exported Bento brings its own source
            "PREDICTION_LOG_URL": f"sqlite:///{place.folder / 'predictions.db'}",
            "WORKERS": str(workers),
            **variables,
        },
        ready="/readyz",
        body=bare_rows,
        workers=workers,
    )


def _write_mlflow_model(place: Place) -> None:
    done = subprocess.run(
        [str(place.python), "-m", f"{PEERS}.mlflow_model", str(place.folder / "model")],
        cwd=place.folder,
        env=MLFLOW.environment(place),
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise ContestantError(f"the model cannot be written: {done.stderr.strip()[-300:]}")


def _write_mlserver_settings(place: Place) -> None:
    ports = {"http_port": place.port, "grpc_port": free_port(), "metrics_port": free_port()}
    settings = {"host": "127.0.0.1", "debug": False, **ports}
    model = {
        "name": "iris",
        "implementation": "mlserver_sklearn.SKLearnModel",
        "parameters": {"uri": str(place.served.package / "model.joblib")},
    }
    for name, content in (("settings", settings), ("model-settings", model)):
        (place.folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def _tensor(rows: Rows) -> Any:
    flat = [value for row in rows for value in row]
    tensor = {"name": "rows", "datatype": "FP64", "shape": [len(rows), 4], "data": flat}
    return {"inputs": [tensor]}


MLFLOW = Contestant(
    "mlflow",
    "`mlflow models serve`",
    lambda place: [
        *(str(place.python), "-m", "mlflow", "models", "serve"),
        *("--model-uri", str(place.folder / "model"), "--env-manager", "local"),
        *("--host", "127.0.0.1", "--port", str(place.port), "--workers", "1"),
    ],
    prepare=_write_mlflow_model,
    requirements=("mlflow", "scikit-learn", "numpy"),
    path="/invocations",
    ready="/ping",
    body=lambda rows: {"inputs": rows},
    codes=lambda response: response["predictions"],
)

CONTESTANTS = (
    Contestant(
        TUTORIAL,
        "as in tutorials: BentoML + scikit-learn",
        _bentoml(lambda place: f"{PEERS}.tutorial:IrisClassifier"),
        requirements=("bentoml", "scikit-learn", "numpy", "joblib", "prometheus-client"),
        path="/classify",
        ready="/readyz",
        body=bare_rows,
    ),
    MLFLOW,
    Contestant(
        "mlserver",
        "MLServer + scikit-learn",
        lambda place: [
            str(place.python.parent / "mlserver"),
            "start",
            str(place.folder),
        ],
        prepare=_write_mlserver_settings,
        requirements=MLSERVER,
        path="/v2/models/iris/infer",
        ready="/v2/models/iris/ready",
        body=_tensor,
        codes=lambda response: response["outputs"][0]["data"],
    ),
    Contestant(
        "fastapi-sklearn",
        "FastAPI + scikit-learn",
        _uvicorn("fastapi_sklearn:app"),
        requirements=("fastapi", "uvicorn", "uvloop", "httptools", "scikit-learn", "numpy"),
    ),
    Contestant(
        "litserve",
        "LitServe + ONNX",
        lambda place: [str(place.python), "-m", f"{PEERS}.litserve_onnx", str(place.port)],
        requirements=("litserve==0.2.19", "onnxruntime", "numpy"),
    ),
    Contestant(
        "ray",
        "Ray Serve + ONNX",
        lambda place: [
            *(str(place.python), "-m", f"{PEERS}.ray_onnx", str(place.port)),
            str(place.folder / "ray"),
        ],
        requirements=("ray[serve]==2.59.0", "onnxruntime", "numpy"),
        ready="/-/healthz",
    ),
    Contestant(
        BASE,
        "FastAPI + ONNX, by hand",
        _uvicorn("fastapi_onnx:app"),
        requirements=FASTAPI_ONNX,
    ),
    Contestant(
        TYPED,
        "FastAPI + ONNX, by hand, with a response model",
        _uvicorn("fastapi_onnx:app"),
        requirements=FASTAPI_ONNX,
        installed_as=BASE,
        path="/predict_typed",
    ),
    _ours(UNMONITORED, "ours, without monitoring", SERVING_MONITORING="false"),
    _ours(OURS, "ours, everything on"),
    Contestant(
        BOUND,
        "raw ASGI + ONNX, no checks or accounting",
        _uvicorn("raw_asgi:onnx", "--factory"),
        body=bare_rows,
    ),
    _ours(TWO_WORKERS, "ours, 2 workers", workers=2),
    Contestant(
        "constant",
        "raw ASGI, a constant response",
        _uvicorn("raw_asgi:constant", "--factory"),
        body=bare_rows,
        codes=None,
    ),
)
