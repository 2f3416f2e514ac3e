"""The notebook that `make new-model` writes runs for every kind of table."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.notebooks import code_cells, execute, output_of
from tests.reviews import chinese_reviews
from tests.served import Home, copy_clone

ROWS = 300


@pytest.fixture(scope="module", name="home")
def _home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    """A clone to which models are added."""
    folder = tmp_path_factory.mktemp("notebooks")
    home = Home(folder / "home", folder / "clone")
    copy_clone(home.root)
    return home


def customers() -> pd.DataFrame:
    """Words, numbers with gaps, and whether a customer left."""
    rng = np.random.default_rng(0)
    table = pd.DataFrame(
        {
            "months": rng.integers(1, 72, ROWS).astype(float),
            "plan": rng.choice(["basic <b>", "plus", "pro"], ROWS),
        }
    )
    gone = table["months"] / 20 + (table["plan"] == "pro") + rng.logistic(0, 0.5, ROWS) < 2
    table["churned"] = np.where(gone, "yes", "no")
    table.loc[::20, ["months", "plan"]] = None
    return table


def sales() -> pd.DataFrame:
    """Daily sales, higher on weekends."""
    rng, days = np.random.default_rng(1), pd.date_range("2025-01-01", periods=ROWS)
    table = pd.DataFrame({"day": days.strftime("%Y-%m-%d"), "heat": rng.normal(15, 5, ROWS)})
    table["sales"] = 100 + 20 * (days.day_of_week > 4) + table["heat"] + rng.normal(0, 3, ROWS)
    return table


@pytest.mark.parametrize(
    ("name", "table", "target", "measure", "plots"),
    [
        ("churn", customers(), "churned", "accuracy", ("histogram by class", "shares of")),
        ("sales", sales(), "sales", "r2", ("mean of sales over time", "and sales by it")),
        ("reviews", chinese_reviews(ROWS), "類別", "accuracy", ("lengths and frequent words",)),
    ],
    ids=["classification", "regression with dates", "text"],
)
def test_the_notebook_of_a_new_model_shows_its_data_and_what_it_can_predict(
    home: Home,
    tmp_path: Path,
    name: str,
    table: pd.DataFrame,
    target: str,
    measure: str,
    plots: tuple[str, ...],
) -> None:
    table.to_csv(home.root / f"{name}.csv", index=False)
    command = ("-m", "infrastructure.cli", "new-model", "--name", name)
    done = home.python(*command, "--data", str(home.root / f"{name}.csv"), "--target", target)
    assert done.returncode == 0, done.stdout + done.stderr
    file = home.root / f"domain/experiments/notebooks/{name}.ipynb"
    source = file.read_bytes()
    notebook = execute(source, tmp_path, home.environment)
    assert all(cell.execution_count for cell in code_cells(notebook))
    assert file.read_bytes() == source
    rows = re.search(r"(\d+) training rows, (\d+) hold-out rows", output_of(notebook, "setup"))
    assert rows and int(rows[1]) + int(rows[2]) == ROWS
    assert target in output_of(notebook, "summary")
    gallery = output_of(notebook, "plots")
    assert gallery.count("<svg") == table.shape[1]
    assert all(plot in gallery for plot in plots) and "basic <b>" not in gallery
    baseline = float(output_of(notebook, "baseline").rpartition(": ")[2].replace("−", "-"))
    crossed = re.search(
        rf"^{measure} (\S+) ± .*\(10 folds\)", output_of(notebook, "cross-validation")
    )
    assert crossed and baseline + 0.1 < float(crossed[1]) <= 1
