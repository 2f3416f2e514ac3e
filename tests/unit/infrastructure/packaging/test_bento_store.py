"""Accepted packages in BentoML's store.

BentoML fixes its store when it is imported, so one process of its own does all the work, and the
tests look at what it reports.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from infrastructure.packaging.model_package import MANIFEST, NATIVE
from shared.paths import ROOT

WORK = """
import json, sys
from pathlib import Path
import bentoml
from domain.errors import MlopsError
from infrastructure.packaging.bento_store import add_package, stored_package

package, name = Path(sys.argv[1]), "iris_classifier_pipeline"

def stored(tag):
    try:
        return stored_package(tag).version
    except MlopsError as error:
        return f"{type(error).__name__}: {error}"

report = {"unknown": stored(f"{name}:1.0.0-a")}
report["tags"] = [
    add_package(package, name, {"stage": stage}, {"holdout_rows": 30})
    for stage in ("champion", "again")
]
model = bentoml.models.get(report["tags"][0])
folder = Path(model.path)
report["labels"], report["metadata"] = dict(model.info.labels), dict(model.info.metadata)
report["folder"] = str(folder)
report["files"] = [
    path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()
]
report["number"] = len(bentoml.models.list())
report["version"] = stored(f"{name}:1.0.0-a")
report["manifest"] = stored_package(f"{name}:1.0.0-a").manifest
(folder / "model.onnx").chmod(0o644)
(folder / "model.onnx").write_bytes(b"another model")
report["tampered"] = stored(f"{name}:1.0.0-a")
print(json.dumps(report))
"""


@dataclass(frozen=True)
class Report:
    """What the process reported, with where it worked."""

    home: Path
    package: Path
    said: dict[str, object]


@pytest.fixture(scope="module", name="report")
def _report(make_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("store")
    home = folder / "bentoml"
    package = make_package(folder, "iris_classifier_pipeline", "1.0.0-a")
    done = subprocess.run(
        [sys.executable, "-c", WORK, str(package)],
        cwd=ROOT,
        env={**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        timeout=60,
    )
    return Report(home, package, json.loads(done.stdout.splitlines()[-1]))


def test_the_tag_is_the_name_and_the_version_of_the_package(report: Report) -> None:
    assert report.said["version"] == "1.0.0-a"
    assert set(report.said["tags"]) == {"iris_classifier_pipeline:1.0.0-a"}  # type: ignore[call-overload]


def test_a_package_is_added_once_and_keeps_its_first_labels(report: Report) -> None:
    assert report.said["number"] == 1
    assert report.said["labels"] == {"stage": "champion"}
    assert report.said["metadata"] == {"holdout_rows": 30}


def test_every_file_is_stored_but_the_native_model(report: Report) -> None:
    made = {
        path.relative_to(report.package).as_posix()
        for path in report.package.rglob("*")
        if path.is_file()
    }
    assert NATIVE in made
    assert set(report.said["files"]) == made - {NATIVE} | {"model.yaml"}  # type: ignore[call-overload]


def test_the_stored_manifest_is_that_of_the_package(report: Report) -> None:
    assert report.said["manifest"] == (report.package / MANIFEST).read_text("utf-8")


def test_a_model_that_was_never_accepted_is_named_with_what_to_do(report: Report) -> None:
    assert str(report.said["unknown"]).startswith("BuildError: iris_classifier_pipeline:1.0.0-a")
    assert "make validate" in str(report.said["unknown"])


def test_a_stored_file_that_was_changed_is_refused_and_named(report: Report) -> None:
    assert str(report.said["tampered"]).startswith("PackageError: ")
    assert "model.onnx differs" in str(report.said["tampered"])


def test_everything_lies_in_the_store_of_the_setting(report: Report) -> None:
    assert Path(str(report.said["folder"])).is_relative_to(report.home)
