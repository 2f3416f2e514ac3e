"""Create an API key and show it once; it is not stored.

Example: make api-key NAME=shop SCOPES=predict,feedback
"""

from __future__ import annotations

import argparse

from application.inference.api_keys import SCOPES, entry_of, new_key
from shared.console import show_step


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the key's name and scopes."""
    parser.add_argument("--name", required=True, help="who will use the key; logs may show it")
    parser.add_argument(
        "--scopes",
        type=lambda text: [scope for scope in text.replace(",", " ").split(" ") if scope],
        default=[],
        help=f"what the key allows, comma-separated: {', '.join(SCOPES)} (default: everything)",
    )


def run(args: argparse.Namespace) -> None:
    """Show a new key and its entry for SERVING_API_KEYS."""
    key = new_key()
    entry = entry_of(args.name, key, args.scopes)
    show_step("key", f"{key} (shown only now; send it as Authorization: Bearer … or X-API-Key)")
    show_step("entry", f"{entry} (add it to SERVING_API_KEYS; spaces separate entries)")
