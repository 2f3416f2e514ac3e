"""What a backup has of environments, and where it goes when it is restored."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path

import psutil
import pytest

from domain.errors import StateError
from infrastructure.deployment.local import LocalEnvironment
from infrastructure.deployment.release import Canary, read_release
from infrastructure.registry.backup import back_up, restore
from infrastructure.registry.ledger import FileLedger
from tests.local_environment import release_of, write_front, write_state


class Clone:
    """A clone with a ledger and environments."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.environments = folder, folder / "releases"
        self.places = {
            "ledger.jsonl": folder / "ledger.jsonl",
            "application/registry/model_registry": folder / "packages",
        }

    def deploy(self, name: str = "staging", **variables: str) -> None:
        """Write the files of a release that this process is, of its canary, and of its log."""
        folder = self.environments / name
        release = release_of(psutil.Process(), variables=variables, api_key="secret")
        current = write_state(folder, release)
        tried = replace(release, version="2", folder=str(folder / "releases/2"))
        state = replace(current, canary=Canary(tried, 10))
        (folder / "current.json").write_text(json.dumps(asdict(state)), encoding="utf-8")
        write_front(folder, release, 3005)
        for number in ("1", "2", "3"):
            bento = folder / f"releases/{number}/bento"
            bento.mkdir(parents=True)
            (bento / "bento.yaml").write_text(number, encoding="utf-8")
            (bento.parent / "service.log").write_text("line", encoding="utf-8")
        log = sqlite3.connect(folder / "predictions.db")
        with closing(log), log:
            log.execute("CREATE TABLE predictions (id)")
            log.execute("INSERT INTO predictions VALUES (7)")


@pytest.fixture(name="clone")
def _clone(tmp_path: Path) -> Clone:
    made = Clone(tmp_path / "here")
    FileLedger(made.places["ledger.jsonl"]).append("promote", "iris", "1")
    return made


def test_an_environment_is_restored_as_after_a_reboot(clone: Clone, tmp_path: Path) -> None:
    clone.deploy(SERVING_MAX_ROWS="7", PREDICTION_LOG_URL=f"sqlite:///{tmp_path / 'other.db'}")
    (clone.environments / "staging/predictions.db").rename(tmp_path / "other.db")
    archive, there = tmp_path / "backups/a.tar.gz", Clone(tmp_path / "there")
    assert not back_up(clone.places, clone.environments, archive)
    assert restore(there.places, there.environments, archive) == [
        "loaded",
        "staging: restored; make start ENV=staging serves it again",
    ]
    folder = there.environments / "staging"
    release = read_release(folder / "current.json")
    assert release and release.canary and release.process() is None and release.api_key == "secret"
    assert release.variables == {"SERVING_MAX_ROWS": "7"}
    assert release.canary.release.bento == folder / "releases/2/bento"
    assert {path.parent.parent.name for path in folder.rglob("bento.yaml")} == {"1", "2"}
    assert not list(folder.rglob("service.log"))
    environment = LocalEnvironment(folder)
    assert environment.port == 3005 and "DEAD (release and front ended)" in environment.status()
    with closing(sqlite3.connect(folder / "predictions.db")) as log:
        assert log.execute("SELECT id FROM predictions").fetchall() == [(7,)]


def test_what_is_deployed_here_stays(clone: Clone, tmp_path: Path) -> None:
    clone.deploy()
    clone.deploy("trial")
    archive, there = tmp_path / "a.tar.gz", Clone(tmp_path / "there")
    back_up(clone.places, clone.environments, archive)
    there.deploy("trial", SERVING_MAX_ROWS="9")
    before = (there.environments / "trial/current.json").read_bytes()
    done = restore(there.places, there.environments, archive)
    assert done[1:] == [
        "staging: restored; make start ENV=staging serves it again",
        "trial: left as it is here",
    ]
    assert (there.environments / "trial/current.json").read_bytes() == before


def test_a_log_on_a_server_is_named_and_a_damaged_one_is_an_error(
    clone: Clone, tmp_path: Path
) -> None:
    clone.deploy(PREDICTION_LOG_URL="postgresql://me:secret@db/log")
    archive = tmp_path / "a.tar.gz"
    assert back_up(clone.places, clone.environments, archive) == ["staging: postgresql"]
    clone.deploy("trial")
    (clone.environments / "trial/predictions.db").write_bytes(b"no database" * 1000)
    before = archive.read_bytes()
    with pytest.raises(StateError, match="predictions.db cannot be backed up"):
        back_up(clone.places, clone.environments, archive)
    assert archive.read_bytes() == before


def test_a_damaged_state_is_backed_up_as_it_is(clone: Clone, tmp_path: Path) -> None:
    clone.deploy()
    (clone.environments / "staging/current.json").write_text("{", encoding="utf-8")
    archive, there = tmp_path / "a.tar.gz", Clone(tmp_path / "there")
    back_up(clone.places, clone.environments, archive)
    restore(there.places, there.environments, archive)
    assert "UNKNOWN" in LocalEnvironment(there.environments / "staging").status()
