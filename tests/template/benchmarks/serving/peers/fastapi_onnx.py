"""FastAPI with the ONNX model, without and with a response model."""

from __future__ import annotations

from typing import Any

from fastapi import FastAPI

from tests.template.benchmarks.serving.peers.common import load_onnx, objects
from tests.template.benchmarks.serving.peers.fastapi_form import Predictions, Rows

app = FastAPI()
probabilities = load_onnx()


@app.get("/health")
async def health() -> dict[str, str]:
    """Whether it serves."""
    return {"status": "healthy"}


@app.post("/predict", response_model=None)
async def predict(request: Rows) -> dict[str, Any]:
    """Classify rows; FastAPI finds out how to encode the response."""
    return {"predictions": objects(probabilities(request.rows))}


@app.post("/predict_typed")
async def predict_typed(request: Rows) -> Predictions:
    """Classify rows; Pydantic encodes the response by its model."""
    return Predictions(predictions=objects(probabilities(request.rows)))
