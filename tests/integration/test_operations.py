"""Settings of an operator: API keys, CORS origins, access log and tracing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from application.inference.api_keys import entry_of, new_key
from tests.served import serve
from tests.strength import JSON, request_of, send_raw, statuses

SETOSA = [[5.1, 3.5, 1.4, 0.2]]
OURS, OTHERS = "https://app.example.org", "https://elsewhere.example.org"
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PREDICTS, SCRAPES, ALL = new_key(), new_key(), new_key()
KEYS = (
    entry_of("client", PREDICTS, ["predict"]),
    entry_of("prometheus", SCRAPES, ["metrics"]),
    entry_of("admin", ALL),
)


@pytest.fixture(scope="module", name="url")
def _url(exported_bento: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    settings = {
        "SERVING_API_KEYS": " ".join(KEYS),
        "SERVING_OPEN_PATHS": "/readyz /livez",
        "SERVING_CORS_ORIGINS": OURS,
        "SERVING_ACCESS_LOG": "true",
    }
    with serve(exported_bento, tmp_path_factory.mktemp("operated"), 1, **settings) as url:
        yield url


def predict(url: str, key: str = "", **headers: str) -> httpx.Response:
    """Send a prediction request, with a key if there is one."""
    if key:
        headers["Authorization"] = f"Bearer {key}"
    return httpx.post(f"{url}/classify", json=SETOSA, headers=headers)


@pytest.mark.parametrize(
    ("key", "status"),
    [("", 401), (SCRAPES, 403), (PREDICTS, 200), (ALL, 200)],
    ids=["none", "metrics", "predict", "all"],
)
def test_a_prediction_needs_a_key_with_the_scope_predict(url: str, key: str, status: int) -> None:
    response = predict(url, key)
    assert response.status_code == status
    assert ("www-authenticate" in response.headers) == (status == 401)


@pytest.mark.parametrize(
    ("key", "status"),
    [("", 401), (PREDICTS, 403), (SCRAPES, 200)],
    ids=["none", "predict", "metrics"],
)
def test_metrics_need_a_key_if_their_path_is_not_open(url: str, key: str, status: int) -> None:
    headers = {"X-API-Key": key} if key else {}
    assert httpx.get(f"{url}/metrics", headers=headers).status_code == status


@pytest.mark.parametrize("path", ["/", "/docs.json", "/v2", "/nowhere"])
def test_only_open_paths_can_be_reached_without_a_key(url: str, path: str) -> None:
    assert httpx.get(f"{url}{path}").status_code == 401
    assert httpx.get(f"{url}/livez").status_code == 200


def test_only_configured_origins_are_allowed(url: str) -> None:
    preflight = {
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "x-api-key",
    }
    allowed = httpx.options(f"{url}/classify", headers={"Origin": OURS, **preflight})
    assert allowed.status_code == 200
    assert allowed.headers["access-control-allow-origin"] == OURS
    refused = httpx.options(f"{url}/classify", headers={"Origin": OTHERS, **preflight})
    assert refused.status_code == 400
    assert predict(url, PREDICTS, Origin=OURS).headers["access-control-allow-origin"] == OURS
    assert "access-control-allow-origin" not in predict(url, PREDICTS, Origin=OTHERS).headers


def test_no_origin_is_allowed_by_default(service_url: str) -> None:
    response = httpx.post(f"{service_url}/classify", json=SETOSA, headers={"Origin": OURS})
    assert response.status_code == 200
    assert "access-control-allow-origin" not in response.headers


def test_the_access_log_has_a_line_per_request_with_request_id_and_trace(
    exported_bento: Path, tmp_path: Path
) -> None:
    trace = f"00-{TRACE}-00f067aa0ba902b7-01"
    settings = {"SERVING_ACCESS_LOG": "true", "SERVING_PROXY_PROTOCOL": "true"}
    with serve(exported_bento, tmp_path, 1, **settings) as url:
        response = httpx.post(
            f"{url}/classify", json=SETOSA, headers={"X-Request-ID": "mine", "traceparent": trace}
        )
        assert response.headers["traceparent"] == trace
        assert response.headers["x-request-id"] == "mine"
        introduction = b"PROXY TCP4 203.0.113.9 127.0.0.1 51234 0\r\n"
        request = introduction + request_of("/classify", b"[[]]", JSON)
        assert statuses(send_raw(httpx.URL(url).port or 80, [request])) == [422]
    lines = [json.loads(line) for line in (tmp_path / "service.log").read_text().splitlines()]
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    requests: list[dict[str, Any]] = [line for line in lines if line.get("path") == "/classify"]
    traces = [(line["status"], line.get("trace_id")) for line in requests]
    assert traces == [(200, TRACE), (422, None)]
    assert requests[0]["request_id"] == "mine"
    assert [line["client"] for line in requests] == ["127.0.0.1", "203.0.113.9"]
    assert 0 < requests[0]["seconds"] < 60


def service_name(bento: Path) -> str:
    """Name of the service in an exported Bento."""
    (name,) = (path.name for path in (bento / "models").iterdir())
    return name


def test_if_bentoml_traces_requests_predictions_pass_its_middleware(
    exported_bento: Path, tmp_path: Path
) -> None:
    name = service_name(exported_bento)
    config = tmp_path / "bentoml.yaml"
    config.write_text(
        f"services:\n  {name}:\n    tracing:\n      exporter_type: in_memory\n"
        "      sample_rate: 1.0\n",
        encoding="utf-8",
    )
    with serve(exported_bento, tmp_path / "home", 1, BENTOML_CONFIG=str(config)) as url:
        assert httpx.post(f"{url}/classify", json=SETOSA).status_code == 200
        metrics = httpx.get(f"{url}/metrics").text
    assert 'endpoint="/classify"' in metrics, "the request did not pass BentoML's middleware"
