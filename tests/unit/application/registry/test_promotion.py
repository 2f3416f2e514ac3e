"""Promotion, rollback, and what changes with a new champion."""

from __future__ import annotations

from typing import Any

import pytest

from application.registry.promotion import differences, newest_accepted, previous_champion, promote
from domain.errors import PackageError, RegistryError
from tests.fakes import FakeLedger, FakePackage, FakeRegistry


class Setup:
    """A registry, a ledger and a store that share one journal."""

    def __init__(self) -> None:
        self.journal: list[str] = []
        self.registry = FakeRegistry(self.journal)
        self.ledger = FakeLedger(self.journal)
        for version in ("a", "b"):
            self.registry.add("iris", version, verdict="accepted")

    def promote(self, which: str, event: str = "promote") -> bool:
        """Promote a version; returns whether the champion changed."""
        version = self.registry.find("iris", which)
        store = lambda: self.journal.append(f"stored {which}")  # pylint: disable=C3001
        return promote(self.registry, self.ledger, version, store, event).moved

    def aliases(self) -> dict[str, str]:
        """The package that each alias points to."""
        versions = self.registry.versions("iris")
        return {alias: v.package_version for v in versions for alias in v.aliases}


@pytest.fixture(name="setup")
def _setup() -> Setup:
    """The accepted versions a and b of iris."""
    return Setup()


def test_a_promotion_stores_first_and_writes_the_ledger_last_under_a_lock(setup: Setup) -> None:
    assert setup.promote("a")
    assert setup.journal == [
        "locked",
        "stored a",
        "promoted iris a",
        "entered promote iris a",
        "noted ledger of iris",
        "unlocked",
    ]


def test_the_entry_names_the_number_and_the_previous_champion(setup: Setup) -> None:
    setup.promote("a")
    setup.promote("b")
    first, second = setup.ledger.entries()
    assert first.details == {"number": "1", "previous": None}
    assert second.details == {"number": "2", "previous": "a"}


def test_the_registry_records_the_ledger_and_its_head(setup: Setup) -> None:
    setup.promote("a")
    assert setup.registry.heads == {"iris": "1:1"}
    setup.ledger.append("train", "wine", "w")
    setup.promote("b")
    assert setup.registry.heads == {"iris": "1:3"}


def test_promoting_the_champion_again_adds_no_ledger_entry(setup: Setup) -> None:
    setup.promote("a")
    assert not setup.promote("a")
    assert len(setup.ledger.entries()) == 1


def test_the_next_promotion_adds_the_ledger_entry_that_a_crash_prevented(
    setup: Setup,
) -> None:
    setup.promote("a")
    setup.ledger.append("rollback", "iris", "b", env="staging")  # a release, not a champion
    setup.ledger.append("promote", "wine", "b")  # another model
    setup.registry.promote("iris", "b")  # here it crashed
    assert not setup.promote("b")
    last = setup.ledger.entries()[-1]
    assert (last.event, last.version) == ("promote", "b")
    assert last.details == {"number": "2", "previous": "a"}
    assert setup.registry.heads == {"iris": "1:4"}
    assert not setup.promote("b")
    assert len(setup.ledger.entries()) == 4


def test_the_first_champion_is_added_to_an_empty_ledger(setup: Setup) -> None:
    setup.registry.promote("iris", "a")
    assert not setup.promote("a")
    assert setup.ledger.entries()[-1].details == {"number": "1", "previous": None}
    assert setup.registry.heads == {"iris": "1:1"}


def test_a_modified_ledger_stops_the_promotion(
    setup: Setup, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed() -> None:
        raise RegistryError("line 1: entry 1 was changed")

    monkeypatch.setattr(setup.ledger, "entries", changed)
    with pytest.raises(RegistryError, match="line 1"):
        setup.promote("a")
    assert setup.aliases() == {}


@pytest.mark.parametrize("verdict", ["refused", None])
def test_a_version_that_was_not_accepted_is_not_stored(setup: Setup, verdict: str | None) -> None:
    setup.registry.add("iris", "c", verdict=verdict)
    with pytest.raises(RegistryError, match="version 3"):
        setup.promote("c")
    assert setup.journal == []


def test_a_version_that_cannot_be_stored_is_not_promoted(setup: Setup) -> None:
    def store() -> None:
        raise PackageError("no space left")

    with pytest.raises(PackageError):
        promote(setup.registry, setup.ledger, setup.registry.find("iris", "a"), store)
    assert setup.aliases() == {}
    assert not setup.ledger.entries()


def test_two_rollbacks_return_to_the_same_champion(setup: Setup) -> None:
    setup.promote("a")
    setup.promote("b")
    for champion, previous in (("a", "b"), ("b", "a")):
        back = previous_champion(setup.registry, "iris")
        setup.promote(back.package_version, "rollback")
        assert setup.aliases() == {"champion": champion, "previous": previous}
    assert [entry.event for entry in setup.ledger.entries()][2:] == ["rollback", "rollback"]


def test_a_rollback_without_a_previous_champion_is_refused(setup: Setup) -> None:
    setup.promote("a")
    with pytest.raises(RegistryError, match="iris has no previous champion .* make registry"):
        previous_champion(setup.registry, "iris")


def test_after_an_interrupted_promotion_the_user_has_to_choose() -> None:
    registry = FakeRegistry()
    registry.add("iris", "a", "champion", "previous")
    with pytest.raises(RegistryError, match="version 1 is both previous and champion: choose"):
        previous_champion(registry, "iris")


def test_the_newest_accepted_version_is_found_behind_refused_ones(setup: Setup) -> None:
    setup.registry.add("iris", "c", verdict="refused")
    setup.registry.add("iris", "d")
    assert newest_accepted(setup.registry.versions("iris"), "iris").package_version == "b"
    setup.registry.add("iris", "e", "champion", verdict="refused")
    with pytest.raises(RegistryError, match="no accepted version newer than its champion"):
        newest_accepted(setup.registry.versions("iris"), "iris")
    with pytest.raises(RegistryError, match="wine has no accepted version: run make train"):
        newest_accepted(setup.registry.versions("wine"), "wine")


def package(accuracy: float, depth: int | None, **more: Any) -> FakePackage:
    """A package with this quality and configuration."""
    model = {} if depth is None else {"max_depth": depth}
    provenance = {
        "git_commit": more.get("commit", "0123abc"),
        "config": {"model": model, "version": "1.0.0"},
        "data": {"fingerprint": more.get("fingerprint", "d1")},
    }
    return FakePackage(
        {
            "metrics.json": {"holdout_accuracy": accuracy, "holdout_rows": 30, "fit_seconds": 0.1},
            "provenance.json": provenance,
            "contract.json": {"name": more.get("contract", "iris")},
            "holdout.json": {"holdout": more.get("holdout", ["h1", "h2"]), "training": ["h3"]},
        },
        None,
    )


def test_every_difference_is_listed_with_both_values() -> None:
    after = package(0.95, None, commit="4567def", contract="wine", holdout=["h2", "h1"])
    assert differences(package(0.9, 5), after) == [
        ("quality", "holdout_accuracy 0.9 → 0.95"),
        ("config", "model.max_depth 5 → none"),
        ("data", "the same, d1"),
        ("commit", "0123abc → 4567def"),
        ("contract", "changed"),
    ]


@pytest.mark.parametrize("other", [{"fingerprint": "d2"}, {"holdout": ["h1", "h3"]}])
def test_scores_on_different_holdout_rows_are_not_compared(other: dict[str, Any]) -> None:
    found = dict(differences(package(0.9, 5), package(0.95, 5, **other)))
    assert found["quality"].startswith("not comparable: the two were measured on different")
    assert found["data"] == ("d1 → d2" if "fingerprint" in other else "the same, d1")


def test_models_without_a_holdout_of_rows_are_compared_by_their_data() -> None:
    class Speech(FakePackage):
        """A package of a transcriber."""

        def read_json(self, name: str) -> Any:
            if name == "holdout.json":
                raise FileNotFoundError(name)
            return super().read_json(name)

    before, after = (Speech(package(score, 5).files, None) for score in (0.9, 0.95))
    assert differences(before, after)[0] == ("quality", "holdout_accuracy 0.9 → 0.95")


def test_equal_packages_have_no_differences() -> None:
    assert differences(package(0.9, 5), package(0.9, 5)) == [
        ("quality", "the same"),
        ("config", "the same"),
        ("data", "the same, d1"),
        ("commit", "the same, 0123abc"),
        ("contract", "the same"),
    ]
