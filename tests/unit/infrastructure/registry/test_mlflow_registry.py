"""Versions and aliases in a real MLflow registry on SQLite."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from typing import Any

import pytest

from domain.errors import RegistryError
from infrastructure.packaging.model_package import ModelPackage
from infrastructure.registry.mlflow_registry import CANDIDATE, CHAMPION, PREVIOUS, MlflowRegistry


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
        """Make a package the champion; its version in the registry."""
        return self.registry.promote(self.name, version).version


@pytest.fixture(name="model")
def _model(tracking: Any, request: pytest.FixtureRequest) -> Model:
    name = request.node.name.removeprefix("test_")
    for version in ("1.0.0-a", "1.0.0-b"):
        tracking.record(name, version)
    return Model(name, MlflowRegistry(tracking.uri, tracking.packages_dir))


def test_an_alias_leads_to_the_folder_of_its_package(model: Model) -> None:
    folder = model.registry.package_of(model.name, CANDIDATE)
    assert ModelPackage(folder).version == "1.0.0-b"


def test_packages_may_lie_elsewhere_than_where_they_were_made(model: Model, tracking: Any) -> None:
    moved = tracking.folder / "moved"
    shutil.copytree(tracking.packages_dir / model.name, moved / model.name)
    registry = MlflowRegistry(tracking.uri, moved)
    assert ModelPackage(registry.package_of(model.name, CANDIDATE)).folder.parents[1] == moved


def test_an_alias_that_points_nowhere_is_an_error_that_names_it(model: Model) -> None:
    with pytest.raises(RegistryError, match=f"{model.name} has no {CHAMPION}"):
        model.registry.package_of(model.name, CHAMPION)


def test_a_model_that_was_never_registered_is_an_error_that_names_it(model: Model) -> None:
    with pytest.raises(RegistryError, match="no_such_model has no candidate"):
        model.registry.package_of("no_such_model", CANDIDATE)


def test_the_first_champion_has_no_previous(model: Model) -> None:
    assert model.promote("1.0.0-a") == "1"
    assert model.aliases() == {CANDIDATE: "1.0.0-b", CHAMPION: "1.0.0-a"}


def test_a_new_champion_makes_the_former_the_previous(model: Model) -> None:
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


def test_a_promoted_version_names_its_training_run(model: Model, tracking: Any) -> None:
    _, registered = tracking.record(model.name, "1.0.0-c")
    assert model.registry.promote(model.name, "1.0.0-c") == registered


@pytest.mark.parametrize("version", ["1.0.0-z", "1.0.0", ""])
def test_an_unknown_package_is_not_promoted(tracking: Any, version: str) -> None:
    name = f"unknown_{len(version)}"
    tracking.record(name, "1.0.0-a")
    registry = MlflowRegistry(tracking.uri, tracking.packages_dir)
    with pytest.raises(RegistryError, match=f"{name} has no version made from package"):
        registry.promote(name, version)
    assert Model(name, registry).aliases() == {CANDIDATE: "1.0.0-a"}


def test_the_package_of_another_model_is_not_promoted(model: Model, tracking: Any) -> None:
    tracking.record("another_model", "1.0.0-c")
    with pytest.raises(RegistryError, match="no version made from package 1.0.0-c"):
        model.promote("1.0.0-c")
