"""The output of the registry commands; tests/integration/test_promotion.py promotes."""

from __future__ import annotations

import os
import re
import shutil
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from application.registry.collection import Stored
from infrastructure.cli import gc
from infrastructure.cli.__main__ import main
from infrastructure.packaging.model_package import training_lock
from infrastructure.registry import mlflow_registry
from infrastructure.registry.ledger import FileLedger
from infrastructure.registry.mlflow_registry import MlflowRegistry
from infrastructure.tracking.mlflow_tracker import MlflowTracker, open_client

pytestmark = pytest.mark.usefixtures("petals_in_catalog")
PETALS, WINE = "petals_pipeline", "wine_classifier"


@dataclass(frozen=True)
class Place:
    """A registry with three versions of petals, the second the champion, and a ledger."""

    folder: Path
    registry: MlflowRegistry
    ledger: FileLedger


@pytest.fixture(scope="module", name="recorded")
def _recorded(tracking: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a registry, which each test copies."""
    folder = tmp_path_factory.mktemp("recorded")
    own = type(tracking)(folder, tracking.make_package)
    registry = MlflowRegistry(own.uri, own.packages_dir)
    for version in ("1.0.0-a", "1.0.0-b", "1.0.0-c"):
        own.record(PETALS, version)
        registry.record_verdict(registry.find(PETALS, version), "accepted", _empty(folder))
    registry.promote(PETALS, "1.0.0-b")
    return folder


@pytest.fixture(name="place")
def _place(recorded: Path, tracking: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    own = type(tracking)(tmp_path, tracking.make_package)
    for name, value in {
        "MLFLOW_TRACKING_URI": own.uri,
        "MODEL_REGISTRY_DIR": str(own.packages_dir),
        "RELEASES_DIR": str(tmp_path / "releases"),
        "BENTOML_HOME": str(tmp_path / "bento"),
        "LEDGER": str(tmp_path / "ledger.jsonl"),
    }.items():
        monkeypatch.setenv(name, value)
    registry = MlflowRegistry(own.uri, own.packages_dir)
    return Place(tmp_path, registry, FileLedger(tmp_path / "ledger.jsonl"))


def enter_promotion(place: Place) -> None:
    """Enter the training and promotion of the champion into the ledger and the registry."""
    first = place.ledger.append("train", PETALS, "1.0.0-b")
    entry = place.ledger.append("promote", PETALS, "1.0.0-b")
    place.registry.note_ledger(PETALS, f"{first.hash}:{entry.hash}")


def _empty(folder: Path) -> Path:
    made = folder / "verdict"
    made.mkdir(exist_ok=True)
    return made


def test_the_list_has_every_version_with_what_is_known_of_it(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    (place.registry.folder_of(place.registry.find(PETALS, "1"))).rename(place.folder / "away")
    assert main(["registry"]) == 0
    title, header, *rows = capsys.readouterr().out.splitlines()
    assert title == f"  model     {PETALS}"
    assert header.split() == "version aliases verdict quality age package deployed".split()
    assert [re.split(r"\s{2,}", row.strip())[:3] for row in rows] == [
        ["3", "candidate", "accepted"],
        ["2", "champion", "accepted"],
        ["1", "accepted", "accuracy 0.900"],
    ]
    assert "1.0.0-b" in rows[1] and rows[2].endswith("gone")


def test_a_named_model_is_listed_alone(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    client = open_client(place.registry.uri)
    client.create_registered_model(WINE)
    assert place.registry.model_names() == [PETALS, WINE]
    assert main(["registry", "--model", "petals"]) == 0
    assert WINE not in capsys.readouterr().out
    client.delete_registered_model(PETALS)
    assert main(["registry", "--model", "petals"]) == 0
    assert capsys.readouterr().out.splitlines() == [f"  model     {PETALS} has no versions"]


def test_a_champion_missing_in_the_ledger_is_reported(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    enter_promotion(place)
    assert main(["registry"]) == 0
    assert "WARNING" not in capsys.readouterr().out
    place.registry.promote(PETALS, "1.0.0-c")  # without make promote
    assert main(["registry"]) == 0
    assert "is 1.0.0-c in the registry, but 1.0.0-b in the ledger" in capsys.readouterr().out


def test_a_truncated_ledger_is_reported(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    enter_promotion(place)
    first, _ = place.ledger.path.read_text("utf-8").splitlines(keepends=True)
    place.ledger.path.write_text(first, encoding="utf-8")
    assert main(["registry"]) == 0
    assert "WARNING   the entry of the last promotion" in capsys.readouterr().out


@pytest.mark.parametrize("begun", [True, False])
def test_the_ledger_of_another_clone_causes_no_warning(
    place: Place, begun: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    enter_promotion(place)
    place.ledger.path.unlink()
    if begun:
        place.ledger.append("promote", PETALS, "1.0.0-a")
    assert main(["registry"]) == 0
    output = capsys.readouterr().out
    assert f"the last promotion of {PETALS} was recorded in another ledger" in output
    assert "WARNING" not in output


def test_which_model_reads_the_ledger(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["which-model"]) == 0
    assert "the ledger is empty" in capsys.readouterr().out
    place.ledger.append("promote", PETALS, "1.0.0-b")
    place.ledger.append("deploy", WINE, "2.0.0-a", env="staging")
    assert main(["which-model"]) == 0
    _, champion, staging = capsys.readouterr().out.splitlines()
    assert f"champion  {PETALS} 1.0.0-b, since " in champion
    assert f"staging   {WINE} 2.0.0-a, since " in staging
    place.ledger.append("canary", WINE, "2.0.0-b", env="staging", share=10)
    assert main(["which-model"]) == 0
    canary = capsys.readouterr().out.splitlines()[-1]
    assert f"staging canary (10 %) {WINE} 2.0.0-b, since " in canary
    assert main(["which-model", "--model", "petals"]) == 0
    assert WINE not in capsys.readouterr().out
    assert main(["which-model", "--at", "2020-01-01 12:00"]) == 0
    assert (
        "result    no champion and no deployment at that time; the ledger begins"
        in capsys.readouterr().out
    )


def test_a_damaged_ledger_is_reported(place: Place, capsys: pytest.CaptureFixture[str]) -> None:
    place.ledger.path.write_text("{}\n", encoding="utf-8")
    assert main(["which-model"]) == 1
    assert "line 1: not a ledger entry" in capsys.readouterr().err
    assert main(["registry"]) == 0
    assert "WARNING " in capsys.readouterr().out


@pytest.mark.parametrize("action", ["promote", "rollback", "validate"])
def test_nothing_is_judged_or_promoted_that_the_ledger_cannot_record(
    place: Place,
    action: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    place.registry.promote(PETALS, "1.0.0-a")
    place.registry.promote(PETALS, "1.0.0-b")
    monkeypatch.setenv("LEDGER", "/proc/x/ledger.jsonl")
    monkeypatch.setenv("RECEIPTS_DIR", str(place.folder / "build"))
    assert main([action, "--model", "petals"]) == 1
    assert "the ledger /proc/x/ledger.jsonl is not writable" in capsys.readouterr().err
    assert "champion" in place.registry.find(PETALS, "1.0.0-b").aliases
    assert not (place.folder / "build").exists()


def test_a_dry_run_removes_nothing_and_a_collection_what_nothing_needs(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    draft = place.registry.packages_dir / PETALS / ".1.0.0-d.draft"
    draft.mkdir()
    os.utime(draft, (1, 1))
    assert main(["gc", "--keep", "1", "--dry-run"]) == 0
    output = capsys.readouterr().out
    assert "draft     petals_pipeline 1.0.0-d" in output
    assert "package   petals_pipeline 1.0.0-a" in output
    assert "would be freed" in output and len(output.splitlines()) == 3
    assert draft.exists()
    assert main(["gc", "--keep", "1"]) == 0
    assert "MB freed; for MLflow's artifacts, see mlflow gc" in capsys.readouterr().out
    left = {path.name for path in (place.registry.packages_dir / PETALS).iterdir()}
    assert left == {"1.0.0-b", "1.0.0-c"}
    assert [v.number for v in place.registry.versions(PETALS)] == ["3", "2", "1"]
    assert main(["gc", "--keep", "1"]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("  space     0.0 MB freed")


def test_files_of_a_killed_training_are_collected(
    place: Place, tracking: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    packages = place.registry.packages_dir
    sealed = tracking.make_package(packages, "never_registered", "1.0.0-a")
    training_lock(sealed).touch()
    tracker, client = MlflowTracker(place.registry.uri), open_client(place.registry.uri)
    run_id = tracker.begin("killed", "1.0.0-a")
    client.set_tag(run_id, "training_process", f"{socket.gethostname()} {os.getpid()} 1")
    assert main(["gc"]) == 0
    output = capsys.readouterr().out
    assert "package   never_registered 1.0.0-a" in output
    assert f"run       {run_id[:8]}, whose training was killed, is now marked KILLED" in output
    assert not list((packages / "never_registered").iterdir())
    assert client.get_run(run_id).info.status == "KILLED"


def test_a_collection_prevents_concurrent_promotions(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    removed = []

    def remove(item: Stored) -> None:
        with ThreadPoolExecutor() as another, pytest.raises(TimeoutError, match="another process"):
            another.submit(_take, place.registry).result()
        removed.append(item.version)

    monkeypatch.setattr(gc, "remove", remove)
    monkeypatch.setattr(mlflow_registry, "LOCK_SECONDS", 0.0)
    assert main(["gc", "--keep", "1"]) == 0
    assert removed == ["1.0.0-a"]
    _take(place.registry)


def _take(registry: MlflowRegistry) -> None:
    with registry.alone():
        pass


def test_an_empty_registry_says_how_to_register_a_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(MlflowRegistry, "model_names", lambda self: [])
    monkeypatch.setenv("RELEASES_DIR", str(tmp_path / "releases"))
    monkeypatch.setenv("LEDGER", str(tmp_path / "ledger.jsonl"))
    assert main(["registry"]) == 0
    expected = "  registry  no model is registered yet: run make train\n"
    assert capsys.readouterr().out == expected


def test_nothing_to_go_back_to_is_an_error(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rollback", "--model", "petals"]) == 1
    assert f"error: {PETALS} has no previous champion" in capsys.readouterr().err
    assert main(["promote", "--model", "petals", "--version", "4"]) == 1
    assert (
        f"error: {PETALS} has no 4 in the registry; its versions: 3, 2, 1\n"
        in capsys.readouterr().err
    )
    assert not place.ledger.path.exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["which-model", "--at", "soon"], "'soon' is not a time"),
        (["deploy", "--bento", "x", "--canary", "0"], "'0' is not a percentage from 1 to 99"),
        (["deploy", "--bento", "x", "--canary", "100"], "'100' is not a percentage from 1 to 99"),
        (["deploy", "--bento", "x", "--canary-by", "a:"], "'a:' is not the name of a header"),
        (["gc", "--keep", "-1"], "'-1' is not a number of versions"),
        (["gc", "--keep", "all"], "'all' is not a number of versions"),
    ],
)
def test_a_wrong_call_is_reported(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert message in capsys.readouterr().err


def test_a_promotion_names_the_previous_champion(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    enter_promotion(place)
    assert main(["promote", "--model", "petals", "--version", "1.0.0-c"]) == 0
    output = capsys.readouterr().out
    assert "  previous  version 2, 1.0.0-b, " in output
    assert "  next      make deploy MODEL=petals builds " in output


def test_a_promotion_names_the_environments_that_serve_the_model(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    enter_promotion(place)
    for environment in ("production", "trial"):
        place.ledger.append("deploy", PETALS, "1.0.0-b", env=environment)
    assert main(["promote", "--model", "petals", "--version", "1.0.0-c"]) == 0
    output = capsys.readouterr().out
    assert "make deploy MODEL=petals ENV=production builds" in output
    assert "make deploy MODEL=petals ENV=trial builds" in output
