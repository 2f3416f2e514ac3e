"""Options, marks and fixtures that tests in several places share."""

from __future__ import annotations

import fcntl
import os
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path

import pytest
from hypothesis import settings

pytest_plugins = ["tests.browser", "tests.served"]

MARKS = {
    "nightly": "exhaustive, slow, or needs a container engine: `make nightly` runs it",
    "alone": "measures time or memory: no other test runs at the same time",
}
LIBRARIES = (
    *("alembic", "bentoml", "hypothesis", "matplotlib.pyplot", "mlflow.pyfunc", "mlflow.sklearn"),
    *("mlflow.store.tracking.sqlalchemy_store", "nbclient", "onnxruntime", "playwright.sync_api"),
    *("pyarrow.parquet", "schemathesis", "skl2onnx", "sklearn.ensemble", "tensorflow", "torch"),
    "whisper",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--nightly`."""
    parser.addoption("--nightly", action="store_true", help="also run what is marked nightly")


def pytest_configure(config: pytest.Config) -> None:
    """Register the marks; let test processes share the cores instead of competing for them."""
    for name, meaning in MARKS.items():
        config.addinivalue_line("markers", f"{name}: {meaning}")
    if config.getoption("nightly"):
        settings.register_profile("nightly")
        settings.load_profile("nightly")
    processes = len(getattr(config.option, "tx", None) or [])
    if processes > 1:
        threads = max(1, (os.cpu_count() or 1) // processes)
        os.environ.setdefault("OMP_NUM_THREADS", str(threads))
    if "PYTEST_XDIST_WORKER" in os.environ and getattr(config.option, "cov_source", None):
        for library in LIBRARIES:  # now, since they import more slowly once coverage is measured
            with suppress(ImportError):
                import_module(library)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what is marked nightly, unless `--nightly` asks for it; measure no coverage in tests
    that run the same code many times or in other processes, which would take twice the time."""
    for item in items:
        if _repeats(item) or item.path.is_relative_to(config.rootpath / "tests/integration"):
            item.add_marker("no_cover")
    if config.getoption("nightly"):
        return
    nightly = [item for item in items if item.get_closest_marker("nightly")]
    if nightly:
        config.hook.pytest_deselected(items=nightly)
        items[:] = [item for item in items if not item.get_closest_marker("nightly")]


def _repeats(item: pytest.Item) -> bool:
    """Whether a test runs the same code many times: it is statistical or draws examples."""
    property_test = getattr(getattr(item, "obj", None), "is_hypothesis_test", False)
    return property_test or "nightly" in getattr(item, "fixturenames", ())


@pytest.fixture(scope="session", name="nightly")
def _nightly(pytestconfig: pytest.Config) -> bool:
    """Whether statistical tests run in full."""
    return bool(pytestconfig.getoption("nightly"))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Run a test that is marked alone while the other test processes wait."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    folder = item.config.rootpath / ".pytest_cache/turns"
    folder.mkdir(parents=True, exist_ok=True)
    with _turn(folder, alone=item.get_closest_marker("alone") is not None):
        return (yield)


@contextmanager
def _turn(folder: Path, alone: bool) -> Iterator[None]:
    with (folder / "queue").open("w") as queue, (folder / "running").open("w") as running:
        fcntl.flock(queue, fcntl.LOCK_EX)  # whoever waits to be alone is overtaken by nobody
        fcntl.flock(running, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        fcntl.flock(queue, fcntl.LOCK_UN)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report(
    collector: pytest.Collector,
) -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    """Forget a module that could not be imported, since an extra is not installed.

    pytest leaves it half initialised in sys.modules, where the tests of the catalog would find it.
    """
    report = yield
    if not report.passed:
        for name, module in list(sys.modules.items()):
            if getattr(module, "__file__", None) == str(collector.path):
                del sys.modules[name]
    return report
