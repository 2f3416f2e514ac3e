"""How a reproduction is interrupted; tests/integration/test_reproduce.py has complete ones."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator

import pytest

from infrastructure.cli import reproduce
from infrastructure.cli.__main__ import main
from infrastructure.cli._exit import INTERRUPTED

ENDINGS = (signal.SIGTERM, signal.SIGHUP)


@pytest.fixture(autouse=True)
def _handlers_are_put_back() -> Iterator[None]:
    # as if the tests did not run under nohup
    before = {ending: signal.signal(ending, signal.SIG_DFL) for ending in ENDINGS}
    yield
    for ending, handler in before.items():
        signal.signal(ending, handler)


@pytest.mark.parametrize("ending", ENDINGS)
def test_cleanup_runs_however_a_command_ends(
    ending: signal.Signals, monkeypatch: pytest.MonkeyPatch
) -> None:
    tidied = []

    def run(_: object) -> int:
        try:
            os.kill(os.getpid(), ending)
            time.sleep(10)
        finally:
            for another in ENDINGS:
                os.kill(os.getpid(), another)
            tidied.append(ending)
        return 0

    monkeypatch.setattr(reproduce, "run", run)
    assert main(["reproduce", "--run", "1"]) == INTERRUPTED
    assert tidied == [ending]


def test_under_nohup_a_closed_terminal_ends_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(_: object) -> int:
        os.kill(os.getpid(), signal.SIGHUP)
        return 0

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    monkeypatch.setattr(reproduce, "run", run)
    assert main(["reproduce", "--run", "1"]) == 0
