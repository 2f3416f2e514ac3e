"""The service of a model, with a contract of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from domain.contract import ModelSpec, Number, Quantity
from infrastructure.packaging.model_package import ModelPackage, PackageDraft
from infrastructure.serving.model_service import (
    retention_days,
    score_threshold,
    spool_folder,
    value_buckets,
)
from shared.paths import ROOT

GOLDEN = {"rows": [[0.5], [0.6]], "answers": [[250.0, 0.0, 500.0], [150.0, 0.0, 500.0]]}
REQUESTS = """
import asyncio, json
from tests.asgi import send_request, send_requests

async def work():
    app = model_service.ModelService.to_asgi()
    await send_requests(app)
    assert model_service._service.started.exception(30)
    gets = [("GET", path) for path in ("/livez", "/readyz", "/", "/docs.json", "/nowhere")]
    requests = [("POST", "/predict", [[0.5]]), *gets]
    responses = [await send_request(app, *each) for each in requests]
    print(json.dumps([[response.status_code, response.text] for response in responses]))

asyncio.run(work())
"""
SETTING = """
import shutil, sys
import bentoml
from bentoml._internal.utils.args import set_arguments

with bentoml.models.create("made:1") as stored:
    shutil.copytree(sys.argv[1], stored.path, dirs_exist_ok=True)
set_arguments({"model_tag": "made:1"})
from application.inference.services import model_service
"""


def run(package: Path, home: Path, work: str, **variables: str) -> Any:
    """Store a package and import the service in a new process; returns its last line of output."""
    (home / "metrics").mkdir(parents=True)
    done = subprocess.run(
        [sys.executable, "-c", SETTING + work, str(package)],
        cwd=ROOT,
        env={
            **os.environ,
            "BENTOML_HOME": str(home),
            "PROMETHEUS_MULTIPROC_DIR": str(home / "metrics"),
            "PYTHONPATH": str(ROOT),
            **variables,
        },
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def spec_of(name: str) -> ModelSpec:
    """The contract of a regression with one input."""
    return ModelSpec("made", (Number(name, "", 0, 1),), Quantity("price"))


def package_of(
    folder: Path, name: str, profiles: dict[str, Any], provenance: dict[str, Any] | None = None
) -> Path:
    """A package of a regression with one input and an empty file as the model."""
    with PackageDraft(folder, "made", "1") as draft:
        (draft.folder / "model.onnx").touch()
        draft.write_json("contract.json", spec_of(name).to_dict())
        draft.write_json("golden.json", GOLDEN)
        draft.write_json("profile.json", profiles)
        draft.write_json("metrics.json", {})
        libraries = {"libraries": {"mlflow": "3.17.0"}}
        draft.write_json("provenance.json", libraries | (provenance or {}))
        return draft.seal()


def profile(*edges: float) -> dict[str, Any]:
    """A profile with these edges."""
    return {"edges": edges, "shares": [0.3, 0.3, 0.4], "with_missing": False}


@pytest.mark.parametrize(
    ("name", "profiles", "expected"),
    [
        ("size", {"size": profile(0.1, 0.2), "prediction": profile(100, 200)}, [100.0, 200.0]),
        ("prediction", {"prediction": profile(0.1, 0.2)}, [150.0, 250.0]),
    ],
    ids=["the profile's edges", "golden predictions if an input owns the profile"],
)
def test_a_quantity_is_counted_in_buckets_of_its_own_scale(
    name: str, profiles: dict[str, Any], expected: list[float]
) -> None:
    assert list(value_buckets(spec_of(name), GOLDEN, profiles) or ()) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("sqlite:////data/log.db", "/data/log.db.spool"),
        ("sqlite+pysqlite:////data/log.db?timeout=3", "/data/log.db.spool"),
        ("sqlite:///file:/data/log.db?uri=true", "/home/predictions.spool"),
        ("postgresql+psycopg://ann@host/database", "/home/predictions.spool"),
    ],
)
def test_predictions_wait_beside_an_sqlite_database_or_in_the_home_of_bentoml(
    monkeypatch: pytest.MonkeyPatch, url: str, expected: str
) -> None:
    monkeypatch.setenv("BENTOML_HOME", "/home")
    assert str(spool_folder(url)) == expected


@pytest.mark.parametrize(
    ("provenance", "expected"),
    [
        ({"config": {"validation": {"threshold": 0.7}}}, 0.7),
        ({"config": {"validation": {"threshold": None}}}, None),
        ({"config": {}}, None),
        ({}, None),
    ],
)
def test_the_threshold_of_the_gate_is_the_recorded_one(
    provenance: dict[str, Any], expected: float | None, tmp_path: Path
) -> None:
    profiles = {"prediction": profile(1)}
    folder = package_of(tmp_path / "package", "size", profiles, provenance)
    assert score_threshold(ModelPackage(folder)) == expected


@pytest.mark.parametrize(
    ("provenance", "expected"),
    [({"config": {"monitoring": {"retention_days": 7}}}, 7), ({"config": {}}, 90), ({}, 90)],
)
def test_predictions_are_kept_as_long_as_the_configuration_says(
    provenance: dict[str, Any], expected: float, tmp_path: Path
) -> None:
    folder = package_of(tmp_path / "package", "size", {"prediction": profile(1)}, provenance)
    assert retention_days(ModelPackage(folder)) == expected


@pytest.mark.parametrize(
    ("variables", "reason"),
    [
        ({}, "ONNX Runtime cannot load"),
        ({"PREDICTION_LOG_URL": "sqlite:////"}, "PREDICTION_LOG_URL sqlite:////: "),
    ],
    ids=["the model", "the prediction log"],
)
def test_a_service_that_cannot_start_is_live_and_says_why_it_is_not_ready(
    tmp_path: Path, variables: dict[str, str], reason: str
) -> None:
    package = package_of(tmp_path, "size", {"size": profile(0.1, 0.2)})
    predicted, alive, ready, *others = run(package, tmp_path / "bentoml", REQUESTS, **variables)
    assert predicted[0] == 503
    assert alive[0] == 200
    assert ready[0] == 503
    status = json.loads(ready[1])
    assert status["status"] == "failed" and reason in status["error"]
    assert [status for status, _ in others] == [503] * 3  # nothing of BentoML's page


@pytest.fixture(scope="module", name="store")
def _store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Bento store with a package."""
    folder = tmp_path_factory.mktemp("store")
    run(package_of(folder, "size", {"size": profile(0.1, 0.2)}), folder / "bentoml", "print(0)")
    return folder / "bentoml"


@pytest.mark.parametrize(
    ("variables", "tag", "reason"),
    [
        ({"PREDICTION_LOG_URL": "garbage"}, "made:1", "PREDICTION_LOG_URL: Could not parse"),
        ({"SERVING_API_KEYS": "garbage"}, "made:1", "SERVING_API_KEYS"),
        ({"WORKERS": "0"}, "made:1", "WORKERS: Input should be greater than 0, got '0'"),
        ({}, "made:2", "made:2 is not in the Bento store"),
    ],
    ids=["log", "keys", "workers", "store"],
)
def test_bentoml_serve_ends_with_one_line_if_the_service_cannot_be_built(
    store: Path, variables: dict[str, str], tag: str, reason: str
) -> None:
    done = subprocess.run(
        [
            *(sys.executable, "-m", "bentoml", "serve", "--arg", f"model_tag={tag}"),
            "application.inference.services.model_service:ModelService",
        ],
        cwd=ROOT,
        env={**os.environ, "BENTOML_HOME": str(store), **variables},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert reason in line
