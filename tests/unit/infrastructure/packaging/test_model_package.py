"""A package is written atomically, and refused if it was tampered with."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path

import pytest
from sklearn.ensemble import RandomForestClassifier

from domain.errors import PackageError
from infrastructure.packaging.model_package import (
    MANIFEST,
    NATIVE,
    ModelPackage,
    PackageDraft,
    new_version,
    training_lock,
)
from shared.files import locked
from tests.packages import open_recorded
from tests.petals import SPEC

FILES = [
    "card.md",
    "contract.json",
    "figures/confidence.png",
    "golden.json",
    "holdout.json",
    "metrics.json",
    "model.joblib",
    "model.onnx",
    "profile.json",
    "provenance.json",
]


@pytest.fixture(scope="module", name="sealed")
def _sealed(make_package: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_package(tmp_path_factory.mktemp("packages"), "iris_classifier", "1.0.0-a")


@pytest.fixture(name="copy")
def _copy(sealed: Path, tmp_path: Path) -> Path:
    """A writable copy of the sealed package."""
    folder = tmp_path / sealed.name
    shutil.copytree(sealed, folder)
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o644)
    return folder


@pytest.fixture(name="stored")
def _stored(copy: Path) -> Path:
    """A copy as in BentoML's store: without the native model, with a file of BentoML's."""
    (copy / NATIVE).unlink()
    (copy / "model.yaml").write_text("name: iris_classifier\n", encoding="utf-8")
    return copy


def flip_a_byte(path: Path) -> None:
    """Change one bit in the middle of a file; its size stays."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def files_in(folder: Path) -> list[str]:
    """Every file except the manifest."""
    paths = (path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST)
    return sorted(path.relative_to(folder).as_posix() for path in paths)


def test_these_tests_cover_every_file_of_a_package(sealed: Path) -> None:
    assert files_in(sealed) == FILES


def test_a_draft_that_fails_leaves_no_file_behind(tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="no memory"):
        with PackageDraft(tmp_path, "petals", "1.0.0-a") as draft:
            draft.write_json("metrics.json", {"accuracy": 0.9})
            raise RuntimeError("no memory")
    assert not list((tmp_path / "petals").iterdir())


def test_a_package_has_its_calibration(sealed: Path) -> None:
    assert ModelPackage(sealed).calibration.occurred.tolist() == [20, 270]


def test_an_unsealed_draft_leaves_no_file_behind(tmp_path: Path) -> None:
    with PackageDraft(tmp_path, "petals", "1.0.0-a") as draft:
        draft.write_json("metrics.json", {"accuracy": 0.9})
    assert not list((tmp_path / "petals").iterdir())


def test_a_package_is_invisible_until_it_is_sealed(tmp_path: Path) -> None:
    with PackageDraft(tmp_path, "petals", "1.0.0-a") as draft:
        assert not (tmp_path / "petals/1.0.0-a").exists()
        assert draft.folder.name.startswith(".")
        assert draft.seal() == tmp_path / "petals/1.0.0-a"
    assert [path.name for path in (tmp_path / "petals").iterdir()] == ["1.0.0-a"]


def test_a_draft_is_locked_until_its_package_is_registered(tmp_path: Path) -> None:
    lock = training_lock(tmp_path / "petals/1.0.0-a")

    def try_to_lock() -> None:
        with locked(lock, 0):
            pass

    with ThreadPoolExecutor(1) as other, PackageDraft(tmp_path, "petals", "1.0.0-a") as draft:
        for _ in range(2):
            with pytest.raises(TimeoutError):
                other.submit(try_to_lock).result()
            if draft.folder.exists():
                draft.seal()
    assert not lock.exists()


def test_a_package_is_synced_to_disk_before_it_is_renamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target, synced, fsync = tmp_path / "petals/1.0.0-a", set[int](), os.fsync

    def note(handle: int) -> None:
        if not target.exists():
            synced.add(os.fstat(handle).st_ino)
        fsync(handle)

    monkeypatch.setattr(os, "fsync", note)
    with PackageDraft(tmp_path, "petals", "1.0.0-a") as draft:
        draft.write_json("metrics.json", {"accuracy": 0.9})
        draft.seal()
    assert synced == {path.stat().st_ino for path in (target, *target.rglob("*"))}
    assert {path.name for path in target.iterdir()} == {"figures", "metrics.json", MANIFEST}


def test_a_number_that_json_cannot_represent_is_not_written(tmp_path: Path) -> None:
    with PackageDraft(tmp_path, "petals", "1.0.0-a") as draft, pytest.raises(ValueError):
        draft.write_json("metrics.json", {"accuracy": float("nan")})


def test_a_long_file_is_not_indented(tmp_path: Path) -> None:
    with PackageDraft(tmp_path, "petals", "1.0.0-a") as draft:
        for count, lines in ((10, 14), (100_000, 1)):
            hashes = {"training": ["9c6efb0a11d5e7f3"] * count}
            draft.write_json("holdout.json", hashes)
            text = (draft.folder / "holdout.json").read_text(encoding="utf-8")
            assert json.loads(text) == hashes
            assert len(text.splitlines()) == lines


def test_sealing_never_replaces_a_package(sealed: Path, make_package: Callable[..., Path]) -> None:
    with pytest.raises(OSError):
        make_package(sealed.parents[1], sealed.parent.name, sealed.name)
    assert ModelPackage(sealed).version == sealed.name


def test_sealed_files_are_read_only(sealed: Path) -> None:
    modes = {name: (sealed / name).stat().st_mode & 0o777 for name in [*FILES, MANIFEST]}
    assert set(modes.values()) == {0o444}


def test_the_manifest_has_the_digest_of_every_file(sealed: Path) -> None:
    digests = {name: hashlib.sha256((sealed / name).read_bytes()).hexdigest() for name in FILES}
    lines = (sealed / MANIFEST).read_text("utf-8").splitlines()
    assert sorted(lines) == sorted(f"{digest}  {name}" for name, digest in digests.items())


def test_a_sealed_package_is_read_back(sealed: Path, forest: RandomForestClassifier) -> None:
    package = open_recorded(sealed)
    assert package.version == "1.0.0-a"
    assert package.served == sealed / "model.onnx"
    assert package.read_json("contract.json")["name"] == SPEC.name
    assert package.load_native().n_estimators == forest.n_estimators


def test_a_package_without_onnx_serves_the_native_form(
    make_package: Callable[..., Path], tmp_path: Path
) -> None:
    native = make_package(tmp_path, "iris_classifier", "1.0.0-a", form="native")
    assert ModelPackage(native).served == native / "model.skops"
    assert ModelPackage(native).served.stat().st_size > 1000


def test_a_package_says_what_its_model_is_served_with(
    sealed: Path, make_package: Callable[..., Path], tmp_path: Path
) -> None:
    assert not ModelPackage(sealed).native_requirements
    native = make_package(tmp_path, "iris_classifier", "1.0.0-a", form="native")
    expected = [f"{name}=={version(name)}" for name in ("scikit-learn", "skops")]
    assert ModelPackage(native).native_requirements == expected


def test_a_native_package_of_an_earlier_release_is_to_be_trained_again(
    make_package: Callable[..., Path], tmp_path: Path
) -> None:
    native = make_package(tmp_path, "iris_classifier", "1.0.0-a", form="native")
    (native / "model.json").unlink()
    manifest = native / MANIFEST
    lines = manifest.read_text("utf-8").splitlines(keepends=True)
    manifest.chmod(0o644)
    manifest.write_text("".join(line for line in lines if "model.json" not in line), "utf-8")
    with pytest.raises(PackageError, match="model.json is missing: train again"):
        _ = ModelPackage(native).native_requirements


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "cannot read model.json: Expecting"),
        (b"\xff", "cannot read model.json: 'utf-8' codec"),
        (b"[]", "model.json lists no requirements: train again"),
        (b"{}", "model.json lists no requirements: train again"),
    ],
)
def test_a_native_package_whose_record_is_damaged_is_refused(
    content: bytes, message: str, make_package: Callable[..., Path], tmp_path: Path
) -> None:
    native = make_package(tmp_path, "iris_classifier", "1.0.0-a", form="native")
    package = ModelPackage(native)
    (native / "model.json").chmod(0o644)
    (native / "model.json").write_bytes(content)
    with pytest.raises(PackageError, match=message):
        _ = package.native_requirements


@pytest.mark.parametrize("name", FILES)
def test_one_flipped_bit_is_refused_and_the_file_is_named(copy: Path, name: str) -> None:
    flip_a_byte(copy / name)
    with pytest.raises(PackageError, match=re.escape(f"{name} differs from its digest")):
        ModelPackage(copy)


@pytest.mark.parametrize("name", FILES)
def test_a_missing_file_is_refused_and_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(PackageError, match=re.escape(f"{name} is missing")):
        ModelPackage(copy)


@pytest.mark.parametrize("name", ["extra.py", "figures/extra.png", "model.yaml", ".hidden"])
def test_an_added_file_is_refused_and_named(copy: Path, name: str) -> None:
    (copy / name).write_text("x", encoding="utf-8")
    with pytest.raises(PackageError, match=re.escape(f"{name} is not in {MANIFEST}")):
        ModelPackage(copy)


def test_a_second_manifest_in_a_subfolder_is_an_added_file(copy: Path) -> None:
    (copy / "figures" / MANIFEST).write_text("x", encoding="utf-8")
    with pytest.raises(PackageError, match="is not in"):
        ModelPackage(copy)


def test_a_file_that_only_the_manifest_names_is_refused(copy: Path) -> None:
    manifest = copy / MANIFEST
    manifest.write_text(f"{manifest.read_text('utf-8')}{'0' * 64}  ghost.bin\n", encoding="utf-8")
    with pytest.raises(PackageError, match="ghost.bin is missing"):
        ModelPackage(copy)


@pytest.mark.parametrize("stored", [False, True])
def test_a_folder_without_manifest_is_not_a_package(copy: Path, stored: bool) -> None:
    (copy / MANIFEST).unlink()
    with pytest.raises(PackageError, match=f"not a model package: it has no {MANIFEST}"):
        ModelPackage(copy, stored=stored)


def test_a_missing_folder_is_not_a_package(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="not a model package"):
        ModelPackage(tmp_path / "nowhere")


def test_a_stored_copy_may_lack_the_native_model_and_have_bentomls_file(stored: Path) -> None:
    assert ModelPackage(stored, stored=True).version == "1.0.0-a"


def test_differences_allowed_in_the_store_are_refused_elsewhere(stored: Path) -> None:
    with pytest.raises(PackageError):
        ModelPackage(stored)


@pytest.mark.parametrize("name", [name for name in FILES if name != NATIVE])
def test_a_flipped_bit_is_refused_in_the_store_too(stored: Path, name: str) -> None:
    flip_a_byte(stored / name)
    with pytest.raises(PackageError, match=re.escape(f"{name} differs from its digest")):
        ModelPackage(stored, stored=True)


@pytest.mark.parametrize("name", [name for name in FILES if name != NATIVE])
def test_another_missing_file_is_refused_in_the_store_too(stored: Path, name: str) -> None:
    (stored / name).unlink()
    with pytest.raises(PackageError, match=re.escape(f"{name} is missing")):
        ModelPackage(stored, stored=True)


@pytest.mark.parametrize("name", ["extra.py", "figures/model.yaml", "figures/model.joblib"])
def test_another_added_file_is_refused_in_the_store_too(stored: Path, name: str) -> None:
    (stored / name).write_text("x", encoding="utf-8")
    with pytest.raises(PackageError, match=re.escape(f"{name} is not in {MANIFEST}")):
        ModelPackage(stored, stored=True)


@pytest.mark.parametrize("name", ["model.onnx", "figures", MANIFEST, "card.md"])
@pytest.mark.parametrize("stored", [False, True])
def test_a_link_in_place_of_a_file_or_folder_is_refused_and_named(
    copy: Path, tmp_path: Path, name: str, stored: bool
) -> None:
    elsewhere = tmp_path / "elsewhere"
    (copy / name).rename(elsewhere)
    (copy / name).symlink_to(elsewhere)
    with pytest.raises(PackageError, match=re.escape(f"{name} is not a regular file")):
        ModelPackage(copy, stored=stored)


@pytest.mark.parametrize("target", ["/etc", "card.md", "nowhere"])
def test_an_added_link_is_refused_for_any_target(copy: Path, target: str) -> None:
    (copy / "extra").symlink_to(target)
    with pytest.raises(PackageError, match="extra is not a regular file"):
        ModelPackage(copy)


def test_a_pipe_in_place_of_a_file_is_refused_without_waiting(copy: Path) -> None:
    (copy / "card.md").unlink()
    os.mkfifo(copy / "card.md")
    with pytest.raises(PackageError, match="card.md is not a regular file"):
        ModelPackage(copy)


@pytest.mark.parametrize("place", ["../outside.txt", "{tmp_path}/outside.txt"])
def test_a_manifest_cannot_name_a_file_outside_the_package(
    copy: Path, tmp_path: Path, place: str
) -> None:
    outside = tmp_path / "outside.txt"
    outside.write_text("x", encoding="utf-8")
    name = place.format(tmp_path=tmp_path)
    digest = hashlib.sha256(b"x").hexdigest()
    manifest = copy / MANIFEST
    manifest.write_text(f"{manifest.read_text('utf-8')}{digest}  {name}\n", encoding="utf-8")
    with pytest.raises(PackageError, match=re.escape(f"{name} is missing")):
        ModelPackage(copy)


def test_a_binary_manifest_is_invalid(copy: Path) -> None:
    (copy / MANIFEST).write_bytes(b"\xff\xfe")
    with pytest.raises(PackageError, match="not a model package"):
        ModelPackage(copy)


def test_the_digest_of_a_package_is_the_digest_of_its_manifest(sealed: Path) -> None:
    expected = hashlib.sha256((sealed / MANIFEST).read_bytes()).hexdigest()
    assert ModelPackage(sealed).digest == expected
    assert ModelPackage(sealed, recorded=expected).digest == expected


def test_digests_are_read_from_the_manifest(sealed: Path) -> None:
    digests = ModelPackage(sealed).digests
    assert sorted(digests) == FILES
    assert digests["card.md"] == hashlib.sha256((sealed / "card.md").read_bytes()).hexdigest()


def test_a_package_with_a_rewritten_manifest_is_not_on_record(copy: Path) -> None:
    recorded = ModelPackage(copy).digest
    (copy / "card.md").write_text("better\n", encoding="utf-8")
    lines = [f"{hashlib.sha256((copy / n).read_bytes()).hexdigest()}  {n}\n" for n in FILES]
    (copy / MANIFEST).write_text("".join(lines), encoding="utf-8")
    assert ModelPackage(copy).version, "by itself it is whole"
    with pytest.raises(PackageError, match="differs from the one on record in the registry"):
        ModelPackage(copy, recorded=recorded)


def test_a_native_model_is_not_loaded_from_a_package_that_is_not_on_record(sealed: Path) -> None:
    with pytest.raises(PackageError, match="its digest is not on record"):
        ModelPackage(sealed).load_native()


def test_a_copy_for_serving_has_no_native_model(stored: Path) -> None:
    recorded = hashlib.sha256((stored / MANIFEST).read_bytes()).hexdigest()
    with pytest.raises(PackageError, match="is a copy for serving"):
        ModelPackage(stored, stored=True, recorded=recorded).load_native()


def test_a_native_model_modified_after_opening_the_package_is_not_loaded(
    copy: Path,
) -> None:
    package = open_recorded(copy)
    flip_a_byte(copy / NATIVE)
    with pytest.raises(PackageError, match=f"{NATIVE} differs from its digest"):
        package.load_native()


def test_versions_sort_by_time() -> None:
    start = datetime(2026, 1, 31, 23, 59, 58, tzinfo=UTC)
    versions = [new_version("1.0.0", start + timedelta(seconds=n)) for n in range(5)]
    assert sorted(versions) == versions
    assert versions[0].startswith("1.0.0-20260131-235958-")


def test_versions_created_at_the_same_moment_differ() -> None:
    now = datetime(2026, 1, 31, tzinfo=UTC)
    assert len({new_version("1.0.0", now) for _ in range(20)}) == 20


def test_a_version_is_a_valid_name_for_registry_store_and_folder() -> None:
    assert re.fullmatch(r"1\.0\.0-\d{8}-\d{6}-[0-9a-f]{6}", new_version("1.0.0"))
