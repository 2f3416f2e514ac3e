"""Accepted packages in BentoML's model store, and Bentos made of them.

BentoML reads BENTOML_HOME when it is imported: set it in the environment before.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import bentoml
import bentoml.bentos
import yaml
from bentoml.exceptions import BentoMLException, NotFound

from domain.errors import BuildError
from infrastructure.packaging.model_package import NATIVE, ModelPackage
from shared.paths import ROOT

_SERVICES = ROOT / "application/inference/services"


def add_package(
    package: Path, model_name: str, labels: Mapping[str, str], metadata: Mapping[str, Any]
) -> str:
    """Copy a package without its native model into the model store, once; its tag."""
    tag = f"{model_name}:{package.name}"
    try:
        return str(bentoml.models.get(tag).tag)
    except NotFound:
        pass
    with bentoml.models.create(tag, labels=dict(labels), metadata=dict(metadata)) as model:
        shutil.copytree(
            package, model.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns(NATIVE)
        )
    return str(model.tag)


def add_accepted(package: ModelPackage, model_name: str) -> str:
    """Put an accepted package into the model store, labelled with its quality; its tag."""
    figures = package.read_json("metrics.json")
    measure = figures.get("measure")
    quality = {measure: f"{figures[f'holdout_{measure}']:.4f}"} if measure else {}
    labels = {"owner": "mlops-template", "stage": "accepted", **quality}
    return add_package(package.folder, model_name, labels, {"package_version": package.version})


def stored_package(tag: str) -> ModelPackage:
    """A package in the model store, its digests compared.

    Raises:
        BuildError: the store has no such model.
        PackageError: a file of it differs from the manifest.
    """
    try:
        folder = bentoml.models.get(tag).path
    except NotFound as error:
        raise BuildError(
            f"{tag} is not in the Bento store: only `make validate` puts it there"
        ) from error
    return ModelPackage(Path(folder), stored=True)


def service_of(package: ModelPackage) -> str:
    """The BentoML service that serves a package, as ``module:attribute``."""
    bentofile = yaml.safe_load(_bentofile(package).read_text(encoding="utf-8"))
    return str(bentofile["service"])


def _bentofile(package: ModelPackage) -> Path:
    speech = package.read_json("contract.json")["task"] == "transcription"
    return _SERVICES / ("speech_bentofile.yaml" if speech else "bentofile.yaml")


def build_bento(model_tag: str) -> bentoml.Bento:
    """Build the Bento of one stored model; its tag is the model's.

    Raises:
        BuildError: BentoML cannot build it.
    """
    name, _, version = model_tag.partition(":")
    try:
        with suppress(NotFound):
            bentoml.delete(model_tag)  # the code may have changed since
        return bentoml.bentos.build_bentofile(
            str(_bentofile(stored_package(model_tag))),
            name=name,
            version=version,
            build_ctx=str(ROOT),
            args={"model_tag": model_tag},
        )
    except BentoMLException as error:
        raise BuildError(f"no Bento of {model_tag}: {error}") from error
