"""A served Bento for every kind of contract, with requests over HTTP."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from sklearn.ensemble import RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

from application.ports.model import Model
from domain.contract import Category, Classes, ModelSpec, Number, Quantity, Tensor, Text
from domain.estimators.conformal import ConformalRegressor
from domain.evaluation.predictions import predict_function
from domain.monitoring.profile import profile_inputs, profile_outputs
from infrastructure.frameworks.dispatch import Frameworks
from infrastructure.inference.loading import load_served
from infrastructure.packaging.model_package import ModelPackage, PackageDraft
from shared.paths import ROOT
from tests.served import serve

Row = list[Any]
RNG = np.random.default_rng(0)

FLOWERS = ModelSpec(
    "flowers",
    (
        Number("petal length (cm)", "cm", 0, 10, "longest petal"),
        Number("class", "", 0, 10, outside="clip"),
    ),
    Classes(("small", "large"), "size"),
    "Size of a flower.",
)
RENTS = ModelSpec(
    "rents",
    (
        Number("Total Area", "m²", 5, 500, nullable=True),
        Category("district", ("east", "north", "west"), nullable=True, unseen="missing"),
        Category("furnished", ("false", "true")),
    ),
    Quantity("rent", "EUR", 0.8),
    "Monthly rent of a flat.",
)
IMAGES = ModelSpec(
    "images", (Tensor("image", (3, 4), 0, 16, "grey"),), Classes(("dark", "bright"), "brightness")
)
REVIEWS = ModelSpec(
    "reviews", (Text("review", 200),), Classes(("bad", "good", "unsure"), "opinion")
)


@dataclass(frozen=True)
class Kind:
    """A model of one kind.

    Attributes:
        rows: training rows, in the form of requests.
        target: class numbers or values of the rows.
        refused: rows that break the contract, each with a part of the error.
        native: whether the native model is served, not ONNX.
    """

    spec: ModelSpec
    rows: list[Row]
    target: np.ndarray
    estimator: Any
    refused: Sequence[tuple[Row, str]]
    native: bool = False


def kinds() -> list[Kind]:
    """A model of each kind."""
    flowers = RNG.uniform(0, 10, size=(60, 2)).round(2).tolist()
    areas = RNG.uniform(20, 120, size=60).round(1).tolist()
    rents: list[Row] = [
        [None if i % 9 == 4 else area, [None, "east", "north", "west"][i % 4], i % 2 == 0]
        for i, area in enumerate(areas)
    ]
    images = [[i.tolist()] for i in RNG.integers(0, 17, size=(60, 3, 4))]
    words = (["awful", "dull"], ["lovely", "fine"], ["hm", "well"])
    reviews: list[Row] = [[f"{words[i % 3][i % 2]} film {i}"] for i in range(60)]
    text = TfidfVectorizer(lowercase=False, token_pattern="[a-z]+")
    made = [
        Kind(
            FLOWERS,
            flowers,
            np.array([int(sum(row) > 10) for row in flowers]),
            RandomForestClassifier(20, random_state=0),
            [([11, 1], "petal length (cm): 11 cm is outside [0, 10]"), ([1], "has 1 value")],
        ),
        Kind(
            RENTS,
            rents,
            np.array([(row[0] or 60) * 12 + 80 * row[2] for row in rents]),
            ConformalRegressor(make_pipeline(SimpleImputer(), Ridge()), RENTS.output.coverage),  # type: ignore[union-attr]
            [
                ([4, "east", True], "Total Area: 4 m² is outside [5, 500]"),
                (["big", "east", True], "Total Area: 'big' is not a number"),
                ([50, "east", None], "furnished: a value is missing"),
                ([50, "east", "perhaps"], "furnished: 'perhaps' is not one of false, true"),
            ],
        ),
        Kind(
            IMAGES,
            images,
            np.array([int(np.mean(row[0]) > 8) for row in images]),
            LogisticRegression(C=0.01),
            [
                ([[[1, 2], [3, 4]]], "image: expected 3 × 4 numbers, got 2 × 2"),
                ([[[1, 2, 3, 99]] * 3], "image: 99 grey is outside [0, 16]"),
            ],
        ),
        Kind(
            REVIEWS,
            reviews,
            np.arange(60) % 3,
            make_pipeline(FunctionTransformer(np.ravel), text, LogisticRegression()),
            [([7], "review: 7 is not text"), (["x" * 201], "review: the text has 201 characters")],
        ),
    ]
    native = replace(made[1], spec=replace(RENTS, name="rents_native"), native=True)
    return [*made, native]


@dataclass(frozen=True)
class Served:
    """A served model, with its native and its exported form."""

    kind: Kind
    native: Model
    exported: Model
    client: httpx.Client

    @property
    def spec(self) -> ModelSpec:
        """Its contract."""
        return self.kind.spec

    def post(self, path: str, data: Any) -> httpx.Response:
        """Send one request."""
        return self.client.post(path, json=data)

    def predictions(self, path: str, data: Any) -> np.ndarray:
        """Predictions of shape (n_rows, n_outputs)."""
        response = self.post(path, data)
        assert response.status_code == 200, response.text
        items = response.json()["predictions"]
        assert [item["row"] for item in items] == list(range(len(items)))
        names, classes = self.spec.output_columns, self.spec.classes
        return np.array([[(i["probabilities"] if classes else i)[n] for n in names] for i in items])

    def named(self, row: Row) -> dict[str, Any]:
        """A row as an object with named inputs."""
        return dict(zip(self.spec.input_names, row))


BUILD = """
import os, sys
from pathlib import Path
from infrastructure.packaging.bento_store import add_package, build_bento
for package in map(Path, sys.argv[1:]):
    if (process := os.fork()) == 0:  # one process per Bento: building imports the service
        tag = add_package(package, package.parent.name, {}, {})
        build_bento(tag).export(str(package.parent / "bento"), output_format="folder")
        os._exit(0)
    if os.waitpid(process, 0)[1] != 0:
        sys.exit(f"{package} could not be built")
"""


def write_package(kind: Kind, folder: Path) -> tuple[Path, Model]:
    """Train, export and package a model; returns the folder and the native model."""
    spec, encoded = kind.spec, kind.spec.encode_rows(kind.rows)
    kind.estimator.fit(encoded, kind.target)
    native = predict_function(kind.estimator, spec)
    with PackageDraft(folder, f"{spec.name}_model", "1.0.0-a") as draft:
        served = draft.folder / ("model.skops" if kind.native else "model.onnx")
        write = Frameworks().save if kind.native else Frameworks().export
        write(without_ravel(kind.estimator), spec, served)
        golden = kind.rows[:3]
        predictions = load_served(served, spec)(spec.encode_rows(golden)).tolist()
        profiles = {
            **profile_inputs(spec, encoded),
            "prediction": profile_outputs(spec, native(encoded)),
        }
        draft.write_json("contract.json", spec.to_dict())
        draft.write_json("golden.json", {"rows": golden, "answers": predictions})
        draft.write_json("profile.json", profiles)
        draft.write_json("metrics.json", {})
        draft.write_json("provenance.json", {"libraries": {}})
        (draft.folder / "card.md").write_text(f"# {spec.name}\n", encoding="utf-8")
        return draft.seal(), native


def without_ravel(estimator: Any) -> Any:
    """The pipeline without the step that ONNX does not need, since its text is one column."""
    steps = getattr(estimator, "steps", [("", None)])
    return estimator[1:] if isinstance(steps[0][1], FunctionTransformer) else estimator


@pytest.fixture(scope="module", name="services")
def _services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    """Services of every kind, with one worker each."""
    folder = tmp_path_factory.mktemp("kinds")
    made = [(kind, *write_package(kind, folder)) for kind in kinds()]
    environment = {**os.environ, "BENTOML_DO_NOT_TRACK": "True"}
    done = subprocess.run(
        [sys.executable, "-c", BUILD, *(str(package) for _, package, _ in made)],
        cwd=ROOT,
        env={**environment, "BENTOML_HOME": str(folder / "bentoml")},
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    with ExitStack() as stack:
        services = {}
        for kind, package, native in made:
            url = stack.enter_context(serve(package.parent / "bento", package.parent / "home", 1))
            services[kind.spec.name] = Served(
                kind,
                native,
                load_served(ModelPackage(package).served, kind.spec),
                stack.enter_context(httpx.Client(base_url=url, timeout=30)),
            )
        yield services


@pytest.fixture(name="served", params=["flowers", "rents", "images", "reviews", "rents_native"])
def _served(request: pytest.FixtureRequest, services: dict[str, Served]) -> Served:
    found: Served = services[request.param]
    return found


@pytest.fixture(name="rents")
def _rents(services: dict[str, Served]) -> Served:
    return services["rents"]


def test_http_predictions_equal_exported_and_native_ones(served: Served) -> None:
    rows = served.kind.rows
    encoded = served.spec.encode_rows(rows)
    predictions = served.predictions("/predict", rows)
    np.testing.assert_allclose(predictions, served.exported(encoded), rtol=1e-6)
    np.testing.assert_allclose(predictions, served.native(encoded), rtol=1e-4, atol=1e-5)


def test_a_row_gets_the_same_prediction_alone_and_in_a_batch_in_every_form(served: Served) -> None:
    rows = served.kind.rows[:10]
    batch = served.predictions("/predict", rows)
    for row, expected in zip(rows, batch, strict=True):
        for path, data in (
            ("/predict", [row]),
            ("/predict", row),
            ("/predict_json", served.named(row)),
            ("/predict_json", dict(reversed(served.named(row).items()))),
            ("/predict_json", {"instances": [served.named(row)]}),
        ):
            # rounding of a matrix product depends on the number of rows
            np.testing.assert_allclose(served.predictions(path, data)[0], expected, rtol=1e-5)


def test_the_openapi_document_has_every_input_and_valid_examples(served: Served) -> None:
    document = served.client.get("/docs.json").json()
    assert served.spec.description in document["info"]["description"]
    for path in ("/predict", "/predict_json"):
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert served.post(path, body["schema"]["example"]).status_code == 200
        for name in served.spec.input_names:
            assert name in json.dumps(body["schema"])
    one = body["schema"]["oneOf"][0]
    assert list(one["properties"]) == [*served.spec.input_names, "id"]
    response = document["paths"]["/predict"]["post"]["responses"]["200"]["content"]
    assert "predictions" in response["application/json"]["schema"]["properties"]
    assert ("/classify" in document["paths"]) == bool(served.spec.classes)
    assert served.client.get("/").status_code == 200


def test_errors_have_the_form_in_the_openapi_document(served: Served) -> None:
    paths = served.client.get("/docs.json").json()["paths"]
    for path, body, status in (
        ("/predict", "[", 400),
        ("/predict_json", "[]", 422),
        ("/feedback", '{"hours": 1}', 422),
    ):
        response = served.client.post(path, content=body)
        assert response.status_code == status
        documented = paths[path]["post"]["responses"][str(status)]["content"]["application/json"]
        keys = set(documented["schema"]["properties"])
        assert keys == set(response.json()) == {"error", "request_id"}


def test_the_openapi_document_accepts_booleans_for_a_category_of_booleans(rents: Served) -> None:
    document = rents.client.get("/docs.json").json()
    body = document["paths"]["/predict_json"]["post"]["requestBody"]["content"]
    schema = body["application/json"]["schema"]
    assert isinstance(schema["example"]["furnished"], bool)
    forms = schema["oneOf"][0]["properties"]["furnished"]["oneOf"]
    assert {"type": "boolean", "enum": [False, True]} in forms


def test_a_row_that_breaks_the_contract_is_refused_with_its_number_and_the_reason(
    served: Served,
) -> None:
    for row, message in served.kind.refused:
        response = served.post("/predict", [served.kind.rows[0], row])
        assert response.status_code == 422, response.text
        assert "row 1" in response.json()["error"]
        assert message in response.json()["error"]


@pytest.mark.parametrize("body", ["[]", "[[]]", "{}", "null", "[null]", "[{}]", "[[{}]]", "[[[]]]"])
def test_bodies_without_valid_rows_are_refused(served: Served, body: str) -> None:
    for path in ("/predict", "/predict_json", "/feedback"):
        response = served.client.post(path, content=body)
        assert response.status_code == 422, (path, response.text)
        assert response.json()["error"]


def test_the_health_check_describes_the_model(served: Served) -> None:
    health = served.client.get("/health_check").json()
    assert (health["status"], health["task"]) == ("healthy", served.spec.task)
    assert health["model_name"] == f"{served.spec.name}_model"
    assert health.get("classes", []) == list(served.spec.classes)


def test_classify_endpoints_exist_for_classes_and_predict_the_same(served: Served) -> None:
    row = served.kind.rows[0]
    response = served.post("/classify", row)
    if not served.spec.classes:
        assert response.status_code == 404
        return
    assert response.json()["predictions"] == served.post("/predict", row).json()["predictions"]
    named = served.post("/classify_json", served.named(row)).json()["predictions"]
    assert named == response.json()["predictions"]


def test_missing_and_unseen_values_are_treated_as_the_contract_says(rents: Served) -> None:
    def predict(**row: Any) -> list[float]:
        outputs: list[float] = rents.predictions("/predict_json", row)[0].tolist()
        return outputs

    known = predict(**{"Total Area": 50, "district": "east", "furnished": True})
    missing = predict(**{"Total Area": None, "district": None, "furnished": "true"})
    assert missing != known
    assert predict(furnished=True) == missing
    assert predict(furnished=True, district="moon") == missing
    assert predict(furnished=False, district="moon") != missing
    without = rents.post("/predict_json", {"Total Area": 50})
    assert without.status_code == 422
    assert "furnished: a value is missing" in without.json()["error"]


def test_a_prediction_of_a_quantity_has_interval_unit_and_coverage(rents: Served) -> None:
    response = rents.post("/predict", [[50, "east", True], [None, None, False]]).json()
    assert (response["coverage"], response["unit"]) == (0.8, "EUR")
    for row in response["predictions"]:
        assert set(row) == {"prediction", "lower", "upper", "row"}
        assert row["lower"] < row["prediction"] < row["upper"]


def test_predictions_and_feedback_of_a_quantity_are_measured(rents: Served) -> None:
    row = [77.7, "west", False]
    response = rents.post("/predict", [row, [33.3, "west", True]]).json()
    predicted = [item["prediction"] for item in response["predictions"]]
    by_identity = {"request_id": response["request_id"], "row": 1, "actual": predicted[1] - 30}
    by_inputs = {**rents.named(row), "predicted": predicted[0], "actual": predicted[0] + 10}
    feedback = [rents.post("/feedback", data).json() for data in (by_identity, by_inputs)]
    assert [item["joined"] for item in feedback] == [True, True]
    assert [item["request_id"] for item in feedback] == [response["request_id"]] * 2
    assert [item["absolute_error"] for item in feedback] == pytest.approx([30, 10])
    summary = rents.post("/get_metrics_summary", {"hours": 1}).json()["metrics"]
    assert summary["labeled_predictions"] == 2
    assert summary["mean_absolute_error"] == pytest.approx(20)
    assert summary["root_mean_squared_error"] == pytest.approx(np.sqrt(500))
    assert (
        summary["smallest_prediction"]
        <= min(predicted)
        <= summary["average_prediction"]
        <= summary["largest_prediction"]
    )
    metrics = rents.client.get("/metrics").text
    assert 'ml_predictions_total{class="rent"' in metrics
    assert "ml_prediction_value_bucket" in metrics
    assert "ml_model_mean_absolute_error{" in metrics
    assert "ml_model_accuracy" not in metrics and "ml_prediction_confidence" not in metrics


def test_feedback_about_classes_can_identify_a_prediction_by_its_inputs(served: Served) -> None:
    row = served.kind.rows[5]
    response = served.post("/predict", row).json()
    if not served.spec.classes:
        return
    predicted = response["predictions"][0]["prediction"]
    labels = {"predicted_class": predicted, "actual_class": predicted}
    feedback = served.post("/feedback", {**served.named(row), **labels}).json()
    assert feedback["joined"] is True and feedback["correct"] is True


def test_drift_is_scored_for_monitored_inputs_and_predictions(served: Served) -> None:
    rows = served.kind.rows * 17  # 1,020 rows, distributed as in training
    expected = {*served.spec.monitored_names, "prediction"}

    def scores() -> dict[str, float]:
        lines = served.client.get("/metrics").text.splitlines()
        drift = (line for line in lines if line.startswith("ml_data_drift_score{"))
        return {line.split('feature="')[1].split('"')[0]: float(line.split()[-1]) for line in drift}

    def all_scored() -> bool:
        served.predictions("/predict", rows)
        return expected <= set(scores())

    assert eventually(all_scored)
    assert set(scores()) == expected


def eventually(check: Callable[[], bool]) -> bool:
    """Whether the check passes within 30 seconds; drift is checked at most every 10 seconds."""
    deadline = time.monotonic() + 30
    while not (done := check()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return done


def test_a_bento_requires_scikit_learn_only_if_the_native_model_is_served(
    services: dict[str, Served], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = next(tmp_path_factory.getbasetemp().glob("kinds*"))
    for name in services:
        bento = folder / f"{name}_model/bento"
        listed = (bento / "env/python/requirements.txt").read_text(encoding="utf-8").split()
        required = {line.partition("==")[0] for line in listed}
        assert ("skops" in required) == ("scikit-learn" in required) == (name == "rents_native")
        assert not required & {"torch", "tensorflow", "mlflow", "skl2onnx"}


def test_a_row_with_an_id_is_labelled_by_it_in_every_protocol(served: Served) -> None:
    rows = served.kind.rows[:2]
    named = [{**served.named(row), "id": f"{served.spec.name} №{i}"} for i, row in enumerate(rows)]
    lines = "\n".join(map(json.dumps, named))
    sent = {
        "/predict_json": {"json": {"instances": named}},
        "/vertex/predict": {"json": {"instances": named}},
        "/invocations": {"json": {"dataframe_records": named}},
        "/predict_lines": {
            "content": lines,
            "headers": {"content-type": "application/x-ndjson"},
        },
    }
    actual = {"actual_class": served.spec.classes[0]} if served.spec.classes else {"actual": 1.5}
    for path, request in sent.items():
        request_id = f"{served.spec.name}{path.replace('/', '-')}"
        mark = {**request.pop("headers", {}), "x-request-id": request_id}
        response = served.client.post(path, headers=mark, **request)
        assert response.status_code == 200, response.text
        objects = map(json.loads, response.text.splitlines())
        found = list(objects) if path == "/predict_lines" else response.json()["predictions"]
        assert [row["id"] for row in found] == [row["id"] for row in named]
        feedback = served.post("/feedback", {"id": named[1]["id"], **actual}).json()
        assert feedback["request_id"].startswith(request_id)
        assert (feedback["row"], feedback["joined"]) == (1, True)
    unknown = served.post("/feedback", {"id": "nobody", **actual})
    assert unknown.status_code == 404
    assert "no prediction with the id 'nobody' in the log" in unknown.json()["error"]


def test_values_outside_a_range_that_clips_are_counted(services: dict[str, Served]) -> None:
    flowers = services["flowers"]

    def counted() -> float:
        lines = flowers.client.get("/metrics").text.splitlines()
        name = "ml_inputs_outside_range_total{"
        (line,) = (line for line in lines if line.startswith(name))
        assert 'feature="class"' in line and 'model_name="flowers_model"' in line
        return float(line.split()[-1])

    before = counted()
    rows = [[5, 3], [5, 10], [5, 12], [5, -1], [5, 1e9]]
    clipped = flowers.predictions("/predict", [[5, 3], [5, 10], [5, 10], [5, 0], [5, 10]])
    assert (flowers.predictions("/predict", rows) == clipped).all()
    assert eventually(lambda: counted() == before + 3)
    assert "ml_inputs_outside_range_total{" not in services["images"].client.get("/metrics").text
