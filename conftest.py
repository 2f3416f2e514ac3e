"""Fixtures and hooks that tests in several places share."""

from __future__ import annotations

import sys
from collections.abc import Generator

import pytest

pytest_plugins = ["tests.served"]


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Forget a module that could not be imported, since an extra is not installed.

    pytest leaves it half made in sys.modules, where the tests of the catalog would find it.
    """
    report = yield
    if not report.passed:
        for name, module in list(sys.modules.items()):
            if getattr(module, "__file__", None) == str(collector.path):
                del sys.modules[name]
    return report
