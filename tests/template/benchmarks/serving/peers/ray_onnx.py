"""Ray Serve with the ONNX model, one replica."""

from __future__ import annotations

import sys
import time
from typing import Any

import ray  # pylint: disable=import-error  # it is in the peer's own environment
from ray import serve  # pylint: disable=import-error

from tests.template.benchmarks.serving.peers.common import load_onnx, objects


@serve.deployment(num_replicas=1, max_ongoing_requests=100)
class Iris:
    """Classifies rows."""

    def __init__(self) -> None:
        self._probabilities = load_onnx()

    async def __call__(self, request: Any) -> dict[str, Any]:
        return {"predictions": objects(self._probabilities((await request.json())["rows"]))}


if __name__ == "__main__":
    ray.init(include_dashboard=False, _temp_dir=sys.argv[2], logging_level="warning")
    serve.start(
        http_options={"host": "127.0.0.1", "port": int(sys.argv[1])},
        logging_config={"enable_access_log": False},
    )
    serve.run(Iris.bind())  # pylint: disable=no-member  # the decorator has made it
    while True:
        time.sleep(3600)
