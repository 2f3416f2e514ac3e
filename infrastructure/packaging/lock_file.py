"""What an image installs: pinned packages with the hashes that poetry.lock has for them."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from domain.errors import BuildError

_TOOLS = ("setuptools", "wheel")  # what builds a package that is published as source only
_CUDA = re.compile("triton|cuda-.*|nvidia-(cu|nccl|nv).*")  # PyTorch's build for the CPU has none


@dataclass(frozen=True)
class LockedRequirements:
    """Lines of requirement files, each a pinned package with its hashes.

    Attributes:
        wheels: of packages that need not be built.
        sdists: of packages that are published as source only.
        tools: of what builds those; empty if there are none.
        torch: version of PyTorch, whose build for the CPU is not in the lock; empty without it.
        pins: every package of the image, as ``name==version``.
    """

    wheels: Sequence[str]
    sdists: Sequence[str]
    tools: Sequence[str]
    torch: str
    pins: Sequence[str]


def lock_requirements(pins: Iterable[str], lock: Path) -> LockedRequirements:
    """The hashes of these packages.

    Args:
        pins: as ``name==version``.
        lock: poetry.lock.

    Raises:
        BuildError: the lock does not have one of them in that version.
    """
    files: dict[str, list[dict[str, str]]] = {}
    for package in tomllib.loads(lock.read_text(encoding="utf-8"))["package"]:
        files.setdefault(f"{package['name']}=={package['version']}", []).extend(package["files"])
    unique = sorted(set(pins))
    torch = "".join(pin.partition("==")[2] for pin in unique if pin.startswith("torch=="))
    if torch:
        unique = [pin for pin in unique if not _CUDA.fullmatch(pin.partition("==")[0])]
    missing = [pin for pin in unique if pin not in files]
    if missing:
        raise BuildError(
            f"{', '.join(missing)}: not in {lock.name} in this version, so no hash is known: add "
            "it with poetry add, or run make install and make bento-build"
        )
    hashed = [pin for pin in unique if not pin.startswith("torch==")]
    sdists = [pin for pin in hashed if not any(f["file"].endswith(".whl") for f in files[pin])]
    tools = [pin for pin in files if pin.partition("==")[0] in _TOOLS] if sdists else []
    return LockedRequirements(
        [_line(pin, files[pin]) for pin in hashed if pin not in sdists],
        [_line(pin, files[pin]) for pin in sdists],
        [_line(pin, files[pin]) for pin in tools],
        torch,
        unique,
    )


def _line(pin: str, files: Iterable[dict[str, str]]) -> str:
    return " ".join([pin, *sorted({f"--hash={file['hash']}" for file in files})])
