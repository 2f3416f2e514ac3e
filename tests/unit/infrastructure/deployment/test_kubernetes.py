"""A deployment to Kubernetes calls Helm and kubectl, checks golden predictions, and is undone.

The programs are small executable stand-ins; no cluster is needed. `helm` keeps its revisions in a
file, as Helm keeps them in the cluster, and `kubectl` shows pods with the image of the last one.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from domain.errors import DeploymentError
from infrastructure.deployment.kubernetes import CHART, Image, Kubernetes
from tests.golden_service import GOLDEN, golden_service

OLD, NEW, WRONG = (f"registry.example.org/iris@sha256:{digit * 64}" for digit in "abc")
HELM = """
def option(name):
    return args[args.index(name) + 1] if name in args else ""

def add(image, version, description, status):
    for each in revisions:
        if each["status"] == "deployed" and status == "deployed":
            each["status"] = "superseded"
    revisions.append({"revision": len(revisions) + 1, "updated": "today", "status": status,
                      "description": description, "image": image, "version": version})

revisions = state["revisions"]
if args[0] == "version":
    print(state["helm"])
elif args[0] == "history":
    if not revisions:
        sys.exit("Error: release: not found")
    print(json.dumps(revisions))
elif args[0] == "upgrade":
    image, version = (
        args[i + 1].partition("=")[2] for i, arg in enumerate(args) if arg == "--set-string"
    )
    failure = state["upgrade_fails"]
    add(image, version, option("--description"), "failed" if failure else "deployed")
    save()
    if failure:
        sys.exit(f"Error: UPGRADE FAILED: {failure}")
elif args[0] == "rollback":
    if state["rollback_fails"]:
        sys.exit("Error: rollback failed")
    to = revisions[int(args[2]) - 1]
    add(to["image"], to["version"], option("--description"), "deployed")
elif args[0] == "get":
    print(json.dumps({"image": revisions[-1]["image"]}))
elif args[0] == "uninstall":
    revisions.clear()
save()
"""
KUBECTL = """
if args[:2] == ["get", "pods"]:
    pods = state["pods"]
    if pods is None:
        last = state["revisions"][-1]
        ready = "False" if last["status"] == "failed" else "True"
        pods = [{
            "metadata": {"name": "iris-1", "labels": {"app.kubernetes.io/version": last["version"]}},
            "spec": {"containers": [{"image": last["image"]}]},
            "status": {"phase": "Running", "conditions": [{"type": "Ready", "status": ready}]},
        }]
    print(json.dumps({"items": pods}))
elif args[0] == "logs":
    print(state["logs"])
elif args[0] == "port-forward":
    if not state["port"]:
        sys.exit("error: unable to forward port")
    print(f"Forwarding from 127.0.0.1:{state['port']} -> 3000", flush=True)
    time.sleep(60)
"""
PROGRAM = f"""#!{sys.executable} -IS
import json, pathlib, sys, time
args, folder = sys.argv[1:], pathlib.Path(__file__).parent
state = json.loads((folder / "state.json").read_text())
def save():
    (folder / "state.json").write_text(json.dumps(state))
with (folder / "calls").open("a") as calls:
    print(json.dumps([pathlib.Path(__file__).name, *args]), file=calls)
"""


class Cluster:
    """The stand-ins of Helm and kubectl, and what they have been called with."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.set(
            **{"helm": "v4.3.1", "revisions": [], "pods": None, "port": 0, "logs": "last line"},
            **{"upgrade_fails": "", "rollback_fails": False},
        )
        for name, script in (("helm", HELM), ("kubectl", KUBECTL)):
            program = folder / name
            program.write_text(PROGRAM + script, encoding="utf-8")
            program.chmod(0o755)

    @property
    def state(self) -> dict[str, Any]:
        """What the programs know."""
        path = self._folder / "state.json"
        content = path.read_text(encoding="utf-8") if path.exists() else "{}"
        state: dict[str, Any] = json.loads(content)
        return state

    def set(self, **values: Any) -> None:
        """Change what the programs know."""
        text = json.dumps({**self.state, **values})
        (self._folder / "state.json").write_text(text, encoding="utf-8")

    def calls(self, *start: str) -> list[list[str]]:
        """The commands that begin in this way."""
        lines = (self._folder / "calls").read_text(encoding="utf-8").splitlines()
        return [call for call in map(json.loads, lines) if call[: len(start)] == list(start)]

    @property
    def serving(self) -> str:
        """The image of the newest revision."""
        image: str = self.state["revisions"][-1]["image"]
        return image


@pytest.fixture(name="cluster")
def _cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Cluster:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return Cluster(folder)


Deploy = Callable[..., None]


@pytest.fixture(name="deploy")
def _deploy(cluster: Cluster) -> Deploy:
    """Deploys an image whose service answers: `deploy(reference, version, serves=…)`."""

    def deploy(reference: str, version: str, serves: str = "", setosa: float = 0.9) -> None:
        with golden_service(serves or version, setosa) as port:
            cluster.set(port=port)
            Kubernetes("iris").deploy(Image(reference, version, GOLDEN))

    return deploy


def test_an_image_is_installed_with_its_values_and_waited_for(
    cluster: Cluster, tmp_path: Path
) -> None:
    values = tmp_path / "values.yaml"
    kubernetes = Kubernetes("iris", "models", [values], context="staging", patience=90)
    with golden_service("1.0.0-a", free=False) as port:
        cluster.set(port=port)
        kubernetes.deploy(Image(NEW, "1.0.0-a", GOLDEN), api_key="secret")
    (upgrade,) = cluster.calls("helm", "upgrade")
    assert upgrade == [
        *("helm", "upgrade", "iris", str(CHART), "--install", "--wait", "--timeout", "90s"),
        *("--values", str(values), "--set-string", f"image={NEW}"),
        *("--set-string", "version=1.0.0-a", "--description", "deploy 1.0.0-a"),
        *("--namespace", "models", "--kube-context", "staging"),
    ]
    (forward,) = cluster.calls("kubectl", "port-forward")
    assert forward == [
        *("kubectl", "port-forward", "pod/iris-1", ":3000"),
        *("--namespace", "models", "--context", "staging"),
    ]
    assert not cluster.calls("helm", "rollback")
    assert "secret" not in json.dumps(cluster.calls())


@pytest.mark.parametrize("reference", ["registry.example.org/iris:1.0.0", "iris@sha256:abc"])
def test_an_image_without_a_digest_is_refused(cluster: Cluster, reference: str) -> None:
    with pytest.raises(DeploymentError, match="has no digest"):
        Kubernetes("iris").deploy(Image(reference, "1.0.0-a", GOLDEN))
    assert not cluster.state["revisions"]


def test_an_old_helm_is_refused(cluster: Cluster) -> None:
    cluster.set(helm="v3.19.0")
    with pytest.raises(DeploymentError, match="helm v3.19.0: install Helm 4 or later"):
        Kubernetes("iris").deploy(Image(NEW, "1.0.0-a", GOLDEN))
    assert not cluster.calls("helm", "upgrade")


def test_a_missing_helm_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DeploymentError, match="helm is not on PATH"):
        Kubernetes("iris").deploy(Image(NEW, "1.0.0-a", GOLDEN))


def test_pods_that_do_not_become_ready_are_undone_and_their_last_lines_shown(
    cluster: Cluster, deploy: Deploy
) -> None:
    deploy(OLD, "1.0.0-a")
    cluster.set(upgrade_fails="context deadline exceeded", logs="the model is damaged")
    with pytest.raises(DeploymentError) as raised:
        deploy(NEW, "1.0.0-b")
    message = str(raised.value)
    assert "context deadline exceeded" in message
    assert "iris-1 is not ready: Running\nthe model is damaged" in message
    assert message.endswith("revision 1 was restored")
    assert cluster.serving == OLD
    (rollback,) = cluster.calls("helm", "rollback")
    reason = rollback[rollback.index("--description") + 1]
    assert reason.startswith("rollback to 1: helm upgrade failed: Error: UPGRADE FAILED")


@pytest.mark.parametrize(
    ("answers", "reason"),
    [
        ({"setosa": 0.5}, "golden requests differ"),
        ({"serves": "1.0.0-a"}, "serves version 1.0.0-a"),
    ],
)
def test_wrong_golden_predictions_restore_the_previous_revision(
    cluster: Cluster, deploy: Deploy, answers: dict[str, Any], reason: str
) -> None:
    deploy(OLD, "1.0.0-a")
    with pytest.raises(DeploymentError, match=f"(?s){reason}.*revision 1 was restored"):
        deploy(NEW, "1.0.0-b", **answers)
    assert cluster.serving == OLD


def test_a_failed_first_deployment_is_uninstalled(cluster: Cluster, deploy: Deploy) -> None:
    with pytest.raises(DeploymentError, match="(?s)differ.*so the release was uninstalled"):
        deploy(NEW, "1.0.0-b", setosa=0.5)
    assert not cluster.state["revisions"]


def test_a_failure_that_cannot_be_undone_says_both(cluster: Cluster, deploy: Deploy) -> None:
    deploy(OLD, "1.0.0-a")
    cluster.set(rollback_fails=True)
    with pytest.raises(DeploymentError, match="(?s)differ.*could not be undone: helm rollback"):
        deploy(NEW, "1.0.0-b", setosa=0.5)


def test_a_port_that_cannot_be_forwarded_is_undone(cluster: Cluster) -> None:
    with pytest.raises(DeploymentError, match="port-forward failed: error: unable to forward"):
        Kubernetes("iris").deploy(Image(NEW, "1.0.0-b", GOLDEN))
    assert not cluster.state["revisions"]


def test_pods_that_are_being_stopped_or_run_the_old_image_are_not_asked(cluster: Cluster) -> None:
    def pod(name: str, image: str, **metadata: str) -> dict[str, Any]:
        return {
            "metadata": {"name": name, "labels": {}, **metadata},
            "spec": {"containers": [{"image": image}]},
            "status": {"conditions": [{"type": "Ready", "status": "True"}]},
        }

    pods = [pod("old", OLD), pod("leaving", NEW, deletionTimestamp="now"), pod("new", NEW)]
    with golden_service("1.0.0-b") as port:
        cluster.set(port=port, pods=pods)
        Kubernetes("iris").deploy(Image(NEW, "1.0.0-b", GOLDEN))
    assert [call[2] for call in cluster.calls("kubectl", "port-forward")] == ["pod/new"]


def test_a_deployment_in_progress_is_left_alone(cluster: Cluster, deploy: Deploy) -> None:
    deploy(OLD, "1.0.0-a")
    revisions = cluster.state["revisions"]
    pending = {**revisions[0], "revision": 2, "status": "pending-upgrade", "image": NEW}
    cluster.set(revisions=[*revisions, pending])
    with pytest.raises(DeploymentError, match="in progress since today; if it was killed, roll"):
        deploy(NEW, "1.0.0-b")
    assert Kubernetes("iris").rollback() == OLD  # after which one can deploy again
    deploy(NEW, "1.0.0-b")
    assert cluster.serving == NEW


def test_rollback_goes_back_and_skips_revisions_that_were_undone(
    cluster: Cluster, deploy: Deploy
) -> None:
    deploy(OLD, "1.0.0-a")
    deploy(NEW, "1.0.0-b")
    with pytest.raises(DeploymentError, match="differ"):
        deploy(WRONG, "1.0.0-c", setosa=0.5)
    assert cluster.serving == NEW
    assert Kubernetes("iris").rollback() == OLD
    with pytest.raises(DeploymentError, match="no previous revision"):
        Kubernetes("iris").rollback()


def test_nothing_deployed_is_reported(cluster: Cluster) -> None:
    kubernetes = Kubernetes("iris")
    assert kubernetes.status() == ""
    assert not kubernetes.stop()
    with pytest.raises(DeploymentError, match="default/iris is not deployed"):
        kubernetes.rollback()
    assert not cluster.calls("helm", "uninstall")


def test_stop_uninstalls_the_release(cluster: Cluster, deploy: Deploy) -> None:
    deploy(OLD, "1.0.0-a")
    assert Kubernetes("iris").stop()
    assert not cluster.state["revisions"]


def test_status_shows_the_version_and_why_a_pod_is_not_ready(
    cluster: Cluster, deploy: Deploy
) -> None:
    deploy(OLD, "1.0.0-a")
    assert Kubernetes("iris").status() == (
        "deployed, revision 1 since today, version 1.0.0-a, 1 of 1 pods ready"
    )
    waiting = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 10s"}}
    broken = {
        "metadata": {"name": "iris-2", "labels": {}},
        "spec": {"containers": [{"image": OLD}]},
        "status": {
            "phase": "Running",
            "containerStatuses": [{"state": waiting, "restartCount": 3}],
        },
    }
    cluster.set(pods=[broken])
    assert Kubernetes("iris").status() == (
        "deployed, revision 1 since today, 0 of 1 pods ready, 3 restarts, "
        "iris-2 is not ready: Running, CrashLoopBackOff, back-off 10s"
    )


def test_logs_are_those_of_every_pod(cluster: Cluster) -> None:
    assert Kubernetes("iris").logs(20) == "last line\n"
    (call,) = cluster.calls("kubectl", "logs")
    assert "app.kubernetes.io/name=iris" in call and "--tail=20" in call and "--prefix" in call
