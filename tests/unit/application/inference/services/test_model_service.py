"""What the service makes of the package that it finds.

It reads the package when it is imported, and BentoML fixes its store then, so a process of its own
does the work.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from domain.models.contract import ModelSpec, Number, Quantity
from infrastructure.packaging.model_package import PackageDraft
from shared.paths import ROOT

WORK = """
import json, shutil, sys
import bentoml
from bentoml._internal.utils.args import set_arguments

with bentoml.models.create("made:1") as stored:
    shutil.copytree(sys.argv[1], stored.path, dirs_exist_ok=True)
set_arguments({"model_tag": "made:1"})
from application.inference.services import model_service
from prometheus_client import REGISTRY

model_service._metrics("made", "1", model_service.PACKAGE.read_json("profile.json"))
samples = [s for m in REGISTRY.collect() if m.name == "ml_prediction_value" for s in m.samples]
print(json.dumps([float(s.labels["le"]) for s in samples if s.name.endswith("_bucket")][:-1]))
"""


@pytest.mark.parametrize(
    ("name", "expected"),
    [("size", [100.0, 200.0]), ("prediction", [150.0, 250.0])],
    ids=["the profile's edges", "golden answers where the profile is an input's"],
)
def test_a_quantity_is_counted_in_buckets_of_its_own_scale(
    tmp_path: Path, name: str, expected: list[float]
) -> None:
    spec = ModelSpec("made", (Number(name, "", 0, 1),), Quantity("price"))
    profiles = {
        "size": {"edges": [0.1, 0.2], "shares": [0.3, 0.3, 0.4], "with_missing": False},
        "prediction": {"edges": [100.0, 200.0], "shares": [0.3, 0.3, 0.4], "with_missing": False},
    }
    if name == "prediction":
        profiles = {"prediction": profiles["size"]}
    golden = {"rows": [[0.5], [0.6]], "answers": [[250.0, 0.0, 500.0], [150.0, 0.0, 500.0]]}
    with PackageDraft(tmp_path, "made", "1") as draft:
        (draft.folder / "model.onnx").touch()
        draft.write_json("contract.json", spec.to_dict())
        draft.write_json("golden.json", golden)
        draft.write_json("profile.json", profiles)
        package = draft.seal()
    done = subprocess.run(
        [sys.executable, "-c", WORK, str(package)],
        cwd=ROOT,
        env={**os.environ, "BENTOML_HOME": str(tmp_path / "bentoml")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == expected
