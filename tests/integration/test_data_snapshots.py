"""Snapshots of a local table: what `make data` lists, and a reproduction without the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd

from tests.served import Home, commit_all, copy_clone


def table(rows: int, shift: int) -> pd.DataFrame:
    """Customers, of whom the older ones leave."""
    rng = np.random.default_rng(5)
    age = rng.integers(18, 80, rows)
    churned = np.where(age + rng.normal(0, 6, rows) > 50, "yes", "no")
    return pd.DataFrame({"age": age + shift, "income": rng.gamma(2, 9, rows), "churned": churned})


def make(place: Home, *arguments: str) -> str:
    """Run a target that must succeed, and return its output."""
    done = place.make(*arguments, "MODEL=customers")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def test_versions_of_a_table_are_listed_compared_and_trained_on_again(tmp_path: Path) -> None:
    place = Home(tmp_path / "home", tmp_path / "clone")
    copy_clone(place.root)
    data = tmp_path / "customers.csv"  # outside the clone
    table(200, 0).to_csv(data, index=False)
    make(place, "new-model", "NAME=customers", f"DATA={data}", "TARGET=churned")
    module = place.root / "domain/models/customers.py"
    output = make(place, "train")
    assert "domain/models/customers.py is not committed: make reproduce will lack" in output
    commit_all(place.root, "customers")
    make(place, "-B", "train")
    assert "there are no two versions with snapshots that differ" in make(place, "data")

    table(220, 20).assign(extra=1).to_csv(data, index=False)
    make(place, "train")
    output = make(place, "data")
    assert "compared  version 2 with version 3\n" in output
    assert "rows: 200, now 220" in output
    assert "column extra: is new" in output
    assert "drift of age: population stability index" in output
    assert len(list((place.folder / "snapshots").iterdir())) == 2

    data.unlink()
    output = make(place, "reproduce", "RUN=2")
    assert f"data      {data}: snapshot " in output
    assert "DIFFERS" not in output
    assert module.exists()
