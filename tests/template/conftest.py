"""A copy of the repository that a test may change."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.served import Home, copy_clone


@pytest.fixture(name="copy")
def fixture_copy(tmp_path: Path) -> Home:
    """A copy of the repository, committed, with the environment of this one."""
    clone = tmp_path / "clone"
    copy_clone(clone)
    return Home(tmp_path / "home", clone)
