"""What happens before a fit; tests/integration/test_chain.py trains."""

from __future__ import annotations

import gc
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from infrastructure.cli import _training, train
from infrastructure.cli.__main__ import main

pytestmark = pytest.mark.usefixtures("petals_in_catalog")


@pytest.fixture(name="damaged")
def _damaged(tmp_path: Path) -> str:
    """The URI of a file that is not a database."""
    (tmp_path / "mlflow.db").write_bytes(b"no database" * 1000)
    return f"sqlite:///{tmp_path}/mlflow.db"


@pytest.fixture(name="away")
def _away() -> Iterator[str]:
    """The URI of a server that does not run."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.mark.parametrize(
    ("tracking", "message"),
    [("damaged", "is damaged"), ("away", "does not respond"), ("unwritable", "is not writable")],
)
def test_nothing_is_fitted_that_could_not_be_recorded(
    tracking: str,
    message: str,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    fitted: list[object] = []
    if tracking == "unwritable":
        monkeypatch.setenv("LEDGER", "/proc/x/ledger.jsonl")
    else:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", request.getfixturevalue(tracking))
    monkeypatch.setenv("MODEL_REGISTRY_DIR", str(tmp_path / "packages"))
    monkeypatch.setattr(train, "Background", partial(ThreadPoolExecutor, 1))
    monkeypatch.setattr(_training, "_train_estimator", lambda *args: fitted.append(args))
    try:
        assert main(["train", "--model", "petals"]) == 1
    finally:
        gc.enable()
    assert not fitted
    assert message in capsys.readouterr().err
    assert not (tmp_path / "packages").exists()
