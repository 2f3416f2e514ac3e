"""Model packages on disk: an immutable folder whose manifest has a digest of every file."""

from __future__ import annotations

import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from domain.errors import PackageError
from shared.digests import sha256_of

MANIFEST = "MANIFEST.sha256"
NATIVE = "model.joblib"
_STORED = frozenset({"model.yaml", NATIVE})  # what BentoML's store adds, what it does not get


def new_version(base: str, now: datetime | None = None) -> str:
    """A version that sorts by time and is never given twice, 1.0.0-20260131-120000-3fa9c1."""
    now = now or datetime.now(UTC)
    return f"{base}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


class PackageDraft:
    """A package that is being written under a hidden name beside its final place.

    Used as a context manager, it leaves nothing behind when training fails.
    """

    def __init__(self, packages_dir: Path, model_name: str, version: str) -> None:
        self.version = version
        self.target = packages_dir / model_name / version
        self.folder = self.target.with_name(f".{version}.draft")

    def __enter__(self) -> PackageDraft:
        (self.folder / "figures").mkdir(parents=True)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def write_json(self, name: str, data: Mapping[str, Any]) -> None:
        """Write a JSON file into the package."""
        text = json.dumps(data, indent=2, allow_nan=False)
        (self.folder / name).write_text(text + "\n", encoding="utf-8")

    def write_native(self, estimator: Any) -> None:
        """Write the estimator with joblib."""
        import joblib  # pylint: disable=import-outside-toplevel  # not in the serving image

        joblib.dump(estimator, self.folder / NATIVE)

    def seal(self) -> Path:
        """Write the manifest, make the files read-only and move the package to its place."""
        lines = [f"{sha256_of(path)}  {name}\n" for name, path in _files(self.folder)]
        (self.folder / MANIFEST).write_text("".join(lines), encoding="utf-8")
        for path in self.folder.rglob("*"):
            if path.is_file():
                path.chmod(0o444)
        return self.folder.rename(self.target)


class ModelPackage:
    """A package whose files have been compared with its manifest.

    Args:
        stored: the folder is a copy in BentoML's store, which has no native model: a server must
            not have what it must never load.

    Raises:
        PackageError: a file is missing, was added or differs from the manifest; it is named.
    """

    def __init__(self, folder: Path, stored: bool = False) -> None:
        self.folder = folder
        self._stored = stored
        try:
            self.manifest = (folder / MANIFEST).read_text(encoding="utf-8")
        except OSError as error:
            raise PackageError(f"{folder} is no model package: it has no {MANIFEST}") from error
        lines = (line.partition("  ") for line in self.manifest.splitlines())
        ignored = _STORED if stored else frozenset[str]()
        recorded = {name: digest for digest, _, name in lines if name not in ignored}
        present = {name: path for name, path in _files(folder) if name not in ignored}
        for name in sorted(recorded.keys() | present.keys()):
            if name not in present:
                raise PackageError(f"{folder}: {name} is missing")
            if name not in recorded:
                raise PackageError(f"{folder}: {name} is not in {MANIFEST}")
            if sha256_of(present[name]) != recorded[name]:
                raise PackageError(f"{folder}: {name} differs from its digest in {MANIFEST}")

    @property
    def version(self) -> str:
        """The package's version, the name of its folder."""
        return self.folder.name

    @property
    def served(self) -> Path:
        """The file that is served: ONNX, or skops' form of a model that has no ONNX form."""
        onnx = self.folder / "model.onnx"
        return onnx if onnx.exists() else self.folder / "model.skops"

    def read_json(self, name: str) -> Any:
        """A JSON file of the package."""
        return json.loads((self.folder / name).read_text(encoding="utf-8"))

    def load_native(self) -> Any:
        """The native model; only after its digest was compared, and never in a server.

        Raises:
            PackageError: this is a copy in BentoML's store.
        """
        if self._stored:
            raise PackageError(f"{self.folder} is a copy for serving: it has no native model")
        import joblib  # pylint: disable=import-outside-toplevel  # not in the serving image

        return joblib.load(self.folder / NATIVE)


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path != folder / MANIFEST:
            yield path.relative_to(folder).as_posix(), path
