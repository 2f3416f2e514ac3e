"""Packages that a service does not require are not found.

test_serving_check.py tests the process as a whole.
"""

from __future__ import annotations

import sysconfig
from collections.abc import Sequence
from importlib.metadata import DistributionFinder, distribution

import pytest

from infrastructure.serving.serving_process import ReachedOnly

SITE = sysconfig.get_path("purelib")


@pytest.fixture(name="finder")
def _finder() -> ReachedOnly:
    """Of all installed packages, it finds only NumPy."""
    return ReachedOnly({"numpy": distribution("numpy")}, [SITE])


@pytest.mark.parametrize("name", ["numpy", "numpy.linalg", "numpy._core._multiarray_umath"])
def test_required_packages_are_found(finder: ReachedOnly, name: str) -> None:
    parent = name.rpartition(".")[0].replace(".", "/")
    assert finder.find_spec(name, [f"{SITE}/{parent}"] if parent else None)


@pytest.mark.parametrize("name", ["pandas", "matplotlib", "no_such_module"])
def test_other_packages_are_not_found(finder: ReachedOnly, name: str) -> None:
    assert finder.find_spec(name) is None


@pytest.mark.parametrize("name", ["json", "sqlite3"])
def test_the_standard_library_is_found(finder: ReachedOnly, name: str) -> None:
    assert finder.find_spec(name)


@pytest.mark.parametrize(
    ("name", "found"), [("NumPy", ["numpy"]), ("pandas", []), (None, ["numpy"])]
)
def test_only_what_is_reached_counts_as_installed(
    finder: ReachedOnly, name: str | None, found: Sequence[str]
) -> None:
    context = DistributionFinder.Context(name=name)
    assert [item.name for item in finder.find_distributions(context)] == list(found)
