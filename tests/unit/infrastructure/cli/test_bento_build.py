"""A Bento is built only from what validation has accepted."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infrastructure.cli.__main__ import main
from infrastructure.packaging.model_package import ModelPackage
from infrastructure.registry.mlflow_registry import MlflowRegistry
from infrastructure.tracking.mlflow_tracker import open_client
from tests.served import Home, MakeHome

NAME = "petals_pipeline"


@pytest.fixture(name="place")
def _place(tracking: Any, make_home: MakeHome, tmp_path: Path) -> tuple[Any, Home]:
    """An empty registry, and the home that it belongs to."""
    (tmp_path / "build").mkdir()
    return replace(tracking, folder=tmp_path), make_home(tmp_path)


def test_without_a_champion_nothing_is_built_and_no_receipt_is_left(
    place: tuple[Any, Home],
) -> None:
    tracking, home = place
    tracking.record(NAME, "1.0.0-never-judged")
    done = build(home)
    assert done.returncode == 1
    last = done.stderr.splitlines()[-1]
    assert last == f"error: {NAME} has no champion in the registry; its versions: 1"
    assert not home.receipts.exists()


def test_a_champion_that_was_never_accepted_is_not_built_and_a_lost_store_is_made_again(
    place: tuple[Any, Home],
) -> None:
    tracking, home = place
    tracking.record(NAME, "1.0.0-a")
    open_client(tracking.uri).set_registered_model_alias(NAME, "champion", "1")
    done = build(home)
    assert done.returncode == 1
    expected = f"error: {NAME} version 1 (1.0.0-a) has not been validated: run make validate"
    assert done.stderr.splitlines()[-1] == expected

    registry = MlflowRegistry(tracking.uri, tracking.packages_dir)
    registry.record_verdict(registry.find(NAME, "1"), "accepted", home.folder / "build")
    done = build(home)
    assert done.returncode == 0, done.stderr
    receipt = json.loads((home.receipts / "bento-build.json").read_text("utf-8"))
    assert receipt["bento_tag"] == f"{NAME}:1.0.0-a"
    exported = home.receipts / "bento/models" / NAME / "1.0.0-a"
    stored = home.folder / "bentoml/models" / NAME / "1.0.0-a"
    assert ModelPackage(exported, stored=True).manifest == ModelPackage(stored, True).manifest


def build(home: Home) -> subprocess.CompletedProcess[str]:
    """Build the champion's Bento."""
    receipt = str(home.receipts / "bento-build.json")
    return home.python("-m", "infrastructure.cli", "bento-build", "--receipt", receipt)


def test_help_names_the_model_and_the_receipt(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["bento-build", "--help"])
    assert ended.value.code == 0
    text = capsys.readouterr().out
    assert "--model" in text and "--receipt" in text
