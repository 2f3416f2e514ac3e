"""Builds the container image of an exported Bento: what is in it, and in which layers."""

from __future__ import annotations

import os
import platform
import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from domain.errors import BuildError
from infrastructure.packaging.container_engine import BuiltImage, ContainerEngine
from infrastructure.packaging.lock_file import LockedRequirements, lock_requirements
from infrastructure.packaging.model_package import MANIFEST, ModelPackage
from infrastructure.packaging.requirements import system_packages
from infrastructure.provenance import collect_provenance
from shared.files import drafts_folder
from shared.paths import ROOT

DOCKERFILE = ROOT / "infrastructure/packaging/Dockerfile"
LOCK = ROOT / "poetry.lock"
# The official image of each Python with Debian 13, as published by docker-library on 2026-08-05:
# https://github.com/docker-library/repo-info/tree/master/repos/python/remote. An image's Python has
# to be that of the clone, whose versions of packages it gets.
_BASE_DIGESTS = {
    "3.11": "90744cff8f32887f075c47d747a173ff333e9e98801667af93c357fa9f5e28ff",
    "3.12": "229a2c5bfa27522db7815ea81f9bed70af17ccb9de9fc7ad142b1877b5830d36",
    "3.13": "9662417aace5ae7b8e2609cce472b72a8958e134ba372808abe9cc1a0c0125e6",
}
_ENTRYPOINT = "env/docker/entrypoint.sh"
_CODE = ("src", _ENTRYPOINT)
_TIME = 946684800  # 2000-01-01: the files' times must not make layers differ


@dataclass(frozen=True)
class Containerized:
    """A built image and what it was built from.

    Attributes:
        name: its name in the engine, which is the tag of the Bento.
        base: reference of its base image.
        base_digest: digest of that image; empty if the engine knows none.
        revision: commit of the clone; ends in ``-dirty`` if it had changes.
        package_digest: SHA-256 of the model package's manifest.
        pins: its Python packages, as ``name==version``.
    """

    name: str
    image: BuiltImage
    base: str
    base_digest: str
    revision: str
    package_digest: str
    pins: Iterable[str]


def default_base(python: str | None = None) -> str:
    """The base image of a Python version, by default that of this process, with its digest.

    Raises:
        BuildError: no digest is known.
    """
    python = python or ".".join(platform.python_version_tuple()[:2])
    if python not in _BASE_DIGESTS:
        raise BuildError(f"no base image is pinned for Python {python}: name one with BASE=")
    return f"docker.io/library/python:{python}-slim@sha256:{_BASE_DIGESTS[python]}"


def containerize(
    bento: Path, bento_tag: str, engine: ContainerEngine, base: str | None = None
) -> Containerized:
    """Build the image of an exported Bento; the engine's output goes to the terminal.

    Args:
        bento: the exported Bento.
        base: image to build on; the default has its digest.

    Raises:
        BuildError: the Bento is another one, a package is not locked, or the engine failed.
    """
    _check_tag(bento, bento_tag)
    (manifest,) = bento.glob(f"models/*/*/{MANIFEST}")
    package = ModelPackage(manifest.parent, stored=True)
    pins = (bento / "env/python/requirements.txt").read_text(encoding="utf-8").split()
    locked = lock_requirements(pins, LOCK)
    base = base or default_base()
    base_digest = _digest_of(base, engine)
    revision = collect_provenance(ROOT)["git_commit"]
    name, _, version = bento_tag.partition(":")
    with drafts_folder(bento.with_name(".image")) as context:
        _write_context(context, bento, locked)
        engine.build(
            context,
            DOCKERFILE,
            bento_tag,
            {"BASE": base, "TORCH": locked.torch, "SYSTEM_PACKAGES": system_packages(pins)},
            {
                "org.opencontainers.image.title": name,
                "org.opencontainers.image.version": version,
                "org.opencontainers.image.revision": revision,
                "org.opencontainers.image.base.name": base.partition("@")[0],
                "org.opencontainers.image.base.digest": base_digest,
                "mlops.package.digest": f"sha256:{package.digest}",
            },
        )
    image = engine.inspect(bento_tag)
    return Containerized(bento_tag, image, base, base_digest, revision, package.digest, locked.pins)


def _check_tag(bento: Path, bento_tag: str) -> None:
    try:
        found: Any = yaml.safe_load((bento / "bento.yaml").read_text(encoding="utf-8"))
        exported = f"{found['name']}:{found['version']}"
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise BuildError(f"{bento} is not an exported Bento: run make bento-build") from error
    if exported != bento_tag:
        raise BuildError(f"{bento} has {exported} instead of {bento_tag}: run make bento-build")


def _digest_of(base: str, engine: ContainerEngine) -> str:
    """The digest in a reference, else the one that the engine has of a registry."""
    if pinned := re.search(r"@(sha256:[0-9a-f]{64})$", base):
        return pinned[1]
    try:
        found = engine.inspect(base)
    except BuildError:
        engine.pull(base)
        found = engine.inspect(base)
    return next((each.rpartition("@")[2] for each in found.references), "")


def _write_context(context: Path, bento: Path, locked: LockedRequirements) -> None:
    for name, lines in (
        ("requirements", locked.wheels),
        ("sdists", locked.sdists),
        ("tools", locked.tools),
    ):
        content = "".join(f"{line}\n" for line in lines)
        (context / f"{name}.txt").write_text(content, encoding="utf-8")
    code, model = context / "code", context / "model"
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(bento, model, ignore=ignored)
    for part in _CODE:
        (code / part).parent.mkdir(parents=True, exist_ok=True)
        (model / part).rename(code / part)
    shutil.rmtree(model / "env")
    for path in context.rglob("*"):  # whatever this user's umask is
        path.chmod(0o755 if path.is_dir() or path.name == Path(_ENTRYPOINT).name else 0o644)
        os.utime(path, (_TIME, _TIME))
