"""LitServe with the ONNX model."""

from __future__ import annotations

import sys
from typing import Any

import litserve  # pylint: disable=import-error  # it is in the peer's own environment

from tests.template.benchmarks.serving.peers.common import load_onnx, objects


class Iris(litserve.LitAPI):
    """Classifies rows."""

    def setup(self, device: str) -> None:  # pylint: disable=unused-argument
        """Load the model in the worker."""
        self.probabilities = load_onnx()  # pylint: disable=attribute-defined-outside-init

    def decode_request(self, request):  # type: ignore[no-untyped-def]
        """The rows of a body; LitServe would interpret an annotation."""
        return request["rows"]

    def predict(self, x: Any) -> Any:
        """Probabilities of the rows."""
        return self.probabilities(x)

    def encode_response(self, output: Any) -> Any:
        """The response."""
        return {"predictions": objects(output)}


if __name__ == "__main__":
    server = litserve.LitServer(Iris(), accelerator="cpu", devices=1)
    server.run(
        host="127.0.0.1",
        port=int(sys.argv[1]),
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
    )
