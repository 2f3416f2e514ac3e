"""The iris classifier as a BentoML service.

BentoML gives workers, health probes, /metrics, packaging and the page at /. The endpoints below
are answered by `RestMiddleware` before BentoML decodes anything; their methods here describe them
on the page and in the OpenAPI document, and answer the same when they are called in process.
"""

from __future__ import annotations

import os
import platform
import uuid
from pathlib import Path
from typing import Annotated, Any

import bentoml
import msgspec
from pydantic import BaseModel, Field

from application.inference.predictor import Predictor, replay_golden
from application.inference.protocols.rest import ClassifierApi, RestMiddleware
from application.monitoring.accounting import Accountant, every
from application.monitoring.drift_watch import DriftWatch
from domain.models.contract import ModelSpec
from infrastructure.inference.onnx_runtime import load_onnx
from infrastructure.monitoring.metrics.model_metrics import ModelMetricsCollector
from infrastructure.packaging.model_package import ModelPackage
from infrastructure.packaging.requirements import pinned_requirements
from infrastructure.storage.prediction_log import SqlPredictionLog
from shared.settings import Settings

REQUIREMENTS = (
    "bentoml",
    "msgspec",
    "numpy",
    "onnxruntime",
    "prometheus-client",
    "pydantic-settings",
    "sqlalchemy",
)
DRIFT_SECONDS = 10.0
PYTHON = ".".join(platform.python_version_tuple()[:2])

Rows = Annotated[
    list[Any], Field(examples=[[[5.1, 3.5, 1.4, 0.2], [6.7, 3.0, 5.2, 2.3]], [5.1, 3.5, 1.4, 0.2]])
]


class Arguments(BaseModel):
    """What a Bento is built with: the stored model that it serves."""

    model_tag: str = "iris_classifier_pipeline:latest"


_ARGUMENTS = bentoml.use_arguments(Arguments)
_running: list[ClassifierApi] = []


@bentoml.service(
    name="iris_classifier",
    image=bentoml.images.Image(
        base_image=f"python:{PYTHON}-slim", distro="none", lock_python_packages=False
    ).python_packages(*pinned_requirements(REQUIREMENTS)),
    workers=int(os.environ.get("WORKERS", "1")),
    traffic={"timeout": 30},
    logging={"access": {"enabled": False}},  # a line for each prediction would cost more than it
)
class IrisClassifier:
    """Species of iris flowers by the lengths and widths of their sepals and petals, in cm."""

    package = bentoml.models.BentoModel(_ARGUMENTS.model_tag)

    def __init__(self) -> None:
        stored = self.package
        package = ModelPackage(Path(stored.path), stored=True)
        spec = ModelSpec.from_dict(package.read_json("contract.json"))
        model = load_onnx(package.onnx)
        replay_golden(model, **package.read_json("golden.json"))
        name, number = stored.tag.name, str(stored.tag.version)
        self._log = SqlPredictionLog(_log_url(), name)
        metrics = ModelMetricsCollector(name, number, spec.classes)
        drift = DriftWatch(package.read_json("profile.json"), self._log, metrics)
        self._accountant = Accountant(
            spec, metrics, self._log, watch=every(DRIFT_SECONDS, drift.look)
        )
        predictor = Predictor(spec, model, self._accountant)
        self._api = ClassifierApi(name, number, predictor, self._accountant, self._log, metrics)
        _running[:] = [self._api]

    @bentoml.on_shutdown
    def stop(self) -> None:
        """Account for the last predictions."""
        self._accountant.close()
        self._log.close()

    @bentoml.api(route="/classify")
    def classify(self, rows: Rows, /) -> dict[str, Any]:
        """Classify rows of four numbers (or one flat row), in the order of the contract."""
        return self._call(ClassifierApi.classify, rows)

    @bentoml.api(route="/classify_json")
    def classify_json(self, instance: dict[str, Any], /) -> dict[str, Any]:
        """Classify one flower by named inputs, or those under `instances`."""
        return self._call(ClassifierApi.classify_json, instance)

    @bentoml.api(route="/health_check")
    def health_check(self) -> dict[str, Any]:
        """Which model answers here."""
        return self._call(ClassifierApi.health_check, {})

    @bentoml.api(route="/get_metrics_summary")
    def get_metrics_summary(self, hours: float = 1.0) -> dict[str, Any]:
        """Totals of the last hours, with quality where feedback has come."""
        return self._call(ClassifierApi.get_metrics_summary, {"hours": hours})

    @bentoml.api(route="/feedback")
    def feedback(self, report: dict[str, Any], /) -> dict[str, Any]:
        """Say what a prediction should have been: `request_id`, `row` and `actual_class`."""
        return self._call(ClassifierApi.feedback, report)

    def _call(self, handler: Any, request: Any) -> dict[str, Any]:
        answer: dict[str, Any] = msgspec.to_builtins(
            handler(self._api, msgspec.json.encode(request), uuid.uuid4().hex)
        )
        return answer


def _log_url() -> str:
    home = os.environ.get("BENTOML_HOME", Path.home() / "bentoml")
    return Settings().prediction_log_url or f"sqlite:///{home}/predictions.db"


# the decorator has made a bentoml.Service of the class
IrisClassifier.add_asgi_middleware(  # type: ignore[attr-defined]  # pylint: disable=no-member
    RestMiddleware, api=lambda: _running[0]
)
