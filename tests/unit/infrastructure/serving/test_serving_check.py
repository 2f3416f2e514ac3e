"""A package that cannot be served in a clean process is refused with the reason."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import skops.io
import yaml
from bentoml._internal.bento.build_config import BentoPathSpec
from onnx import TensorProto, helper
from sklearn.ensemble import RandomForestClassifier

from application.inference.services import __file__ as services
from domain.gates import Verdict
from infrastructure.packaging.bento_store import BENTOFILE
from infrastructure.packaging.model_package import MANIFEST, PackageDraft
from infrastructure.serving import serving_check
from infrastructure.serving.serving_check import included_files, start_serving_check
from shared.digests import sha256_of
from shared.paths import ROOT
from tests import petals
from tests.speech_fakes import SPEC

SERVICE = "application.inference.services.model_service:ModelService"
SPEECH = "application.inference.services.speech_service:SpeechTranscriber"
MODULE = "infrastructure/serving/model_service.py"

Alter = Callable[[str, bytes], Path]


class Foreign(RandomForestClassifier):  # pylint: disable=too-many-ancestors
    """A class that is not in any image."""


@pytest.fixture(name="package")
def _package(make_package: Callable[..., Path], tmp_path: Path) -> Path:
    return make_package(tmp_path / "packages", "iris_classifier", "1.0.0-a")


@pytest.fixture(name="alter")
def _alter(package: Path) -> Alter:
    """Replaces a file of a package, and updates the manifest."""

    def alter(name: str, content: bytes) -> Path:
        (package / name).unlink(missing_ok=True)
        (package / name).write_bytes(content)
        files = (path for path in package.rglob("*") if path.is_file() and path.name != MANIFEST)
        lines = [f"{sha256_of(path)}  {path.relative_to(package)}\n" for path in sorted(files)]
        (package / MANIFEST).chmod(0o644)
        (package / MANIFEST).write_text("".join(lines), encoding="utf-8")
        return package

    return alter


@pytest.fixture(name="clone")
def _clone(tmp_path: Path) -> Path:
    """A changeable copy of the files that a Bento is built from."""
    clone = tmp_path / "clone"
    bentofile = Path(services).with_name("bentofile.yaml").relative_to(ROOT)
    for name in (".bentoignore", str(bentofile), *included_files()):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(ROOT / name, clone / name)
    return clone


def verdict_on(package: Path, root: Path = ROOT, service: str = SERVICE) -> Verdict:
    """The verdict on a package, with the files of a clone."""
    with start_serving_check(package, service, root) as check:
        return check.verdict()


def add_line(path: Path, line: str) -> None:
    """Add a line after a module's first import."""
    source = path.read_text(encoding="utf-8")
    path.write_text(source.replace("\nimport os\n", f"\nimport os\n{line}\n", 1), encoding="utf-8")


@pytest.mark.parametrize("form", ["onnx", "native"])
def test_a_package_that_serves_alone_is_accepted(
    make_package: Callable[..., Path], tmp_path: Path, form: str
) -> None:
    verdict = verdict_on(make_package(tmp_path, "iris_classifier", "1.0.0-a", form=form))
    assert verdict.gate == "serves_alone"
    assert verdict.accepted, verdict.reason


def test_a_transcriber_is_imported_and_its_digests_compared(tmp_path: Path) -> None:
    pytest.importorskip("whisper")
    with PackageDraft(tmp_path, "speech_transcriber", "1.0.0-a") as draft:
        draft.write_json("contract.json", SPEC.to_dict())
        (draft.folder / "weights.pt").write_bytes(b"checked by another gate")
        package = draft.seal()
    verdict = verdict_on(package, service=SPEECH)
    assert verdict.accepted, verdict.reason
    (package / "weights.pt").chmod(0o644)
    (package / "weights.pt").write_bytes(b"other weights")
    assert "weights.pt differs from its digest" in verdict_on(package, service=SPEECH).reason


@pytest.mark.parametrize("name", ["pandas", "matplotlib", "sklearn", "mlflow"])
def test_a_service_that_imports_what_its_requirements_do_not_reach_is_refused(
    package: Path, clone: Path, name: str
) -> None:
    add_line(clone / MODULE, f"import {name}")
    verdict = verdict_on(package, clone)
    assert not verdict.accepted
    assert f"module {name} is missing in the serving requirements" in verdict.reason


def test_a_service_that_imports_a_file_which_the_bento_has_not_is_refused(
    package: Path, clone: Path
) -> None:
    add_line(clone / MODULE, "from domain.data import dataset")
    assert (
        "module domain.data is missing in the files of the Bento"
        in verdict_on(package, clone).reason
    )


def test_an_import_that_a_library_can_do_without_is_not_missed(package: Path, clone: Path) -> None:
    line = (
        "try:\n    import pandas\nexcept ImportError as error:\n    assert error.name == 'pandas'"
    )
    add_line(clone / MODULE, f"{line}\nelse:\n    raise RuntimeError('it is there')")
    verdict = verdict_on(package, clone)
    assert verdict.accepted, verdict.reason


def test_packages_that_are_not_required_count_as_missing(package: Path, clone: Path) -> None:
    add_line(clone / MODULE, "from importlib.metadata import version; version('pandas')")
    assert "pandas" in verdict_on(package, clone).reason


def test_a_wrong_golden_prediction_is_refused(package: Path, alter: Alter) -> None:
    golden = json.loads((package / "golden.json").read_text(encoding="utf-8"))
    golden["answers"][0] = golden["answers"][0][::-1]
    verdict = verdict_on(alter("golden.json", json.dumps(golden).encode()))
    assert not verdict.accepted
    assert "the predictions for the golden requests differ by" in verdict.reason


def test_a_file_that_was_changed_is_refused(package: Path) -> None:
    (package / "golden.json").chmod(0o644)
    (package / "golden.json").write_text("{}", encoding="utf-8")
    assert "golden.json differs from its digest" in verdict_on(package).reason


def test_an_operator_that_no_runtime_knows_is_refused(alter: Alter) -> None:
    node = helper.make_node("Secret", ["inputs"], ["probabilities"], domain="foreign")
    rows = helper.make_tensor_value_info("inputs", TensorProto.FLOAT, [None, 4])
    output = helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 3])
    opsets = [helper.make_opsetid("", 18), helper.make_opsetid("foreign", 1)]
    graph = helper.make_graph([node], "foreign", [rows], [output])
    model = helper.make_model(graph, opset_imports=opsets, ir_version=9)
    verdict = verdict_on(alter("model.onnx", onnx.ModelProto.SerializeToString(model)))
    assert not verdict.accepted
    assert "ONNX Runtime cannot load" in verdict.reason


def test_a_type_that_training_has_not_seen_is_refused(
    make_package: Callable[..., Path], tmp_path: Path
) -> None:
    package = make_package(tmp_path, "iris_classifier", "1.0.0-a", form="native")
    data = petals.load()
    rows, target = data.encoded(petals.SPEC), data.encoded_target(petals.SPEC)
    (package / "model.skops").unlink()
    skops.io.dump(Foreign(2).fit(np.asarray(rows), target), package / "model.skops")
    manifest = package / MANIFEST
    lines = manifest.read_text(encoding="utf-8").splitlines(keepends=True)
    lines = [line for line in lines if "model.skops" not in line]
    manifest.chmod(0o644)
    digest = sha256_of(package / "model.skops")
    manifest.write_text("".join([*lines, f"{digest}  model.skops\n"]), encoding="utf-8")
    verdict = verdict_on(package)
    assert not verdict.accepted
    assert "Foreign, which training has not recorded in model.json" in verdict.reason


def test_a_process_that_dies_is_refused(package: Path, clone: Path) -> None:
    add_line(clone / MODULE, "os._exit(7)")
    assert "it ended with code 7" in verdict_on(package, clone).reason


def test_a_process_that_does_not_respond_is_refused(
    package: Path, clone: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving_check, "SECONDS", 0.0)
    add_line(clone / MODULE, "import time; time.sleep(600)")
    assert "did not finish within 0 s" in verdict_on(package, clone).reason


def test_a_check_leaves_nothing_behind_when_the_block_fails(package: Path) -> None:
    with pytest.raises(RuntimeError), start_serving_check(package, SERVICE) as check:
        raise RuntimeError("another gate")
    assert check.process.returncode is not None
    assert not check.folder.exists()


def test_the_files_are_those_that_bentoml_takes(tmp_path: Path) -> None:
    bentofile = yaml.safe_load(BENTOFILE.read_text("utf-8"))
    shutil.copy(ROOT / ".bentoignore", tmp_path)
    specs: Any = BentoPathSpec(bentofile["include"], [], str(tmp_path))
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout.splitlines()
    there = (name for name in listed if (ROOT / name).is_file())
    assert included_files() == sorted(filter(specs.includes, there))
