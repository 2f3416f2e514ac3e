"""FastAPI with the scikit-learn model."""

import joblib
import numpy as np
from fastapi import FastAPI

from tests.template.benchmarks.serving.peers.common import objects, package_file
from tests.template.benchmarks.serving.peers.fastapi_form import Predictions, Rows

app = FastAPI()
model = joblib.load(package_file("model.joblib"))


@app.get("/health")
async def health() -> dict[str, str]:
    """Whether it serves."""
    return {"status": "healthy"}


@app.post("/predict")
async def predict(request: Rows) -> Predictions:
    """Classify rows."""
    return Predictions(predictions=objects(model.predict_proba(np.asarray(request.rows))))
