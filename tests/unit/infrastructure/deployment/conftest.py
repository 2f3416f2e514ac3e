"""An environment on this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.paths import ROOT
from tests.local_environment import SERVICE, Machine
from tests.served import free_port


@pytest.fixture(name="machine")
def _machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Machine]:
    (tmp_path / "bentoml").mkdir()
    (tmp_path / "bentoml/__main__.py").write_text(SERVICE, encoding="utf-8")
    (tmp_path / "bentoml/__init__.py").touch()
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{ROOT}")
    monkeypatch.setenv("RELEASES_DIR", str(tmp_path))
    monkeypatch.setenv("LEDGER", str(tmp_path / "ledger.jsonl"))
    monkeypatch.delenv("SERVING_API_KEYS", raising=False)
    made = Machine(tmp_path, free_port())
    yield made
    made.environment.stop()
