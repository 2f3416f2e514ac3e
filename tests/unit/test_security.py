"""docs/security.md is true, where that is cheap to see."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator

from infrastructure.packaging.requirements import serving_requirements
from infrastructure.serving.serving_check import included_files
from shared.paths import ROOT

RUN_CODE = {"cloudpickle", "dill", "joblib", "marshal", "pickle", "shelve"}
# each has a test of its own below
KNOWN = {
    ("infrastructure/inference/whisper_engine.py", "pickle"),
    ("infrastructure/packaging/model_package.py", "joblib"),
}


def imports(name: str) -> set[str]:
    """The first names of all modules that a file imports anywhere."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((ROOT / name).read_text("utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found.add(node.module.partition(".")[0])
    return found


def sources() -> Iterator[tuple[str, str]]:
    """Every file of the four packages, with its text."""
    for package in ("domain", "application", "infrastructure", "shared"):
        for path in (ROOT / package).rglob("*.py"):
            yield path.relative_to(ROOT).as_posix(), path.read_text("utf-8")


def test_no_file_of_a_bento_imports_a_module_that_unpickles() -> None:
    files = [name for name in included_files() if name.endswith(".py")]
    assert len(files) > 15
    found = {(name, module) for name in files for module in imports(name) & RUN_CODE}
    assert found <= KNOWN


def test_the_whisper_engine_uses_pickle_only_for_its_error() -> None:
    source = (ROOT / "infrastructure/inference/whisper_engine.py").read_text("utf-8")
    assert set(re.findall(r"pickle\.(\w+)", source)) == {"UnpicklingError"}


def test_joblib_files_are_read_in_one_place_only() -> None:
    readers = [name for name, text in sources() if re.search(r"(joblib|pickle)\.loads?\(", text)]
    assert readers == ["infrastructure/packaging/model_package.py"]


def test_only_validation_loads_a_native_model() -> None:
    callers = {name for name, text in sources() if ".load_native(" in text}
    assert callers == {f"application/validation/{name}.py" for name in ("candidate", "validate")}


def test_an_image_for_onnx_has_no_joblib() -> None:
    names = {
        pin.partition("==")[0]
        for pin in serving_requirements({"task": "classification", "inputs": []})
    }
    assert "onnxruntime" in names
    assert not names & {"joblib", "scikit-learn"}


def test_make_run_listens_on_this_machine_only() -> None:
    source = (ROOT / "infrastructure/cli/run.py").read_text("utf-8")
    assert '"--host", "127.0.0.1"' in source


def test_the_front_service_listens_on_this_machine_only() -> None:
    source = (ROOT / "infrastructure/deployment/front.py").read_text("utf-8")
    assert re.search(r'"--host", default="127\.0\.0\.1"', source)


def test_the_lock_has_a_hash_of_every_file() -> None:
    packages = tomllib.loads((ROOT / "poetry.lock").read_text("utf-8"))["package"]
    assert len(packages) > 100
    for package in packages:
        assert package["files"], package["name"]
        assert all(file["hash"].startswith("sha256:") for file in package["files"])
    assert "--require-hashes" in (ROOT / "scripts/setup/install.sh").read_text("utf-8")
