"""docs/serving.md is complete and correct."""

from __future__ import annotations

import re
from typing import Any

from application.inference.api_keys import SCOPES
from shared.paths import ROOT
from shared.settings import ServingSettings

DOCUMENT = (ROOT / "docs/serving.md").read_text(encoding="utf-8")


def test_the_table_lists_every_setting_with_its_default() -> None:
    rows = re.findall(r"^\| `SERVING_(\w+)` \| (?:`(.*?)`|none) \|", DOCUMENT, re.MULTILINE)
    documented: dict[str, Any] = {name.lower(): default for name, default in rows}
    fields = ServingSettings.model_fields
    assert set(documented) == set(fields)
    read = ServingSettings.model_validate(documented)
    for name, field in fields.items():
        assert getattr(read, name) == field.default, name


def test_every_scope_of_api_keys_is_explained() -> None:
    explained = re.findall(r"^\| `(\w+)` \|", DOCUMENT, re.MULTILINE)
    assert [name for name in explained if not name.startswith("SERVING_")] == list(SCOPES)
