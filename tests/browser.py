"""An installed Chromium or Chrome."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), ""
)
needs_browser = pytest.mark.skipif(not BROWSER, reason="no chromium or google-chrome is installed")


@pytest.fixture(name="browser", scope="module")
def fixture_browser() -> Iterator[Browser]:
    """A headless browser."""
    # pylint: disable-next=import-outside-toplevel  # most tests need no browser
    from playwright.sync_api import sync_playwright

    sandbox = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=BROWSER, args=sandbox)
        yield browser
        browser.close()
