"""BentoML as in tutorials: the joblib model, called twice; label lookups for every row."""

from __future__ import annotations

import time
from typing import Any

import bentoml
import joblib
import numpy as np
from prometheus_client import Counter, Gauge, Histogram

from tests.template.benchmarks.serving.peers.common import CLASSES, package_file

NAMES = ["model_name", "version"]
PREDICTIONS = Counter("ml_predictions_total", "Predictions", [*NAMES, "class_name"])
DURATION = Histogram("ml_prediction_duration_seconds", "Duration of a request", NAMES)
CONFIDENCE = Gauge("ml_prediction_confidence", "Confidence", [*NAMES, "class_name"])


@bentoml.service(traffic={"timeout": 30})
class IrisClassifier:
    """Classifies iris flowers."""

    def __init__(self) -> None:
        self._model = joblib.load(package_file("model.joblib"))

    @bentoml.api
    def classify(self, features: np.ndarray, /) -> dict[str, Any]:
        """Classify rows of (n_rows, 4)."""
        labels = {"model_name": "iris_classifier", "version": "1"}
        start = time.time()
        codes = self._model.predict(features)
        probabilities = self._model.predict_proba(features)
        DURATION.labels(**labels).observe(time.time() - start)
        predictions = []
        for code, row in zip(codes, probabilities):
            name = CLASSES[int(code)]
            confidence = float(row.max())
            PREDICTIONS.labels(**labels, class_name=name).inc()
            CONFIDENCE.labels(**labels, class_name=name).set(confidence)
            predictions.append(
                {
                    "prediction": name,
                    "prediction_id": int(code),
                    "confidence": confidence,
                    "probabilities": {key: float(p) for key, p in zip(CLASSES, row)},
                }
            )
        return {"predictions": predictions}
