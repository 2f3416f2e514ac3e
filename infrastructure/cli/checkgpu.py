"""Show what this machine can compute on, what is missing and how to get it.

Exits with 0 with or without a GPU; with REQUIRE_GPU=1 in the environment it exits with 1 if no
framework can use one.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Mapping
from importlib.util import find_spec

from shared import gpu


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the format of the report."""
    parser.add_argument("--json", action="store_true", help="write JSON instead of a table")


def run(
    args: argparse.Namespace,
    *,
    environ: Mapping[str, str] = os.environ,
    run_command: gpu.Run = gpu.run_command,
    find: gpu.Find = find_spec,
) -> int:
    """Print the report."""
    report = gpu.check(run_command, find)
    advice = gpu.advise(report)
    sys.stdout.write(gpu.to_json(report, advice) if args.json else gpu.render(report, advice))
    if environ.get("REQUIRE_GPU") == "1" and not report.usable_by:
        sys.stderr.write("error: REQUIRE_GPU=1 is set, but no framework can use a GPU\n")
        return 1
    return 0
