"""Every model of the catalog is trained, built and served, and predicts over HTTP."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest

from application.ports.model import Model
from application.training.config import TrainingConfig, config_path
from domain.contract import ModelSpec
from domain.data.dataset import Dataset
from domain.evaluation.parity import Parity
from domain.evaluation.predictions import predict_function
from tests.model_checks import TABULAR, as_json, load_data, model_of
from tests.packages import open_recorded
from tests.served import Home, serve

TRAINING_LIBRARIES = ("torch", "skorch", "tensorflow", "keras", "scikit-learn", "joblib", "mlflow")


@dataclass(frozen=True)
class RunningModel:
    """A model from the whole chain of make, served by one worker.

    Attributes:
        holdout: the hold-out rows that are recorded in its package.
        holdout_rows: their number, as training has measured it.
        native: the native model of its package.
    """

    spec: ModelSpec
    holdout: Dataset
    holdout_rows: int
    native: Model
    bento: Path
    client: httpx.Client

    def post(self, path: str, data: Any) -> httpx.Response:
        """Send one request."""
        return self.client.post(path, json=data)

    def predictions(self, path: str, data: Any) -> np.ndarray:
        """Predictions of shape (n_rows, n_outputs), ordered as the contract's `output_columns`."""
        response = self.post(path, data)
        assert response.status_code == 200, response.text
        rows = response.json()["predictions"]
        names, classes = self.spec.output_columns, self.spec.classes
        return np.array([[(r["probabilities"] if classes else r)[n] for n in names] for r in rows])


@pytest.fixture(scope="module", name="get_served")
def _get_served(
    get_home: Callable[[str], Home], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Callable[[str], RunningModel]]:
    """Serves a model by its name, once."""
    with ExitStack() as stack:

        @cache
        def get(name: str) -> RunningModel:
            model, config = model_of(name), TrainingConfig.read(config_path(name))
            dataset = load_data(model, config)
            receipts = get_home(name).receipts_of(name)
            trained = json.loads((receipts / "train.json").read_text(encoding="utf-8"))
            package = open_recorded(Path(trained["package"]))
            unseen = np.isin(dataset.row_hashes, package.read_json("holdout.json")["holdout"])
            bento, home = receipts / "bento", tmp_path_factory.mktemp(f"serve_{name}")
            url = stack.enter_context(serve(bento, home, workers=1))
            return RunningModel(
                model.SPEC,
                dataset.take(unseen),
                package.read_json("metrics.json")["holdout_rows"],
                predict_function(package.load_native(), model.SPEC),
                bento,
                stack.enter_context(httpx.Client(base_url=url, timeout=30)),
            )

        yield get


@pytest.fixture(name="served", params=TABULAR)
def _served(
    request: pytest.FixtureRequest, get_served: Callable[[str], RunningModel]
) -> RunningModel:
    return get_served(request.param)


def test_holdout_predictions_equal_those_of_the_native_model(served: RunningModel) -> None:
    native = served.native(served.holdout.encoded(served.spec))
    parity = Parity.of(native, served.predictions("/predict", served.holdout.rows()), served.spec)
    assert parity.rows == len(served.holdout) == served.holdout_rows > 0
    assert parity.largest_difference <= 1e-5
    assert parity.different_classes == (0 if served.spec.classes else None)


def test_a_row_gets_the_same_prediction_alone_by_names_and_in_a_batch(served: RunningModel) -> None:
    rows = as_json(served.holdout.rows()[:5])
    batch = served.predictions("/predict", rows)
    for row, expected in zip(rows, batch, strict=True):
        named = dict(zip(served.spec.input_names, row, strict=True))
        for path, data in (
            ("/predict", [row]),
            ("/predict_json", named),
            ("/predict_json", dict(reversed(named.items()))),
            ("/predict_json", {"instances": [named]}),
        ):
            np.testing.assert_allclose(
                served.predictions(path, data)[0], expected, rtol=1e-5, atol=1e-6
            )


def test_quality_is_estimated_without_labels_or_the_reason_is_shown(served: RunningModel) -> None:
    served.predictions("/predict", served.holdout.rows())
    found = served.post("/get_metrics_summary", {}).json()["metrics"]["estimated"]
    assert found["version"] in served.client.get("/health_check").text
    for each in found["measures"].values():
        if "score" in each:
            assert served.holdout_rows >= 100 and 0.9 < each["score"] <= 1
        else:
            assert "too few to say" in each["reason"] or "cannot be estimated" in each["reason"]
    if served.spec.name == "breast_cancer":
        assert "score" in found["measures"]["roc_auc"]
    exposed = served.client.get("/metrics").text
    for name in served.spec.monitored_names:
        has_importance = f'ml_input_importance{{feature="{name}"' in exposed
        assert has_importance == (len(served.spec.inputs) > 1)


def test_the_examples_of_the_openapi_document_are_accepted(served: RunningModel) -> None:
    document = served.client.get("/docs.json").json()
    assert served.spec.description in document["info"]["description"]
    for path in ("/predict", "/predict_json"):
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        predictions = served.predictions(path, body["schema"]["example"])
        assert predictions.shape[1] == len(served.spec.output_columns)
        assert np.isfinite(predictions).all()


def test_a_value_that_breaks_the_contract_is_refused(served: RunningModel) -> None:
    row = as_json(served.holdout.rows()[0])
    for place, item in enumerate(served.spec.inputs):
        wrong: list[Any] = [{}, [[[[1]]]], "nothing of the kind"]
        wrong += [] if item.nullable else [None]
        for value in wrong:
            bad = [*row[:place], value, *row[place + 1 :]]
            refused = served.post("/predict", [row, bad])
            assert refused.status_code == 422, (item.name, value, refused.text)
            assert refused.json()["error"]


def test_missing_values_are_predicted_like_the_native_model(served: RunningModel) -> None:
    row = as_json(served.holdout.rows()[0])
    for place, item in enumerate(served.spec.inputs):
        if item.nullable:
            without = [*row[:place], None, *row[place + 1 :]]
            native = served.native(served.spec.encode_rows([without]))
            predictions = served.predictions("/predict", [without])
            np.testing.assert_allclose(predictions, native, rtol=1e-4, atol=1e-5)
            assert math.isfinite(predictions.sum())


def test_the_bento_requires_onnxruntime_and_no_training_library(served: RunningModel) -> None:
    if list(served.bento.rglob("model.skops")):
        pytest.skip("it is served by scikit-learn: serving.format is native")
    requirements = (
        (served.bento / "env/python/requirements.txt").read_text(encoding="utf-8").lower()
    )
    assert "onnxruntime" in requirements
    assert not [name for name in TRAINING_LIBRARIES if f"{name}==" in requirements]
    assert list(served.bento.rglob("model.onnx"))
    assert not list(served.bento.rglob("model.joblib"))
