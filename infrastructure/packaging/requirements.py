"""Requirements of an image: the versions that are installed here, which are those of the lock."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import distribution

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name


def pinned_requirements(names: Iterable[str]) -> list[str]:
    """These packages and all that they need, each as ``name==version``, sorted.

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
        installed = distribution(name)
        pins.add(f"{name}=={installed.version}")
        for line in installed.requires or ():
            further = Requirement(line)
            extras = ("", *needed.extras)
            if not further.marker or any(further.marker.evaluate({"extra": e}) for e in extras):
                waiting.append(further)
    return sorted(pins)
