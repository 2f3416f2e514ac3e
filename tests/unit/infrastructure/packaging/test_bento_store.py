"""Accepted packages in BentoML's store.

BentoML fixes its store when it is imported, so one process of its own does all the work, and the
tests look at what it reports.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

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


# a process that kills itself when it opens this file for writing to the store
KILLED = """
import os, signal, sys
from pathlib import Path
from infrastructure.packaging.bento_store import add_package

home = os.environ["BENTOML_HOME"]

def kill(event, args):
    if event == "open" and "w" in str(args[1]) and str(args[0]).startswith(home):
        if str(args[0]).endswith("/model.onnx"):
            os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(kill)
add_package(Path(sys.argv[1]), "iris_classifier_pipeline", {}, {})
"""

REPAIR = """
import json, os, sys
from pathlib import Path
import bentoml
from infrastructure.packaging.bento_store import (
    add_package, build_bento, export_bento, remove_entry, stored_package
)

package, exported, name = Path(sys.argv[1]), Path(sys.argv[2]), "iris_classifier_pipeline"
home = Path(os.environ["BENTOML_HOME"])
tag, entries = f"{name}:{package.name}", home / "models" / name
entry = entries / package.name

def files(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())

report = {"after the kill": files(entry)}
add_package(package, name, {}, {})
whole = files(entry)
report["whole"] = whole
remade = report["remade"] = {}

def remake(state):
    add_package(package, name, {}, {})
    latest = (entries / "latest").read_text()
    remade[state] = [files(entry) == whole, stored_package(tag).version, latest]

def cut(file, length):
    file.chmod(0o644)
    os.truncate(file, length)

for file in ("model.onnx", "model.yaml", "MANIFEST.sha256", "contract.json"):
    (entry / file).unlink()
    remake(f"no {file}")
for file, length in (("model.yaml", 0), ("model.yaml", 30), ("model.onnx", 100)):
    cut(entry / file, length)
    remake(f"{file} of {length} bytes")
for latest in ("", "1.0.0-gone"):
    (entries / "latest").write_text(latest)
    remake(f"latest is {latest!r}")
(entries / "0.9.0-half").mkdir()
(entries / "latest").unlink()
remake("another version is half, and no latest")

bentos = home / "bentos" / name
for half in (package.name, "0.9.0-half"):
    (bentos / half / "src").mkdir(parents=True)
(bentos / "latest").write_text("")
(exported / "src").mkdir(parents=True)
(exported / "src/left").write_text("of a process that was killed")
bento = build_bento(tag)
export_bento(bento, exported)
report["bento"] = [str(bento.tag), (bentos / "latest").read_text()]
report["exported"] = files(exported)
for half in (entries / "0.9.0-half", bentos / "0.9.0-half", bentos / package.name):
    remove_entry(half)
report["left"] = [
    p.relative_to(home).as_posix() for p in (*home.glob("*/iris*/*"), *home.glob("drafts/*/"))
]
print(json.dumps(report))
"""


@dataclass(frozen=True)
class Report:
    """The output of the process, and the folders that it used."""

    home: Path
    package: Path
    output: dict[str, object]


@pytest.fixture(scope="module", name="report")
def _report(make_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("store")
    home = folder / "bentoml"
    package = make_package(folder, "iris_classifier_pipeline", "1.0.0-a")
    output = json.loads(_run(home, WORK, package).splitlines()[-1])
    return Report(home, package, output)


def _run(home: Path, work: str, *arguments: Path, code: int = 0) -> str:
    done = subprocess.run(
        [sys.executable, "-c", work, *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "BENTOML_HOME": str(home), "BENTOML_DO_NOT_TRACK": "True"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
        timeout=60,
    )
    assert done.returncode == code
    return done.stdout


def test_the_tag_has_the_name_and_version_of_the_package(report: Report) -> None:
    assert report.output["version"] == "1.0.0-a"
    assert set(report.output["tags"]) == {"iris_classifier_pipeline:1.0.0-a"}  # type: ignore[call-overload]


def test_a_package_is_added_once_and_keeps_its_first_labels(report: Report) -> None:
    assert report.output["number"] == 1
    assert report.output["labels"] == {"stage": "champion"}
    assert report.output["metadata"] == {"holdout_rows": 30}


def test_every_file_except_the_native_model_is_stored(report: Report) -> None:
    made = {
        path.relative_to(report.package).as_posix()
        for path in report.package.rglob("*")
        if path.is_file()
    }
    assert NATIVE in made
    assert set(report.output["files"]) == made - {NATIVE} | {"model.yaml"}  # type: ignore[call-overload]


def test_the_stored_manifest_equals_that_of_the_package(report: Report) -> None:
    assert report.output["manifest"] == (report.package / MANIFEST).read_text("utf-8")


def test_a_model_that_was_never_accepted_is_reported_with_a_solution(report: Report) -> None:
    assert str(report.output["unknown"]).startswith("BuildError: iris_classifier_pipeline:1.0.0-a")
    message = str(report.output["unknown"])
    assert str(report.home) in message and "make promote VERSION=1.0.0-a" in message


def test_a_modified_stored_file_is_refused_by_name(report: Report) -> None:
    assert str(report.output["tampered"]).startswith("PackageError: ")
    assert "model.onnx differs" in str(report.output["tampered"])


def test_everything_is_in_the_configured_store(report: Report) -> None:
    assert Path(str(report.output["folder"])).is_relative_to(report.home)


@pytest.fixture(scope="module", name="repaired")
def _repaired(
    make_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, Any]:
    folder = tmp_path_factory.mktemp("half")
    package = make_package(folder, "iris_classifier_pipeline", "1.0.0-a")
    _run(folder / "bentoml", KILLED, package, code=-signal.SIGKILL)
    output = _run(folder / "bentoml", REPAIR, package, folder / "build/bento")
    return json.loads(output.splitlines()[-1])


def test_a_process_killed_while_writing_to_the_store_leaves_no_entry(
    repaired: dict[str, Any],
) -> None:
    assert repaired["after the kill"] == []
    assert {"model.onnx", "model.yaml", MANIFEST} <= set(repaired["whole"])


def test_every_incomplete_entry_and_latest_is_recognised_and_repaired(
    repaired: dict[str, Any],
) -> None:
    assert len(repaired["remade"]) == 10
    assert {state: [True, "1.0.0-a", "1.0.0-a"] for state in repaired["remade"]} == repaired[
        "remade"
    ]


def test_incomplete_bentos_do_not_block_builds_or_exports(repaired: dict[str, Any]) -> None:
    assert repaired["bento"] == ["iris_classifier_pipeline:1.0.0-a", "1.0.0-a"]
    exported = repaired["exported"]
    assert "bento.yaml" in exported and "src/left" not in exported
    assert "models/iris_classifier_pipeline/1.0.0-a/model.onnx" in exported


def test_incomplete_entries_can_be_removed(repaired: dict[str, Any]) -> None:
    name = "models/iris_classifier_pipeline"
    assert sorted(repaired["left"]) == [f"{name}/1.0.0-a", f"{name}/latest"]
