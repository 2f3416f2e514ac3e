"""Deploy an image to Kubernetes, as a Helm release of the project's chart.

A new release gets traffic pod by pod: a pod is ready when it has reproduced its golden predictions,
and an old one ends only then. The golden predictions are checked once more from outside; if they
fail, or the pods do not become ready, the previous revision is restored.
"""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from domain.errors import DeploymentError
from infrastructure.deployment.commands import run_program
from infrastructure.deployment.golden import Golden, check_golden_predictions
from shared.console import show_step

CHART = Path(__file__).parent / "chart"
LABEL = "app.kubernetes.io/name"
PORT = 3000
DIGEST = re.compile(r"[^\s@]+@sha256:[0-9a-f]{64}")
COMMAND_SECONDS = 60.0
LAST_LINES = 10
DESCRIPTION_LENGTH = 250  # Helm allows 256


@dataclass(frozen=True)
class Image:
    """An image to deploy.

    Attributes:
        reference: in a registry, with its digest.
        version: version of its model.
        golden: what it must predict.
    """

    reference: str
    version: str
    golden: Golden


class Kubernetes:
    """A Helm release in a namespace, which must exist.

    Args:
        name: of the release, its Deployment and its Service.
        values: files of values for the chart; the image and its version are added.
        context: of the kubeconfig; empty for the current one.
        patience: seconds that a rollout may take.
    """

    def __init__(
        self,
        name: str,
        namespace: str = "default",
        values: Sequence[Path] = (),
        context: str = "",
        patience: float = 300.0,
    ) -> None:
        self._name = name
        self._namespace = namespace
        self._values = values
        self._context = context
        self._patience = patience

    def deploy(self, image: Image, api_key: str = "") -> None:
        """Deploy an image; if it fails, restore what was deployed before.

        Args:
            api_key: for the golden predictions, if the service needs one.

        Raises:
            DeploymentError: the image has no digest, Helm is too old, or the deployment failed; the
                message has the reason and the last lines of the pods.
        """
        if not DIGEST.fullmatch(image.reference):
            raise DeploymentError(
                f"the image {image.reference} has no digest: push it, and deploy the reference "
                "that the registry returned, registry/name@sha256:…"
            )
        self._check_helm()
        before = self._last_deployed()
        show_step("start", f"{image.reference} in {self._namespace}/{self._name}")
        try:
            self._upgrade(image)
            self._check_golden(image, api_key)
        except DeploymentError as error:
            reason = "\n".join([str(error), *self._troubles()])
            raise DeploymentError(f"{reason}\n{self._undo(before, str(error))}") from error
        except BaseException:
            self._undo(before, "interrupted")
            raise
        show_step("switched", f"{self._namespace}/{self._name} now serves {image.version}")

    def rollback(self) -> str:
        """Restore the revision that was deployed before the current one.

        If the last deployment failed or was interrupted, restore what was deployed before that.

        Returns:
            The image that is restored.

        Raises:
            DeploymentError: an earlier revision is missing, or its pods do not become ready.
        """
        self._check_helm()
        revisions = self._history()
        if not revisions:
            raise DeploymentError(f"{self._namespace}/{self._name} is not deployed")
        succeeded = _succeeded(revisions)
        if revisions[-1]["status"] == "deployed":
            succeeded.pop()
        if not succeeded:
            raise DeploymentError("there is no previous revision to go back to")
        restored = succeeded[-1]
        self._restore(restored, "on request")
        values = self._helm("get", "values", self._name, "--all", "--output", "json")
        show_step("switched", f"{self._namespace}/{self._name} to revision {restored}")
        return str(json.loads(values)["image"])

    def stop(self) -> bool:
        """Uninstall the release.

        Returns:
            Whether it was installed.
        """
        if not self._history():
            return False
        self._helm("uninstall", self._name, "--wait", *self._timeout(), seconds=self._limit())
        return True

    def status(self) -> str:
        """What is deployed, in one line; empty if nothing is."""
        revisions = self._history()
        if not revisions:
            return ""
        newest = revisions[-1]
        pods = self._pods()
        ready = sum(_is_ready(pod) for pod in pods)
        restarts = sum(_container(pod).get("restartCount", 0) for pod in pods)
        labels = [pod["metadata"]["labels"].get("app.kubernetes.io/version") for pod in pods]
        parts = [
            f"{newest['status']}, revision {newest['revision']} since {newest['updated']}",
            ", ".join(sorted({f"version {label}" for label in labels if label})),
            f"{ready} of {len(pods)} pods ready",
            f"{restarts} restarts" if restarts else "",
            *self._troubles(lines=0),
        ]
        return ", ".join(filter(None, parts))

    def logs(self, lines: int = 100) -> str:
        """The last lines of every pod, each with the name of its pod."""
        selected = ("--selector", f"{LABEL}={self._name}")
        return self._kubectl("logs", *selected, "--prefix", f"--tail={lines}")

    def _check_helm(self) -> None:
        found = run_program(
            ["helm", "version", "--template", "{{.Version}}"], "helm version", COMMAND_SECONDS
        ).strip()
        if not re.match(r"v([4-9]|\d\d)", found):
            raise DeploymentError(f"helm {found or '(unknown version)'}: install Helm 4 or later")

    def _upgrade(self, image: Image) -> None:
        values = [option for path in self._values for option in ("--values", str(path))]
        self._helm(
            *("upgrade", self._name, str(CHART), "--install", "--wait", *self._timeout(), *values),
            *("--set-string", f"image={image.reference}"),
            *("--set-string", f"version={image.version}"),
            *("--description", f"deploy {image.version}"),
            seconds=self._limit(),
        )

    def _undo(self, before: int | None, reason: str) -> str:
        """Restore a revision, or uninstall a first deployment; returns what was done."""
        try:
            if before:
                self._restore(before, reason)
                return f"revision {before} was restored"
            self._helm("uninstall", self._name, "--ignore-not-found", "--wait", *self._timeout())
            return "nothing was deployed before, so the release was uninstalled"
        except DeploymentError as error:
            return f"and it could not be undone: {error}"

    def _restore(self, revision: int, reason: str) -> None:
        description = f"rollback to {revision}: {' '.join(reason.split())}"[:DESCRIPTION_LENGTH]
        self._helm(
            *("rollback", self._name, str(revision), "--wait", *self._timeout()),
            *("--description", description),
            seconds=self._limit(),
        )

    def _check_golden(self, image: Image, api_key: str) -> None:
        """Check the golden predictions of one of the new pods."""
        new = [
            pod["metadata"]["name"]
            for pod in self._pods()
            if pod["spec"]["containers"][0]["image"] == image.reference and _is_ready(pod)
        ]
        if not new:
            raise DeploymentError(f"no pod of {self._namespace}/{self._name} runs the new image")
        with self._forwarded(new[0]) as port:
            check_golden_predictions(port, image.golden, image.version, api_key)
        show_step("ready", f"golden predictions reproduced by {new[0]}")

    @contextmanager
    def _forwarded(self, pod: str) -> Iterator[int]:
        """A port of this machine that leads to a pod."""
        command = self._with_place("kubectl", "port-forward", f"pod/{pod}", f":{PORT}")
        with tempfile.NamedTemporaryFile() as output:
            with subprocess.Popen(command, stdout=output, stderr=output) as process:
                try:
                    yield _wait_for_port(process, Path(output.name))
                finally:
                    process.terminate()

    def _last_deployed(self) -> int | None:
        """The revision whose pods serve, or None before the first deployment.

        Raises:
            DeploymentError: another deployment is in progress, or was killed.
        """
        revisions = self._history()
        if revisions and revisions[-1]["status"].startswith("pending"):
            raise DeploymentError(
                f"another deployment of {self._namespace}/{self._name} is in progress since "
                f"{revisions[-1]['updated']}; if it was killed, roll back first, or stop it if it "
                "was the first one"
            )
        deployed = [each["revision"] for each in revisions if each["status"] == "deployed"]
        return deployed[-1] if deployed else None

    def _history(self) -> list[dict[str, Any]]:
        """The revisions of the release, oldest first."""
        try:
            found = self._helm("history", self._name, "--output", "json")
        except DeploymentError as error:
            if "release: not found" in str(error):
                return []
            raise
        revisions: list[dict[str, Any]] = json.loads(found)
        return revisions

    def _pods(self) -> list[dict[str, Any]]:
        """The pods of the release, except those that are being stopped."""
        selected = ("--selector", f"{LABEL}={self._name}")
        found = json.loads(self._kubectl("get", "pods", *selected, "--output", "json"))
        return [pod for pod in found["items"] if "deletionTimestamp" not in pod["metadata"]]

    def _troubles(self, lines: int = LAST_LINES) -> list[str]:
        """Why pods are not ready, with the last lines of their logs."""
        try:
            return [self._trouble(pod, lines) for pod in self._pods() if not _is_ready(pod)]
        except DeploymentError as error:
            return [str(error)]

    def _trouble(self, pod: dict[str, Any], lines: int) -> str:
        name, container = pod["metadata"]["name"], _container(pod)
        states = container.get("state", {}) | container.get("lastState", {})
        stopped = states.get("waiting") or states.get("terminated") or {}
        details = (pod["status"].get("phase"), stopped.get("reason"), stopped.get("message"))
        trouble = f"{name} is not ready: {', '.join(filter(None, details))}"
        if not lines:
            return trouble
        try:
            previous = ("--previous",) if "waiting" in states and "terminated" in states else ()
            return f"{trouble}\n{self._kubectl('logs', name, f'--tail={lines}', *previous)}".strip()
        except DeploymentError:  # it has not started
            return trouble

    def _timeout(self) -> tuple[str, str]:
        return "--timeout", f"{self._patience:.0f}s"

    def _limit(self) -> float:
        """Seconds for a command of Helm that waits, which ends by itself before."""
        return self._patience + COMMAND_SECONDS

    def _helm(self, *arguments: str, seconds: float = COMMAND_SECONDS) -> str:
        command = self._with_place("helm", *arguments)
        return run_program(command, f"helm {arguments[0]}", seconds)

    def _kubectl(self, *arguments: str) -> str:
        command = self._with_place("kubectl", *arguments)
        return run_program(command, f"kubectl {arguments[0]}", COMMAND_SECONDS)

    def _with_place(self, program: str, *arguments: str) -> list[str]:
        option = "--kube-context" if program == "helm" else "--context"
        context = (option, self._context) if self._context else ()
        return [program, *arguments, "--namespace", self._namespace, *context]


def _succeeded(revisions: list[dict[str, Any]]) -> list[int]:
    """The revisions that were deployed and not undone, oldest first; the last one serves."""
    succeeded: list[int] = []
    for each in revisions:
        if each["status"] not in ("deployed", "superseded"):
            continue
        restored = re.match(r"rollback to (\d+)", each["description"], re.IGNORECASE)
        if restored and int(restored[1]) in succeeded:
            del succeeded[succeeded.index(int(restored[1])) + 1 :]
        else:
            succeeded.append(each["revision"])
    return succeeded


def _container(pod: dict[str, Any]) -> dict[str, Any]:
    """The status of a pod's container; empty before it is scheduled."""
    containers: list[dict[str, Any]] = pod["status"].get("containerStatuses", [])
    return containers[0] if containers else {}


def _is_ready(pod: dict[str, Any]) -> bool:
    conditions = pod["status"].get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def _wait_for_port(process: subprocess.Popen[bytes], output: Path) -> int:
    """The local port that `kubectl port-forward` has chosen.

    Args:
        output: the file to which it prints.
    """
    deadline = time.monotonic() + COMMAND_SECONDS
    while time.monotonic() < deadline:
        ended = process.poll() is not None
        printed = output.read_text(encoding="utf-8", errors="replace")
        if found := re.search(r"Forwarding from 127\.0\.0\.1:(\d+)", printed):
            return int(found[1])
        if ended:
            raise DeploymentError(f"kubectl port-forward failed: {printed.strip()[-500:]}")
        time.sleep(0.05)
    raise DeploymentError(f"kubectl port-forward took more than {COMMAND_SECONDS:.0f} s")
