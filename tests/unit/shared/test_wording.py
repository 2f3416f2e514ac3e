"""Verbs and nouns agree with their number."""

from __future__ import annotations

import pytest

from shared.wording import inflected


@pytest.mark.parametrize(("count", "form"), [(0, "rows"), (1, "row"), (1.0, "row"), (2, "rows")])
def test_only_one_is_singular(count: float, form: str) -> None:
    assert inflected(count, "row", "rows") == form
