"""A small library of estimators that no lock file has, installed into a folder."""

from __future__ import annotations

import importlib
from pathlib import Path

LIBRARY = "tiny_estimators"
REQUIREMENT = "tiny-estimators==0.3.1"
_SOURCE = '''
from sklearn.base import BaseEstimator, TransformerMixin


class Halver(TransformerMixin, BaseEstimator):
    """Divides each column by twice its mean."""

    def fit(self, rows, target=None):
        self.state_ = State(2 * rows.mean(axis=0))
        return self

    def transform(self, rows):
        return rows / self.state_.scale


class State:
    def __init__(self, scale):
        self.scale = scale


class Opening(Halver):
    """Has something that skops cannot write, once fitted."""

    def fit(self, rows, target=None):
        self.file_ = (row for row in rows)
        return super().fit(rows)


class Refusing(Halver):
    """skops can write it, but not read it back."""

    def __setstate__(self, state):
        raise ValueError("state is not welcome")


def twice(rows):
    return 2 * rows
'''


def install_library(folder: Path) -> None:
    """Write the library and its metadata, as pip does."""
    files = {
        f"{LIBRARY}/__init__.py": _SOURCE,
        f"{LIBRARY}-0.3.1.dist-info/METADATA": (
            "Metadata-Version: 2.1\nName: tiny-estimators\nVersion: 0.3.1\n"
        ),
        f"{LIBRARY}-0.3.1.dist-info/top_level.txt": f"{LIBRARY}\n",
    }
    names = [*files, f"{LIBRARY}-0.3.1.dist-info/RECORD"]
    files[names[-1]] = "".join(f"{name},,\n" for name in names)
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    importlib.invalidate_caches()
