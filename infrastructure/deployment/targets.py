"""Where an environment runs if not on this machine: the choice, on record, and its adapter."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Protocol

from pydantic import TypeAdapter, ValidationError

from application.inference.api_keys import new_key
from domain.errors import DeploymentError
from infrastructure.deployment.compose import Compose, Deployed
from infrastructure.deployment.golden import Golden
from infrastructure.deployment.kubernetes import Image, Kubernetes
from infrastructure.deployment.sagemaker import Instances, SageMaker
from infrastructure.deployment.server import Host, Server, Shipment
from infrastructure.deployment.variables import KEYS, Variables, with_deployment_key
from infrastructure.monitoring.stack.configuration import Addresses
from infrastructure.packaging.container_engine import ContainerEngine, find_engine, run_command
from shared.files import write_atomically
from shared.settings import MonitorSettings

LOCAL = "local"
TARGETS = (LOCAL, "server", "compose", "kubernetes", "sagemaker")
WITH_OWN_SETTINGS = ("kubernetes", "sagemaker")  # not those of the shell and .env
PUSHED = ("kubernetes",)  # which pull the image from a registry
WITH_WATCH = ("server",)
WITH_KEYS = ("sagemaker",)  # which authenticate callers themselves
RECORD, _VARIABLES = "target.json", "variables.json"
_LONGEST_NAME = 49  # of an endpoint of SageMaker; Helm allows 53


@dataclass(frozen=True)
class Place:
    """Where an environment runs.

    Attributes:
        target: one of `TARGETS`.
        model: registered name of the model.
        port: of the service, on this machine or the server.
        host, domain: of a server, as `ssh` takes it, and the name for which it has TLS.
        engine: docker or podman; empty: the first that works.
        namespace, context, values: of Kubernetes; `values` are files for the chart.
        role, instance: of SageMaker: ARN of the role that it assumes, and kind of instance.
    """

    target: str
    model: str
    port: int = 3000
    host: str = ""
    domain: str = ""
    engine: str = ""
    namespace: str = "default"
    context: str = ""
    values: tuple[str, ...] = ()
    role: str = ""
    instance: str = "ml.m5.large"

    def name(self, environment: str) -> str:
        """A name for what is deployed, of letters, digits and hyphens."""
        name = re.sub("[^a-z0-9]+", "-", f"{self.model}-{environment}".lower())
        return name[:_LONGEST_NAME].strip("-")


@dataclass(frozen=True)
class Wanted:
    """An image to deploy.

    Attributes:
        image: its name in the container engine of this machine.
        reference: of the pushed image, with its digest; empty if it was not pushed.
        variables: of the service, where it does not have settings of its own.
        api_key: for the golden predictions, where it has.
        watch: seconds to watch the traffic after the switch, if the target can.
    """

    image: str
    reference: str
    version: str
    workers: int
    golden: Golden
    variables: Variables
    api_key: str
    watch: int = 0


class Running(Protocol):
    """What every adapter can do with what it has deployed."""

    def rollback(self) -> object:
        """Go back to what was deployed before."""

    def stop(self) -> bool:
        """End it; returns whether it was deployed."""

    def status(self) -> str:
        """What is deployed, in one line; empty if nothing is."""

    def logs(self, lines: int = 100) -> str:
        """The last lines of its logs."""


@dataclass(frozen=True)
class Target:
    """An environment that runs elsewhere."""

    place: Place
    running: Running
    deploy: Callable[[Wanted], None]


def open_target(place: Place, folder: Path) -> Target:
    """The adapter for a place.

    Args:
        folder: of the environment, for the files of the target.

    Raises:
        BuildError: no container engine works.
    """
    return OPENERS[place.target](place, folder)


def recorded_place(folder: Path) -> Place | None:
    """Where an environment was deployed to; None for this machine.

    Raises:
        DeploymentError: the file is damaged.
    """
    path = folder / RECORD
    try:
        return TypeAdapter(Place).validate_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except ValidationError as error:
        raise DeploymentError(f"{path} is damaged: deploy again with TARGET") from error


def record_place(folder: Path, place: Place, variables: Variables) -> None:
    """Record where an environment runs and its variables, readable only by the owner."""
    write_atomically(folder / RECORD, json.dumps(asdict(place), indent=2) + "\n", private=True)
    write_atomically(folder / _VARIABLES, json.dumps(dict(variables)) + "\n", private=True)


def recorded_variables(folder: Path) -> dict[str, str] | None:
    """The variables that an environment elsewhere was deployed with; None if they are unknown."""
    path = folder / _VARIABLES
    if not path.exists():
        return None if (folder / RECORD).exists() else {}
    try:
        return TypeAdapter(dict[str, str]).validate_json(path.read_bytes())
    except ValidationError:
        return None


def forget_place(folder: Path) -> None:
    """Remove the record of an environment that was stopped."""
    (folder / RECORD).unlink(missing_ok=True)


def unused_options(place: Place) -> list[str]:
    """Names of options that the target of a place does not have, but that are set."""
    used = {"target", "model", *_USED.get(place.target, ())}
    return [
        item.name
        for item in fields(place)
        if item.name not in used and getattr(place, item.name) != item.default
    ]


_USED = {
    LOCAL: ("engine",),  # of containerize in the same command
    "server": ("engine", "port", "host", "domain"),
    "compose": ("engine", "port"),
    "kubernetes": ("engine", "namespace", "context", "values"),
    "sagemaker": ("engine", "role", "instance"),
}


def _open_kubernetes(place: Place, folder: Path) -> Target:
    values = [Path(path) for path in place.values]
    running = Kubernetes(place.name(folder.name), place.namespace, values, place.context)

    def deploy(wanted: Wanted) -> None:
        image = Image(wanted.reference, wanted.version, wanted.golden)
        running.deploy(image, wanted.api_key)

    return Target(place, running, deploy)


def _open_compose(place: Place, folder: Path) -> Target:
    monitor = MonitorSettings.load()
    addresses = Addresses(
        *(folder.name, place.port, monitor.prometheus_port, monitor.alertmanager_port),
        *(monitor.grafana_port, monitor.alert_webhook_url),
    )
    running = Compose(folder / "compose", find_engine(place.engine or None), addresses)

    def deploy(wanted: Wanted) -> None:
        deployed = Deployed(wanted.image, wanted.version, wanted.workers)
        running.deploy(deployed, wanted.golden, wanted.variables.get(KEYS, ""))

    return Target(place, running, deploy)


def _open_server(place: Place, folder: Path) -> Target:
    host = Host(place.host, folder.name, place.port, place.domain)
    running = Server(host)

    def deploy(wanted: Wanted) -> None:
        if not place.host:
            raise DeploymentError("set HOST to the server, such as HOST=user@server")
        variables, key = dict(wanted.variables), ""
        if variables.get(KEYS):
            key = new_key()
            variables[KEYS] = with_deployment_key(variables[KEYS], key)
        engine = find_engine(place.engine or None)
        shipment = Shipment(wanted.image, engine, wanted.version, wanted.golden, variables, key)
        running.deploy(shipment, wanted.watch)

    return Target(place, running, deploy)


def _open_sagemaker(place: Place, folder: Path) -> Target:
    name = place.name(folder.name)
    running = SageMaker(name, Instances(place.role, place.instance))

    def deploy(wanted: Wanted) -> None:
        if not place.role:
            raise DeploymentError("set ROLE to the ARN of the role that SageMaker assumes")
        reference = wanted.reference
        if not reference:
            engine = ContainerEngine(find_engine(place.engine or None), run_command)
            reference = running.push(wanted.image, engine, name)
        running.deploy(reference, wanted.version, wanted.golden)

    return Target(place, running, deploy)


OPENERS: dict[str, Callable[[Place, Path], Target]] = {
    "compose": _open_compose,
    "kubernetes": _open_kubernetes,
    "sagemaker": _open_sagemaker,
    "server": _open_server,
}
