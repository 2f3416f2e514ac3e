"""What an image contains, for those who must know: a CycloneDX document and a list of licences."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from importlib.metadata import PackageMetadata, PackageNotFoundError, metadata
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
    model = {
        "type": "machine-learning-model",
        "bom-ref": f"model:{image['name']}",
        "name": image["name"],
        "version": version,
        "hashes": [{"alg": "SHA-256", "content": model_digest}],
    }
    container = {"type": "container", "bom-ref": f"base:{base['name']}", "name": base["name"]}
    if base["digest"]:
        container["version"] = base["digest"]
    packages = [_component(pin) for pin in pins]
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
        "components": [container, model, *packages],
        "dependencies": [
            {
                "ref": root,
                "dependsOn": [each["bom-ref"] for each in (container, model, *packages)],
            }
        ],
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
    found = _metadata(name)
    if found is None:
        return _UNKNOWN
    if expression := found.get("License-Expression"):
        return expression
    classifiers = found.get_all("Classifier") or ()
    names = [line.rpartition(" :: ")[2] for line in classifiers if line.startswith("License :: ")]
    stated = (found.get("License") or "").strip().splitlines()
    if len(stated) == 1 and len(stated[0]) < 60:  # others state its whole text
        return stated[0]
    return ", ".join(names) or _UNKNOWN


def _component(pin: str) -> dict[str, Any]:
    name, _, version = pin.partition("==")
    url = f"pkg:pypi/{quote(name)}@{quote(version)}"
    found, licence = _metadata(name), licence_of(name)
    component: dict[str, Any] = {
        "type": "library",
        "bom-ref": url,
        "name": name,
        "version": version,
        "purl": url,
    }
    if found is not None and found.get("License-Expression"):
        component["licenses"] = [{"expression": licence}]
    elif licence != _UNKNOWN:
        component["licenses"] = [{"license": {"name": licence}}]
    return component


def _metadata(name: str) -> PackageMetadata | None:
    try:
        return metadata(name)
    except PackageNotFoundError:
        return None
