"""Accepted packages in BentoML's model store, and Bentos built from them.

BentoML reads BENTOML_HOME when it is imported: set it in the environment before.

Entries are written to a drafts folder and then moved, so that a killed process leaves no partial
entry. BentoML's own functions for listing entries are not used: they fail on partial entries of
other versions, and on an empty file ``latest``.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import bentoml
import bentoml.bentos
import yaml
from bentoml._internal.bento import BentoStore
from bentoml._internal.bento.build_config import BentoEnvSchema
from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.models import ModelStore
from bentoml.exceptions import BentoMLException

from domain.errors import BuildError, PackageError, reason_of
from infrastructure.packaging.model_package import MANIFEST, NATIVE, ModelPackage
from shared.files import drafts_folder, publish_folder, write_atomically
from shared.paths import ROOT

BENTOFILE = ROOT / "application/inference/services/bentofile.yaml"
_SPEECH = "application.inference.services.speech_service:SpeechTranscriber"
_TORCH_BACKEND = {"name": "UV_TORCH_BACKEND", "value": "cpu"}  # or such as cu130, for GPUs


def add_package(
    package: Path, model_name: str, labels: Mapping[str, str], metadata: Mapping[str, Any]
) -> str:
    """Copy a package without its native model into the model store, unless it is there already.

    An entry that differs from the package, such as one left by a killed process, is replaced.

    Returns:
        The tag of the entry.
    """
    tag = f"{model_name}:{package.name}"
    entry = _entry("models", tag)
    with _drafts(entry) as drafts:
        if not _is_copy(tag, package):
            with bentoml.models.create(
                tag, labels=dict(labels), metadata=dict(metadata), _model_store=ModelStore(drafts)
            ) as model:
                shutil.copytree(
                    package, model.path, dirs_exist_ok=True, ignore=shutil.ignore_patterns(NATIVE)
                )
            publish_folder(drafts / model.tag.path(), entry)
    return tag


def add_accepted(package: ModelPackage, model_name: str) -> str:
    """Add an accepted package to the model store, labelled with its quality, and return its tag."""
    metrics = package.read_json("metrics.json")
    measure = metrics.get("measure")
    quality = {measure: f"{metrics[f'holdout_{measure}']:.4f}"} if measure else {}
    labels = {"owner": "mlops-template", "stage": "accepted", **quality}
    return add_package(package.folder, model_name, labels, {"package_version": package.version})


def stored_package(tag: str) -> ModelPackage:
    """A package in the model store, after its digests were checked.

    Raises:
        BuildError: the store has no such model.
        PackageError: a file of it is missing or differs from the manifest.
    """
    entry = _entry("models", tag)
    if not entry.is_dir():
        raise BuildError(
            f"{tag} is not in the Bento store {entry.parents[1]}: run make promote "
            f"VERSION={entry.name} with its MODEL"
        )
    try:
        bentoml.models.get(tag)  # reads model.yaml
    except Exception as error:  # whatever YAML and BentoML raise for a partial file
        raise PackageError(f"{entry}: model.yaml cannot be read: {reason_of(error)}") from error
    return ModelPackage(entry, stored=True)


def _is_copy(tag: str, package: Path) -> bool:
    """Whether the store has a complete copy of this package."""
    try:
        return stored_package(tag).manifest == (package / MANIFEST).read_text(encoding="utf-8")
    except (BuildError, PackageError):
        return False


def _entry(kind: Literal["models", "bentos"], tag: str) -> Path:
    """The folder of a model or a Bento, which may not exist."""
    return Path(BentoMLContainer.bentoml_home.get()) / kind / bentoml.Tag.from_str(tag).path()


@contextmanager
def _drafts(entry: Path) -> Iterator[Path]:
    """A folder to write an entry to before it is moved; afterwards ``latest`` is updated."""
    kind, name = entry.parents[1], entry.parent.name
    with drafts_folder(kind.parent / "drafts" / f"{kind.name}-{name}") as drafts:
        yield drafts
        _update_latest(entry.parent)


def _update_latest(entries: Path) -> None:
    """Write the newest complete entry to the file ``latest``, as BentoML does."""
    times = {
        path.parent.name: path.stat().st_mtime
        for path in (*entries.glob("*/model.yaml"), *entries.glob("*/bento.yaml"))
    }
    if times:
        write_atomically(entries / "latest", max(times, key=times.__getitem__))


def remove_entry(entry: Path) -> None:
    """Remove the folder of a model or a Bento from the store, even if it is partial."""
    with _drafts(entry) as drafts:
        entry.rename(drafts / "removed")
        if not any(path.is_dir() for path in entry.parent.iterdir()):
            entry.parent.rename(drafts / "empty")


def service_of(package: ModelPackage) -> str:
    """The BentoML service that serves a package, as ``module:attribute``."""
    service: str = _SPEECH if _transcribes(package) else _bentofile()["service"]
    return service


def _transcribes(package: ModelPackage) -> bool:
    return bool(package.read_json("contract.json")["task"] == "transcription")


def _environment(package: ModelPackage, options: Mapping[str, Any]) -> list[dict[str, Any]]:
    envs: list[dict[str, Any]] = options["envs"]
    return [*envs, _TORCH_BACKEND] if _transcribes(package) else envs


def _bentofile() -> dict[str, Any]:
    return dict(yaml.safe_load(BENTOFILE.read_text(encoding="utf-8")))


def build_bento(model_tag: str) -> bentoml.Bento:
    """Build the Bento of one stored model; it gets the model's tag.

    Raises:
        BuildError: BentoML cannot build it.
    """
    name, _, version = model_tag.partition(":")
    entry = _entry("bentos", model_tag)
    try:
        with _drafts(entry) as drafts:
            package, options = stored_package(model_tag), _bentofile()
            bento = bentoml.bentos.build(
                service_of(package),
                labels=options["labels"],
                envs=[BentoEnvSchema(**env) for env in _environment(package, options)],
                include=options["include"],
                name=name,
                version=version,
                build_ctx=str(ROOT),
                args={"model_tag": model_tag},
                _bento_store=BentoStore(drafts),
            )
            publish_folder(Path(bento.path), entry)
        return bentoml.bentos.get(model_tag)
    except BentoMLException as error:
        raise BuildError(f"BentoML could not build {model_tag}: {error}") from error


def export_bento(bento: bentoml.Bento, folder: Path) -> None:
    """Write a Bento with its model to a folder, and replace the folder if it exists."""
    with drafts_folder(folder.with_name(f".{folder.name}.drafts")) as drafts:
        bento.export(str(drafts / "bento"), output_format="folder")
        publish_folder(drafts / "bento", folder)
