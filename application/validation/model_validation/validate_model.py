"""The tutorial's name of `mlops validate`."""

from __future__ import annotations

import sys

from infrastructure.cli.__main__ import main

if __name__ == "__main__":
    sys.argv.insert(1, "validate")
    sys.exit(main())
