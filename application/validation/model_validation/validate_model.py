"""Alias of `mlops validate` with the name in the tutorial."""

from __future__ import annotations

import sys

from infrastructure.cli.__main__ import main

if __name__ == "__main__":
    sys.argv.insert(1, "validate")
    sys.exit(main())
