"""Commands for environments that run elsewhere."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from application.inference.api_keys import entry_of, new_key
from infrastructure.cli.__main__ import main
from infrastructure.deployment.targets import OPENERS, Place, Target, Wanted, recorded_place
from infrastructure.registry.ledger import FileLedger
from tests.local_environment import Machine

DIGEST = {number: f"sha256:{number * 64}" for number in "12"}


class Cluster:
    """Notes what is deployed to it."""

    def __init__(self) -> None:
        self.deployed: list[Wanted] = []
        self.places: list[tuple[Place, str]] = []

    def open(self, place: Place, folder: Path) -> Target:
        """An adapter for the cluster."""
        self.places.append((place, place.name(folder.name)))
        return Target(place, self, self.deployed.append)

    def rollback(self) -> object:
        """Remove the last one."""
        return self.deployed.pop()

    def stop(self) -> bool:
        """Remove all."""
        was_running = bool(self.deployed)
        self.deployed.clear()
        return was_running

    def status(self) -> str:
        """The version."""
        return f"version {self.deployed[-1].version}" if self.deployed else ""

    def logs(self, lines: int = 100) -> str:
        """Two lines, the second with a control character."""
        return f"{lines} lines\nof \x1b[31ma pod\n"


@pytest.fixture(name="cluster")
def _cluster(monkeypatch: pytest.MonkeyPatch) -> Cluster:
    made = Cluster()
    monkeypatch.setitem(OPENERS, "kubernetes", made.open)
    return made


def deploy(machine: Machine, version: str, *options: str, pushed: bool = True) -> int:
    """Deploy a version to the cluster."""
    build = machine.folder / f"builds/iris-{version}-"
    if not build.exists():
        machine.build(version)
    receipt = {"bento_tag": f"iris:{version}", "image": f"iris:{version}", "digest": "sha256:0"}
    (build / "containerize.json").write_text(json.dumps(receipt), encoding="utf-8")
    if pushed:
        reference = {"reference": f"registry.example.org/iris@{DIGEST[version]}"}
        (build / "push.json").write_text(json.dumps(receipt | reference), encoding="utf-8")
    target = () if "--target" in options else ("--target", "kubernetes")
    return main(["deploy", "--bento", str(build / "bento-build.json"), *target, *options])


def test_an_environment_stays_where_it_was_deployed_to_and_every_command_finds_it(
    machine: Machine,
    cluster: Cluster,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("API_KEY", "a key")
    assert deploy(machine, "1", "--namespace", "models", "--values", "a.yaml,b.yaml") == 0
    assert deploy(machine, "2") == 0
    (first, second), (place, name) = cluster.deployed, cluster.places[-1]
    assert second.reference.endswith(DIGEST["2"]) and second.api_key == "a key"
    assert (first.version, second.version) == ("1", "2")
    assert (place.namespace, place.values, name) == ("models", ("a.yaml", "b.yaml"), "iris-staging")
    capsys.readouterr()
    assert main(["status"]) == 0
    assert "  staging   kubernetes: version 2" in capsys.readouterr().out
    assert main(["logs", "--lines", "7"]) == 0
    assert capsys.readouterr().out.split() == ["7", "lines", "of", "\\x1b[31ma", "pod"]
    assert main(["rollback-release"]) == 0
    assert cluster.status() == "version 1"
    assert main(["stop"]) == 0 and main(["stop"]) == 0
    assert not cluster.deployed and recorded_place(machine.folder / "staging") is None
    assert machine.ledger() == [
        *(("deploy", "1", None), ("deploy", "2", None), ("rollback", "1", None)),
        ("stop", "1", None),
    ]
    entry = FileLedger(machine.folder / "ledger.jsonl").entries()[1]
    assert (entry.details["target"], entry.details["digest"]) == ("kubernetes", DIGEST["2"])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--target", "local"), "staging runs on kubernetes: add TARGET=kubernetes"),
        (("--watch", "5"), "TARGET=kubernetes does not have WATCH"),
        (("--canary", "5"), "TARGET=kubernetes does not have CANARY"),
        (("--port", "3009"), "TARGET=kubernetes does not have PORT"),
    ],
)
def test_what_a_target_does_not_have_is_refused(
    machine: Machine,
    cluster: Cluster,
    capsys: pytest.CaptureFixture[str],
    options: tuple[str, ...],
    message: str,
) -> None:
    assert deploy(machine, "1") == 0
    assert deploy(machine, "2", *options) == 1
    assert message in capsys.readouterr().err
    assert cluster.status() == "version 1"


def test_an_image_that_was_not_pushed_or_is_of_another_build_is_refused(
    machine: Machine, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    assert deploy(machine, "1", pushed=False) == 1
    assert "no image of iris:1 to deploy: push it, with make push" in capsys.readouterr().err
    assert deploy(machine, "1") == 0
    build = machine.folder / "builds/iris-1-"
    receipt = {"bento_tag": "iris:0", "image": "iris:0", "reference": "iris:0"}
    (build / "push.json").write_text(json.dumps(receipt), encoding="utf-8")
    arguments = ["--bento", str(build / "bento-build.json"), "--target", "kubernetes"]
    assert main(["deploy", *arguments]) == 1
    assert len(cluster.deployed) == 1


def test_what_runs_on_this_machine_is_stopped_first(
    machine: Machine, cluster: Cluster, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.deploy("2")
    assert deploy(machine, "1") == 1
    assert "staging runs on this machine: run make stop ENV=staging first" in (
        capsys.readouterr().err
    )
    assert not cluster.deployed


def test_keys_are_kept_where_the_shell_sets_them_and_left_alone_where_the_target_has_its_own(
    machine: Machine,
    cluster: Cluster,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(OPENERS, "compose", cluster.open)
    keys = entry_of("me", new_key())
    monkeypatch.setenv("SERVING_API_KEYS", keys)
    assert deploy(machine, "1", "--target", "compose") == 0
    monkeypatch.delenv("SERVING_API_KEYS")
    assert deploy(machine, "2", "--target", "compose", "--workers", "2") == 0
    first, second = cluster.deployed
    assert first.variables == {"SERVING_API_KEYS": keys, "WORKERS": "1"}
    assert second.variables == {"SERVING_API_KEYS": keys, "WORKERS": "2"}
    for path in (machine.folder / "staging").glob("*.json"):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    (machine.folder / "staging/variables.json").write_text("damaged", encoding="utf-8")
    assert deploy(machine, "1", "--target", "compose") == 1  # or it would have no keys
    assert main(["stop"]) == 0
    monkeypatch.setenv("SERVING_API_KEYS", keys)
    capsys.readouterr()
    assert deploy(machine, "1") == 0
    assert "ignored   SERVING_API_KEYS: kubernetes has its own" in capsys.readouterr().out
    assert not cluster.deployed[-1].variables
    assert main(["stop"]) == 0


def test_production_takes_only_the_digest_that_staging_has(
    machine: Machine,
    cluster: Cluster,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("API_KEY", "a key")
    FileLedger(machine.folder / "ledger.jsonl").append("promote", "iris", "1")
    production = ("--env", "production", "--allow", "uncommitted")
    assert deploy(machine, "1", *production) == 1
    assert f"{DIGEST['1']} was never accepted in staging" in capsys.readouterr().out
    assert deploy(machine, "1") == 0
    assert deploy(machine, "1", *production) == 0
    assert [name for _, name in cluster.places][-1] == "iris-production"
    assert main(["stop", "--env", "production"]) == 0
    assert main(["stop"]) == 0


def test_a_damaged_record_is_an_error_that_says_what_to_do(
    machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = machine.folder / "staging"
    folder.mkdir()
    (folder / "target.json").write_text("{", encoding="utf-8")
    assert main(["logs"]) == 1
    assert "target.json is damaged: deploy again with TARGET" in capsys.readouterr().err
    assert main(["status"]) == 0
    assert "UNKNOWN" in capsys.readouterr().out
    (folder / "target.json").unlink()


def test_production_elsewhere_needs_keys_of_its_own_and_keeps_them(
    machine: Machine, cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(OPENERS, "compose", cluster.open)
    monkeypatch.setenv("API_KEY", "of another service")
    FileLedger(machine.folder / "ledger.jsonl").append("promote", "iris", "1")
    options = ("--target", "compose")
    production = (*options, "--env", "production", "--allow", "uncommitted")
    assert deploy(machine, "1", *options) == 0
    assert deploy(machine, "1", *production) == 1
    monkeypatch.setenv("SERVING_API_KEYS", "none")
    assert deploy(machine, "1", *production) == 1
    monkeypatch.setenv("SERVING_API_KEYS", entry_of("me", new_key()))
    assert deploy(machine, "1", *production) == 0
    monkeypatch.delenv("SERVING_API_KEYS")
    assert deploy(machine, "1", *production) == 0
    for name in ("production", "staging"):
        assert main(["stop", "--env", name]) == 0
