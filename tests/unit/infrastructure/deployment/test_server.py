"""A server as seen by its client: what is run there, and what is left when something fails.

The programs of the server are scripts here, and ssh runs them on this machine; a rollout with a
real sshd, Podman and Caddy is in the integration tests.
"""

from __future__ import annotations

import subprocess
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from domain.contract import ModelSpec, Number, Quantity
from domain.errors import DeploymentError
from infrastructure.deployment.golden import Golden
from infrastructure.deployment.server import Host, Server, Shipment

# the last word is what to run on the server; -N only forwards a port, which fails here
SSH = """#!/bin/sh
for last; do [ "$last" = -N ] && exit 255; done
PATH="{folder}/bin:/usr/bin:/bin" exec sh -c "$last"
"""
PROGRAM = """#!/bin/sh
echo "${0##*/} $*" >>"{folder}/calls"
case "$*" in
*"image inspect"*) echo sha256:42;;
*"logs --tail"*) echo 'error: SERVING_QUEUE is not a number';;
esac
"""
LARGE = """#!/bin/sh
echo "${0##*/} $*" >>"{folder}/calls"
case "$*" in
*Size*) echo 9000000000000000;;
*GraphRoot*) echo "{folder}";;
*"image inspect"*) [ -e "{folder}/asked" ] || echo sha256:43; touch "{folder}/asked";;
esac
"""
SPEC = ModelSpec("sizes", (Number("width", "cm", 0, 10),), Quantity("size"))
SHIPMENT = Shipment(
    f"ghcr.io/shop/sizes@sha256:{'d' * 64}", "", "1.0.0-a", Golden(SPEC, [], []), {"A": "secret"}
)


@dataclass(frozen=True)
class Place:
    """A server, which is a folder."""

    folder: Path

    @property
    def target(self) -> Host:
        """Its environment."""
        return Host(
            *("shop@example.org", "staging", 3000),
            folder=str(self.folder / "home"),
            ssh=(str(self.folder / "ssh"),),
        )

    @property
    def environment(self) -> Path:
        """The folder of its environment."""
        return self.folder / "home/staging"

    def write(self, name: str, content: str, executable: bool = False) -> None:
        """Write a file of the server."""
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content.replace("{folder}", str(self.folder)), encoding="utf-8")
        path.chmod(0o755 if executable else 0o644)

    def calls(self, program: str) -> list[str]:
        """What a program was called with."""
        calls = self.folder / "calls"
        lines = calls.read_text(encoding="utf-8").splitlines() if calls.exists() else []
        calls = [line.partition(" ")[2] for line in lines if line.startswith(f"{program} ")]
        return [call for call in calls if call != "info"]


@pytest.fixture(name="place")
def _place(tmp_path: Path) -> Place:
    place = Place(tmp_path)
    place.write("ssh", SSH, executable=True)
    place.write("bin/podman", PROGRAM, executable=True)
    return place


def serve(place: Place, release: str, previous: str = "") -> None:
    """Let a release serve, as a deployment leaves it."""
    place.write("home/caddy/staging.caddy", ":3000 {\n}\n")
    if release.endswith("-1"):
        place.write("home/caddy/staging/1", "")
    for name in filter(None, (release, previous)):
        place.write(f"home/staging/slot-{name[-1]}", name)
        place.write(f"home/staging/releases/{name}/run", f"podman run {name}\n")


def test_a_failed_deployment_shows_the_last_lines_and_leaves_the_current_release(
    place: Place, capsys: pytest.CaptureFixture[str]
) -> None:
    serve(place, "20260101000000-0")
    with pytest.raises(DeploymentError, match="no tunnel to shop@example.org"):
        Server(place.target).deploy(SHIPMENT)
    assert "error: SERVING_QUEUE is not a number" in capsys.readouterr().out
    calls = place.calls("podman")
    assert f"pull {SHIPMENT.image}" in calls
    assert calls[-1] == "rm --force mlops-staging-1"
    assert not any(call.endswith("mlops-staging-0") for call in calls)
    assert not (place.folder / "home/caddy/staging/1").exists()
    assert (place.environment / "slot-0").read_text(encoding="utf-8") == "20260101000000-0"


def test_an_image_that_the_server_has_no_room_for_is_not_sent(place: Place) -> None:
    place.write("bin/podman", LARGE, executable=True)
    engine = str(place.folder / "bin/podman")
    with pytest.raises(DeploymentError, match=r"needs 8,\d+,\d+,\d+ MiB, and the disk has .* left"):
        Server(place.target).deploy(replace(SHIPMENT, image="sizes:1", engine=engine))
    assert not any(call.startswith(("load", "run")) for call in place.calls("podman"))


def test_a_release_is_locked_down_and_its_variables_are_private(place: Place) -> None:
    with pytest.raises(DeploymentError, match="no tunnel"):
        Server(place.target).deploy(SHIPMENT)
    (variables,) = place.environment.glob("releases/*-1/env")
    assert variables.stat().st_mode & 0o777 == 0o600
    assert place.environment.stat().st_mode & 0o777 == 0o700
    lines = variables.read_text(encoding="utf-8").splitlines()
    assert {"A=secret", "BENTOML_HOME=/tmp", "SERVING_ENVIRONMENT=staging"} < set(lines)
    (run,) = [call for call in place.calls("podman") if call.startswith("run ")]
    assert "secret" not in run
    assert run.endswith("sha256:42")
    for option in ("--read-only", "--cap-drop=ALL", "--restart=always"):
        assert f"{option} " in run
    assert "--publish=127.0.0.1:13001:3000" in run


def test_docker_is_preferred_and_restarts_what_was_not_stopped(place: Place) -> None:
    place.write("bin/docker", PROGRAM, executable=True)
    with pytest.raises(DeploymentError, match="no tunnel"):
        Server(place.target).deploy(SHIPMENT)
    (run,) = [call for call in place.calls("docker") if call.startswith("run ")]
    assert "--restart=unless-stopped " in run
    assert not place.calls("podman")


def test_a_variable_with_a_line_break_would_be_two(place: Place) -> None:
    with pytest.raises(DeploymentError, match="a line break"):
        Server(place.target).deploy(replace(SHIPMENT, variables={"A": "1\nB=2"}))
    assert not any(call.startswith("run ") for call in place.calls("podman"))


def test_every_action_is_on_record(place: Place) -> None:
    with pytest.raises(DeploymentError):
        Server(place.target).deploy(SHIPMENT)
    with pytest.raises(DeploymentError):
        Server(place.target).rollback()
    lines = (place.environment / "audit.log").read_text(encoding="utf-8").splitlines()
    assert [line.split()[2:] for line in lines] == [["deploy", "1.0.0-a"], ["rollback"]]


def test_two_deployments_at_once_are_refused(place: Place) -> None:
    serve(place, "20260101000000-0")
    lock = place.environment / "lock"
    with subprocess.Popen(["flock", str(lock), "cat"], stdin=subprocess.PIPE) as holder:
        while subprocess.run(["flock", "-n", str(lock), "true"], check=False).returncode == 0:
            pass
        with pytest.raises(DeploymentError, match="another deployment to .* is running: wait"):
            Server(place.target).deploy(SHIPMENT)
        holder.communicate()
    assert not place.calls("podman")


@pytest.mark.parametrize("current", ["20260102000000-1", ""])
def test_without_a_previous_release_there_is_no_rollback(place: Place, current: str) -> None:
    if current:
        serve(place, current)
    with pytest.raises(DeploymentError, match="has no previous release"):
        Server(place.target).rollback()
    assert not any("rm --force mlops-staging" in call for call in place.calls("podman"))


def test_a_rollback_starts_the_previous_release_in_the_free_slot(place: Place) -> None:
    serve(place, "20260102000000-1", "20260101000000-0")
    with pytest.raises(DeploymentError, match="no tunnel"):
        Server(place.target).rollback()
    calls = place.calls("podman")
    assert "run 20260101000000-0" in calls
    assert not any(call.endswith("mlops-staging-1") for call in calls)


def test_caddy_gets_its_files_again_before_anything_else(place: Place) -> None:
    serve(place, "20260102000000-1")
    with pytest.raises(DeploymentError):
        Server(place.target).rollback()
    reload = "exec mlops-caddy caddy reload --config /etc/caddy/Caddyfile"
    assert place.calls("podman")[0] == reload


def test_what_was_stopped_can_be_started_again(place: Place) -> None:
    serve(place, "20260102000000-1", "20260101000000-0")
    Server(place.target).stop()
    calls = place.calls("podman")
    assert {"rm --force mlops-staging-0", "rm --force mlops-staging-1"} < set(calls)
    with pytest.raises(DeploymentError, match="no tunnel"):
        Server(place.target).rollback()
    assert "run 20260102000000-1" in place.calls("podman")


def test_logs_are_those_of_the_current_release(place: Place) -> None:
    with pytest.raises(DeploymentError, match="nothing is deployed in .*staging on shop@"):
        Server(place.target).logs()
    serve(place, "20260102000000-1")
    assert Server(place.target).logs(5) == "error: SERVING_QUEUE is not a number\n"
    assert place.calls("podman")[-1] == "logs --tail 5 mlops-staging-1"


def test_a_server_without_an_engine_or_without_ssh_is_an_error(place: Place) -> None:
    (place.folder / "bin/podman").unlink()
    target = replace(place.target, ssh=(*place.target.ssh,))
    hidden = SSH.replace(":/usr/bin:/bin", "")
    place.write("ssh", hidden.replace("exec sh", "exec /bin/sh"), executable=True)
    with pytest.raises(
        DeploymentError, match="neither docker nor podman works on shop@example.org"
    ):
        Server(target).status()
    place.write("ssh", "#!/bin/sh\necho 'Permission denied (publickey).' >&2\nexit 255\n", True)
    with pytest.raises(DeploymentError, match=r"^shop@example.org: Permission denied \(publickey"):
        Server(target).status()
