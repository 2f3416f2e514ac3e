"""Promotion, rollback and garbage collection with make, and concurrent promotions."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

from infrastructure.registry.ledger import FileLedger
from infrastructure.registry.mlflow_registry import CHAMPION, PREVIOUS, MlflowRegistry
from tests.fakes import PETALS_CONFIG
from tests.served import Home, MakeHome, MakeOnce

NAME = "petals_pipeline"
PIPELINE = "application/training/pipelines/iris_training_pipeline.py"
TREES = (20, 30, 40)
ROUNDS, PROCESSES = 12, 3

PROMOTER = f"""
import random, sys
from application.registry.promotion import promote
from infrastructure.registry.ledger import FileLedger
from infrastructure.registry.mlflow_registry import MlflowRegistry
from shared.settings import Settings

settings, chance = Settings(), random.Random(int(sys.argv[1]))
registry = MlflowRegistry(settings.tracking_uri, settings.packages_dir)
for _ in range({ROUNDS}):
    version = registry.find("{NAME}", chance.choice("123"))
    promote(registry, FileLedger(settings.ledger), version, lambda: None)
"""


@dataclass(frozen=True)
class Place:
    """A home with three accepted versions of petals and no champion."""

    home: Home

    @property
    def registry(self) -> MlflowRegistry:
        """Its registry."""
        return MlflowRegistry(
            self.home.environment["MLFLOW_TRACKING_URI"], self.home.folder / "packages"
        )

    @property
    def ledger(self) -> FileLedger:
        """Its ledger."""
        return FileLedger(self.home.folder / "ledger.jsonl")

    def receipt(self) -> tuple[str, str]:
        """Version and tag in the champion's receipt, from which a Bento is built."""
        receipt = json.loads((self.home.receipts / "champion.json").read_text("utf-8"))
        return receipt["version"], receipt["model_tag"]

    def aliases(self) -> dict[str, str]:
        """Version numbers by alias."""
        versions = self.registry.versions(NAME)
        return {alias: version.number for version in versions for alias in version.aliases}

    def make(self, *arguments: str) -> str:
        """Run make; returns its output."""
        done = self.home.make(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def moves(self) -> list[tuple[str, str | float | None, str]]:
        """Event, previous and new champion of each promotion in the ledger."""
        return [
            (entry.event, entry.details["previous"], entry.version)
            for entry in self.ledger.entries()
            if entry.event in ("promote", "rollback")
        ]


@pytest.fixture(scope="module", autouse=True)
def _restore_uri() -> Iterator[None]:
    """Restore MLFLOW_TRACKING_URI, which MLflow overwrites."""
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("MLFLOW_TRACKING_URI", "")
        yield


@pytest.fixture(scope="module", name="trained")
def _trained(make_once: MakeOnce, make_home: MakeHome) -> Path:
    """Folder of a home with three trained and accepted versions."""

    def make(folder: Path) -> None:
        place, config = Place(make_home(folder)), json.loads(PETALS_CONFIG.read_text("utf-8"))
        verdict = folder / "verdict"
        verdict.mkdir()
        for number, trees in enumerate(TREES, 1):
            config["model"]["n_estimators"] = trees
            (folder / "config.json").write_text(json.dumps(config), encoding="utf-8")
            done = place.home.python(PIPELINE, "--config", str(folder / "config.json"))
            assert done.returncode == 0, done.stderr
            version = place.registry.find(NAME, str(number))
            place.registry.record_verdict(version, "accepted", verdict)

    return make_once("promotion", make)


@pytest.fixture(name="place")
def _place(trained: Path, make_home: MakeHome, tmp_path: Path) -> Place:
    """A copy of that home, which a test may change."""
    return Place(make_home(shutil.copytree(trained, tmp_path / "home")))


def test_an_accepted_version_can_be_promoted_and_rolled_back(place: Place) -> None:
    packages = {v.number: v.package_version for v in place.registry.versions(NAME)}
    place.make("promote", "VERSION=1")
    output = place.make("promote")  # the newest
    assert "model.n_estimators 20 → 40" in output
    assert (place.aliases()[CHAMPION], place.aliases()[PREVIOUS]) == ("3", "1")
    assert place.receipt() == (packages["3"], f"{NAME}:{packages['3']}")

    output = place.make("rollback")
    assert f"champion  {NAME} version 1, {packages['1']}, " in output
    assert "model.n_estimators 40 → 20" in output
    assert "data      the same, " in output
    assert "contract  the same" in output
    assert place.receipt() == (packages["1"], f"{NAME}:{packages['1']}")
    assert (place.aliases()[CHAMPION], place.aliases()[PREVIOUS]) == ("1", "3")
    place.make("rollback")
    assert (place.aliases()[CHAMPION], place.aliases()[PREVIOUS]) == ("3", "1")
    assert "already" in place.make("promote", "VERSION=3")
    assert place.moves() == [
        ("promote", None, packages["1"]),
        ("promote", packages["1"], packages["3"]),
        ("rollback", packages["3"], packages["1"]),
        ("rollback", packages["1"], packages["3"]),
    ]

    listed = place.make("registry")
    assert "WARNING" not in listed
    assert listed.index(packages["3"]) < listed.index(packages["2"]) < listed.index(packages["1"])
    between = place.ledger.entries()[-2].at.isoformat()
    assert f"champion  {NAME} {packages['1']}" in place.make("which-model", f"AT={between}")
    assert f"champion  {NAME} {packages['3']}" in place.make("which-model")


def test_an_unused_package_is_removed_from_disk_and_store_and_stays_registered(
    place: Place,
) -> None:
    packages = {v.number: v.package_version for v in place.registry.versions(NAME)}
    for number in ("1", "2", "3"):
        place.make("promote", f"VERSION={number}")
    assert "would be freed" in place.make("gc", "KEEP=0", "DRY_RUN=1")
    place.make("gc", "KEEP=0")
    home = place.home.folder
    needed = {packages["2"], packages["3"]}
    assert {path.name for path in (home / "packages" / NAME).iterdir()} == needed
    stored = {path.name for path in (home / "bentoml/models" / NAME).iterdir()} - {"latest"}
    assert stored == needed
    assert [version.number for version in place.registry.versions(NAME)] == ["3", "2", "1"]
    done = place.home.make("rollback", "VERSION=1")
    assert done.returncode != 0
    assert "the package of petals_pipeline version 1 is missing" in done.stderr
    assert place.aliases()[CHAMPION] == "3"


def test_concurrent_promotions_leave_one_champion_and_one_history(place: Place) -> None:
    environment = {**place.home.environment, "PYTHONPATH": str(place.home.root)}
    processes = [
        subprocess.Popen(  # pylint: disable=consider-using-with  # waited for below
            [sys.executable, "-c", PROMOTER, str(seed)], cwd=place.home.root, env=environment
        )
        for seed in range(PROCESSES)
    ]
    seen = 0
    while any(process.poll() is None for process in processes):
        champions = [v for v in place.registry.versions(NAME) if CHAMPION in v.aliases]
        assert len(champions) == 1 or not seen
        seen += len(champions)
    assert [process.wait() for process in processes] == [0] * PROCESSES
    assert seen

    moves = place.moves()
    assert len(moves) > PROCESSES
    assert moves[0][1] is None
    assert all(before[2] == after[1] for before, after in pairwise(moves))
    _, previous, champion = moves[-1]
    numbers = {v.package_version: v.number for v in place.registry.versions(NAME)}
    assert place.aliases()[CHAMPION] == numbers[champion]
    assert place.aliases()[PREVIOUS] == numbers[str(previous)]
