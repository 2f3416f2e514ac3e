"""Show which version was champion, and what was deployed, at a given time.

Example: make which-model AT="2026-11-20 14:00"
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime

from application.registry.history import effective_time, state_at
from application.training.config import registered_name
from infrastructure.cli._arguments import add_model, valid_time
from infrastructure.cli._registry import open_registry, warn_of_disagreement
from infrastructure.cli._releases import record_missing_changes
from infrastructure.registry.ledger import FileLedger
from shared.console import show_step
from shared.settings import Settings
from shared.wording import local_time


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the model and the time."""
    add_model(parser, all_models=True)
    parser.add_argument(
        "--at",
        type=valid_time,
        default=datetime.now(UTC),
        help='"2026-11-20 14:00" or ISO 8601, local time unless it has a zone (default: now)',
    )


def run(args: argparse.Namespace) -> None:
    """Show what the ledger has for that time."""
    settings = Settings.load()
    record_missing_changes(settings)
    entries = FileLedger(settings.ledger).entries()
    name = registered_name(args.model) if args.model else None
    state = state_at(entries, args.at)
    canaries = {
        f"{environment} canary ({tenure.since.details['share']} %)": tenure
        for environment, tenure in state.canaries.items()
    }
    found = [
        *(("champion", tenure) for tenure in state.champions.values()),
        *(state.deployed | canaries).items(),
    ]
    found = [(place, tenure) for place, tenure in found if name in (None, tenure.model_name)]
    show_step("at", local_time(args.at))
    registry = open_registry(settings)
    for each in [name] if name else registry.model_names():
        if versions := registry.versions(each):
            warn_of_disagreement(registry, versions, entries)
    for place, tenure in found:
        entry = tenure.since
        show_step(
            place,
            f"{tenure.model_name} {tenure.version}, since {local_time(effective_time(entry))} "
            f"({entry.event} by {entry.who})",
        )
    if not found:
        start = (
            f"the ledger begins at {local_time(entries[0].at)}"
            if entries
            else "the ledger is empty"
        )
        show_step("result", f"no champion and no deployment at that time; {start}")
