"""The parts of docs/benchmarks/README.md; each benchmark replaces its own."""

from __future__ import annotations

import re

from shared.paths import ROOT

REPORT = ROOT / "docs/benchmarks/README.md"
PARTS = ("serving", "training")
_TITLE = "# Benchmarks\n\nMade by `make benchmark`, which measures all contestants in turn."


def write_part(name: str, text: str) -> None:
    """Put a part into the report."""
    before = REPORT.read_text(encoding="utf-8") if REPORT.is_file() else ""
    REPORT.write_text(replace_part(before, name, text), encoding="utf-8")


def replace_part(report: str, name: str, text: str) -> str:
    """The report with one part replaced; parts have the order of `PARTS`."""
    parts = {part: _marked(report, part) for part in PARTS} | {name: text.strip()}
    sections = [
        f"<!-- {part} -->\n\n{content}\n\n<!-- /{part} -->"
        for part, content in parts.items()
        if content
    ]
    return "\n\n".join([_TITLE, *sections]) + "\n"


def _marked(report: str, part: str) -> str:
    found = re.search(rf"<!-- {part} -->\n(.*?)<!-- /{part} -->", report, re.DOTALL)
    return found[1].strip() if found else ""
