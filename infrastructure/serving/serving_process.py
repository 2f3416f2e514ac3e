"""The process of a serving check: `python -I -S -B serving_process.py SERVICE PACKAGE SITE…`.

It must not import installed packages before it has replaced Python's finder by its own. Its working
directory has the Bento's files in ``source``. The last line that it prints is the result; its exit
code is 0 if the package can be served.
"""

# pylint: disable=import-outside-toplevel

from __future__ import annotations

import os
import re
import shutil
import sys
import traceback
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import Distribution, DistributionFinder, distribution
from pathlib import Path
from types import ModuleType


class ReachedOnly:
    """Finds the standard library, the Bento's files and the modules of some distributions.

    It hides other installed distributions, so that libraries behave as in an image without them.
    """

    def __init__(self, distributions: Mapping[str, Distribution], sites: Sequence[str]) -> None:
        self._distributions = distributions
        self._sites = tuple(os.path.join(site, "") for site in sites)
        self._files = {file for found in distributions.values() for file in _files_of(found)}

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """A module, unless it belongs to a hidden distribution."""
        spec = PathFinder.find_spec(name, path, target)
        origin = spec.origin if spec else None  # namespace packages have none, and no code
        if origin and origin.startswith(self._sites) and origin not in self._files:
            return None
        return spec

    def find_distributions(self, context: DistributionFinder.Context) -> Iterable[Distribution]:
        """The distribution with that name, or all of them; called by importlib.metadata."""
        if context.name is None:
            return list(self._distributions.values())
        found = self._distributions.get(_canonical(context.name))
        return [found] if found else []


def main(service: str, package: str, *sites: str) -> int:
    """Run the check; return 0 if the package can be served, else 1."""
    sys.path += ["source", *sites]
    sys.path[:] = map(os.path.abspath, sys.path)
    try:
        reached = _reached(package)
        sys.meta_path[:] = [finder for finder in sys.meta_path if finder is not PathFinder]
        sys.meta_path.append(ReachedOnly(reached, sites))
        task = _serve(service, Path(package))
    except BaseException as error:  # pylint: disable=broad-exception-caught  # it is printed
        traceback.print_exc()
        print(f"\n{_reason(error)}")
        return 1
    is_speech = task == "transcription"
    result = "imports its service" if is_speech else "reproduces the golden predictions"
    print(f"\nand {len(reached)} distributions {result}")
    return 0


def _reached(package: str) -> dict[str, Distribution]:
    """The service's requirements and their dependencies, by canonical name.

    Modules that this function imports are removed from ``sys.modules`` again.
    """
    before = set(sys.modules)
    from infrastructure.packaging.model_package import ModelPackage
    from infrastructure.packaging.requirements import serving_requirements

    copy = ModelPackage(_store(Path(package), Path("package")), stored=True)
    pins = serving_requirements(copy.read_json("contract.json"), copy.native_requirements)
    for name in set(sys.modules) - before:
        if name.partition(".")[0] not in sys.stdlib_module_names:
            del sys.modules[name]
    names = (_canonical(pin.partition("==")[0]) for pin in pins)
    return {name: distribution(name) for name in names}


def _serve(service: str, package: Path) -> str:
    """Import the service as a server does, check the golden predictions, and return the task."""
    import bentoml
    from bentoml._internal.utils.args import set_arguments

    tag = f"{package.parent.name}:{package.name}"
    with bentoml.models.create(tag):
        pass
    stored = _store(Path("package"), Path(bentoml.models.get(tag).path))
    set_arguments({"model_tag": tag})
    module, _, attribute = service.partition(":")
    getattr(import_module(module), attribute)

    from infrastructure.packaging.model_package import ModelPackage

    copy = ModelPackage(stored, stored=True)
    if copy.spec.task != "transcription":
        from application.inference.predictor import replay_golden
        from infrastructure.inference.loading import load_served

        replay_golden(copy.spec, load_served(copy.served, copy.spec), copy.read_json("golden.json"))
    return copy.spec.task


def _store(package: Path, folder: Path) -> Path:
    """Link or copy a package to another folder without its native model, and return the folder."""
    shutil.copytree(
        package,
        folder,
        copy_function=_link,
        ignore=shutil.ignore_patterns("model.joblib"),
        dirs_exist_ok=True,
    )
    return folder


def _link(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copyfile(source, target)


def _files_of(found: Distribution) -> Iterator[str]:
    folder = str(found.locate_file(""))
    for line in (found.read_text("RECORD") or "").splitlines():
        yield os.path.join(folder, line.rsplit(",", 2)[0].strip('"'))


def _canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _reason(error: BaseException) -> str:
    """One line for an error; for a missing module, its name and where it is missing."""
    if isinstance(error, ModuleNotFoundError) and error.name:
        first = error.name.partition(".")[0]
        where = "files" if os.path.isdir(os.path.join("source", first)) else "serving requirements"
        return f"module {error.name} is missing in the {where} of the Bento"
    line = str(error).partition("\n")[0][:300]
    return line if type(error).__module__ == "domain.errors" else f"{type(error).__name__}: {line}"


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
