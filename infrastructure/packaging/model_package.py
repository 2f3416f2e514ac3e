"""Model packages on disk: immutable folders, each with a manifest of its files' digests."""

from __future__ import annotations

import hashlib
import io
import json
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from domain.errors import PackageError
from shared.digests import sha256_of
from shared.files import locked, sync_folder, sync_tree

if TYPE_CHECKING:
    from domain.contract import ModelSpec
    from domain.evaluation.estimation import IsotonicCalibration
    from domain.evaluation.measures import Measure

MANIFEST = "MANIFEST.sha256"
NATIVE = "model.joblib"
_NATIVE_FACTS = "model.json"  # what is in model.skops, and what it needs
_LOCK_SECONDS = 60.0  # no other training has this version; only `make gc` checks the lock briefly
_MOST_INDENTED = 1_000_000  # characters: longer files are for programs, and slow to indent
_STORED = frozenset({"model.yaml", NATIVE})  # differences of a copy in BentoML's store


def new_version(base: str, now: datetime | None = None) -> str:
    """A unique version that sorts by time, such as 1.0.0-20260131-120000-3fa9c1."""
    now = now or datetime.now(UTC)
    return f"{base}-{now:%Y%m%d-%H%M%S}-{secrets.token_hex(3)}"


def training_lock(package: Path) -> Path:
    """The lock file of a training, held until its package is registered.

    A killed training leaves it behind: if it exists and no process holds it, its draft or package
    is an orphan.
    """
    return package.with_name(f".{package.name}.training")


class PackageDraft:
    """A package that is being written, under a hidden name next to its final folder.

    As a context manager, it leaves nothing behind if training fails. Leave it only after the
    package was registered: see `training_lock`.
    """

    def __init__(self, packages_dir: Path, model_name: str, version: str) -> None:
        self.version = version
        self.target = packages_dir / model_name / version
        self.folder = self.target.with_name(f".{version}.draft")
        self._training = ExitStack()

    def __enter__(self) -> PackageDraft:
        (self.folder / "figures").mkdir(parents=True)
        self._training.enter_context(locked(training_lock(self.target), _LOCK_SECONDS))
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)
        training_lock(self.target).unlink(missing_ok=True)
        self._training.close()

    def write_json(self, name: str, data: Mapping[str, Any]) -> None:
        """Write a JSON file into the package."""
        text = json.dumps(data, allow_nan=False)
        if len(text) <= _MOST_INDENTED:
            text = json.dumps(data, indent=2, allow_nan=False)
        (self.folder / name).write_text(text + "\n", encoding="utf-8")

    def write_native(self, estimator: Any) -> None:
        """Write the estimator with joblib."""
        import joblib  # pylint: disable=import-outside-toplevel  # not in the serving image

        joblib.dump(estimator, self.folder / NATIVE)

    def seal(self) -> Path:
        """Write the manifest, make the files read-only and move the package to its folder.

        Everything is synced to disk before the move, so that not even a power failure leaves a
        partial package.
        """
        lines = [f"{sha256_of(path)}  {name}\n" for name, path in _files(self.folder)]
        (self.folder / MANIFEST).write_text("".join(lines), encoding="utf-8")
        for path in self.folder.rglob("*"):
            if path.is_file():
                path.chmod(0o444)
        sync_tree(self.folder)
        self.folder.rename(self.target)
        sync_folder(self.target.parent)
        return self.target


class ModelPackage:
    """A package whose files match its manifest.

    Args:
        stored: whether the folder is a copy in BentoML's store, which has no native model, since a
            server must never load that.
        recorded: digest of the manifest in the registry; None if it was not looked up.

    Attributes:
        digests: SHA-256 of each file, by its name in the package.
        digest: SHA-256 of the manifest, which identifies the whole package.

    Raises:
        PackageError: a file is missing, was added, is a link or differs from the manifest; the
            message names it. Or the manifest differs from the registry's record.
    """

    def __init__(self, folder: Path, stored: bool = False, recorded: str | None = None) -> None:
        self.folder = folder
        self._stored, self._recorded = stored, recorded
        try:
            content = (folder / MANIFEST).read_bytes()
            self.manifest = content.decode()
        except (OSError, UnicodeDecodeError) as error:
            raise PackageError(f"{folder} is not a model package: it has no {MANIFEST}") from error
        self.digest = hashlib.sha256(content).hexdigest()
        if recorded not in (None, self.digest):
            raise PackageError(
                f"{folder}: {MANIFEST} differs from the one on record in the registry: its digest "
                f"is {self.digest[:12]}, recorded is {recorded[:12]}"
            )
        lines = (line.partition("  ") for line in self.manifest.splitlines())
        ignored = _STORED if stored else frozenset[str]()
        self.digests = {name: digest for digest, _, name in lines if name not in ignored}
        present = {name: path for name, path in _files(folder) if name not in ignored}
        for name in sorted(self.digests.keys() | present.keys()):
            if name not in present:
                raise PackageError(f"{folder}: {name} is missing")
            if name not in self.digests:
                raise PackageError(f"{folder}: {name} is not in {MANIFEST}")
            if sha256_of(present[name]) != self.digests[name]:
                raise PackageError(f"{folder}: {name} differs from its digest in {MANIFEST}")

    @property
    def version(self) -> str:
        """The package's version, which is the name of its folder."""
        return self.folder.name

    @property
    def served(self) -> Path:
        """The file that is served: ONNX, or skops for a model without an ONNX form."""
        onnx = self.folder / "model.onnx"
        return onnx if onnx.exists() else self.folder / "model.skops"

    @property
    def is_native(self) -> bool:
        """Whether it is served without ONNX, by skops."""
        return self.served.suffix == ".skops"

    @property
    def native_requirements(self) -> list[str]:
        """What a model that is served without ONNX needs, as ``name==version``; else empty.

        Raises:
            PackageError: training has not recorded it.
        """
        if "model.skops" not in self.digests:
            return []
        if _NATIVE_FACTS not in self.digests:
            raise PackageError(f"{self.folder}: {_NATIVE_FACTS} is missing: train again")
        match self.read_json(_NATIVE_FACTS):
            case {"requirements": [*requirements]}:
                return requirements
        raise PackageError(f"{self.folder}: {_NATIVE_FACTS} lists no requirements: train again")

    @cached_property
    def spec(self) -> ModelSpec:
        """Its contract."""
        # pylint: disable-next=import-outside-toplevel  # a serving check must not have NumPy yet
        from domain.contract import ModelSpec

        return ModelSpec.from_dict(self.read_json("contract.json"))

    @property
    def measure(self) -> Measure:
        """The measure that judged the model; packages of before 0.5 name only their default."""
        # pylint: disable-next=import-outside-toplevel  # as above
        from domain.evaluation.measures import Measure, default_measure

        chosen = self.read_json("metrics.json").get("measure_options")
        return Measure(self.spec, **chosen) if chosen else default_measure(self.spec)

    @property
    def calibration(self) -> IsotonicCalibration:
        """The calibration on its hold-out, from which quality is estimated without labels."""
        # pylint: disable-next=import-outside-toplevel  # as above
        from domain.evaluation.estimation import IsotonicCalibration

        return IsotonicCalibration.from_dict(self.read_json("metrics.json").get("calibration"))

    def read_json(self, name: str) -> Any:
        """A JSON file of the package.

        Raises:
            PackageError: it is not JSON.
        """
        try:
            return json.loads((self.folder / name).read_text(encoding="utf-8"))
        except ValueError as error:
            raise PackageError(f"{self.folder}: cannot read {name}: {error}") from error

    def load_native(self) -> Any:
        """The native model; never in a server, and only if the package's digest is on record.

        Loading it runs code from the file. So the file is read once, its digest checked, and the
        model loaded from those bytes.

        Raises:
            PackageError: this is a copy in BentoML's store, the package was opened without its
                recorded digest, or the file has changed since.
        """
        if self._stored:
            raise PackageError(f"{self.folder} is a copy for serving: it has no native model")
        if self._recorded is None:
            raise PackageError(
                f"{self.folder}: its digest is not on record in the registry: {NATIVE} is not "
                "loaded, because loading it runs code"
            )
        content = (self.folder / NATIVE).read_bytes()
        if hashlib.sha256(content).hexdigest() != self.digests[NATIVE]:
            raise PackageError(f"{self.folder}: {NATIVE} differs from its digest in {MANIFEST}")
        import joblib  # pylint: disable=import-outside-toplevel  # not in the serving image

        return joblib.load(io.BytesIO(content))


def _files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every file below a folder except its manifest, with its relative name.

    Raises:
        PackageError: there is a link, or something that is neither a file nor a folder.
    """
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise PackageError(f"{folder}: {name} is not a regular file")
        if path.is_file() and name != MANIFEST:
            yield name, path
