"""Make an API key; it is stored nowhere.

Example: make api-key NAME=shop SCOPES=predict,feedback
"""

from __future__ import annotations

import argparse

from application.inference.api_keys import SCOPES, entry_of, new_key
from shared.console import show_step


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add who the key is for."""
    parser.add_argument("--name", required=True, help="who will use it, as logs may show it")
    parser.add_argument(
        "--scopes",
        type=lambda text: [scope for scope in text.replace(",", " ").split(" ") if scope],
        default=[],
        help=f"what it may do, with commas between: {', '.join(SCOPES)} (default: everything)",
    )


def run(args: argparse.Namespace) -> None:
    """Show a new key, and its entry for SERVING_API_KEYS."""
    key = new_key()
    entry = entry_of(args.name, key, args.scopes)
    show_step("key", f"{key} (shown once: send it as Authorization: Bearer … or X-API-Key)")
    show_step("entry", f"{entry} (add it to SERVING_API_KEYS, with a space between entries)")
