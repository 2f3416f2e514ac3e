"""Promotion, going back, and what another champion changes."""

from __future__ import annotations

from typing import Any

import pytest

from application.registry.promotion import differences, newest_accepted, promote, version_before
from domain.errors import PackageError, RegistryError
from tests.fakes import FakeLedger, FakePackage, FakeRegistry


class House:
    """A registry and a ledger that keep one journal, and a store that does as well."""

    def __init__(self) -> None:
        self.journal: list[str] = []
        self.registry = FakeRegistry(self.journal)
        self.ledger = FakeLedger(self.journal)
        for version in ("a", "b"):
            self.registry.add("iris", version, verdict="accepted")

    def promote(self, which: str, event: str = "promote") -> bool:
        """Promote a version; whether another one is champion now."""
        version = self.registry.find("iris", which)
        store = lambda: self.journal.append(f"stored {which}")  # pylint: disable=C3001
        return promote(self.registry, self.ledger, version, store, event).moved

    def aliases(self) -> dict[str, str]:
        """The package that each alias points to."""
        versions = self.registry.versions("iris")
        return {alias: v.package_version for v in versions for alias in v.aliases}


@pytest.fixture(name="house")
def _house() -> House:
    """A house with the accepted versions a and b of iris."""
    return House()


def test_what_is_promoted_is_stored_first_and_entered_last_while_nobody_else_is_there(
    house: House,
) -> None:
    assert house.promote("a")
    assert house.journal == [
        "alone",
        "stored a",
        "promoted iris a",
        "entered promote iris a",
        "noted ledger of iris",
        "no longer alone",
    ]


def test_the_entry_names_the_number_and_the_former_champion(house: House) -> None:
    house.promote("a")
    house.promote("b")
    first, second = house.ledger.entries()
    assert first.details == {"number": "1", "former": None}
    assert second.details == {"number": "2", "former": "a"}


def test_the_registry_notes_which_ledger_it_is_and_its_head(house: House) -> None:
    house.promote("a")
    assert house.registry.heads == {"iris": "1:1"}
    house.ledger.append("train", "wine", "w")
    house.promote("b")
    assert house.registry.heads == {"iris": "1:3"}


def test_promoting_the_champion_again_enters_nothing(house: House) -> None:
    house.promote("a")
    assert not house.promote("a")
    assert len(house.ledger.entries()) == 1


def test_a_champion_that_a_crash_has_kept_from_the_ledger_is_entered_by_the_next_try(
    house: House,
) -> None:
    house.promote("a")
    house.ledger.append("rollback", "iris", "b", env="staging")  # no champion
    house.ledger.append("promote", "wine", "b")  # of another model
    house.registry.promote("iris", "b")  # and here it crashed
    assert not house.promote("b")
    last = house.ledger.entries()[-1]
    assert (last.event, last.version) == ("promote", "b")
    assert last.details == {"number": "2", "former": "a"}
    assert house.registry.heads == {"iris": "1:4"}
    assert not house.promote("b")
    assert len(house.ledger.entries()) == 4


def test_the_first_champion_of_an_empty_ledger_is_entered_as_well(house: House) -> None:
    house.registry.promote("iris", "a")
    assert not house.promote("a")
    assert house.ledger.entries()[-1].details == {"number": "1", "former": None}
    assert house.registry.heads == {"iris": "1:1"}


def test_where_the_ledger_was_changed_nothing_moves(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def changed() -> None:
        raise RegistryError("line 1: entry 1 was changed")

    monkeypatch.setattr(house.ledger, "entries", changed)
    with pytest.raises(RegistryError, match="line 1"):
        house.promote("a")
    assert house.aliases() == {}


@pytest.mark.parametrize("verdict", ["refused", None])
def test_what_was_not_accepted_is_not_even_stored(house: House, verdict: str | None) -> None:
    house.registry.add("iris", "c", verdict=verdict)
    with pytest.raises(RegistryError, match="version 3"):
        house.promote("c")
    assert house.journal == []


def test_what_cannot_be_stored_is_not_promoted(house: House) -> None:
    def store() -> None:
        raise PackageError("no space is left")

    with pytest.raises(PackageError):
        promote(house.registry, house.ledger, house.registry.find("iris", "a"), store)
    assert house.aliases() == {}
    assert not house.ledger.entries()


def test_going_back_twice_goes_back_and_forth(house: House) -> None:
    house.promote("a")
    house.promote("b")
    for champion, previous in (("a", "b"), ("b", "a")):
        back = version_before(house.registry, "iris")
        house.promote(back.package_version, "rollback")
        assert house.aliases() == {"champion": champion, "previous": previous}
    assert [entry.event for entry in house.ledger.entries()][2:] == ["rollback", "rollback"]


def test_without_a_former_champion_there_is_nothing_to_go_back_to(house: House) -> None:
    house.promote("a")
    with pytest.raises(RegistryError, match="iris has no previous champion .* make registry"):
        version_before(house.registry, "iris")


def test_a_promotion_that_broke_off_between_its_aliases_leaves_a_choice_to_the_user() -> None:
    registry = FakeRegistry()
    registry.add("iris", "a", "champion", "previous")
    with pytest.raises(RegistryError, match="version 1 is previous and champion: name the VERSION"):
        version_before(registry, "iris")


def test_the_newest_accepted_version_is_found_behind_those_that_were_refused(house: House) -> None:
    house.registry.add("iris", "c", verdict="refused")
    house.registry.add("iris", "d")
    assert newest_accepted(house.registry.versions("iris"), "iris").package_version == "b"
    house.registry.add("iris", "e", "champion", verdict="refused")
    with pytest.raises(RegistryError, match="no accepted version that is newer than its champion"):
        newest_accepted(house.registry.versions("iris"), "iris")
    with pytest.raises(RegistryError, match="wine has no accepted version: make train"):
        newest_accepted(house.registry.versions("wine"), "wine")


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
        },
        None,
    )


def test_everything_that_differs_is_told_with_both_values() -> None:
    after = package(0.95, None, commit="4567def", fingerprint="d2", contract="wine")
    assert differences(package(0.9, 5), after) == [
        ("quality", "holdout_accuracy 0.9 → 0.95"),
        ("config", "model.max_depth 5 → none"),
        ("data", "d1 → d2"),
        ("commit", "0123abc → 4567def"),
        ("contract", "changed"),
    ]


def test_what_does_not_differ_is_the_same() -> None:
    assert differences(package(0.9, 5), package(0.9, 5)) == [
        ("quality", "the same"),
        ("config", "the same"),
        ("data", "the same, d1"),
        ("commit", "the same, 0123abc"),
        ("contract", "the same"),
    ]
