"""Versions and aliases in a real MLflow registry on SQLite."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from mlflow.artifacts import download_artifacts
from mlflow.tracking import MlflowClient

from domain.errors import RegistryError
from infrastructure.packaging.model_package import MANIFEST, ModelPackage
from infrastructure.registry.mlflow_registry import CANDIDATE, CHAMPION, PREVIOUS, MlflowRegistry
from infrastructure.tracking.mlflow_tracker import open_client
from shared.digests import sha256_of


@dataclass
class Model:
    """A model with the packages 1.0.0-a and 1.0.0-b, and its registry."""

    name: str
    registry: MlflowRegistry

    def aliases(self) -> dict[str, str]:
        """The version of the package that each alias points to."""
        found = {}
        for alias in (CANDIDATE, CHAMPION, PREVIOUS):
            try:
                found[alias] = self.registry.package_of(self.name, alias).name
            except RegistryError:
                pass
        return found

    def promote(self, version: str) -> str:
        """Make a package the champion, and return its number in the registry."""
        return self.registry.promote(self.name, version).version.number


@pytest.fixture(name="model")
def _model(tracking: Any, request: pytest.FixtureRequest) -> Model:
    name = request.node.name.removeprefix("test_")
    registry = MlflowRegistry(tracking.uri, tracking.packages_dir)
    for version in ("1.0.0-a", "1.0.0-b"):
        tracking.record(name, version)
        judge(registry, name, version, "accepted")
    return Model(name, registry)


def judge(registry: MlflowRegistry, name: str, version: str, verdict: str) -> None:
    """Record a verdict, with one file."""
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "verdicts.json").write_text(f'["{verdict}"]', encoding="utf-8")
        registry.record_verdict(registry.find(name, version), verdict, Path(folder))


def test_an_alias_resolves_to_the_folder_of_its_package(model: Model) -> None:
    folder = model.registry.package_of(model.name, CANDIDATE)
    assert ModelPackage(folder).version == "1.0.0-b"


def test_packages_may_be_moved_to_another_folder(model: Model, tracking: Any) -> None:
    moved = tracking.folder / "moved"
    shutil.copytree(tracking.packages_dir / model.name, moved / model.name)
    registry = MlflowRegistry(tracking.uri, moved)
    assert ModelPackage(registry.package_of(model.name, CANDIDATE)).folder.parents[1] == moved


def test_an_unset_alias_is_reported_by_name(model: Model) -> None:
    with pytest.raises(RegistryError, match=f"{model.name} has no {CHAMPION}"):
        model.registry.package_of(model.name, CHAMPION)


def test_an_unregistered_model_is_reported_by_name(model: Model) -> None:
    with pytest.raises(RegistryError, match="no_such_model has no candidate"):
        model.registry.package_of("no_such_model", CANDIDATE)


def test_the_first_champion_has_no_previous(model: Model) -> None:
    assert model.promote("1.0.0-a") == "1"
    assert model.aliases() == {CANDIDATE: "1.0.0-b", CHAMPION: "1.0.0-a"}


def test_a_new_champion_makes_the_old_one_previous(model: Model) -> None:
    model.promote("1.0.0-a")
    assert model.promote("1.0.0-b") == "2"
    assert model.aliases() == {CANDIDATE: "1.0.0-b", CHAMPION: "1.0.0-b", PREVIOUS: "1.0.0-a"}


def test_promoting_the_champion_again_changes_nothing(model: Model) -> None:
    model.promote("1.0.0-a")
    model.promote("1.0.0-b")
    before = model.aliases()
    assert model.promote("1.0.0-b") == "2"
    assert model.aliases() == before


def test_the_previous_champion_can_be_promoted_again(model: Model) -> None:
    for version in ("1.0.0-a", "1.0.0-b", "1.0.0-a"):
        model.promote(version)
    assert model.aliases()[CHAMPION] == "1.0.0-a"
    assert model.aliases()[PREVIOUS] == "1.0.0-b"


def test_a_promotion_returns_the_new_and_the_previous_champion(model: Model) -> None:
    first = model.registry.promote(model.name, "1.0.0-a")
    assert (first.version.number, first.version.aliases, first.previous) == ("1", (CHAMPION,), None)
    second = model.registry.promote(model.name, "1.0.0-b")
    assert second.moved and second.previous == first.version
    assert second.version == model.registry.find(model.name, CHAMPION)
    again = model.registry.promote(model.name, "1.0.0-b")
    assert not again.moved and again.previous == again.version


def test_an_unjudged_version_is_not_promoted(model: Model, tracking: Any) -> None:
    tracking.record(model.name, "1.0.0-c")
    with pytest.raises(
        RegistryError, match="version 3 .* has not been validated: run make validate"
    ):
        model.promote("1.0.0-c")
    assert CHAMPION not in model.aliases()


def test_a_refused_version_is_not_promoted(model: Model) -> None:
    model.promote("1.0.0-a")
    judge(model.registry, model.name, "1.0.0-b", "refused")
    with pytest.raises(RegistryError, match="version 2 .* was refused"):
        model.promote("1.0.0-b")
    assert model.aliases() == {CANDIDATE: "1.0.0-b", CHAMPION: "1.0.0-a"}


def test_a_version_without_its_package_is_not_promoted(model: Model, tracking: Any) -> None:
    model.promote("1.0.0-a")
    shutil.rmtree(tracking.packages_dir / model.name / "1.0.0-b")
    with pytest.raises(RegistryError, match="the package of .* version 2 is missing"):
        model.promote("1.0.0-b")
    assert PREVIOUS not in model.aliases()


def test_an_interrupted_promotion_keeps_the_champion(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    model.promote("1.0.0-a")
    set_alias = MlflowClient.set_registered_model_alias

    def break_off(self: Any, name: str, alias: str, version: str) -> None:
        if alias == CHAMPION:
            raise KeyboardInterrupt
        set_alias(self, name, alias, version)

    with monkeypatch.context() as patched:
        patched.setattr(MlflowClient, "set_registered_model_alias", break_off)
        with pytest.raises(KeyboardInterrupt):
            model.promote("1.0.0-b")
    assert model.aliases() == {CANDIDATE: "1.0.0-b", CHAMPION: "1.0.0-a", PREVIOUS: "1.0.0-a"}
    model.promote("1.0.0-b")
    assert model.aliases()[CHAMPION] == "1.0.0-b"
    assert model.aliases()[PREVIOUS] == "1.0.0-a"


def test_a_version_has_all_facts_of_the_registry(model: Model) -> None:
    version = model.registry.find(model.name, "1.0.0-b")
    assert (version.model_name, version.number, version.aliases) == (model.name, "2", (CANDIDATE,))
    assert version.verdict == "accepted"
    assert version.figures == {"holdout_accuracy": 0.9}
    assert version.measure == "accuracy"
    assert version.package_digest == sha256_of(model.registry.folder_of(version) / MANIFEST)
    assert abs((datetime.now(UTC) - version.created).total_seconds()) < 3600


def test_a_version_is_found_by_number_alias_package_and_run(model: Model) -> None:
    version = model.registry.find(model.name, "1.0.0-b")
    for which in ("2", CANDIDATE, version.run_id):
        assert model.registry.find(model.name, which) == version
    with pytest.raises(RegistryError, match=f"{model.name} has no 3 in the registry"):
        model.registry.find(model.name, "3")
    with pytest.raises(RegistryError, match="nobody has no 3 in the registry; its versions: none"):
        model.registry.find("nobody", "3")


def test_finding_and_promoting_needs_no_request_per_version(
    model: Model, tracking: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3, 9):
        tracking.record(model.name, f"1.0.0-{number}")
    get_run, requested = MlflowClient.get_run, []

    def counted(self: Any, run_id: str) -> Any:
        requested.append(run_id)
        return get_run(self, run_id)

    monkeypatch.setattr(MlflowClient, "get_run", counted)
    version = model.registry.find(model.name, "1.0.0-a")
    assert requested == [version.run_id]
    model.promote("1.0.0-a")
    model.promote("1.0.0-b")
    assert len(requested) == 4


def test_versions_are_listed_newest_first_without_other_models(model: Model, tracking: Any) -> None:
    for number in range(3, 12):
        tracking.record(model.name, f"1.0.0-{number}")
    open_client(tracking.uri).create_model_version(model.name, "somewhere/else")
    numbers = [int(version.number) for version in model.registry.versions(model.name)]
    assert numbers == list(range(11, 0, -1))
    assert model.registry.versions("never_registered") == []
    assert model.name in model.registry.model_names()


def test_a_verdict_and_its_files_are_kept_with_the_run(model: Model, tmp_path: Path) -> None:
    judge(model.registry, model.name, "1.0.0-a", "refused")
    version = model.registry.find(model.name, "1.0.0-a")
    assert version.verdict == "refused"
    kept = download_artifacts(
        run_id=version.run_id, artifact_path="validation", dst_path=str(tmp_path)
    )
    assert (Path(kept) / "verdicts.json").read_text("utf-8") == '["refused"]'


def test_the_head_of_the_ledger_and_a_removal_are_recorded(model: Model, tracking: Any) -> None:
    assert model.registry.noted_ledger(model.name) is None
    model.registry.note_ledger(model.name, f"{'ab' * 32}:{'cd' * 32}")
    assert model.registry.noted_ledger(model.name) == f"{'ab' * 32}:{'cd' * 32}"
    model.registry.record_removal(model.registry.find(model.name, "1"))
    tags = open_client(tracking.uri).get_model_version(model.name, "1").tags
    assert datetime.fromisoformat(tags["package_removed"]).tzinfo


def test_the_holder_of_the_lock_can_promote(model: Model) -> None:
    with model.registry.alone():
        assert model.promote("1.0.0-a") == "1"


@pytest.mark.parametrize("version", ["1.0.0-z", "1.0.0", ""])
def test_an_unknown_package_is_not_promoted(tracking: Any, version: str) -> None:
    name = f"unknown_{len(version)}"
    tracking.record(name, "1.0.0-a")
    registry = MlflowRegistry(tracking.uri, tracking.packages_dir)
    with pytest.raises(RegistryError, match=f"{name} has no version of the package"):
        registry.promote(name, version)
    assert Model(name, registry).aliases() == {CANDIDATE: "1.0.0-a"}


def test_the_package_of_another_model_is_not_promoted(model: Model, tracking: Any) -> None:
    tracking.record("another_model", "1.0.0-c")
    with pytest.raises(RegistryError, match="no version of the package 1.0.0-c"):
        model.promote("1.0.0-c")
