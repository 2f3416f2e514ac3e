"""Champions and deployments at a time, from the ledger."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest

from application.ports.registry import ModelVersion
from application.registry.history import (
    champion_of,
    environments_of,
    ledger_disagreement,
    parse_time,
    state_at,
)
from tests.fakes import MORNING, FakeLedger


@pytest.fixture(name="ledger")
def _ledger() -> FakeLedger:
    """Entries at minutes 1 to 8 after the morning began."""
    ledger = FakeLedger()
    ledger.append("train", "iris", "a")
    ledger.append("promote", "iris", "a")
    ledger.append("deploy", "iris", "a", env="staging")
    ledger.append("promote", "iris", "b")
    ledger.append("deploy", "iris", "b", env="staging")
    ledger.append("rollback", "iris", "a", env="staging")
    ledger.append("rollback", "iris", "a")
    ledger.append("stop", "iris", "a", env="staging")
    return ledger


@pytest.mark.parametrize(
    ("minute", "champion", "deployed"),
    [
        (0, None, None),
        (1, None, None),
        (2, "a", None),
        (3, "a", "a"),
        (4, "b", "a"),
        (5, "b", "b"),
        (6, "b", "a"),
        (7, "a", "a"),
        (8, "a", None),
        (1000, "a", None),
    ],
)
def test_champion_and_deployment_come_from_the_last_earlier_entries(
    ledger: FakeLedger, minute: int, champion: str | None, deployed: str | None
) -> None:
    state = state_at(ledger.entries(), MORNING + timedelta(minutes=minute))
    assert {name: held.version for name, held in state.champions.items()} == (
        {"iris": champion} if champion else {}
    )
    assert {name: held.version for name, held in state.deployed.items()} == (
        {"staging": deployed} if deployed else {}
    )


@pytest.mark.parametrize(
    ("event", "details", "canary"),
    [
        ("canary", {"share": 25.0}, "c"),
        ("canary", {"share": 0.0}, None),
        ("deploy", {}, None),
        ("rollback", {}, None),
        ("stop", {}, None),
    ],
)
def test_a_canary_ends_with_its_share_or_with_the_next_release(
    ledger: FakeLedger, event: str, details: dict[str, float], canary: str | None
) -> None:
    ledger.append("deploy", "iris", "b", env="staging")
    ledger.append("canary", "iris", "c", env="staging", share=10)
    state = state_at(ledger.entries())
    assert (state.deployed["staging"].version, state.canaries["staging"].version) == ("b", "c")
    ledger.append(event, "iris", "c", env="elsewhere", **details)
    assert state_at(ledger.entries()).canaries["staging"].since.details["share"] == 10
    ledger.append(event, "iris", "c", env="staging", **details)
    state = state_at(ledger.entries())
    held = state.canaries.get("staging")
    assert (held.version if held else None) == canary
    assert champion_of(ledger.entries(), "iris") == "a"


def test_models_and_environments_are_separate(ledger: FakeLedger) -> None:
    ledger.append("promote", "wine", "w")
    ledger.append("deploy", "wine", "w", env="production")
    state = state_at(ledger.entries(), MORNING + timedelta(days=1))
    assert {name: held.version for name, held in state.champions.items()} == {
        "iris": "a",
        "wine": "w",
    }
    assert state.deployed["production"].model_name == "wine"
    assert environments_of(ledger.entries(), "wine") == ["production"]
    ledger.append("stop", "wine", "w", env="production")
    assert environments_of(ledger.entries(), "wine") == []
    assert state.champions["wine"].since.number == 9


def test_an_entry_counts_from_its_own_time_on(ledger: FakeLedger) -> None:
    at = ledger.entries()[1].at
    assert state_at(ledger.entries(), at).champions
    assert not state_at(ledger.entries(), at - timedelta(microseconds=1)).champions


def test_an_entry_made_later_counts_from_the_time_of_its_change_on(ledger: FakeLedger) -> None:
    at = ledger.entries()[-1].at + timedelta(seconds=1)
    ledger.append("deploy", "iris", "c", env="staging", since=at.isoformat())
    assert state_at(ledger.entries(), at).deployed["staging"].version == "c"
    assert not state_at(ledger.entries(), at - timedelta(microseconds=1)).deployed


def test_the_entry_of_the_last_promotion_is_found_in_a_ledger_to_which_it_was_added(
    ledger: FakeLedger,
) -> None:
    version = ModelVersion("iris", "1", "c", "run", MORNING, aliases=("champion",))
    noted = f"{'f' * 64}:{'e' * 64}"
    found = ledger_disagreement(noted, [version], ledger.entries())
    assert found and "another ledger" in found.reason
    ledger.append("train", "iris", "c", entry="f" * 64)
    ledger.append("promote", "iris", "c", entry="e" * 64)
    assert ledger_disagreement(noted, [version], ledger.entries()) is None


def test_the_last_champion_of_each_model_is_found_and_releases_are_ignored(
    ledger: FakeLedger,
) -> None:
    assert champion_of(ledger.entries(), "iris") == "a"
    assert champion_of(ledger.entries()[:6], "iris") == "b"
    assert champion_of(ledger.entries()[:1], "iris") is None
    assert champion_of(ledger.entries(), "wine") is None


@pytest.fixture(name="tokyo")
def _tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine in Tokyo."""
    with monkeypatch.context() as environment:
        environment.setenv("TZ", "Asia/Tokyo")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("tokyo")
@pytest.mark.parametrize(
    "text",
    ["2026-11-20 17:00", "2026-11-20T17:00:00", "2026-11-20 08:00Z", "2026-11-20T09:00+01:00"],
)
def test_a_time_is_local_unless_it_has_a_zone(text: str) -> None:
    assert parse_time(text) == MORNING


@pytest.mark.parametrize(
    "text", [*("", "soon", "2026-13-01", "14:00", "2026-11-20 25:00"), "0001-01-01T00:00+14:00"]
)
def test_an_invalid_time_is_an_error(text: str) -> None:
    with pytest.raises(ValueError):
        parse_time(text)
