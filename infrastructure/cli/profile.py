"""Write an HTML page about a table: what it contains, and what new-model would make of it.

Example: make profile DATA=churn.csv TARGET=churned
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path, PurePath

from application.scaffold.source_table import open_table, track_columns
from application.scaffold.table_profile import profile_table
from domain.errors import DataError
from infrastructure.reporting.table_page import write_table_page
from infrastructure.storage.snapshots import open_snapshots
from shared.console import show_step
from shared.paths import ROOT
from shared.settings import Settings


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the table, the target and the page."""
    parser.add_argument("--data", required=True, help="table: docs/data-sources.md has the forms")
    parser.add_argument("--query", help="file with the SQL to run, if the table is in a database")
    parser.add_argument("--target", help="column to predict, if there is one already")
    parser.add_argument(
        "--output", type=Path, help="page to write (default: build/profile-<table>.html)"
    )


def run(args: argparse.Namespace) -> None:
    """Profile the table and write the page."""
    output = args.output or ROOT / "build" / f"profile-{_name_of(args.query or args.data)}.html"
    page = output.expanduser().absolute()
    for file in filter(None, (args.data, args.query)):
        if page.exists() and Path(file).exists() and page.samefile(file):
            raise DataError(f"OUTPUT (--output): {file} is read, so it cannot be the page, too")
    table = open_table(args.data, args.query, open_snapshots(Settings.load()), ROOT)
    profile = profile_table(table.frame, args.target, track_columns)
    for remark in profile.remarks:
        show_step("look at", remark)
    write_table_page(profile, table.path, page, track_columns)
    show_step("page", page.as_uri())


def _name_of(table: str) -> str:
    """A name for the page of a table: that of its file or folder, without endings."""
    name = PurePath(table.partition("?")[0]).name
    name = re.sub(r"\.[a-z]+(\.(gz|zip|bz2|xz|zst))?$", "", name, flags=re.IGNORECASE)
    return re.sub(r"[^\w-]+", "-", name).strip("-") or "table"
