"""Make an API key: `python -m infrastructure.serving.api_key_command --help`."""

from __future__ import annotations

import argparse
import sys

from application.inference.api_keys import SCOPES, entry_of, new_key
from domain.errors import MlopsError
from shared.commands import entry_point
from shared.console import show_step


@entry_point(MlopsError)
def main(arguments: list[str] | None = None) -> int:
    """Show a new key, and its entry for SERVING_API_KEYS; 0 when that is done."""
    parser = argparse.ArgumentParser(description="Make an API key; it is kept nowhere.")
    parser.add_argument("--name", required=True, help="who will use it, as logs may show it")
    parser.add_argument(
        "--scopes",
        type=lambda told: [scope for scope in told.replace(",", " ").split(" ") if scope],
        default=[],
        help=f"what it may do, with commas between them: {', '.join(SCOPES)} (default: everything)",
    )
    options = parser.parse_args(arguments)
    key = new_key()
    entry = entry_of(options.name, key, options.scopes)
    show_step("key", f"{key} (shown once: send it as Authorization: Bearer … or X-API-Key)")
    show_step("entry", f"{entry} (add it to SERVING_API_KEYS, with a space between entries)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
