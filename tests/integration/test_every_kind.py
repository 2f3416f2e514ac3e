"""One service for every kind of contract: packages made here, built, and asked over HTTP."""

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
    (Number("petal length (cm)", "cm", 0, 10, "longest petal"), Number("class", "", 0, 10)),
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
        rows: rows as requests have them; it has learned these.
        target: class numbers or values of the rows.
        refused: a row that breaks the contract, and words of the reason.
        native: whether it is served as it is, not as ONNX.
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
            [([11, 1], "petal length (cm): 11 cm is outside [0, 10]"), ([1], "has 1 values")],
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
    as_it_is = replace(made[1], spec=replace(RENTS, name="rents_as_they_are"), native=True)
    return [*made, as_it_is]


@dataclass(frozen=True)
class Served:
    """A model that is served, beside its native and its exported form."""

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

    def answers(self, path: str, data: Any) -> np.ndarray:
        """Answers of shape (n_rows, n_answers)."""
        answer = self.post(path, data)
        assert answer.status_code == 200, answer.text
        assert [item["row"] for item in answer.json()["predictions"]] == list(
            range(len(answer.json()["predictions"]))
        )
        names = self.spec.output_columns
        return np.array(
            [
                [(item["probabilities"] if self.spec.classes else item)[name] for name in names]
                for item in answer.json()["predictions"]
            ]
        )

    def named(self, row: Row) -> dict[str, Any]:
        """A row as an object."""
        return dict(zip(self.spec.input_names, row))


BUILD = """
import sys
from pathlib import Path
from infrastructure.packaging.bento_store import add_package, build_bento
package = Path(sys.argv[1])
tag = add_package(package, package.parent.name, {}, {})
build_bento(tag).export(str(package.parent / "bento"), output_format="folder")
"""


def write_package(kind: Kind, folder: Path) -> tuple[Path, Model]:
    """Train, export and write the package of a model; its folder and the native model."""
    spec, encoded = kind.spec, kind.spec.encode_rows(kind.rows)
    kind.estimator.fit(encoded, kind.target)
    native = predict_function(kind.estimator, spec)
    with PackageDraft(folder, f"{spec.name}_model", "1.0.0-a") as draft:
        served = draft.folder / ("model.skops" if kind.native else "model.onnx")
        write = Frameworks().save if kind.native else Frameworks().export
        write(without_ravel(kind.estimator), spec, served)
        golden = kind.rows[:3]
        answers = load_served(served, spec)(spec.encode_rows(golden)).tolist()
        profiles = {
            **profile_inputs(spec, encoded),
            "prediction": profile_outputs(spec, native(encoded)),
        }
        draft.write_json("contract.json", spec.to_dict())
        draft.write_json("golden.json", {"rows": golden, "answers": answers})
        draft.write_json("profile.json", profiles)
        draft.write_json("provenance.json", {"libraries": {}})
        (draft.folder / "card.md").write_text(f"# {spec.name}\n", encoding="utf-8")
        return draft.seal(), native


def without_ravel(estimator: Any) -> Any:
    """The pipeline without the step that ONNX has no need of: its text comes in one column."""
    steps = getattr(estimator, "steps", [("", None)])
    return estimator[1:] if isinstance(steps[0][1], FunctionTransformer) else estimator


@pytest.fixture(scope="module", name="services")
def _services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Served]]:
    """Every kind, each served by one worker."""
    folder = tmp_path_factory.mktemp("kinds")
    made = [(kind, *write_package(kind, folder)) for kind in kinds()]
    environment = {**os.environ, "BENTOML_DO_NOT_TRACK": "True"}
    for _, package, _ in made:  # a process builds one: it has imported that one's service
        subprocess.run(
            [sys.executable, "-c", BUILD, str(package)],
            cwd=ROOT,
            env={**environment, "BENTOML_HOME": str(folder / "bentoml")},
            check=True,
            capture_output=True,
        )
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


@pytest.fixture(
    name="served", params=["flowers", "rents", "images", "reviews", "rents_as_they_are"]
)
def _served(request: pytest.FixtureRequest, services: dict[str, Served]) -> Served:
    found: Served = services[request.param]
    return found


@pytest.fixture(name="rents")
def _rents(services: dict[str, Served]) -> Served:
    return services["rents"]


def test_http_answers_as_the_exported_and_the_native_model_do(served: Served) -> None:
    rows = served.kind.rows
    encoded = served.spec.encode_rows(rows)
    answers = served.answers("/predict", rows)
    np.testing.assert_allclose(answers, served.exported(encoded), rtol=1e-6)
    np.testing.assert_allclose(answers, served.native(encoded), rtol=1e-4, atol=1e-5)


def test_a_row_is_answered_alone_as_it_is_in_a_batch_in_every_form(served: Served) -> None:
    rows = served.kind.rows[:10]
    batch = served.answers("/predict", rows)
    for row, expected in zip(rows, batch, strict=True):
        for path, data in (
            ("/predict", [row]),
            ("/predict", row),
            ("/predict_json", served.named(row)),
            ("/predict_json", dict(reversed(served.named(row).items()))),
            ("/predict_json", {"instances": [served.named(row)]}),
        ):
            # a matrix product rounds otherwise for another number of rows
            np.testing.assert_allclose(served.answers(path, data)[0], expected, rtol=1e-5)


def test_the_openapi_document_has_every_input_and_examples_that_are_accepted(
    served: Served,
) -> None:
    document = served.client.get("/docs.json").json()
    assert served.spec.description in document["info"]["description"]
    for path in ("/predict", "/predict_json"):
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert served.post(path, body["schema"]["example"]).status_code == 200
        for name in served.spec.input_names:
            assert name in json.dumps(body["schema"])
    one = body["schema"]["oneOf"][0]
    assert list(one["properties"]) == list(served.spec.input_names)
    answer = document["paths"]["/predict"]["post"]["responses"]["200"]["content"]
    assert "predictions" in answer["application/json"]["schema"]["properties"]
    assert ("/classify" in document["paths"]) == bool(served.spec.classes)
    assert served.client.get("/").status_code == 200


def test_the_openapi_document_says_how_requests_are_refused(served: Served) -> None:
    paths = served.client.get("/docs.json").json()["paths"]
    for path, body, status in (
        ("/predict", "[", 400),
        ("/predict_json", "[]", 422),
        ("/feedback", '{"hours": 1}', 422),
    ):
        answer = served.client.post(path, content=body)
        assert answer.status_code == status
        told = paths[path]["post"]["responses"][str(status)]["content"]["application/json"]
        assert set(told["schema"]["properties"]) == set(answer.json()) == {"error", "request_id"}


def test_the_openapi_document_takes_the_booleans_of_its_example(rents: Served) -> None:
    document = rents.client.get("/docs.json").json()
    body = document["paths"]["/predict_json"]["post"]["requestBody"]["content"]
    said = body["application/json"]["schema"]
    assert isinstance(said["example"]["furnished"], bool)
    forms = said["oneOf"][0]["properties"]["furnished"]["oneOf"]
    assert {"type": "boolean", "enum": [False, True]} in forms


def test_a_row_that_breaks_the_contract_is_refused_with_its_place_and_the_reason(
    served: Served,
) -> None:
    for row, words in served.kind.refused:
        answer = served.post("/predict", [served.kind.rows[0], row])
        assert answer.status_code == 422, answer.text
        assert "row 1" in answer.json()["error"]
        assert words in answer.json()["error"]


@pytest.mark.parametrize("body", ["[]", "[[]]", "{}", "null", "[null]", "[{}]", "[[{}]]", "[[[]]]"])
def test_what_are_no_rows_is_refused_and_never_a_fault(served: Served, body: str) -> None:
    for path in ("/predict", "/predict_json", "/feedback"):
        answer = served.client.post(path, content=body)
        assert answer.status_code == 422, (path, answer.text)
        assert answer.json()["error"]


def test_the_health_check_says_what_the_model_does(served: Served) -> None:
    answer = served.client.get("/health_check").json()
    assert (answer["status"], answer["task"]) == ("healthy", served.spec.task)
    assert answer["model_name"] == f"{served.spec.name}_model"
    assert answer.get("classes", []) == list(served.spec.classes)


def test_the_tutorials_names_answer_the_same_where_the_answer_is_a_class(served: Served) -> None:
    row = served.kind.rows[0]
    answer = served.post("/classify", row)
    if not served.spec.classes:
        assert answer.status_code == 404
        return
    assert answer.json()["predictions"] == served.post("/predict", row).json()["predictions"]
    named = served.post("/classify_json", served.named(row)).json()["predictions"]
    assert named == answer.json()["predictions"]


def test_missing_values_and_unseen_words_count_as_the_contract_says(rents: Served) -> None:
    def answers(**row: Any) -> list[float]:
        found: list[float] = rents.answers("/predict_json", row)[0].tolist()
        return found

    known = answers(**{"Total Area": 50, "district": "east", "furnished": True})
    missing = answers(**{"Total Area": None, "district": None, "furnished": "true"})
    assert missing != known
    assert answers(furnished=True) == missing
    assert answers(furnished=True, district="moon") == missing
    assert answers(furnished=False, district="moon") != missing
    without = rents.post("/predict_json", {"Total Area": 50})
    assert without.status_code == 422
    assert "missing required field `furnished`" in without.json()["error"]


def test_a_quantity_is_answered_with_its_interval_unit_and_coverage(rents: Served) -> None:
    answer = rents.post("/predict", [[50, "east", True], [None, None, False]]).json()
    assert (answer["coverage"], answer["unit"]) == (0.8, "EUR")
    for row in answer["predictions"]:
        assert set(row) == {"prediction", "lower", "upper", "row"}
        assert row["lower"] < row["prediction"] < row["upper"]


def test_a_quantitys_predictions_and_feedback_are_measured(rents: Served) -> None:
    row = [77.7, "west", False]
    answer = rents.post("/predict", [row, [33.3, "west", True]]).json()
    predicted = [item["prediction"] for item in answer["predictions"]]
    by_identity = {"request_id": answer["request_id"], "row": 1, "actual": predicted[1] - 30}
    by_inputs = {**rents.named(row), "predicted": predicted[0], "actual": predicted[0] + 10}
    told = [rents.post("/feedback", data).json() for data in (by_identity, by_inputs)]
    assert [item["joined"] for item in told] == [True, True]
    assert [item["request_id"] for item in told] == [answer["request_id"]] * 2
    assert [item["absolute_error"] for item in told] == pytest.approx([30, 10])
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


def test_feedback_about_classes_joins_by_inputs_of_any_kind(served: Served) -> None:
    row = served.kind.rows[5]
    answer = served.post("/predict", row).json()
    if not served.spec.classes:
        return
    predicted = answer["predictions"][0]["prediction"]
    labels = {"predicted_class": predicted, "actual_class": predicted}
    told = served.post("/feedback", {**served.named(row), **labels}).json()
    assert told["joined"] is True and told["correct"] is True


def test_drift_is_scored_for_all_that_is_watched_and_for_the_answers(served: Served) -> None:
    rows = served.kind.rows * 17  # 1,020 rows, like those of training
    wanted = {*served.spec.monitored_names, "prediction"}

    def scores() -> dict[str, float]:
        lines = served.client.get("/metrics").text.splitlines()
        drift = (line for line in lines if line.startswith("ml_data_drift_score{"))
        return {line.split('feature="')[1].split('"')[0]: float(line.split()[-1]) for line in drift}

    assert eventually(lambda: served.answers("/predict", rows) is None or wanted <= set(scores()))
    assert set(scores()) == wanted


def eventually(check: Callable[[], bool]) -> bool:
    """Whether it comes true in half a minute: the watch looks every ten seconds at most."""
    deadline = time.monotonic() + 30
    while not (done := check()) and time.monotonic() < deadline:
        time.sleep(0.2)
    return done


def test_what_has_no_onnx_form_brings_scikit_learn_and_nothing_else_that_trains(
    services: dict[str, Served], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = next(tmp_path_factory.getbasetemp().glob("kinds*"))
    for name in services:
        bento = folder / f"{name}_model/bento"
        listed = (bento / "env/python/requirements.txt").read_text(encoding="utf-8").split()
        required = {line.partition("==")[0] for line in listed}
        assert ("skops" in required) == ("scikit-learn" in required) == (name[-3:] == "are")
        assert not required & {"torch", "tensorflow", "mlflow", "skl2onnx"}
