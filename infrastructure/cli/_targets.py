"""Shared code of the commands for environments that do not run on this machine by themselves."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from application.ports.ledger import LedgerEntry
from domain.errors import DeploymentError
from infrastructure.deployment.golden import golden_of
from infrastructure.deployment.local import Build, LocalEnvironment
from infrastructure.deployment.targets import (
    LOCAL,
    PUSHED,
    TARGETS,
    WITH_OWN_SETTINGS,
    Place,
    Target,
    Wanted,
    forget_place,
    open_target,
    record_place,
    recorded_place,
    recorded_variables,
    unused_options,
)
from infrastructure.deployment.variables import Variables, for_deployment
from infrastructure.registry.ledger import open_ledger
from shared.console import show_step
from shared.settings import Settings

BUILD = "run make containerize"


def add_target(parser: argparse.ArgumentParser) -> None:
    """Add where to deploy to, and the options of each target."""
    group = parser.add_argument_group("where to deploy to, other than this machine")
    group.add_argument("--target", choices=TARGETS, help="local by default")
    group.add_argument("--host", help="of server, as ssh takes it: user@server")
    group.add_argument("--domain", help="of server: the name for which it gets a certificate")
    group.add_argument("--engine", help="of this machine: docker or podman (default: what works)")
    group.add_argument("--namespace", help="of kubernetes (default: default)")
    group.add_argument("--context", help="of kubernetes (default: the current one)")
    group.add_argument("--values", help="of kubernetes: files for the chart, separated by commas")
    group.add_argument("--role", help="of sagemaker: ARN of the role that it assumes")
    group.add_argument("--instance", help="of sagemaker: kind of instance (default: ml.m5.large)")


def chosen_place(args: argparse.Namespace, folder: Path, model: str) -> Place | None:
    """Where to deploy to; None for this machine. Options that are not given stay as they were.

    Raises:
        DeploymentError: the environment runs elsewhere, or the target lacks an option.
    """
    recorded = recorded_place(folder)
    target = args.target or ("server" if args.host else LOCAL)
    if recorded and recorded.target != target:
        raise DeploymentError(
            f"{folder.name} runs on {recorded.target}: add TARGET={recorded.target}, or run make "
            f"stop ENV={folder.name} first"
        )
    if target != LOCAL and (folder / "current.json").exists():
        raise DeploymentError(
            f"{folder.name} runs on this machine: run make stop ENV={folder.name} first"
        )
    given = {
        name: getattr(args, name)
        for name in (
            *("port", "host", "domain", "engine"),
            *("namespace", "context", "role", "instance"),
        )
        if getattr(args, name)
    }
    if args.values:
        given["values"] = tuple(args.values.split(","))
    if target == LOCAL:
        place = replace(Place(LOCAL, model), **{k: v for k, v in given.items() if k != "port"})
    else:
        place = replace(recorded or Place(target, model), model=model, **given)
    if unused := unused_options(place):
        raise DeploymentError(f"TARGET={target} does not have {unused[0].upper()}")
    return None if target == LOCAL else place


def deploy_to(
    place: Place, folder: Path, build: Build, args: argparse.Namespace, explicit: Variables
) -> None:
    """Deploy the image of a build, and enter it into the ledger.

    Args:
        folder: of the environment.
        args: of deploy.
        explicit: the variables that the shell or .env sets; others stay as they are.

    Raises:
        DeploymentError: the image of this build is missing, or the deployment failed.
    """
    settings, receipts = Settings.load(), args.bento.parent
    ledger = open_ledger(settings.ledger)
    if place.target in WITH_OWN_SETTINGS:
        variables: dict[str, str] = {}
        if explicit:
            show_step("ignored", f"{', '.join(sorted(explicit))}: {place.target} has its own")
    else:
        explicit = {**explicit, "WORKERS": str(args.workers)}
        variables = for_deployment(explicit, recorded_variables(folder))
    wanted = Wanted(
        _image_of(build, receipts / "containerize.json", "image", BUILD),
        _reference(place, build, receipts),
        build.version,
        args.workers,
        golden_of(build.bento),
        variables,
        settings.api_key,
        args.watch,
    )
    digest = digest_of(place, build, receipts)
    folder.mkdir(parents=True, exist_ok=True)
    with LocalEnvironment(folder).alone():
        open_target(place, folder).deploy(wanted)
        record_place(folder, place, variables)
        ledger.append(
            *("deploy", build.model, build.version),
            env=folder.name,
            target=place.target,
            bento_tag=build.bento_tag,
            digest=digest,
        )


def digest_of(place: Place, build: Build, receipts: Path) -> str:
    """The digest of the image to deploy: that in the registry, or that in the container engine.

    Raises:
        DeploymentError: the image of this build is missing, or it was not pushed.
    """
    if reference := _reference(place, build, receipts):
        return reference.rpartition("@")[2]
    return _image_of(build, receipts / "containerize.json", "digest", BUILD)


def _reference(place: Place, build: Build, receipts: Path) -> str:
    """The pushed image of a build; empty if the target needs none."""
    if place.target not in PUSHED:
        return ""
    advice = f"push it, with make push REGISTRY=…, or make deploy TARGET={place.target} REGISTRY=…"
    return _image_of(build, receipts / "push.json", "reference", advice)


@contextmanager
def recorded_target(folder: Path) -> Iterator[Target | None]:
    """The adapter of an environment that runs elsewhere, locked; None for this machine."""
    place = recorded_place(folder)
    if place is None:
        yield None
        return
    with LocalEnvironment(folder).alone():
        yield open_target(place, folder)


def roll_back(target: Target, folder: Path) -> None:
    """Go back to what was deployed before, and enter it into the ledger."""
    ledger = open_ledger(Settings.load().ledger)
    target.running.rollback()
    if before := _before(list(ledger.entries()), folder.name):
        details = {**before.details, "target": target.place.target}
        ledger.append("rollback", before.model_name, before.version, **details)


def stop(target: Target, folder: Path) -> bool:
    """End what is deployed, and enter it into the ledger."""
    ledger = open_ledger(Settings.load().ledger)
    stopped = target.running.stop()
    forget_place(folder)
    here = [entry for entry in ledger.entries() if entry.details.get("env") == folder.name]
    if here and here[-1].event != "stop":
        last = here[-1]
        ledger.append("stop", last.model_name, last.version, env=folder.name)
    return stopped


def _before(entries: list[LedgerEntry], environment: str) -> LedgerEntry | None:
    """The last deployment of another build than the one that an environment has."""
    here = [
        entry
        for entry in entries
        if entry.details.get("env") == environment and entry.event in ("deploy", "rollback")
    ]
    return next(
        (
            entry
            for entry in reversed(here)
            if entry.details.get("bento_tag") != here[-1].details.get("bento_tag")
        ),
        None,
    )


def _image_of(build: Build, receipt: Path, name: str, advice: str) -> str:
    try:
        content = json.loads(receipt.read_text(encoding="utf-8"))
        if content["bento_tag"] == build.bento_tag:
            return str(content[name])
    except (OSError, ValueError, KeyError, TypeError):
        pass
    raise DeploymentError(f"there is no image of {build.bento_tag} to deploy: {advice}")
