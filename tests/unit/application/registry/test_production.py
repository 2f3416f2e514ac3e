"""What speaks against a deployment to production."""

from __future__ import annotations

from dataclasses import replace

import pytest

from application.registry.production import WORDS, Deployable, objections
from tests.fakes import FakeLedger

BUILD = Deployable("churn", "2", "churn:2", "c0ffee", (), True)


@pytest.fixture(name="ledger")
def _ledger() -> FakeLedger:
    """The champion 2 of churn was accepted in staging."""
    ledger = FakeLedger()
    ledger.append("promote", "churn", "2")
    ledger.append("deploy", "churn", "2", env="staging", bento_tag="churn:2")
    return ledger


def test_nothing_speaks_against_a_champion_that_was_accepted_in_staging(ledger: FakeLedger) -> None:
    assert not objections(BUILD, ledger.entries())


@pytest.mark.parametrize(
    ("changed", "word", "reason"),
    [
        ({"has_keys": False}, "no-keys", "without a key"),
        ({"commit": "c0ffee-dirty"}, "uncommitted", "it was trained with changes"),
        ({"commit": "unknown"}, "uncommitted", "it was trained with changes"),
        (
            {"changed": ["d.py", "a.py", "c.py", "b.py"]},
            "uncommitted",
            "not committed: a.py, b.py, c.py …",
        ),
        ({"version": "1"}, "no-champion", "1 is not the champion of churn"),
        ({"build": "churn:3"}, "unstaged", "churn:3 was never accepted in staging"),
    ],
)
def test_each_objection_has_a_word(
    ledger: FakeLedger, changed: dict[str, object], word: str, reason: str
) -> None:
    found = objections(replace(BUILD, **changed), ledger.entries())  # type: ignore[arg-type]
    assert list(found) == [word] and reason in found[word]
    assert word in WORDS


def test_a_deployment_elsewhere_is_none_in_staging() -> None:
    ledger = FakeLedger()
    ledger.append("promote", "churn", "2")
    ledger.append("deploy", "churn", "2", env="trial", bento_tag="churn:2")
    ledger.append("canary", "churn", "2", env="staging", bento_tag="churn:2", share=10)
    assert list(objections(BUILD, ledger.entries())) == ["unstaged"]
