"""Requirements of an image: the installed versions, which are those of the lock file."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from importlib.metadata import PackageNotFoundError, distribution
from typing import Any

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from domain.errors import BuildError

_SERVER = (
    *("bentoml", "httptools", "msgspec", "numpy", "prometheus-client", "pydantic-settings"),
    *("python-json-logger", "starlette", "uvicorn", "uvloop"),
)
_TABULAR = (*_SERVER, "onnxruntime", "sqlalchemy")
_DRIVER = "psycopg[binary]"  # of a prediction log on PostgreSQL, where the extra is installed
_ZONES = ("tzdata",)  # slim images have no time zones
_SPEECH = (*_SERVER, "openai-whisper", "python-multipart", "soundfile", "soxr", "torch")
# Whisper requires triton, but uses it only on CUDA, for word timestamps; XGBoost requires the
# other, but uses it only on several GPUs
_OPTIONAL = ("triton", "nvidia-nccl-cu12", "psycopg", "psycopg-binary")
_SYSTEM_PACKAGES = {"lightgbm": "libgomp1"}  # slim images have Debian without it


def serving_requirements(contract: Mapping[str, Any], native: Collection[str] = ()) -> list[str]:
    """The pinned requirements of a model's image.

    Args:
        contract: ``contract.json`` of the model's package.
        native: what a model that is served without ONNX needs, as ``name==version``.

    Raises:
        BuildError: another version of it is installed, or none.
    """
    if contract["task"] == "transcription":
        return pinned_requirements(_SPEECH, _OPTIONAL)
    for requirement in native:
        _check_installed(requirement)
    zones = {item.get("zone", "UTC") for item in contract["inputs"]}
    needed = (*_TABULAR, _DRIVER, *native, *(_ZONES if zones - {"UTC"} else ()))
    return pinned_requirements(needed, _OPTIONAL)


def system_packages(pins: Iterable[str]) -> str:
    """The packages of Debian that these Python packages need, separated by spaces."""
    names = {pin.partition("==")[0] for pin in pins}
    return " ".join(sorted(_SYSTEM_PACKAGES[name] for name in names & _SYSTEM_PACKAGES.keys()))


def _check_installed(requirement: str) -> None:
    name, _, wanted = requirement.partition("==")
    try:
        found = f"version {distribution(name).version}"
    except PackageNotFoundError:
        found = "no version"
    if found.removeprefix("version ").partition("+")[0] != wanted:
        raise BuildError(
            f"the model was trained with {requirement}, but {found} is installed: install that "
            "version, or train again"
        )


def pinned_requirements(names: Iterable[str], optional: Collection[str] = ()) -> list[str]:
    """These packages and their dependencies, each as ``name==version``, sorted.

    Local version labels, such as PyTorch's ``+cpu``, are dropped: public indexes do not have them.

    Args:
        optional: packages that only some machines need; they are left out if not installed.

    Raises:
        importlib.metadata.PackageNotFoundError: a needed package is not installed.
    """
    waiting = [Requirement(name) for name in names]
    seen: set[str] = set()
    pins: set[str] = set()
    while waiting:
        needed = waiting.pop()
        name = canonicalize_name(needed.name)
        with_extras = f"{name}[{','.join(sorted(needed.extras))}]"
        if with_extras in seen:
            continue
        seen.add(with_extras)
        try:
            installed = distribution(name)
        except PackageNotFoundError:
            if name in optional:
                continue
            raise
        pins.add(f"{name}=={installed.version.partition('+')[0]}")
        for line in installed.requires or ():
            further = Requirement(line)
            extras = ("", *needed.extras)
            if not further.marker or any(further.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(further)
    return sorted(pins)
