"""Any model of the catalog except speech as a BentoML service.

Its endpoints, OpenAPI document and page are derived from the contract in the stored package, which
the Bento argument ``model_tag`` names. BentoML provides workers, /metrics and packaging. A
`PredictionApp` around it serves the predictions; the methods here describe its endpoints on the
page and in the OpenAPI document, and return the same when called in process.
"""

from __future__ import annotations

import gc
import os
import platform
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import bentoml
import msgspec
from pydantic import BaseModel, WithJsonSchema

from application.inference.api_keys import ApiKeys, authoriser
from application.inference.predictor import NullRecorder, Predictor, replay_golden
from application.inference.protocols import schema, vertex
from application.inference.protocols.app import Started
from application.inference.protocols.http import Request, Route, finish
from application.inference.protocols.lines import LINES, PredictionLines
from application.inference.protocols.mlflow_scoring import MlflowScoring
from application.inference.protocols.open_inference import OpenInference
from application.inference.protocols.openapi import with_keys, with_summaries
from application.inference.protocols.rest import RestApi
from application.inference.protocols.vertex import VertexPrediction
from application.monitoring.recorder import PredictionRecorder, every
from application.monitoring.drift_watch import DriftWatch
from application.ports.model import Model
from application.ports.recorder import Recorder
from domain.contract import Quantity
from domain.errors import PackageError
from domain.monitoring.drift import PREDICTION
from infrastructure.inference.loading import load_served
from infrastructure.monitoring.metrics.model_metrics import ModelMetricsCollector
from infrastructure.packaging.model_package import ModelPackage
from infrastructure.packaging.requirements import serving_requirements
from infrastructure.serving.page import page_paths, page_routes, verdict_of
from infrastructure.serving.wrapping import wrap_service
from infrastructure.serving.uvicorn_protocol import install as adapt_uvicorn
from infrastructure.storage.prediction_log import SqlPredictionLog
from shared.logs import configure_logs
from shared.request_id import new_request_id
from shared.settings import ServingSettings, Settings

DRIFT_SECONDS = 10.0
SLOW_SECONDS = 0.002  # for one row: a slower model runs off the event loop
PYTHON = ".".join(platform.python_version_tuple()[:2])


class Arguments(BaseModel):
    """Arguments of the build: the stored model that the Bento serves."""

    model_tag: str = "iris_classifier_pipeline:latest"


REFERENCE = bentoml.models.BentoModel(bentoml.use_arguments(Arguments).model_tag)
# read on import, since the endpoints below depend on it: during a build from the store, in a
# server from the Bento itself
STORED = REFERENCE.stored
if STORED is None:
    raise PackageError(
        f"{REFERENCE.tag} is not in the Bento store: put a model there with `make validate`, and "
        "select it with --arg model_tag=name:version"
    )
PACKAGE = ModelPackage(Path(STORED.path), stored=True)
SPEC = PACKAGE.spec
GOLDEN = PACKAGE.read_json("golden.json")

Rows = Annotated[Any, WithJsonSchema(schema.rows_schema(SPEC, GOLDEN["rows"]))]
Objects = Annotated[Any, WithJsonSchema(schema.objects_schema(SPEC, GOLDEN["rows"]))]
Period = Annotated[Any, WithJsonSchema(schema.period_schema())]
Report = Annotated[Any, WithJsonSchema(schema.feedback_schema(SPEC))]
Response = Annotated[dict[str, Any], WithJsonSchema(schema.response_schema(SPEC))]

SERVING = ServingSettings.load()
WORKERS = int(os.environ.get("WORKERS", "1"))
configure_logs(SERVING.log_format)
adapt_uvicorn(SERVING.head_seconds, SERVING.body_seconds, WORKERS)
AUTHORISE = authoriser(ApiKeys.parse(SERVING.api_keys), SERVING.open_paths)
STARTED: Future[Started] = Future()  # done when this process is ready


@bentoml.service(
    name=STORED.tag.name,
    description=schema.describe(SPEC),
    image=bentoml.images.Image(
        base_image=f"python:{PYTHON}-slim", distro="none", lock_python_packages=False
    ).python_packages(*serving_requirements(SPEC.task, PACKAGE.is_native)),
    workers=WORKERS,
    http={"port": int(os.environ.get("AIP_HTTP_PORT") or 3000)},  # Vertex AI's, or BentoML's own
    traffic={"timeout": 30},
    logging={"access": {"enabled": False}},  # predictions bypass it
)
class ModelService:
    """Serves the model that it was built with."""

    package = REFERENCE

    def __init__(self) -> None:
        name, profiles = STORED.tag.name, PACKAGE.read_json("profile.json")
        self._log = SqlPredictionLog(_log_url(), name)
        self._metrics = _metrics(name, str(STORED.tag.version), profiles)
        drift = DriftWatch(SPEC, profiles, self._log, self._metrics)
        self._recorder = PredictionRecorder(
            SPEC, self._metrics, self._log, watch=every(DRIFT_SECONDS, drift.check)
        )
        self._rest: Future[RestApi] = Future()
        Thread(target=self._start, name="starting", daemon=True).start()

    def _start(self) -> None:
        """Load the model and replay the golden requests; until then the server is live, but not
        ready."""
        try:
            model = load_served(PACKAGE.served, SPEC, SERVING.threads)
            replay_golden(SPEC, model, GOLDEN)
            rest, started = self._open(model)
        except Exception as error:  # pylint: disable=broad-exception-caught  # /readyz reports it
            self._rest.set_exception(error)
            STARTED.set_exception(error)
            return
        gc.collect()
        gc.freeze()  # later collections skip what exists now
        self._rest.set_result(rest)
        STARTED.set_result(started)

    def _open(self, model: Model) -> tuple[RestApi, Started]:
        """The routes of all protocols, for traffic and for synthetic requests."""
        slow = _seconds_per_row(model) > SLOW_SECONDS
        recorder = self._recorder if SERVING.monitoring else NullRecorder()
        rest, routes, fallback = self._protocols(model, recorder, slow)
        _, synthetic, _ = self._protocols(model, NullRecorder(), slow)
        card = (PACKAGE.folder / "card.md").read_text(encoding="utf-8")
        verdict = verdict_of(STORED.info.labels)
        pages = page_routes(STORED.tag.name, str(STORED.tag.version), verdict, card)
        return rest, Started(routes | pages, self._metrics, fallback, synthetic | pages)

    def _protocols(
        self, model: Model, recorder: Recorder, slow: bool
    ) -> tuple[RestApi, dict[str, Route], Callable[[str], Route | None]]:
        """The REST API, the routes of all protocols, and the fallback for other paths."""
        name, number = STORED.tag.name, str(STORED.tag.version)
        predictor = Predictor(SPEC, model, recorder, SERVING.max_rows)
        libraries = PACKAGE.read_json("provenance.json")["libraries"]
        platform_ = "sklearn_skops" if PACKAGE.is_native else "onnxruntime_onnx"
        inference = OpenInference(name, number, predictor, platform_)
        others = (
            inference,
            MlflowScoring(predictor, libraries.get("mlflow", "unknown")),
            VertexPrediction(predictor, os.environ.get("AIP_PREDICT_ROUTE") or vertex.PATH),
            PredictionLines(predictor, SERVING.max_lines_bytes, min(LINES, SERVING.max_rows)),
        )
        paths = {
            path: item for other in others for path, item in other.paths(GOLDEN["rows"]).items()
        }
        rest = RestApi(
            *(name, number, predictor, self._recorder, self._log, self._metrics),
            document=lambda: _document(paths),
        )
        routes = {
            path: replace(route, slow=slow)
            for protocol in (rest, *others)
            for path, route in protocol.routes().items()
        }
        return rest, routes, inference.fallback

    @bentoml.on_shutdown
    def stop(self) -> None:
        """Record the remaining predictions."""
        self._recorder.close()
        self._log.close()

    @bentoml.api(route="/predict")
    def predict(self, rows: Rows, /) -> Response:
        """Predict for rows (or one flat row) in the order of the contract."""
        return self._call(RestApi.predict, rows)

    @bentoml.api(route="/predict_json")
    def predict_json(self, instance: Objects, /) -> Response:
        """Predict for one object with named inputs, or for those under `instances`."""
        return self._call(RestApi.predict_json, instance)

    if SPEC.classes:

        @bentoml.api(route="/classify")
        def classify(self, rows: Rows, /) -> Response:
            """The same as `/predict`."""
            return self._call(RestApi.predict, rows)

        @bentoml.api(route="/classify_json")
        def classify_json(self, instance: Objects, /) -> Response:
            """The same as `/predict_json`."""
            return self._call(RestApi.predict_json, instance)

    @bentoml.api(route="/health_check")
    def health_check(self) -> dict[str, Any]:
        """Name, version and task of the served model."""
        return self._call(RestApi.health_check, {})

    @bentoml.api(route="/get_metrics_summary")
    def get_metrics_summary(self, period: Period, /) -> dict[str, Any]:
        """Totals of the last hours, with the live quality if there is feedback."""
        return self._call(RestApi.get_metrics_summary, period)

    @bentoml.api(route="/feedback")
    def feedback(self, report: Report, /) -> dict[str, Any]:
        """Record the actual class or value of a prediction, by its identity or by its inputs."""
        return self._call(lambda rest, request: finish(rest.feedback(request)), report)

    def _call(self, handler: Callable[[RestApi, Request], Any], body: Any) -> Any:
        request = Request(new_request_id(), {}, msgspec.json.encode(body))
        return msgspec.json.decode(handler(self._rest.result(), request))


def _seconds_per_row(model: Model) -> float:
    """How long one golden row takes: the best of three."""
    row = SPEC.encode_rows(GOLDEN["rows"][:1])
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        model(row)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def _metrics(name: str, version: str, profiles: dict[str, Any]) -> ModelMetricsCollector:
    if not isinstance(SPEC.output, Quantity):
        return ModelMetricsCollector(name, version, SPEC.classes)
    golden_values = sorted({outputs[0] for outputs in GOLDEN["answers"]})
    # an input of this name owns the profile
    profile = {} if PREDICTION in SPEC.monitored_names else profiles.get(PREDICTION, {})
    buckets = profile.get("edges") or golden_values
    return ModelMetricsCollector(name, version, (SPEC.output.name,), value_buckets=buckets)


def _log_url() -> str:
    home = os.environ.get("BENTOML_HOME", Path.home() / "bentoml")
    return Settings.load().prediction_log_url or f"sqlite:///{home}/predictions.db"


def _document(others: dict[str, Any]) -> dict[str, Any]:
    """BentoML's OpenAPI document, made for each call since it has the Bento's version.

    Args:
        others: the paths of the other protocols.
    """
    service: Any = ModelService  # the decorator has made a bentoml.Service of the class
    document: dict[str, Any] = service.openapi_spec.asdict()  # pylint: disable=no-member
    document |= {"paths": document["paths"] | others | page_paths()}
    document = with_summaries(document)
    return with_keys(document) if AUTHORISE else document


wrap_service(ModelService, STARTED, SERVING, AUTHORISE)
