"""What an image contains, for those who must know: a CycloneDX document and a list of licences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageNotFoundError, metadata
from typing import Any
from urllib.parse import quote

_UNKNOWN = "unknown"


def cyclonedx(
    image: Mapping[str, str], base: Mapping[str, str], model_digest: str, pins: Iterable[str]
) -> dict[str, Any]:
    """A bill of materials in CycloneDX 1.6: base image, model and Python packages.

    The packages of the base image's operating system are not listed.

    Args:
        image: ``name``, ``version`` and ``digest`` of the image.
        base: ``name`` and ``digest`` of its base.
        model_digest: SHA-256 of the model package's manifest.
        pins: its Python packages, as ``name==version``.
    """
    version = image["version"]
    model: dict[str, Any] = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{image['name']}",
        "name": image["name"],
        "version": version,
        "hashes": [{"alg": "SHA-256", "content": model_digest}],
    }
    container = {"type": "container", "bom-ref": f"base:{base['name']}", "name": base["name"]}
    if base["digest"]:
        container["version"] = base["digest"]
    components = [container, model, *map(_component, pins)]
    root = f"image:{image['name']}"
    return {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "version": 1,
        "metadata": {
            "component": {
                "type": "container",
                "bom-ref": root,
                "name": image["name"],
                "version": version,
                "properties": [{"name": "image:digest", "value": image["digest"]}],
            }
        },
        "components": components,
        "dependencies": [{"ref": root, "dependsOn": [each["bom-ref"] for each in components]}],
    }


def licence_list(pins: Iterable[str]) -> str:
    """A table, separated by tabs: package, version and licence of each."""
    rows = [("package", "version", "licence")]
    for pin in pins:
        name, _, version = pin.partition("==")
        rows.append((name, version, licence_of(name)))
    return "".join("\t".join(row) + "\n" for row in rows)


def licence_of(name: str) -> str:
    """The licence that an installed package states: an SPDX expression, or what it has instead."""
    facts = _facts(name)
    if expression := facts.get("license_expression"):
        return str(expression)
    stated = str(facts.get("license", "")).strip()
    if stated and "\n" not in stated and len(stated) < 60:  # others state its whole text
        return stated
    classifiers = (line.split(" :: ") for line in facts.get("classifier", ()))
    names = [parts[-1] for parts in classifiers if parts[0] == "License"]
    return ", ".join(names) or _UNKNOWN


def _component(pin: str) -> dict[str, Any]:
    name, _, version = pin.partition("==")
    url = f"pkg:pypi/{quote(name)}@{quote(version)}"
    licence = licence_of(name)
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": url,
        "name": name,
        "version": version,
        "purl": url,
    }
    if "license_expression" in _facts(name):
        component["licenses"] = [{"expression": licence}]
    elif licence != _UNKNOWN:
        component["licenses"] = [{"license": {"name": licence}}]
    return component


def _facts(name: str) -> Mapping[str, Any]:
    """The metadata of an installed package; empty if it is not installed."""
    try:
        return metadata(name).json
    except PackageNotFoundError:
        return {}
