"""Every process of .venv finds its clone and the stores of its clone, wherever the clone is."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from shared.paths import ROOT
from shared.startup import prepare

PROBE = (
    "import os, shared; print(os.path.dirname(shared.__file__), os.environ['BENTOML_HOME'], "
    "os.environ['MLFLOW_TRACKING_URI'], os.environ.get('NAMED'))"
)


def prepared(root: Path | str = "/clone", **environ: str) -> dict[str, str]:
    """The environment of a process of this clone, started with these variables."""
    prepare(environ, str(root))
    return environ


def test_stores_are_those_of_the_clone() -> None:
    environ = prepared()
    assert environ["BENTOML_HOME"] == "/clone/.bentoml"
    assert environ["MLFLOW_TRACKING_URI"] == "sqlite:////clone/mlflow.db"


def test_an_empty_tracking_uri_counts_as_unset(tmp_path: Path) -> None:
    assert prepared(MLFLOW_TRACKING_URI="")["MLFLOW_TRACKING_URI"] == "sqlite:////clone/mlflow.db"
    (tmp_path / ".env").write_text("MLFLOW_TRACKING_URI=http://mlflow.example", encoding="utf-8")
    assert prepared(tmp_path, MLFLOW_TRACKING_URI="")["MLFLOW_TRACKING_URI"].startswith("http:")


def test_nothing_is_reported_to_vendors() -> None:
    environ = prepared()
    assert environ["BENTOML_DO_NOT_TRACK"] == "True"
    assert environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
    assert environ["MLFLOW_ENABLE_PROXY_MULTIPART_DOWNLOAD"] == "false"
    assert environ["ORT_DISABLE_TELEMETRY"] == "1"


def test_idle_threads_sleep() -> None:
    assert prepared()["OMP_WAIT_POLICY"] == "PASSIVE"
    assert prepared(OMP_WAIT_POLICY="ACTIVE")["OMP_WAIT_POLICY"] == "ACTIVE"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("BENTOML_HOME", "/of/an/exported/bento"),
        ("MLFLOW_TRACKING_URI", "http://mlflow.example"),
        ("MLFLOW_TRACKING_URI", "sqlite:////other.db"),
        ("BENTOML_DO_NOT_TRACK", "False"),
    ],
)
def test_variables_of_the_environment_are_not_overridden(name: str, value: str) -> None:
    assert prepared(**{name: value})[name] == value


def test_relative_paths_are_relative_to_the_clone() -> None:
    environ = prepared(BENTOML_HOME="bentos", MLFLOW_TRACKING_URI="sqlite:///runs.db")
    assert environ["BENTOML_HOME"] == "/clone/bentos"
    assert environ["MLFLOW_TRACKING_URI"] == "sqlite:////clone/runs.db"


def test_the_env_file_goes_before_the_defaults_and_after_the_environment(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("BENTOML_HOME=bentos\nA='x y' # why\nB=of the file\n", "utf-8")
    environ = prepared(tmp_path, B="given")
    assert environ["BENTOML_HOME"] == str(tmp_path / "bentos")
    assert (environ["A"], environ["B"]) == ("x y", "given")


@pytest.mark.parametrize("content", [b"\xff\xfe\x00bad", b"A=\xe9", b"\0A=1\nB=\0\n"])
def test_an_env_file_that_is_not_utf_8_ends_no_process(tmp_path: Path, content: bytes) -> None:
    (tmp_path / ".env").write_bytes(content)
    environ = prepared(tmp_path)
    assert environ["BENTOML_HOME"] == str(tmp_path / ".bentoml")
    assert {"A", "B", "bad"}.isdisjoint(environ)


def test_defaults_of_one_clone_are_not_inherited_by_another(tmp_path: Path) -> None:
    (tmp_path / ".env").write_text("NAMED=here\n", encoding="utf-8")
    child = prepared("/other", **prepared(tmp_path, BENTOML_DO_NOT_TRACK="False"))
    assert child["BENTOML_HOME"] == "/other/.bentoml"
    assert child["MLFLOW_TRACKING_URI"] == "sqlite:////other/mlflow.db"
    assert "NAMED" not in child
    assert child["BENTOML_DO_NOT_TRACK"] == "False"


def test_variables_set_for_a_child_are_kept(tmp_path: Path) -> None:
    child = {**prepared(tmp_path), "BENTOML_HOME": "/of/a/release"}
    assert prepared(tmp_path, **child)["BENTOML_HOME"] == "/of/a/release"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "https_proxy", "ALL_PROXY"])
def test_requests_to_this_machine_pass_no_proxy(name: str) -> None:
    environ = prepared(**{name: "http://proxy.example:3128"})
    assert environ["no_proxy"] == environ["NO_PROXY"] == "127.0.0.1,localhost,::1"


@pytest.mark.parametrize("name", ["no_proxy", "NO_PROXY"])
def test_other_hosts_that_pass_no_proxy_stay(name: str) -> None:
    environ = prepared(HTTP_PROXY="http://proxy.example", **{name: ".example, localhost"})
    assert environ["no_proxy"] == environ["NO_PROXY"] == ".example,localhost,127.0.0.1,::1"


def test_without_a_proxy_no_exception_is_made() -> None:
    assert {"no_proxy", "NO_PROXY"}.isdisjoint(prepared())


@pytest.fixture(scope="module", name="pristine")
def _pristine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A minimal clone with its own virtual environment."""
    clone = tmp_path_factory.mktemp("pristine") / "clone"
    venv = [sys.executable, "-m", "venv", "--without-pip", str(clone / ".venv")]
    subprocess.run(venv, check=True)
    (site,) = (clone / ".venv/lib").glob("python3*/site-packages")
    shutil.copy(ROOT / "scripts/setup/mlops_template.pth", site)
    (clone / "shared").mkdir()
    for name in ("__init__.py", "startup.py"):
        shutil.copy(ROOT / "shared" / name, clone / "shared")
    return clone


def paths_seen_by(clone: Path, **environ: str) -> list[str]:
    """The paths that a process of this clone's environment finds, started from another folder."""
    done = subprocess.run(
        [clone / ".venv/bin/python", "-c", PROBE],
        cwd="/",
        env={"PATH": os.environ["PATH"], **environ},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.split()


def paths_of(clone: Path) -> list[str]:
    """The paths that it should find."""
    return [f"{clone}/shared", f"{clone}/.bentoml", f"sqlite:///{clone}/mlflow.db", "None"]


def test_a_copied_clone_runs_its_own_code_on_its_own_stores(pristine: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(pristine, tmp_path / "copy", symlinks=True))
    assert paths_seen_by(pristine) == paths_of(pristine)
    assert paths_seen_by(copy) == paths_of(copy)


def test_a_moved_clone_runs_its_own_code_also_under_a_foreign_name(
    pristine: Path, tmp_path: Path
) -> None:
    moved = tmp_path / "mögé"
    shutil.copytree(pristine, tmp_path / "old", symlinks=True)
    shutil.move(tmp_path / "old", moved)
    assert paths_seen_by(moved, LC_ALL="C", PYTHONIOENCODING="utf-8") == paths_of(moved)


def test_code_of_the_working_directory_goes_before_that_of_the_environments_clone(
    pristine: Path, tmp_path: Path
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/__main__.py").write_text("print(__file__)", encoding="utf-8")
    (tmp_path / "shared/__init__.py").touch()
    python = [pristine / ".venv/bin/python", "-m", "shared"]
    done = subprocess.run(python, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str(tmp_path / "shared/__main__.py")


def test_a_clone_of_another_time_starts_without_this_module(pristine: Path, tmp_path: Path) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared/__init__.py").touch()
    stores = {"BENTOML_HOME": "/b", "MLFLOW_TRACKING_URI": "m"}
    found = paths_seen_by(pristine, PYTHONPATH=str(tmp_path), **stores)
    assert found == [f"{tmp_path}/shared", "/b", "m", "None"]
