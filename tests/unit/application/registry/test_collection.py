"""Garbage collection never removes an item that is in use."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from application.registry.collection import Stored, needed_versions, superfluous
from tests.fakes import MORNING, FakeRegistry

NOW = MORNING + timedelta(days=100)
OLD, YOUNG = NOW - timedelta(days=8), NOW - timedelta(days=6)


def stored(version: str, kind: str = "package", at: datetime = OLD, model: str = "iris") -> Stored:
    """A stored item."""
    return Stored(kind, model, version, Path(version), 10, at)


def registry_of(*versions: tuple[str, str | None, tuple[str, ...]]) -> FakeRegistry:
    """A registry of iris with these versions: package, verdict, aliases."""
    registry = FakeRegistry()
    for package, verdict, aliases in versions:
        registry.add("iris", package, *aliases, verdict=verdict)
    return registry


def gone(
    registry: FakeRegistry,
    *items: Stored,
    keep: int = 0,
    deployed: tuple[str, ...] = (),
    now: datetime = NOW,
) -> list[str]:
    """Versions of the items that can be removed."""
    serving = [("iris", version) for version in deployed]
    versions = {"iris": registry.versions("iris")}
    return [item.version for item in superfluous(items, versions, serving, keep, now)]


def test_unused_items_are_removed() -> None:
    registry = registry_of(("a", "accepted", ()), ("b", "accepted", ("champion",)))
    assert gone(registry, stored("a"), stored("b")) == ["a"]


@pytest.mark.parametrize("alias", ["champion", "previous", "candidate", "of_our_own"])
def test_aliased_versions_are_kept(alias: str) -> None:
    registry = registry_of(("a", "refused", (alias,)), ("b", "refused", ()))
    assert gone(registry, stored("a"), stored("b")) == ["b"]


def test_deployed_versions_are_kept() -> None:
    registry = registry_of(("a", "refused", ()), ("b", "refused", ()))
    assert gone(registry, stored("a"), stored("b"), deployed=("a",)) == ["b"]


def test_the_newest_versions_are_kept() -> None:
    registry = registry_of(*((name, "refused", ()) for name in "abcd"))
    assert gone(registry, *map(stored, "abcd"), keep=3) == ["a"]


def test_an_accepted_version_that_waits_for_promotion_is_kept() -> None:
    registry = registry_of(
        ("a", "accepted", ()), ("b", "accepted", ("champion",)), ("c", "accepted", ())
    )
    assert gone(registry, stored("a"), stored("c")) == ["a"]


def test_an_unjudged_version_is_kept_for_a_day() -> None:
    registry = registry_of(("a", None, ()))  # registered an hour after the morning began
    made = MORNING + timedelta(hours=1)
    assert gone(registry, stored("a"), now=made + timedelta(hours=23)) == []
    assert gone(registry, stored("a"), now=made + timedelta(hours=25)) == ["a"]


def test_models_and_bentos_in_the_store_are_removed_with_their_package() -> None:
    registry = registry_of(("a", "accepted", ()), ("b", "accepted", ("champion",)))
    items = [stored(version, kind) for version in "ab" for kind in ("model", "bento")]
    assert gone(registry, *items) == ["a", "a"]


def test_a_draft_is_removed_after_a_week_without_changes() -> None:
    registry = registry_of(("a", "accepted", ("champion",)))
    assert gone(registry, stored("x", "draft", OLD), stored("y", "draft", YOUNG)) == ["x"]


@pytest.mark.parametrize("kind", ["package", "draft"])
@pytest.mark.parametrize("registry", [FakeRegistry(), registry_of(("a", "accepted", ()))])
def test_leftovers_of_a_killed_training_are_removed_and_those_of_a_running_one_kept(
    kind: str, registry: FakeRegistry
) -> None:
    killed = replace(stored("x", kind, NOW), in_training=False)
    live = replace(stored("y", kind, OLD), in_training=True)
    assert gone(registry, killed, live) == ["x"]


def test_a_registered_version_is_kept_even_if_its_training_was_killed_later() -> None:
    registry = registry_of(("a", "refused", ()), ("b", "accepted", ("champion",)))
    items = [replace(stored(version), in_training=False) for version in "ab"]
    assert gone(registry, *items) == ["a"]


@pytest.mark.parametrize("kind", ["package", "model", "bento"])
def test_a_version_of_another_registry_is_left_alone(kind: str) -> None:
    registry = registry_of(("a", "accepted", ("champion",)))
    assert gone(registry, stored("x", kind)) == []


@pytest.mark.parametrize("kind", ["package", "draft", "model", "bento"])
def test_a_model_of_another_registry_is_left_alone(kind: str) -> None:
    registry = registry_of(("a", "refused", ()))
    assert gone(registry, stored("a", kind, model="wine")) == []
    assert gone(FakeRegistry(), stored("a", kind)) == []


@pytest.mark.parametrize("seed", range(200))
def test_in_any_state_exactly_the_unused_items_are_removed(seed: int) -> None:
    chance = random.Random(seed)
    names = [f"v{number}" for number in range(chance.randint(1, 12))]
    aliases = {alias: chance.choice([*names, None]) for alias in ("champion", "previous", "x")}
    registry = registry_of(
        *(
            (
                name,
                chance.choice(["accepted", "refused", None]),
                tuple(alias for alias, to in aliases.items() if to == name),
            )
            for name in names
        )
    )
    versions = registry.versions("iris")
    deployed = tuple(v.package_version for v in versions if chance.random() < 0.2)
    keep = chance.randint(0, 5)
    removed = set(
        gone(
            registry,
            *(stored(v.package_version) for v in versions),
            keep=keep,
            deployed=deployed,
            now=MORNING + timedelta(hours=chance.randint(0, 60)),
        )
    )
    champion = next((int(v.number) for v in versions if "champion" in v.aliases), 0)
    for position, version in enumerate(versions):
        promotable = version.verdict == "accepted" and int(version.number) > champion
        newest, serving = position < keep, version.package_version in deployed
        needed = version.aliases or serving or newest or promotable
        if needed:
            assert version.package_version not in removed
        elif version.verdict is not None:
            assert version.package_version in removed


def test_keeping_more_versions_than_exist_keeps_all() -> None:
    versions = registry_of(("a", "refused", ()), ("b", "refused", ())).versions("iris")
    assert needed_versions(versions, (), 99, NOW) == {"a", "b"}
