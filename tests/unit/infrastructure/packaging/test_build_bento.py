"""No Bento is built of what validation has not accepted."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from infrastructure.packaging.build_bento import main
from shared.paths import ROOT


def test_without_a_champion_nothing_is_built_and_no_receipt_is_left(
    tracking: Any, tmp_path: Path
) -> None:
    tracking.record("iris_classifier_pipeline", "1.0.0-never-judged")
    places = {
        "MLFLOW_TRACKING_URI": tracking.uri,
        "MODEL_REGISTRY_DIR": str(tracking.packages_dir),
        "BENTOML_HOME": str(tmp_path / "bentoml"),
        "RECEIPTS_DIR": str(tmp_path / "build"),
    }
    receipt = tmp_path / "build/iris/bento-build.json"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "infrastructure.packaging.build_bento"),
            *("--model", "iris", "--receipt", str(receipt)),
        ],
        cwd=ROOT,
        env={**os.environ, **places, "BENTOML_DO_NOT_TRACK": "True"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last == "error: iris_classifier_pipeline has no champion in the registry"
    assert not receipt.parent.exists()


def test_help_names_the_model_and_the_receipt(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "--model" in text and "--receipt" in text
