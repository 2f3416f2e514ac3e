"""Requirements of an image: the versions that are installed here, which are those of the lock."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from importlib.metadata import PackageNotFoundError, distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

_SERVER = (
    *("bentoml", "httptools", "msgspec", "numpy", "prometheus-client", "pydantic-settings"),
    *("python-json-logger", "starlette", "uvicorn", "uvloop"),
)
_TABULAR = (*_SERVER, "onnxruntime", "sqlalchemy")
_NATIVE = ("scikit-learn", "skops")
_SPEECH = (*_SERVER, "openai-whisper", "python-multipart", "soundfile", "soxr", "torch")
_OPTIONAL = ("triton",)  # Whisper names it, and uses it on CUDA only, for times of words


def serving_requirements(task: str, native: bool = False) -> list[str]:
    """What the image of a model needs, pinned.

    Args:
        task: of the model's contract.
        native: the model has no ONNX form.
    """
    if task == "transcription":
        return pinned_requirements(_SPEECH, _OPTIONAL)
    return pinned_requirements((*_TABULAR, *(_NATIVE if native else ())))


def pinned_requirements(names: Iterable[str], optional: Collection[str] = ()) -> list[str]:
    """These packages and all that they need, each as ``name==version``, sorted.

    A local version, such as PyTorch's ``+cpu``, is on no public index: it is pinned without.

    Args:
        optional: packages that are needed on other machines only; where one is not installed, it
            is not pinned.

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
