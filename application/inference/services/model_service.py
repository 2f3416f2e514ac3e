"""Any model of the catalog but speech as a BentoML service.

Its endpoints, OpenAPI document and page follow the contract in the stored package, which the Bento
argument ``model_tag`` names. BentoML gives workers, /metrics and packaging. Predictions are
answered by a `PredictionApp` around it; the methods here describe its endpoints on the page and in
the OpenAPI document, and answer the same when called in process.
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
from application.inference.protocols.openapi import in_own_words, with_keys
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
SLOW_SECONDS = 0.002  # of one row: a model that takes longer leaves the event loop
PYTHON = ".".join(platform.python_version_tuple()[:2])


class Arguments(BaseModel):
    """What a Bento is built with: the stored model that it serves."""

    model_tag: str = "iris_classifier_pipeline:latest"


REFERENCE = bentoml.models.BentoModel(bentoml.use_arguments(Arguments).model_tag)
# read when this module is imported, since the endpoints below follow it: at build from the store,
# in a server from the Bento itself
STORED = REFERENCE.stored
if STORED is None:
    raise PackageError(
        f"{REFERENCE.tag} is not in the Bento store: `make validate` puts a model there, and "
        "--arg model_tag=name:version names it"
    )
PACKAGE = ModelPackage(Path(STORED.path), stored=True)
SPEC = PACKAGE.spec
GOLDEN = PACKAGE.read_json("golden.json")

Rows = Annotated[Any, WithJsonSchema(schema.rows_schema(SPEC, GOLDEN["rows"]))]
Objects = Annotated[Any, WithJsonSchema(schema.objects_schema(SPEC, GOLDEN["rows"]))]
Period = Annotated[Any, WithJsonSchema(schema.period_schema())]
Report = Annotated[Any, WithJsonSchema(schema.feedback_schema(SPEC))]
Answers = Annotated[dict[str, Any], WithJsonSchema(schema.answers_schema(SPEC))]

SERVING = ServingSettings.load()
WORKERS = int(os.environ.get("WORKERS", "1"))
configure_logs(SERVING.log_format)
adapt_uvicorn(SERVING.head_seconds, SERVING.body_seconds, WORKERS)
AUTHORISE = authoriser(ApiKeys.parse(SERVING.api_keys), SERVING.open_paths)
STARTED: Future[Started] = Future()  # there when this process is ready


@bentoml.service(
    name=STORED.tag.name,
    description=schema.describe(SPEC),
    image=bentoml.images.Image(
        base_image=f"python:{PYTHON}-slim", distro="none", lock_python_packages=False
    ).python_packages(*serving_requirements(SPEC.task, PACKAGE.is_native)),
    workers=WORKERS,
    http={"port": int(os.environ.get("AIP_HTTP_PORT") or 3000)},  # Vertex AI's, or BentoML's own
    traffic={"timeout": 30},
    logging={"access": {"enabled": False}},  # predictions do not pass it
)
class ModelService:
    """Answers for the model that it was built with."""

    package = REFERENCE

    def __init__(self) -> None:
        name, profiles = STORED.tag.name, PACKAGE.read_json("profile.json")
        self._log = SqlPredictionLog(_log_url(), name)
        self._metrics = _metrics(name, str(STORED.tag.version), profiles)
        drift = DriftWatch(SPEC, profiles, self._log, self._metrics)
        self._recorder = PredictionRecorder(
            SPEC, self._metrics, self._log, watch=every(DRIFT_SECONDS, drift.look)
        )
        self._rest: Future[RestApi] = Future()
        Thread(target=self._start, name="starting", daemon=True).start()

    def _start(self) -> None:
        """Load the model and ask it the golden requests; the server says meanwhile that it lives,
        and is not ready."""
        try:
            model = load_served(PACKAGE.served, SPEC, SERVING.threads)
            replay_golden(SPEC, model, GOLDEN)
            rest, started = self._open(model)
        except Exception as error:  # pylint: disable=broad-exception-caught  # told by /readyz
            self._rest.set_exception(error)
            STARTED.set_exception(error)
            return
        gc.collect()
        gc.freeze()  # what stays is not looked at again and again
        self._rest.set_result(rest)
        STARTED.set_result(started)

    def _open(self, model: Model) -> tuple[RestApi, Started]:
        """Every protocol of the model, for traffic and for synthetic requests."""
        slow = _seconds_of_a_row(model) > SLOW_SECONDS
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
        """The protocols whose predictions an account is kept of: the first one, the routes of all,
        and how other paths are answered."""
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
            path: does for other in others for path, does in other.paths(GOLDEN["rows"]).items()
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
        """Account for the last predictions."""
        self._recorder.close()
        self._log.close()

    @bentoml.api(route="/predict")
    def predict(self, rows: Rows, /) -> Answers:
        """Predict for rows (or one flat row) in the order of the contract."""
        return self._call(RestApi.predict, rows)

    @bentoml.api(route="/predict_json")
    def predict_json(self, instance: Objects, /) -> Answers:
        """Predict for one object by named inputs, or for those under `instances`."""
        return self._call(RestApi.predict_json, instance)

    if SPEC.classes:

        @bentoml.api(route="/classify")
        def classify(self, rows: Rows, /) -> Answers:
            """The same as `/predict`."""
            return self._call(RestApi.predict, rows)

        @bentoml.api(route="/classify_json")
        def classify_json(self, instance: Objects, /) -> Answers:
            """The same as `/predict_json`."""
            return self._call(RestApi.predict_json, instance)

    @bentoml.api(route="/health_check")
    def health_check(self) -> dict[str, Any]:
        """Which model answers here."""
        return self._call(RestApi.health_check, {})

    @bentoml.api(route="/get_metrics_summary")
    def get_metrics_summary(self, period: Period, /) -> dict[str, Any]:
        """Totals of the last hours, with quality where feedback has come."""
        return self._call(RestApi.get_metrics_summary, period)

    @bentoml.api(route="/feedback")
    def feedback(self, report: Report, /) -> dict[str, Any]:
        """Say what a prediction should have been, by its identity or by its inputs."""
        return self._call(lambda rest, sent: finish(rest.feedback(sent)), report)

    def _call(self, handler: Callable[[RestApi, Request], Any], request: Any) -> Any:
        sent = Request(new_request_id(), {}, msgspec.json.encode(request))
        return msgspec.json.decode(handler(self._rest.result(), sent))


def _seconds_of_a_row(model: Model) -> float:
    """What one golden row takes, at best of three times."""
    row = SPEC.encode_rows(GOLDEN["rows"][:1])
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        model(row)
        taken.append(time.perf_counter() - start)
    return min(taken)


def _metrics(name: str, version: str, profiles: dict[str, Any]) -> ModelMetricsCollector:
    if not isinstance(SPEC.output, Quantity):
        return ModelMetricsCollector(name, version, SPEC.classes)
    recorded = sorted({answer[0] for answer in GOLDEN["answers"]})
    # where an input is itself called so, the profile is the input's
    profile = {} if PREDICTION in SPEC.monitored_names else profiles.get(PREDICTION, {})
    buckets = profile.get("edges") or recorded
    return ModelMetricsCollector(name, version, (SPEC.output.name,), value_buckets=buckets)


def _log_url() -> str:
    home = os.environ.get("BENTOML_HOME", Path.home() / "bentoml")
    return Settings.load().prediction_log_url or f"sqlite:///{home}/predictions.db"


def _document(others: dict[str, Any]) -> dict[str, Any]:
    """BentoML's OpenAPI document, made anew since it tells the Bento's version.

    Args:
        others: the paths of the other protocols.
    """
    service: Any = ModelService  # the decorator has made a bentoml.Service of the class
    document: dict[str, Any] = service.openapi_spec.asdict()  # pylint: disable=no-member
    document |= {"paths": document["paths"] | others | page_paths()}
    document = in_own_words(document)
    return with_keys(document) if AUTHORISE else document


wrap_service(ModelService, STARTED, SERVING, AUTHORISE)
