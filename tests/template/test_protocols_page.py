"""Endpoints, tests and examples in docs/protocols.md are correct."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from application.inference.predictor import Predictor
from application.inference.protocols.app import ALIVE, READY
from application.inference.protocols.lines import PredictionLines
from application.inference.protocols.mlflow_scoring import MlflowScoring
from application.inference.protocols.open_inference import OpenInference
from application.inference.protocols.vertex import VertexPrediction
from shared.paths import ROOT
from tests import petals
from tests.fakes import FakeClassifier, FakeRecorder
from tests.protocols import Client
from tests.served import serve

NAME = "iris_classifier_pipeline"
FORM = "application/x-www-form-urlencoded"  # default of curl
TEXT = (ROOT / "docs/protocols.md").read_text("utf-8")
TABLE = TEXT.partition("## Conformance")[2].partition("\n## ")[0]
EXAMPLES = re.findall(r"```bash\n(.*?)```\n\n```json\n(.*?)```", TEXT, re.DOTALL)
PREDICTOR = Predictor(petals.SPEC, FakeClassifier(), FakeRecorder())
ROUTES = {
    path: route
    for protocol in (
        OpenInference(NAME, "1.0.0", PREDICTOR),
        MlflowScoring(PREDICTOR, "3.17"),
        VertexPrediction(PREDICTOR),
        PredictionLines(PREDICTOR, 10_000),
    )
    for path, route in protocol.routes().items()
}


def test_the_table_lists_exactly_the_endpoints_of_the_protocols() -> None:
    documented = set(re.findall(r"(?:GET|POST) (/[\w/]+)", TABLE))
    paths = {path.replace("NAME", NAME).replace("VERSION", "1.0.0") for path in documented}
    others = {"/predict", "/predict_json", *ALIVE, *READY}
    assert paths - others == set(ROUTES)
    for method, path in re.findall(r"(GET|POST) (/[\w/]+)", TABLE):
        route = ROUTES.get(path.replace("NAME", NAME).replace("VERSION", "1.0.0"))
        assert route is None or method in route.methods


def test_every_test_in_the_table_exists_and_sends_the_stated_number_of_bodies() -> None:
    tests = (ROOT / "tests/integration/test_protocols.py").read_text("utf-8")
    named = re.findall(r"`(test_\w+)`", TABLE)
    assert len(named) > 10
    assert [name for name in named if f"def {name}(" not in tests] == []
    bodies = tests.partition("SAME: list[Any] = [")[2].partition("\n]\n")[0]
    assert f" {len(re.findall(r'^    [^ ]', bodies, re.MULTILINE))} bodies" in TABLE


@pytest.mark.parametrize(("commands", "documented"), EXAMPLES)
def test_an_example_gets_a_response_of_the_documented_form(commands: str, documented: str) -> None:
    curl = shlex.split(commands.partition("curl ")[2].replace("\\\n", " "))
    options = dict(zip(curl[1::2], curl[2::2]))
    printed = "".join(re.findall(r"printf '(.*?)'", commands)).replace("\\n", "\n")
    name, _, value = options.get("-H", f"content-type: {FORM}").partition(": ")
    path = curl[0].removeprefix("http://127.0.0.1:3000")
    content = options.get("-d", printed)
    response = Client(ROUTES).post(path, content=content, headers={name: value})
    assert response.status_code == 200, response.text
    assert forms(values(response.text)) == forms(values(documented))


def test_each_protocol_has_an_example() -> None:
    assert len(EXAMPLES) == 4


def values(text: str) -> list[Any]:
    """The JSON objects of a text, each of which starts a line."""
    return [json.loads(item) for item in re.split(r"\n(?=\{)", text.strip())]


def forms(value: Any) -> Any:
    """The structure of a JSON value: keys, types and strings, without request ids."""
    if isinstance(value, dict):
        return {key: key == "request_id" or forms(item) for key, item in value.items()}
    if isinstance(value, list):
        return [forms(item) for item in value]
    return float if isinstance(value, float) else value if isinstance(value, str) else type(value)


KEY = "mlops_a-key-for-the-page"
CLIENT = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)


@pytest.fixture(scope="module", name="page_client")
def _page_client(
    exported_bento: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[dict[str, Any], str]]:
    """The variables of the client after it ran with a service of two workers, and its output."""
    (code,) = CLIENT
    digest = hashlib.sha256(KEY.encode()).hexdigest()
    keys = {"SERVING_API_KEYS": f"page:{digest}:predict,feedback"}
    with serve(exported_bento, tmp_path_factory.mktemp("client"), workers=2, **keys) as url:
        code = code.replace("http://127.0.0.1:3000", url).replace('""  #', f'"{KEY}"  #')
        variables: dict[str, Any] = {}
        printed = io.StringIO()
        with contextlib.redirect_stdout(printed):
            exec(code, variables)  # pylint: disable=exec-used  # it is the documented code
        yield variables, printed.getvalue()


def test_the_client_prints_each_prediction_with_its_id(
    page_client: tuple[dict[str, Any], str],
) -> None:
    first, second = page_client[1].splitlines()
    assert first.startswith("order-17 setosa ") and second.startswith("order-18 v")
    body = {"id": "order-18", "actual_class": "virginica"}
    assert page_client[0]["post"]("/feedback", body)["joined"] is True


def test_the_client_says_what_the_service_refuses(page_client: tuple[dict[str, Any], str]) -> None:
    post, flower = page_client[0]["post"], page_client[0]["flower"]
    rows = [flower, {**flower, "id": "", "petal_width": 99}]
    with pytest.raises(RuntimeError, match="status 422: .*row 1, id: '' is not .*petal_width: 99"):
        post("/predict_json", {"instances": rows})
    with pytest.raises(RuntimeError, match="status 404: .*no prediction with the id 'order-19'"):
        post("/feedback", {"id": "order-19", "actual_class": "setosa"})
    with pytest.raises(RuntimeError, match="status 403"):
        post("/get_metrics_summary", {})


@pytest.mark.parametrize("busy", [2, 9])
def test_the_client_waits_while_the_service_is_busy_but_not_forever(
    page_client: tuple[dict[str, Any], str], busy: int
) -> None:
    responses = [httpx.Response(503, headers={"Retry-After": "7"}), httpx.Response(429)] * 9
    ended = iter([*responses[:busy], httpx.Response(200, json={"predictions": []})])
    waits: list[float] = []
    variables = dict(page_client[0])
    transport = httpx.MockTransport(lambda _request: next(ended))
    variables["client"] = httpx.Client(base_url="http://service", transport=transport)
    variables["time"] = SimpleNamespace(sleep=waits.append)
    (code,) = re.findall(r"^def post.*?\n\n\n", CLIENT[0], re.DOTALL | re.MULTILINE)
    exec(code, variables)  # pylint: disable=exec-used
    if busy == 2:
        assert variables["post"]("/predict_json", {}) == {"predictions": []}
    else:
        with pytest.raises(RuntimeError, match="status 503"):
            variables["post"]("/predict_json", {})
    assert waits == [7, 2, 7, 8, 7][:busy]
