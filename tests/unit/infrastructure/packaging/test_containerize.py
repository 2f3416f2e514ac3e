"""What is in an image and in which layer, by the context that its build gets."""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml

from domain.errors import BuildError, PackageError
from infrastructure.cli.__main__ import main
from infrastructure.packaging.bento_store import BENTOFILE
from infrastructure.packaging.container_engine import ContainerEngine
from infrastructure.packaging.containerize import DOCKERFILE, containerize, default_base
from infrastructure.packaging.model_package import MANIFEST
from infrastructure.packaging.requirements import pinned_requirements

TAG = "petals_pipeline:1.0.0-a"
DIGEST = f"sha256:{'b' * 64}"
BASE = f"example.org/python:3.11-slim@{DIGEST}"


@dataclass
class FakeRun:
    """Podman that keeps the context of a build, and has no base image before it is pulled."""

    context: Path
    built: Sequence[str] = ()
    pulled: list[str] = field(default_factory=list)

    def __call__(self, command: Sequence[str], show: bool = False) -> str:
        if command[1] == "build":
            shutil.copytree(command[-1], self.context)
            self.built = command
        elif command[1] == "pull":
            self.pulled.append(command[-1])
        elif command[-1] not in (TAG, *self.pulled):
            raise BuildError(f"{command[-1]} is missing")
        known = [f"example.org/python@{DIGEST}"]
        found = {"Id": "a" * 64, "Size": 400, "RootFS": {"Layers": []}, "RepoDigests": known}
        return json.dumps([found])

    def options(self, name: str) -> dict[str, str]:
        """The values of an option of the build."""
        values = [each.partition("=")[2] for each in self.built if each.startswith(f"{name}=")]
        return dict(value.split("=", 1) for value in values)


@pytest.fixture(name="run")
def _run(tmp_path: Path) -> FakeRun:
    return FakeRun(tmp_path / "context")


@pytest.fixture(name="bento")
def _bento(tmp_path: Path) -> Path:
    """An exported Bento with the files that matter here."""
    bento = tmp_path / "bento"
    package = bento / "models" / TAG.replace(":", "/")
    model = b"a model"
    for path, content in {
        bento / "bento.yaml": b"name: petals_pipeline\nversion: 1.0.0-a\n",
        bento / "src/shared/paths.py": b"ROOT = 1\n",
        bento / "src/shared/__pycache__/paths.pyc": b"",
        bento / "env/docker/entrypoint.sh": b"#!/bin/sh\n",
        bento / "env/docker/Dockerfile": b"FROM scratch\n",
        bento / "env/python/requirements.txt": "\n".join(pinned_requirements(["six"])).encode(),
        package / "model.onnx": model,
        package / MANIFEST: f"{hashlib.sha256(model).hexdigest()}  model.onnx\n".encode(),
    }.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        path.chmod(0o600)
    return bento


def files_of(folder: Path) -> list[str]:
    """The files in a folder, relative to it."""
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_the_model_is_apart_from_code_and_packages(bento: Path, run: FakeRun) -> None:
    containerize(bento, TAG, ContainerEngine("podman", run), BASE)
    assert files_of(run.context / "code") == ["env/docker/entrypoint.sh", "src/shared/paths.py"]
    package = "models/petals_pipeline/1.0.0-a"
    assert files_of(run.context / "model") == [
        "bento.yaml",
        f"{package}/{MANIFEST}",
        f"{package}/model.onnx",
    ]
    lines = (run.context / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [re.sub(r"( --hash=sha256:\w{64})+$", "", line) for line in lines] == (
        pinned_requirements(["six"])
    )
    assert files_of(bento.parent) != [] and not (bento.parent / ".image").exists()


def test_files_are_readable_by_all_and_have_one_time(bento: Path, run: FakeRun) -> None:
    containerize(bento, TAG, ContainerEngine("podman", run), BASE)
    code, model = run.context / "code", run.context / "model"
    files = [path for folder in (code, model) for path in folder.rglob("*") if path.is_file()]
    assert {path.name: path.stat().st_mode & 0o777 for path in files} == {
        "entrypoint.sh": 0o755,
        "paths.py": 0o644,
        "bento.yaml": 0o644,
        MANIFEST: 0o644,
        "model.onnx": 0o644,
    }
    assert len({path.stat().st_mtime for path in files}) == 1


def test_labels_name_commit_version_base_and_package(bento: Path, run: FakeRun) -> None:
    done = containerize(bento, TAG, ContainerEngine("podman", run), BASE)
    (manifest,) = bento.rglob(MANIFEST)
    assert done.package_digest == hashlib.sha256(manifest.read_bytes()).hexdigest()
    assert run.options("--label") == {
        "org.opencontainers.image.title": "petals_pipeline",
        "org.opencontainers.image.version": "1.0.0-a",
        "org.opencontainers.image.revision": done.revision,
        "org.opencontainers.image.base.name": "example.org/python:3.11-slim",
        "org.opencontainers.image.base.digest": DIGEST,
        "mlops.package.digest": f"sha256:{done.package_digest}",
    }
    assert run.options("--build-arg") == {"BASE": BASE, "TORCH": "", "SYSTEM_PACKAGES": ""}
    assert (done.image.digest, done.base_digest) == (f"sha256:{'a' * 64}", DIGEST)
    assert not run.pulled


def test_a_base_without_a_digest_is_pulled_and_its_digest_recorded(
    bento: Path, run: FakeRun
) -> None:
    done = containerize(bento, TAG, ContainerEngine("podman", run), BASE.partition("@")[0])
    assert run.pulled == ["example.org/python:3.11-slim"]
    assert done.base_digest == DIGEST


@pytest.mark.parametrize("python", [None, "3.11", "3.12", "3.13"])
def test_the_default_base_has_a_digest(python: str | None) -> None:
    pattern = rf"docker\.io/library/python:{python or '3'}.*-slim@sha256:[0-9a-f]{{64}}"
    assert re.fullmatch(pattern, default_base(python))


def test_an_unknown_python_has_no_default_base() -> None:
    with pytest.raises(BuildError, match="no base image is pinned for Python 2.7: name one with"):
        default_base("2.7")


def test_another_bento_than_that_of_the_receipt_is_refused(bento: Path, run: FakeRun) -> None:
    with pytest.raises(BuildError, match="has petals_pipeline:1.0.0-a instead of iris:2"):
        containerize(bento, "iris:2", ContainerEngine("podman", run), BASE)
    assert not run.context.exists()


def test_a_model_that_was_changed_is_refused(bento: Path, run: FakeRun) -> None:
    next(bento.rglob("model.onnx")).write_bytes(b"another")
    with pytest.raises(PackageError, match="model.onnx differs"):
        containerize(bento, TAG, ContainerEngine("podman", run), BASE)
    assert not run.context.exists()


def test_the_image_has_the_variables_that_the_bentofile_sets() -> None:
    variables = yaml.safe_load(BENTOFILE.read_text(encoding="utf-8"))["envs"]
    dockerfile = DOCKERFILE.read_text(encoding="utf-8")
    assert variables
    assert all(f"{each['name']}={each['value']}" in dockerfile for each in variables)


def test_the_entry_point_exits_with_3_and_leaves_no_receipt_if_no_engine_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    receipt = tmp_path / "containerize.json"
    built = tmp_path / "bento-build.json"
    status = main(
        ["containerize", "--bento", str(built), "--engine", "no-engine", "--receipt", str(receipt)]
    )
    assert status == 3
    assert "no-engine does not work" in capsys.readouterr().err
    assert not receipt.exists()


def test_a_missing_bento_is_reported_with_the_command_that_builds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = tmp_path / "bin/docker"
    engine.parent.mkdir()
    engine.write_text("#!/bin/sh\n")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", str(engine.parent))
    built = tmp_path / "bento-build.json"
    assert main(["containerize", "--bento", str(built)]) == 1
    assert capsys.readouterr().err == f"error: {built} does not exist: run make bento-build\n"
    built.write_text(json.dumps({"version": "1.0.0-a", "bento_tag": TAG}))
    assert main(["containerize", "--bento", str(built)]) == 1
    assert capsys.readouterr().err == (
        f"error: {tmp_path}/bento is not an exported Bento: run make bento-build\n"
    )
