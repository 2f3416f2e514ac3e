"""Any model of the catalog but speech as a BentoML service.

Its endpoints, OpenAPI document and page follow the contract in the stored package, which the Bento
argument ``model_tag`` names. BentoML gives workers, health probes, /metrics and packaging. The
endpoints are answered by `RestMiddleware` before BentoML decodes anything; their methods here
describe them on the page and in the OpenAPI document, and answer the same when called in process.
"""

from __future__ import annotations

import os
import platform
import uuid
from pathlib import Path
from typing import Annotated, Any

import bentoml
import msgspec
from pydantic import BaseModel, WithJsonSchema

from application.inference.predictor import Predictor, replay_golden
from application.inference.protocols import schema
from application.inference.protocols.rest import ModelApi, RestMiddleware
from application.monitoring.accounting import Accountant, every
from application.monitoring.drift_watch import DriftWatch
from domain.errors import PackageError
from domain.models.contract import ModelSpec, Quantity
from domain.monitoring.drift import ANSWER
from infrastructure.inference.loading import load_served
from infrastructure.monitoring.metrics.model_metrics import ModelMetricsCollector
from infrastructure.packaging.model_package import ModelPackage
from infrastructure.packaging.requirements import serving_requirements
from infrastructure.storage.prediction_log import SqlPredictionLog
from shared.settings import Settings

DRIFT_SECONDS = 10.0
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
Report = Annotated[Any, WithJsonSchema(schema.feedback_schema(SPEC))]
Answers = Annotated[dict[str, Any], WithJsonSchema(schema.answers_schema(SPEC))]

_running: list[ModelApi] = []


@bentoml.service(
    name=STORED.tag.name,
    description=schema.describe(SPEC),
    image=bentoml.images.Image(
        base_image=f"python:{PYTHON}-slim", distro="none", lock_python_packages=False
    ).python_packages(*serving_requirements(SPEC.task, PACKAGE.is_native)),
    workers=int(os.environ.get("WORKERS", "1")),
    traffic={"timeout": 30},
    logging={"access": {"enabled": False}},  # a line for each prediction would cost more than it
)
class ModelService:
    """Answers for the model that it was built with."""

    package = REFERENCE

    def __init__(self) -> None:
        model = load_served(PACKAGE.served, SPEC)
        replay_golden(SPEC, model, GOLDEN)
        profiles = PACKAGE.read_json("profile.json")
        name, number = STORED.tag.name, str(STORED.tag.version)
        self._log = SqlPredictionLog(_log_url(), name)
        metrics = _metrics(name, number, profiles)
        drift = DriftWatch(SPEC, profiles, self._log, metrics)
        self._accountant = Accountant(
            SPEC, metrics, self._log, watch=every(DRIFT_SECONDS, drift.look)
        )
        predictor = Predictor(SPEC, model, self._accountant)
        self._api = ModelApi(name, number, predictor, self._accountant, self._log, metrics)
        _running[:] = [self._api]

    @bentoml.on_shutdown
    def stop(self) -> None:
        """Account for the last predictions."""
        self._accountant.close()
        self._log.close()

    @bentoml.api(route="/predict")
    def predict(self, rows: Rows, /) -> Answers:
        """Predict for rows (or one flat row) in the order of the contract."""
        return self._call(ModelApi.predict, rows)

    @bentoml.api(route="/predict_json")
    def predict_json(self, instance: Objects, /) -> Answers:
        """Predict for one object by named inputs, or for those under `instances`."""
        return self._call(ModelApi.predict_json, instance)

    if SPEC.classes:

        @bentoml.api(route="/classify")
        def classify(self, rows: Rows, /) -> Answers:
            """The same as `/predict`."""
            return self._call(ModelApi.predict, rows)

        @bentoml.api(route="/classify_json")
        def classify_json(self, instance: Objects, /) -> Answers:
            """The same as `/predict_json`."""
            return self._call(ModelApi.predict_json, instance)

    @bentoml.api(route="/health_check")
    def health_check(self) -> dict[str, Any]:
        """Which model answers here."""
        return self._call(ModelApi.health_check, {})

    @bentoml.api(route="/get_metrics_summary")
    def get_metrics_summary(self, hours: float = 1.0) -> dict[str, Any]:
        """Totals of the last hours, with quality where feedback has come."""
        return self._call(ModelApi.get_metrics_summary, {"hours": hours})

    @bentoml.api(route="/feedback")
    def feedback(self, report: Report, /) -> dict[str, Any]:
        """Say what a prediction should have been, by its identity or by its inputs."""
        return self._call(ModelApi.feedback, report)

    def _call(self, handler: Any, request: Any) -> dict[str, Any]:
        answer: dict[str, Any] = msgspec.to_builtins(
            handler(self._api, msgspec.json.encode(request), uuid.uuid4().hex)
        )
        return answer


def _metrics(name: str, version: str, profiles: dict[str, Any]) -> ModelMetricsCollector:
    if not isinstance(SPEC.output, Quantity):
        return ModelMetricsCollector(name, version, SPEC.classes)
    recorded = sorted({answer[0] for answer in GOLDEN["answers"]})
    # where an input is itself called so, the profile is the input's
    profile = {} if ANSWER in SPEC.monitored_names else profiles.get(ANSWER, {})
    buckets = profile.get("edges") or recorded
    return ModelMetricsCollector(name, version, (SPEC.output.name,), value_buckets=buckets)


def _log_url() -> str:
    home = os.environ.get("BENTOML_HOME", Path.home() / "bentoml")
    return Settings().prediction_log_url or f"sqlite:///{home}/predictions.db"


def _document() -> dict[str, Any]:
    """BentoML's OpenAPI document, made anew since it tells the Bento's version."""
    service: Any = ModelService  # the decorator has made a bentoml.Service of the class
    document: dict[str, Any] = service.openapi_spec.asdict()  # pylint: disable=no-member
    return document


# the decorator has made a bentoml.Service of the class
ModelService.add_asgi_middleware(  # type: ignore[attr-defined]  # pylint: disable=no-member
    RestMiddleware,
    spec=SPEC,
    api=lambda: _running[0],
    document=_document,
)
