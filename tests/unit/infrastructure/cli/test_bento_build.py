"""A Bento is built only from what validation has accepted."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from application.training.config import registered_name
from infrastructure.cli.__main__ import main
from infrastructure.packaging.model_package import ModelPackage
from infrastructure.registry.mlflow_registry import MlflowRegistry
from infrastructure.tracking.mlflow_tracker import open_client
from shared.paths import ROOT


def test_without_a_champion_nothing_is_built_and_no_receipt_is_left(
    tracking: Any, tmp_path: Path
) -> None:
    tracking.record("iris_classifier_pipeline", "1.0.0-never-judged")
    done = _build("iris", tracking, tmp_path)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    expected = "error: iris_classifier_pipeline has no champion in the registry; its versions: 1"
    assert last == expected
    assert not (tmp_path / "build/iris").exists()


def test_a_champion_that_was_never_accepted_is_not_built_and_a_lost_store_is_made_again(
    tracking: Any, tmp_path: Path
) -> None:
    tracking, name = replace(tracking, folder=tmp_path), registered_name("iris")
    tracking.record(name, "1.0.0-a")
    open_client(tracking.uri).set_registered_model_alias(name, "champion", "1")
    done = _build("iris", tracking, tmp_path)
    assert done.returncode == 1
    expected = f"error: {name} version 1 (1.0.0-a) has not been validated: run make validate"
    assert done.stderr.splitlines()[-1] == expected

    registry = MlflowRegistry(tracking.uri, tracking.packages_dir)
    registry.record_verdict(registry.find(name, "1"), "accepted", tmp_path / "build")
    done = _build("iris", tracking, tmp_path)
    assert done.returncode == 0, done.stderr
    receipt = json.loads((tmp_path / "build/iris/bento-build.json").read_text("utf-8"))
    assert receipt["bento_tag"] == f"{name}:1.0.0-a"
    exported = tmp_path / "build/iris/bento/models" / name / "1.0.0-a"
    stored = tmp_path / "bentoml/models" / name / "1.0.0-a"
    assert ModelPackage(exported, stored=True).manifest == ModelPackage(stored, True).manifest


def _build(model: str, tracking: Any, folder: Path) -> subprocess.CompletedProcess[str]:
    """Build in a separate process, since BentoML reads BENTOML_HOME at import."""
    places = {
        "MLFLOW_TRACKING_URI": tracking.uri,
        "MODEL_REGISTRY_DIR": str(tracking.packages_dir),
        "BENTOML_HOME": str(folder / "bentoml"),
        "RECEIPTS_DIR": str(folder / "build"),
    }
    (folder / "build").mkdir(exist_ok=True)
    receipt = folder / "build" / model / "bento-build.json"
    return subprocess.run(
        [
            *(sys.executable, "-m", "infrastructure.cli", "bento-build"),
            *("--model", model, "--receipt", str(receipt)),
        ],
        cwd=ROOT,
        env={**os.environ, **places, "BENTOML_DO_NOT_TRACK": "True"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_help_names_the_model_and_the_receipt(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bento-build", "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "--model" in text and "--receipt" in text
