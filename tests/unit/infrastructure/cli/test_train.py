"""What happens before a fit; tests/integration/test_chain.py trains."""

from __future__ import annotations

import gc
import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest

from application.training.config import TrainingConfig, config_path
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


def test_a_configuration_that_differs_only_in_what_is_watched_trains_nothing(
    tmp_path: Path,
) -> None:
    config = TrainingConfig.read(config_path("petals"))
    labelled = config.data.model_copy(update={"labelled": "labels.parquet", "reference_rows": 20})
    trained = config.model_copy(update={"data": labelled})  # by make retrain
    provenance, receipt = tmp_path / "provenance.json", tmp_path / "train.json"
    provenance.write_text(json.dumps({"config": trained.model_dump()}), encoding="utf-8")
    recorded = {"package": str(tmp_path), "snapshots": {"data.labelled": "1"}}
    receipt.write_text(json.dumps(recorded), encoding="utf-8")
    same = partial(_training._is_as_trained, receipt)  # pylint: disable=protected-access
    watched = config.watch.model_copy(update={"new_labels": 7})
    assert same(config.model_copy(update={"watch": watched}), None)
    assert not same(config.model_copy(update={"version": "9.0.0"}), None)
    other = config.data.model_copy(update={"labelled": "other.parquet"})
    assert not same(config.model_copy(update={"data": other}), None)
    provenance.unlink()
    assert not same(config, None)
