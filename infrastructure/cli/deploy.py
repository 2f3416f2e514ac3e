"""Deploy a built Bento without interrupting the service, on this machine or with --target.

The current release serves until the new one is ready and has reproduced its golden predictions.
With --canary, the new one then gets a share of the connections. Without, it gets all of them: a
canary of the same build as it is, without a restart; another canary is stopped.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from pathlib import Path

from application.registry.production import PRODUCTION, WORDS, Deployable, objections
from domain.errors import DeploymentError
from infrastructure.cli._arguments import valid_count, valid_workers
from infrastructure.cli._releases import (
    add_environment_and_port,
    add_patience,
    open_environment,
    record_change,
)
from infrastructure.cli._targets import add_target, chosen_place, deploy_to, digest_of
from infrastructure.compute.receipts import read_build
from infrastructure.deployment.local import Build
from infrastructure.deployment.targets import (
    WITH_KEYS,
    WITH_OWN_SETTINGS,
    WITH_WATCH,
    recorded_variables,
)
from infrastructure.deployment.variables import explicit_variables, requires_keys
from infrastructure.provenance import SOURCES, uncommitted
from infrastructure.registry.ledger import open_ledger
from shared.console import show_step
from shared.paths import ROOT
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the Bento, the environment and how to deploy."""
    add_environment_and_port(parser)
    parser.add_argument("--bento", type=Path, required=True, help="receipt of bento-build")
    parser.add_argument(
        "--workers", type=valid_workers, default=1, help="processes (default: %(default)s)"
    )
    parser.add_argument("--replace", action="store_true", help="allow replacing another model")
    parser.add_argument(
        "--canary",
        type=_share,
        help="percentage of the connections that the build gets, 1 to 99, while the current "
        "release keeps the rest; again with another number changes it; rollback-release ends it",
    )
    parser.add_argument(
        "--canary-by",
        type=_header,
        help="header that identifies callers, such as X-API-Key: the share is then one of callers, "
        "each of whom stays with one release",
    )
    parser.add_argument(
        "--watch",
        type=valid_count,
        default=0,
        help="seconds to watch what the new release answers, which is stopped if it fails, refuses "
        "or delays more requests than the one before it, which meanwhile runs on (default: none)",
    )
    parser.add_argument(
        "--allow",
        type=_words,
        default=(),
        help=f"what to allow in {PRODUCTION} nevertheless, separated by commas: {', '.join(WORDS)}",
    )
    add_patience(parser)
    add_target(parser)


def run(args: argparse.Namespace) -> None:
    """Deploy."""
    settings = Settings.load()
    environment = open_environment(args, settings)
    built, explicit = read_build(args.bento), explicit_variables()
    receipts, folder = args.bento.parent, settings.releases_dir / args.env
    build = Build(receipts / "bento", built["version"], built["bento_tag"])
    if args.canary_by and not args.canary:
        raise DeploymentError("CANARY_BY needs CANARY, the percentage of callers")
    if place := chosen_place(args, folder, build.model):
        for name in ("canary", "watch", "replace"):
            if getattr(args, name) and not (name == "watch" and place.target in WITH_WATCH):
                raise DeploymentError(f"TARGET={place.target} does not have {name.upper()}")
        if args.env == PRODUCTION:
            identity = digest_of(place, build, receipts)
            has_keys = place.target in WITH_KEYS or (
                bool(settings.api_key)  # of a service whose keys are elsewhere
                if place.target in WITH_OWN_SETTINGS
                else requires_keys(explicit, recorded_variables(folder))
            )
            _check_production(build, identity, has_keys, args.allow, settings)
        deploy_to(place, folder, build, args, explicit)
        return
    if args.env == PRODUCTION:
        has_keys = environment.will_have_keys(build, explicit)
        _check_production(build, build.bento_tag, has_keys, args.allow, settings)
    new = None if args.canary else build
    with record_change("deploy", args, settings, environment, new):
        if args.canary:
            header = args.canary_by or ""
            environment.deploy_canary(
                build, args.workers, explicit, args.canary, header, args.watch
            )
        else:
            environment.deploy(build, args.workers, explicit, args.replace, args.watch)


def _check_production(
    build: Build, identity: str, has_keys: bool, allowed: Sequence[str], settings: Settings
) -> None:
    """Show what speaks against a deployment to production.

    Args:
        identity: tag of the Bento, or digest of the image, which staging must have accepted.

    Raises:
        DeploymentError: it is not allowed.
    """
    (package,) = build.bento.glob(f"models/*/{build.version}")
    wanted = Deployable(
        build.model,
        build.version,
        identity,
        json.loads((package / "provenance.json").read_bytes())["git_commit"],
        uncommitted(ROOT, [ROOT / name for name in (*SOURCES, "poetry.lock")]),
        has_keys,
    )
    found = objections(wanted, open_ledger(settings.ledger).entries())
    for word, reason in found.items():
        show_step("allowed" if word in allowed else "refused", f"{reason} ({word})")
    if refused := [word for word in found if word not in allowed]:
        raise DeploymentError(
            f"{build.bento_tag} is not deployed to {PRODUCTION}: to deploy it nevertheless, set "
            f"ALLOW={','.join(refused)}"
        )


def _words(text: str) -> list[str]:
    words = text.split(",")
    if unknown := sorted(set(words) - set(WORDS)):
        raise argparse.ArgumentTypeError(
            f"{unknown[0]!r} cannot be allowed: use one or more of {', '.join(WORDS)}"
        )
    return words


def _share(text: str) -> int:
    if not re.fullmatch("[1-9][0-9]?", text):
        raise argparse.ArgumentTypeError(
            f"{text[:80]!r} is not a percentage from 1 to 99, such as 10"
        )
    return int(text)


def _header(text: str) -> str:
    if not re.fullmatch("[A-Za-z0-9-]{1,64}", text):
        raise argparse.ArgumentTypeError(
            f"{text[:80]!r} is not the name of a header, such as X-API-Key"
        )
    return text
