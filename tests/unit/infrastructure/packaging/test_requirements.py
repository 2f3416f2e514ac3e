"""Requirements of an image: all are pinned, and none is unnecessary."""

import os
import subprocess
import sys
from collections.abc import Collection
from importlib.metadata import PackageNotFoundError, version

import pytest

from domain.contract import Datetime, ModelSpec, Quantity
from domain.errors import BuildError
from infrastructure.packaging.requirements import pinned_requirements, serving_requirements


def requirements_for(task: str, native: Collection[str] = ()) -> set[str]:
    """The requirements for a contract of numbers."""
    return set(serving_requirements({"task": task, "inputs": [{"kind": "number"}]}, native))


def names_for(task: str) -> set[str]:
    """The packages for a contract of numbers."""
    return {pin.partition("==")[0] for pin in requirements_for(task)}


def test_a_package_brings_its_dependencies_at_installed_versions() -> None:
    pins = pinned_requirements(["pandas"])
    assert f"pandas=={version('pandas')}" in pins
    assert f"numpy=={version('numpy')}" in pins
    assert f"python-dateutil=={version('python-dateutil')}" in pins
    assert f"six=={version('six')}" in pins  # which python-dateutil needs


def test_every_package_is_listed_once_by_its_canonical_name() -> None:
    pins = pinned_requirements(["bentoml", "prometheus_client"])
    names = [pin.partition("==")[0] for pin in pins]
    assert len(names) == len(set(names))
    assert "prometheus-client" in names


def test_dependencies_of_an_extra_come_with_that_extra_only() -> None:
    assert not any(pin.startswith("pysocks==") for pin in pinned_requirements(["requests"]))
    with pytest.raises(PackageNotFoundError, match="pysocks"):
        pinned_requirements(["requests[socks]"])


def test_a_package_that_is_not_installed_is_an_error() -> None:
    with pytest.raises(PackageNotFoundError):
        pinned_requirements(["no-such-package"])


def test_an_optional_package_that_is_not_installed_is_left_out() -> None:
    pins = pinned_requirements(["six", "no-such-package"], optional=["no-such-package"])
    assert pins == [f"six=={version('six')}"]


def test_an_image_has_the_driver_of_postgresql_if_it_is_installed() -> None:
    pins = requirements_for("regression")
    assert {f"{name}=={version(name)}" for name in ("psycopg", "psycopg-binary")} <= pins


def test_only_a_model_without_an_onnx_form_needs_more() -> None:
    always = requirements_for("regression")
    names = {pin.partition("==")[0] for pin in always}
    assert {"bentoml", "onnxruntime"} <= names and not names & {"scikit-learn", "skops"}
    needed = [f"{name}=={version(name)}" for name in ("scikit-learn", "skops")]
    more = requirements_for("regression", needed)
    assert more > always
    assert {*needed, f"scipy=={version('scipy')}"} <= more - always


def test_what_a_model_was_trained_with_must_be_installed_in_that_version() -> None:
    with pytest.raises(BuildError, match=r"with six==0.1, but version .* is installed: install"):
        requirements_for("regression", ["six==0.1"])
    with pytest.raises(BuildError, match="with tiny==1, but no version is installed"):
        requirements_for("regression", ["tiny==1"])


def test_xgboost_needs_no_library_for_several_gpus() -> None:
    pytest.importorskip("xgboost", reason="make install EXTRAS=xgboost")
    needed = f"xgboost=={version('xgboost')}"
    assert needed in requirements_for("regression", [needed])


def test_a_server_has_the_fast_parser_and_event_loop_of_uvicorn() -> None:
    names = names_for("classification")
    assert {"httptools", "uvicorn", "uvloop", "msgspec", "python-json-logger"} <= names
    assert not names & {"mlflow", "pandas", "pyarrow", "scipy"}


@pytest.mark.parametrize(("zone", "needed"), [("UTC", False), ("Europe/Berlin", True)])
def test_a_contract_with_another_time_zone_than_utc_needs_time_zones(
    zone: str, needed: bool
) -> None:
    spec = ModelSpec("visits", (Datetime("at", zone=zone),), Quantity("visits"))
    pins = serving_requirements(spec.to_dict())
    assert (f"tzdata=={version('tzdata')}" in pins) is needed


def test_time_zones_of_that_package_are_found_where_the_system_has_none() -> None:
    code = "from zoneinfo import ZoneInfo; print(ZoneInfo('Europe/Berlin'))"
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, "PYTHONTZPATH": ""},
        check=True,
        capture_output=True,
        text=True,
    )
    assert done.stdout.strip() == "Europe/Berlin"


def test_a_transcriber_needs_whisper() -> None:
    pytest.importorskip("whisper", reason="make install EXTRAS=whisper")
    names = names_for("transcription")
    assert {"httptools", "openai-whisper", "torch", "uvloop"} <= names
    assert "onnxruntime" not in names


def test_a_local_version_is_pinned_without_its_local_part() -> None:
    pytest.importorskip("torch", reason="make install EXTRAS=torch")
    pins = pinned_requirements(["torch"], optional=["triton"])
    assert f"torch=={version('torch').partition('+')[0]}" in pins
