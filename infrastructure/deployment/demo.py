"""Ask a deployed service for a prediction and give it feedback.

Shows the request, the answer, and the metrics that changed. What it sends is marked as synthetic:
it counts in a metric of its own, not as traffic.
"""

from __future__ import annotations

import json
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from application.inference.protocols.schema import truth_names
from domain.errors import DeploymentError
from infrastructure.deployment.golden import HEARING_SECONDS, Golden
from shared.console import show_step

PATIENCE_SECONDS = 5.0
COUNTER = "ml_synthetic_requests_total"


@dataclass(frozen=True)
class Service:
    """A deployed service.

    Args:
        api_key: empty where it asks for none.
        model: registered name of the model that should answer; empty where any may.
    """

    url: str
    api_key: str = ""
    model: str = ""

    def get(
        self,
        path: str,
        body: bytes | None = None,
        kind: str = "application/json",
        patience: float = 10,
    ) -> bytes:
        """The body of an answer.

        Raises:
            DeploymentError: there is none, or it is an error.
        """
        headers = {"Content-Type": kind, "X-API-Key": self.api_key, "X-Synthetic": "demo"}
        request = urllib.request.Request(f"{self.url}{path}", body, headers)
        try:
            # the address is our own
            with urllib.request.urlopen(request, timeout=patience) as response:  # nosec B310
                content: bytes = response.read()
                return content
        except urllib.error.HTTPError as error:
            raise DeploymentError(
                f"{self.url}{path} answers {error.code} {error.reason}{self._another_model()}"
            ) from error
        except urllib.error.URLError as error:
            raise DeploymentError(f"{self.url}{path} does not answer: {error}") from error

    def _another_model(self) -> str:
        """What the health check says where another model answers; empty where it does not."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            asked = urllib.request.Request(
                f"{self.url}/health_check", headers={"X-API-Key": self.api_key}
            )
            with urllib.request.urlopen(asked, timeout=10) as response:  # nosec B310  # as above
                found = json.load(response)["model_name"]
            if self.model and found != self.model:
                return f": {found} serves there, not {self.model}; name its ENV or another PORT"
        return ""

    def post(self, path: str, data: Any) -> Any:
        """The JSON that JSON is answered with."""
        return json.loads(self.get(path, json.dumps(data).encode()))

    def metrics(self) -> dict[str, float]:
        """The model's metrics without histogram buckets, by name and labels.

        The labels that say which model it is, the same everywhere, are left out.
        """
        # pylint: disable-next=import-outside-toplevel  # only the demonstration parses metrics
        from prometheus_client.parser import text_string_to_metric_families

        families = text_string_to_metric_families(self.get("/metrics").decode())
        values = {}
        for sample in (sample for family in families for sample in family.samples):
            if sample.name.startswith("ml_") and not sample.name.endswith(("_bucket", "_created")):
                labels = {
                    k: v for k, v in sample.labels.items() if k not in ("model_name", "version")
                }
                shown = ",".join(f'{key}="{value}"' for key, value in labels.items())
                values[f"{sample.name}{{{shown}}}" if shown else sample.name] = sample.value
        return values


def demonstrate(service: Service, golden: Golden) -> None:
    """Send a golden request, and as feedback what its row really was; show what has changed."""
    before = service.metrics()
    if golden.recording:
        path, recording, kind = golden.request
        heard = json.loads(service.get(path, recording, kind, HEARING_SECONDS))
        show_step("asked", f"POST {path} {golden.recording.name}")
        show_step("answer", f"{heard['text'][:200]!r}, language {heard['language']}")
        _show_change(service, before)
        return
    row = golden.rows[0]
    answer = service.post("/predict", [row])
    prediction = answer["predictions"][0]
    show_step("asked", f"POST /predict {_short(json.dumps([row]))}")
    show_step("answer", _told(prediction))
    if golden.actual:
        _, actual = truth_names(golden.spec)
        identity = {"request_id": answer["request_id"], "row": prediction["row"]}
        recorded = service.post("/feedback", {**identity, actual: golden.actual[0]})
        truth = recorded[actual] if golden.spec.classes else f"{recorded[actual]:g}"
        show_step("feedback", f"the hold-out says {truth}: {recorded['status']}")
    else:
        show_step("feedback", "none: this package does not record what the row was; train it again")
    _show_change(service, before)


def _show_change(service: Service, before: dict[str, float]) -> None:
    changed = _wait_for_change(service, before)
    for name, value in changed.items():
        counts = name.partition("{")[0].endswith(("_total", "_count", "_sum"))
        was = before.get(name, 0 if counts else None)  # a counter is not there before it counts
        show_step("metric", f"{name} {'' if was is None else f'{was:g} → '}{value:g}")


def _told(prediction: Mapping[str, Any]) -> str:
    """An answer in words."""
    if "confidence" in prediction:
        return f"{prediction['prediction']}, confidence {prediction['confidence']:.3f}"
    value, lower, upper = (prediction[name] for name in ("prediction", "lower", "upper"))
    return f"{value:g}, between {lower:g} and {upper:g}"


def _short(text: str, length: int = 200) -> str:
    return text if len(text) <= length else f"{text[:length]} …"


def _wait_for_change(service: Service, before: dict[str, float]) -> dict[str, float]:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        after = service.metrics()
        changed = {name: value for name, value in after.items() if before.get(name) != value}
        if any(name.startswith(COUNTER) for name in changed):
            return changed
        time.sleep(0.05)
    raise DeploymentError(f"the prediction does not show in {service.url}/metrics")
