"""The makefiles of the clone."""

from __future__ import annotations

import re

from shared.paths import ROOT

MAKEFILES = [ROOT / "Makefile", ROOT / "make/chain.mk", ROOT / "make/template.mk"]
TEXT = "\n".join(path.read_text("utf-8") for path in MAKEFILES)
HELP = dict(re.findall(r"^([a-z][a-z-]*):(?!=).* ## (.*)$", TEXT, re.MULTILINE))
"""Each target with its help."""
