"""A server with the APIs of SageMaker, ECR and CloudWatch Logs: moto's, and what it lacks.

moto cannot update endpoints, and answers their invocations with fixed text. Both are added here, as
SageMaker documents them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from threading import Thread
from typing import Any

import pytest
from moto.core import DEFAULT_ACCOUNT_ID
from moto.ecr.models import ecr_backends
from moto.logs.models import logs_backends
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.sagemaker.models import sagemaker_backends
from werkzeug.serving import make_server
from werkzeug.wrappers import Request, Response

REGION = "us-east-1"


@dataclass
class Cloud:
    """What the server does, and what it was asked.

    Attributes:
        probabilities: of setosa that an endpoint predicts for the golden row of `GOLDEN`, by its
            image; others predict it right.
        broken: images that do not become healthy.
        updates: the requests that updated an endpoint.
    """

    probabilities: dict[str, float] = field(default_factory=dict)
    broken: set[str] = field(default_factory=set)
    updates: list[dict[str, Any]] = field(default_factory=list)

    def image(self, endpoint: str) -> str:
        """The image that an endpoint runs."""
        backend = self._backend
        config = backend.endpoint_configs[backend.endpoints[endpoint].endpoint_config_name]
        model = config.production_variants[0]["ModelName"]
        image: str = backend.describe_model(model).primary_container["Image"]
        return image

    @property
    def _backend(self) -> Any:
        return sagemaker_backends[DEFAULT_ACCOUNT_ID][REGION]

    def reset(self) -> None:
        """Forget everything."""
        for known in (self.probabilities, self.broken, self.updates):
            known.clear()
        for backends in (sagemaker_backends, ecr_backends, logs_backends):
            backends[DEFAULT_ACCOUNT_ID][REGION].reset()

    def update(self, wanted: dict[str, Any]) -> None:
        """Update an endpoint; SageMaker keeps the old configuration if the new one fails."""
        self.updates.append(wanted)
        endpoint = self._backend.endpoints[wanted["EndpointName"]]
        before = endpoint.endpoint_config_name
        endpoint.endpoint_config_name = wanted["EndpointConfigName"]
        endpoint.failure_reason = None
        if self.image(wanted["EndpointName"]) in self.broken:
            endpoint.endpoint_config_name = before
            endpoint.failure_reason = "the containers did not pass the ping health check"

    def invoke(self, endpoint: str, body: bytes) -> bytes:
        """The predictions of an endpoint, in the form of /invocations."""
        setosa = self.probabilities.get(self.image(endpoint), 0.9)
        row = {"prediction": "setosa", "setosa": setosa, "virginica": 1 - setosa}
        return json.dumps({"predictions": [row for _ in json.loads(body)["instances"]]}).encode()

    def application(self, inner: Any) -> Callable[[Any, Any], Iterable[bytes]]:
        """A WSGI application: moto's with what it lacks."""

        def answer(environ: Any, start: Any) -> Iterable[bytes]:
            target = environ.get("HTTP_X_AMZ_TARGET", "")
            if target == "SageMaker.UpdateEndpoint":
                wanted = json.loads(Request(environ).get_data())
                self.update(wanted)
                arn = self._backend.endpoints[wanted["EndpointName"]].arn
                body = json.dumps({"EndpointArn": arn})
                return Response(body, content_type="application/x-amz-json-1.1")(environ, start)
            if found := re.fullmatch("/endpoints/([^/]+)/invocations", environ["PATH_INFO"]):
                predictions = self.invoke(found[1], Request(environ).get_data())
                return Response(predictions, content_type="application/json")(environ, start)
            done: Iterable[bytes] = inner(environ, start)
            if target == "SageMaker.CreateEndpoint":
                for name, endpoint in self._backend.endpoints.items():
                    if self.image(name) in self.broken:
                        endpoint.endpoint_status = "Failed"
                        endpoint.failure_reason = (
                            "the containers did not pass the ping health check"
                        )
            return done

        return answer


@contextmanager
def cloud() -> Iterator[Cloud]:
    """Run the server; variables of the environment name it."""
    found = Cloud()
    inner = DomainDispatcherApplication(create_backend_app)
    server = make_server("127.0.0.1", 0, found.application(inner), threaded=True)
    thread = Thread(target=server.serve_forever)
    thread.start()
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{server.port}")
            patch.setenv("AWS_ACCESS_KEY_ID", "key")
            patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
            patch.setenv("AWS_DEFAULT_REGION", REGION)
            yield found
    finally:
        server.shutdown()
        thread.join()
        found.reset()
