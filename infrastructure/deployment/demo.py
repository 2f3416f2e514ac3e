"""Send a prediction request and its feedback to a deployed service.

Shows the request, the response, and the metrics that changed. The requests are marked as synthetic:
they count in a separate metric, not as traffic.
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
from infrastructure.deployment.golden import TRANSCRIPTION_SECONDS, Golden
from shared.console import show_step

PATIENCE_SECONDS = 5.0
COUNTER = "ml_synthetic_requests_total"


@dataclass(frozen=True)
class Service:
    """A deployed service.

    Args:
        api_key: empty if it needs none.
        model: registered name of the model that it should serve; empty means any.
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
        """Send a request, a POST if there is a body, and return the body of the response.

        Args:
            patience: seconds to wait for the response.

        Raises:
            DeploymentError: there is no response, or its status is an error.
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
                f"{self.url}{path} returned {error.code} {error.reason}{self._wrong_model_hint()}"
            ) from error
        except urllib.error.URLError as error:
            raise DeploymentError(f"{self.url}{path} does not respond: {error}") from error

    def _wrong_model_hint(self) -> str:
        """An explanation if the service has a different model; empty if not, or if unknown."""
        with suppress(OSError, ValueError, KeyError, TypeError):
            request = urllib.request.Request(
                f"{self.url}/health_check", headers={"X-API-Key": self.api_key}
            )
            with urllib.request.urlopen(request, timeout=10) as response:  # nosec B310  # as above
                model = json.load(response)["model_name"]
            if self.model and model != self.model:
                return f": it serves {model}, not {self.model}; set ENV or PORT to another one"
        return ""

    def post(self, path: str, data: Any) -> Any:
        """Send data as JSON, and return the JSON of the response."""
        return json.loads(self.get(path, json.dumps(data).encode()))

    def metrics(self) -> dict[str, float]:
        """The model's metrics by name and labels, without histogram buckets.

        The labels of the model itself, ``model_name`` and ``version``, are left out.
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
    """Send a golden request, and the true value of its row as feedback; show what changed."""
    before = service.metrics()
    if golden.recording:
        path, recording, kind = golden.request
        transcript = json.loads(service.get(path, recording, kind, TRANSCRIPTION_SECONDS))
        show_step("request", f"POST {path} {golden.recording.name}")
        show_step("response", f"{transcript['text'][:200]!r}, language {transcript['language']}")
        _show_changed_metrics(service, before)
        return
    row = golden.rows[0]
    response = service.post("/predict", [row])
    prediction = response["predictions"][0]
    show_step("request", f"POST /predict {_short(json.dumps([row], ensure_ascii=False))}")
    show_step("response", _prediction_text(prediction))
    if golden.actual:
        _, actual = truth_names(golden.spec)
        identity = {"request_id": response["request_id"], "row": prediction["row"]}
        recorded = service.post("/feedback", {**identity, actual: golden.actual[0]})
        truth = recorded[actual] if golden.spec.classes else f"{recorded[actual]:g}"
        show_step("feedback", f"actual value {truth}, from the hold-out: {recorded['status']}")
    else:
        show_step("feedback", "not sent: this package has no actual values; train it again")
    _show_changed_metrics(service, before)


def _show_changed_metrics(service: Service, before: dict[str, float]) -> None:
    changed = _wait_for_change(service, before)
    for name, value in changed.items():
        counts = name.partition("{")[0].endswith(("_total", "_count", "_sum"))
        was = before.get(name, 0 if counts else None)  # a counter appears with its first count
        show_step("metric", f"{name} {'' if was is None else f'{was:g} → '}{value:g}")


def _prediction_text(prediction: Mapping[str, Any]) -> str:
    """A prediction as one line of text."""
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
    raise DeploymentError(
        f"the request did not appear in {service.url}/metrics within {PATIENCE_SECONDS:g} s"
    )
