"""A model of a library outside scikit-learn, served as it is, through the whole chain of make."""

from __future__ import annotations

import json
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

import httpx
import numpy as np
import pytest

from domain.evaluation.predictions import predict_function
from tests import petals
from tests.fakes import PETALS_CONFIG
from tests.packages import open_recorded
from tests.served import Home, MakeOnce, copy_with_petals, serve

NAME = "boosted"
MODEL = """
from dataclasses import replace

from lightgbm import LGBMClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import QuantileTransformer

from domain.models import petals

SPEC = replace(petals.SPEC, name="boosted")
load = petals.load


def build(n_estimators: int):
    lightgbm = LGBMClassifier(n_estimators=n_estimators, linear_tree=True, verbose=-1, n_jobs=1)
    return make_pipeline(QuantileTransformer(n_quantiles=20, output_distribution="normal"), lightgbm)
"""


@pytest.fixture(name="boosted", scope="module")
def _boosted(make_once: MakeOnce) -> Home:
    """The home of a model whose linear trees have no ONNX form."""
    pytest.importorskip("lightgbm", reason="make install EXTRAS=lightgbm")

    def make(folder: Path) -> None:
        clone = folder / "clone"
        clone.mkdir()
        copy_with_petals(clone)
        (clone / "domain/models/boosted.py").write_text(MODEL, encoding="utf-8")
        config = json.loads(PETALS_CONFIG.read_text(encoding="utf-8"))
        config |= {
            "model": {"n_estimators": 20},
            "model_name": f"{NAME}_classifier",
            "serving": {"format": "native"},
        }
        config["validation"] = {"threshold": 0.85, "folds": 0}
        path = clone / "application/training/configs/boosted_config.json"
        path.write_text(json.dumps(config), encoding="utf-8")
        done = Home(folder / "home", clone).make("bento-build", f"MODEL={NAME}")
        assert done.returncode == 0, done.stdout + done.stderr

    folder = make_once(NAME, make)
    return Home(folder / "home", folder / "clone")


@pytest.fixture(name="service", scope="module")
def _service(boosted: Home, tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    bento = boosted.receipts_of(NAME) / "bento"
    with serve(bento, tmp_path_factory.mktemp("boosted"), workers=1) as url:
        yield httpx.Client(base_url=url, timeout=30)


def test_a_bento_requires_the_library_in_the_version_of_the_training(boosted: Home) -> None:
    bento = boosted.receipts_of(NAME) / "bento"
    required = (bento / "env/python/requirements.txt").read_text(encoding="utf-8").split()
    assert f"lightgbm=={version('lightgbm')}" in required
    assert {f"{name}=={version(name)}" for name in ("scikit-learn", "skops")} <= set(required)
    dockerfile = (bento / "env/docker/Dockerfile").read_text(encoding="utf-8")
    assert dockerfile.index("libgomp1") < dockerfile.index("requirements.txt")


def test_every_gate_accepts_it_in_a_process_with_only_what_the_bento_requires(
    boosted: Home,
) -> None:
    receipt = (boosted.receipts_of(NAME) / "validate.json").read_text(encoding="utf-8")
    verdicts = {each["gate"]: each["accepted"] for each in json.loads(receipt)["verdicts"]}
    assert verdicts["serves_alone"] and all(verdicts.values())


def test_its_service_predicts_like_the_native_model(boosted: Home, service: httpx.Client) -> None:
    trained = json.loads((boosted.receipts_of(NAME) / "train.json").read_text(encoding="utf-8"))
    package = open_recorded(Path(trained["package"]))
    rows = petals.load().rows()
    response = service.post("/predict", json=[list(row) for row in rows]).json()
    probabilities = [list(each["probabilities"].values()) for each in response["predictions"]]
    native = predict_function(package.load_native(), package.spec)(package.spec.encode_rows(rows))
    np.testing.assert_allclose(probabilities, native, atol=1e-6)
