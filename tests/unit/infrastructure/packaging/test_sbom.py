"""The bill of materials and the licences of an image."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import pytest

from infrastructure.packaging.sbom import cyclonedx, licence_list, licence_of

PINS = [f"numpy=={version('numpy')}", f"onnxruntime=={version('onnxruntime')}", "absent==1.0"]


@pytest.fixture(name="bill")
def _bill() -> dict[str, Any]:
    return cyclonedx(
        {"name": "petals", "version": "1.0.0", "digest": "sha256:1"},
        {"name": "docker.io/library/python:3.11-slim", "digest": "sha256:2"},
        "a" * 64,
        PINS,
    )


def test_the_bill_has_base_model_and_packages(bill: dict[str, Any]) -> None:
    assert (bill["bomFormat"], bill["specVersion"]) == ("CycloneDX", "1.6")
    base, model, *packages = bill["components"]
    assert (base["type"], base["version"]) == ("container", "sha256:2")
    assert model["hashes"] == [{"alg": "SHA-256", "content": "a" * 64}]
    assert [f"{each['name']}=={each['version']}" for each in packages] == PINS
    assert packages[0]["purl"] == f"pkg:pypi/numpy@{version('numpy')}"


def test_the_image_depends_on_every_component_once(bill: dict[str, Any]) -> None:
    references = [each["bom-ref"] for each in bill["components"]]
    assert len(set(references)) == len(references)
    (dependency,) = bill["dependencies"]
    assert dependency["ref"] == bill["metadata"]["component"]["bom-ref"]
    assert dependency["dependsOn"] == references


def test_a_licence_is_an_expression_or_a_name_or_missing(bill: dict[str, Any]) -> None:
    _, _, numpy, onnxruntime, absent = bill["components"]
    assert "BSD-3-Clause" in numpy["licenses"][0]["expression"]
    assert onnxruntime["licenses"] == [{"license": {"name": "MIT License"}}]
    assert "licenses" not in absent


def test_the_list_has_a_line_for_each_package() -> None:
    lines = [line.split("\t") for line in licence_list(PINS).splitlines()]
    assert lines[0] == ["package", "version", "licence"]
    assert lines[2] == ["onnxruntime", version("onnxruntime"), "MIT License"]
    assert lines[3] == ["absent", "1.0", "unknown"]


@pytest.mark.parametrize("name", ["pyzmq", "schema", "prometheus-client", "python-dateutil"])
def test_a_served_package_states_its_licence(name: str) -> None:
    assert licence_of(name) not in ("", "unknown")
