"""The service of any model of the catalog except speech.

Its endpoints, OpenAPI document and page are derived from the contract in the stored package.
BentoML provides workers, /metrics and packaging. A `PredictionApp` around it serves the
predictions; the methods of the service describe its endpoints on the page and in the OpenAPI
document, and return the same when called in process.
"""

# no postponed annotations: BentoML evaluates them at run time
import gc
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from threading import Thread
from typing import Annotated, Any

import bentoml
import msgspec
from pydantic import WithJsonSchema

from application.inference.predictor import NullRecorder, Predictor, replay_golden
from application.inference.protocols import schema, vertex
from application.inference.protocols.app import Started
from application.inference.protocols.http import Request, Route, finish
from application.inference.protocols.lines import LINES, PredictionLines
from application.inference.protocols.mlflow_scoring import MlflowScoring
from application.inference.protocols.open_inference import OpenInference
from application.inference.protocols.rest import RestApi
from application.inference.protocols.vertex import VertexPrediction
from application.monitoring.drift_watch import DriftWatch
from application.monitoring.estimation import QualityEstimator
from application.monitoring.feedback import QualityGauges
from application.monitoring.recorder import PredictionRecorder, every
from application.ports.model import Model
from application.ports.recorder import Recorder
from domain.contract import ModelSpec, Quantity, RangePolicy
from domain.monitoring.drift import PREDICTION, importances_of_variables
from infrastructure.inference.loading import load_served
from infrastructure.monitoring.metrics.metrics_files import allocate_metrics_files
from infrastructure.monitoring.metrics.process_metrics import process_metrics
from infrastructure.monitoring.metrics.service_metrics import ServiceMetrics
from infrastructure.packaging.model_package import ModelPackage
from infrastructure.serving.bento_service import BentoService
from infrastructure.storage.prediction_log import RETENTION_DAYS, SqlPredictionLog, sqlite_file
from infrastructure.storage.spool import SpoolFolder
from infrastructure.storage.spooled_log import SpooledLog
from shared.request_id import new_request_id
from shared.settings import Settings, default_log_url

DRIFT_SECONDS = 10.0
SLOW_SECONDS = 0.002  # for one row: a slower model runs off the event loop


class ModelService(BentoService):
    """The model and the settings of one service.

    Attributes:
        spec: the contract.
        golden: rows and the predictions for them that the model must reproduce.
        log_url: database of the prediction log.
    """

    def __init__(self, default_tag: str) -> None:
        super().__init__(default_tag)
        self.spec, self.golden = self.package.spec, self.package.read_json("golden.json")
        self.log_url = _log_url()

    def bento_class(self) -> type:
        """The class that BentoML serves, with a method for each endpoint."""
        service, examples = self, self.golden["rows"]
        rows_schema = WithJsonSchema(schema.rows_schema(self.spec, examples))
        objects_schema = WithJsonSchema(schema.objects_schema(self.spec, examples))
        period_schema = WithJsonSchema(schema.period_schema())
        report_schema = WithJsonSchema(schema.feedback_schema(self.spec))
        response_schema = WithJsonSchema(schema.response_schema(self.spec))
        Rows = Annotated[Any, rows_schema]  # pylint: disable=invalid-name
        Objects = Annotated[Any, objects_schema]  # pylint: disable=invalid-name
        Response = Annotated[dict[str, Any], response_schema]  # pylint: disable=invalid-name

        class Endpoints:
            """Serves the model that it was built with."""

            package = service.reference

            def __init__(self) -> None:
                self._model = ServedModel(service)

            def __metrics__(self, exposed: str) -> str:
                """What /metrics returns; BentoML passes the metrics that all workers have set."""
                return exposed + process_metrics()

            @bentoml.on_shutdown
            def stop(self) -> None:
                """Record the remaining predictions."""
                self._model.close()

            @bentoml.api(route="/predict")
            def predict(self, rows: Rows, /) -> Response:
                """Predict for rows (or one flat row) in the order of the contract."""
                return self._model.call(RestApi.predict, rows)

            @bentoml.api(route="/predict_json")
            def predict_json(self, instance: Objects, /) -> Response:
                """Predict for one object with named inputs, or for those under `instances`."""
                return self._model.call(RestApi.predict_json, instance)

            if service.spec.classes:

                @bentoml.api(route="/classify")
                def classify(self, rows: Rows, /) -> Response:
                    """The same as `/predict`."""
                    return self._model.call(RestApi.predict, rows)

                @bentoml.api(route="/classify_json")
                def classify_json(self, instance: Objects, /) -> Response:
                    """The same as `/predict_json`."""
                    return self._model.call(RestApi.predict_json, instance)

            @bentoml.api(route="/health_check")
            def health_check(self) -> dict[str, Any]:
                """Name, version and task of the served model."""
                return self._model.call(RestApi.health_check, {})

            @bentoml.api(route="/get_metrics_summary")
            def get_metrics_summary(
                self, period: Annotated[Any, period_schema], /
            ) -> dict[str, Any]:
                """Totals of the last hours, with the live quality if there is feedback."""
                return self._model.call(RestApi.get_metrics_summary, period)

            @bentoml.api(route="/feedback")
            def feedback(self, report: Annotated[Any, report_schema], /) -> dict[str, Any]:
                """Record the actual class or value of a prediction, by its identity or by its
                inputs."""
                return self._model.call(lambda rest, item: finish(rest.feedback(item)), report)

        return Endpoints


class ServedModel:
    """The model in one worker, with its metrics and its prediction log.

    Both are opened in a thread: until the golden requests are reproduced, the server is live, but
    not ready.
    """

    def __init__(self, service: ModelService) -> None:
        self._service, self._profiles = service, service.package.read_json("profile.json")
        self._opened = ExitStack()
        self._metrics = ServiceMetrics(
            service.name,
            service.version,
            service.spec.classes or (service.spec.output.name,),
            value_buckets=value_buckets(service.spec, service.golden, self._profiles),
            tolerant=RangePolicy(service.spec).tolerant_names,
        )
        measure, threshold = service.package.measure, score_threshold(service.package)
        if threshold is not None:
            self._metrics.set_score_threshold(measure.name, threshold)
        importances = service.package.read_json("metrics.json").get("importances", {})
        self._metrics.set_importances(importances_of_variables(service.spec, importances))
        self._rest: Future[RestApi] = Future()
        Thread(target=self._start, name="starting", daemon=True).start()

    def call(self, handler: Callable[[RestApi, Request], Any], body: Any) -> Any:
        """Answer a request that did not come over HTTP."""
        request = Request(new_request_id(), {}, msgspec.json.encode(body))
        return msgspec.json.decode(handler(self._rest.result(), request))

    def close(self) -> None:
        """Record the remaining predictions."""
        self._opened.close()

    def _start(self) -> None:
        service = self._service
        try:
            log = SqlPredictionLog(
                service.log_url,
                service.name,
                service.settings.retention_days or retention_days(service.package),
                version=service.version,
                environment=service.settings.environment or None,
                classes=service.spec.classes,
            )
            self._opened.callback(log.close)
            model = load_served(service.package.served, service.spec, service.settings.threads)
            replay_golden(service.spec, model, service.golden)
            rest, started = self._open(model, log)
            allocate_metrics_files()  # again: now they contain all metrics of the model
        except Exception as error:  # pylint: disable=broad-exception-caught  # /readyz reports it
            self._rest.set_exception(error)
            service.started.set_exception(error)
            return
        gc.collect()
        gc.freeze()  # later collections skip what exists now
        self._rest.set_result(rest)
        service.started.set_result(started)

    def _open(self, model: Model, log: SqlPredictionLog) -> tuple[RestApi, Started]:
        """The routes of all protocols, for traffic and for synthetic requests."""
        service = self._service
        drift = DriftWatch(service.spec, self._profiles, log, self._metrics)
        estimator = self._estimator(log)
        quality = QualityGauges(service.package.measure, log, self._metrics, service.version)

        def check() -> None:
            drift.check()
            estimator.update(self._metrics)
            quality.update()

        folder = spool_folder(service.log_url) / service.name
        spools = SpoolFolder(folder, service.settings.spool_bytes)
        spooled = SpooledLog(log, self._metrics, spools)
        self._opened.callback(spooled.close)
        recorder = PredictionRecorder(
            service.spec, self._metrics, spooled, watch=every(DRIFT_SECONDS, check)
        )
        self._opened.callback(recorder.close)
        slow = _seconds_per_row(model, service) > SLOW_SECONDS
        used = recorder if service.settings.monitoring else NullRecorder()
        rest, routes, fallback = self._protocols(model, used, slow, (recorder, log))
        _, synthetic, _ = self._protocols(model, NullRecorder(), slow, (recorder, log))
        pages = service.pages()
        return rest, Started(routes | pages, self._metrics, fallback, synthetic | pages)

    def _estimator(self, log: SqlPredictionLog) -> QualityEstimator:
        package = self._service.package
        return QualityEstimator(log, package.measure, package.calibration, self._service.version)

    def _protocols(
        self,
        model: Model,
        recorder: Recorder,
        slow: bool,
        logged: tuple[PredictionRecorder, SqlPredictionLog],
    ) -> tuple[RestApi, dict[str, Route], Callable[[str], Route | None]]:
        """The REST API, the routes of all protocols, and the fallback for other paths."""
        service, settings = self._service, self._service.settings
        identity = (service.name, service.version)
        predictor = Predictor(service.spec, model, recorder, settings.max_rows)
        libraries = service.package.read_json("provenance.json")["libraries"]
        platform = "sklearn_skops" if service.package.is_native else "onnxruntime_onnx"
        inference = OpenInference(*identity, predictor, platform)
        others = (
            inference,
            MlflowScoring(predictor, libraries.get("mlflow", "unknown")),
            VertexPrediction(predictor, os.environ.get("AIP_PREDICT_ROUTE") or vertex.PATH),
            PredictionLines(predictor, settings.max_lines_bytes, min(LINES, settings.max_rows)),
        )
        paths = {
            path: item
            for other in others
            for path, item in other.paths(service.golden["rows"]).items()
        }
        rest = RestApi(
            *(*identity, predictor, *logged, self._metrics),
            document=lambda: service.document(paths),
            measure=service.package.measure,
            estimator=self._estimator(logged[1]),
        )
        routes = {
            path: replace(route, slow=slow)
            for protocol in (rest, *others)
            for path, route in protocol.routes().items()
        }
        return rest, routes, inference.fallback


def score_threshold(package: ModelPackage) -> float | None:
    """The score from which the gate accepted the model, if it was recorded."""
    return _block_of(package, "validation").get("threshold")


def retention_days(package: ModelPackage) -> float:
    """How long the predictions of the model are kept."""
    days: float = _block_of(package, "monitoring").get("retention_days", RETENTION_DAYS)
    return days


def _block_of(package: ModelPackage, name: str) -> Mapping[str, Any]:
    """A block of the configuration that the model was trained with; empty if none was recorded."""
    block: Mapping[str, Any] = package.read_json("provenance.json").get("config", {}).get(name, {})
    return block


def value_buckets(
    spec: ModelSpec, golden: Mapping[str, Any], profiles: Mapping[str, Any]
) -> Sequence[float] | None:
    """Upper bounds of the buckets in which predicted values are counted; None for classes."""
    if not isinstance(spec.output, Quantity):
        return None
    # an input of this name owns the profile
    profile = {} if PREDICTION in spec.monitored_names else profiles.get(PREDICTION, {})
    return profile.get("edges") or sorted({outputs[0] for outputs in golden["answers"]})


def _seconds_per_row(model: Model, service: ModelService) -> float:
    """How long one golden row takes: the best of three."""
    row = service.spec.encode_rows(service.golden["rows"][:1])
    seconds = []
    for _ in range(3):
        start = time.perf_counter()
        model(row)
        seconds.append(time.perf_counter() - start)
    return min(seconds)


def spool_folder(log_url: str) -> Path:
    """Where predictions wait for the log: beside an SQLite database, else in BENTOML_HOME."""
    file = sqlite_file(log_url)
    return Path(f"{file}.spool") if file else _home() / "predictions.spool"


def _home() -> Path:
    return Path(os.environ.get("BENTOML_HOME", Path.home() / "bentoml"))


def _log_url() -> str:
    return Settings.load().prediction_log_url or default_log_url(_home())
