"""The command that writes a new model, in a folder instead of a clone."""

from __future__ import annotations

import argparse
import json
import runpy
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from application.scaffold.estimators import ESTIMATORS
from application.scaffold.new_model import NewModel, write_model
from domain.data.splitting import hold_out
from infrastructure.cli import new_model as command
from infrastructure.cli._exit import exit_code_of
from infrastructure.storage.snapshots import SnapshotStore

ROWS = 200
BOOSTING = ESTIMATORS["gradient_boosting"]


@pytest.fixture(name="clone")
def _clone(tmp_path: Path) -> Path:
    (tmp_path / "domain" / "models").mkdir(parents=True)
    (tmp_path / "application" / "training" / "configs").mkdir(parents=True)
    rng = np.random.default_rng(1)
    tenure = rng.integers(0, 72, ROWS)
    pd.DataFrame(
        {
            "customer": [f"C{row}" for row in range(ROWS)],
            "tenure": tenure,
            "plan": rng.choice(["free", "paid"], ROWS),
            "void": [None] * ROWS,
            "churned": np.where(tenure + rng.normal(0, 20, ROWS) < 30, "yes", "no"),
        }
    ).to_csv(tmp_path / "churn.csv", index=False)
    return tmp_path


def new_model(clone: Path, **options: str) -> int:
    """Run the command as a user would, with some options changed."""
    values = {
        "name": "churn",
        "data": str(clone / "churn.csv"),
        "target": "churned",
        "leave-out": "void",
        **options,
    }
    parser = argparse.ArgumentParser()
    command.add_arguments(parser)
    words = [
        f"--{key}={value}" if value or key == "leave-out" else f"--{key}"
        for key, value in values.items()
    ]
    args = parser.parse_args(words)
    return exit_code_of(lambda: command.run(args, clone))


def written(clone: Path) -> list[str]:
    """Names of the module, configuration and notebook files."""
    folders = ("domain/models", "application/training/configs", "domain/experiments/notebooks")
    return sorted(path.name for folder in folders for path in (clone / folder).glob("*"))


def test_a_module_a_configuration_and_a_notebook_are_written(clone: Path) -> None:
    assert new_model(clone) == 0
    assert written(clone) == ["churn.ipynb", "churn.py", "churn_config.json"]
    config = json.loads((clone / "application/training/configs/churn_config.json").read_text())
    assert config["data"]["path"] == "churn.csv"


def test_a_regression_says_beforehand_what_its_intervals_cost(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new_model(clone, target="tenure", task="regression", estimator="ridge") == 0
    shown = capsys.readouterr().out
    assert "estimator Ridge" in shown
    assert " CPU seconds: one in training, 10 (validation.folds) for its intervals" in shown
    config = json.loads((clone / "application/training/configs/churn_config.json").read_text())
    assert config["model"] == {"strength": 1.0}


def test_an_estimator_that_does_not_suit_is_refused_and_nothing_is_written(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new_model(clone, estimator="ridge") == 1
    assert "ESTIMATOR=ridge (--estimator) is not for a classification" in capsys.readouterr().err
    assert not written(clone)


def config_of(clone: Path) -> Any:
    """The configuration that was written."""
    return json.loads((clone / "application/training/configs/churn_config.json").read_text())


def priced(clone: Path) -> None:
    """Add prices, written as text, to the table."""
    table = pd.read_csv(clone / "churn.csv")
    table["my price"] = [f"$1,{number + 100}.50" for number in table["tenure"]]
    table.to_csv(clone / "churn.csv", index=False)


def test_numbers_in_text_are_left_out_unless_they_are_asked_for(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    priced(clone)
    assert new_model(clone) == 0
    assert "READ_AS_NUMBERS='my price' (--read-as-numbers)" in capsys.readouterr().out
    assert new_model(clone, name="priced", **{"read-as-numbers": "my price"}) == 0
    shown = capsys.readouterr().out
    assert "numbers   my price: '$1,1" in shown and "is read as 11" in shown
    spec = runpy.run_path(str(clone / "domain/models/priced.py"))["SPEC"]
    price = next(item for item in spec.inputs if item.name == "my price")
    assert (price.unit, price.decimal) == ("$", ".")


def test_a_target_in_text_is_a_quantity(clone: Path, capsys: pytest.CaptureFixture[str]) -> None:
    priced(clone)
    options = {"target": "my price", "leave-out": "void,tenure"}
    assert new_model(clone, **options) == 1
    assert "my price has numbers written as text" in capsys.readouterr().err
    options["read-as-numbers"] = "my price"
    assert new_model(clone, **options, task="classification") == 1
    assert "'my price' cannot be both classes and numbers" in capsys.readouterr().err
    assert new_model(clone, **options) == 0
    module = (clone / "domain/models/churn.py").read_text("utf-8")
    assert 'output=Quantity("my price", unit="$", decimal="."),' in module


def test_the_data_file_is_not_moved(clone: Path) -> None:
    before = (clone / "churn.csv").stat()
    new_model(clone)
    assert (clone / "churn.csv").stat().st_mtime_ns == before.st_mtime_ns
    assert len(list(clone.rglob("*.csv"))) == 1


def test_the_terminal_shows_what_was_found_and_the_next_steps(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    new_model(clone)
    shown = capsys.readouterr().out
    for part in (
        "classes of churned: no, yes",
        "(for regression: TASK=regression, or --task regression)",
        "number, 0 to 107",
        "category, 2: free, paid",
        "LEFT OUT  customer: an identifier",
        " training rows, ",
        "estimator GradientBoostingClassifier",
        " CPU seconds: one in training, 10 (validation.folds) for the cross-validation in ",
        "validation.threshold in the configuration",
        "make quickstart MODEL=churn ENV=churn",
    ):
        assert part in shown


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"name": "my churn"}, "cannot name a model"),
        ({"data": "/no/such.csv"}, "there is no file /no/such.csv"),
        (
            {"target": "left"},
            "unknown column 'left': the columns are customer, tenure, plan, churned",
        ),
        ({"leave-out": ""}, "leave them out with LEAVE_OUT=void"),
        ({"leave-out": "void,age"}, "LEAVE_OUT (--leave-out): cannot leave out age"),
        ({"leave-out": "void,my age"}, "LEAVE_OUT (--leave-out): cannot leave out 'my age'"),
        ({"leave-out": 'void,"my, age"'}, "LEAVE_OUT (--leave-out): cannot leave out 'my, age'"),
        ({"leave-out": "churned"}, "cannot leave out churned"),
        ({"read-as-numbers": "cost"}, "(--read-as-numbers): unknown column 'cost'"),
        (
            {"read-as-numbers": "plan"},
            "in 200 of 200 rows: write a number, or leave the field empty",
        ),
        (
            {"read-as-numbers": "tenure"},
            "READ_AS_NUMBERS (--read-as-numbers): 'tenure' is not text: remove it",
        ),
        ({"target": "void", "leave-out": ""}, "200 of 200 rows have no void"),
    ],
)
def test_an_error_names_the_problem_and_nothing_is_written(
    clone: Path, capsys: pytest.CaptureFixture[str], options: dict[str, str], message: str
) -> None:
    assert new_model(clone, **options) == 1
    assert message in capsys.readouterr().err
    assert written(clone) == []


def test_an_existing_name_is_refused_and_its_files_stay_unchanged(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    module = clone / "domain" / "models" / "churn.py"
    module.write_text("mine")
    assert new_model(clone) == 1
    shown = capsys.readouterr()
    assert "the name churn is taken: domain/models/churn.py would change as shown" in shown.err
    assert "\n  -mine\n" in shown.out and " more lines" in shown.out
    assert (written(clone), module.read_text()) == (["churn.py"], "mine")
    assert new_model(clone, force="") == 0
    forced = capsys.readouterr().out
    assert "\n  -mine\n" in forced and "wrote     domain/models/churn.py" in forced
    assert "SPEC = ModelSpec(" in module.read_text("utf-8")


@pytest.mark.parametrize("order", ["", " ORDER BY customer"])
def test_a_query_without_an_order_is_pointed_out(
    clone: Path, capsys: pytest.CaptureFixture[str], order: str
) -> None:
    with closing(sqlite3.connect(clone / "shop.db")) as database:
        pd.read_csv(clone / "churn.csv").to_sql("churn", database, index=False)
    query = clone / "churn.sql"
    query.write_text(f"SELECT * FROM churn{order}", encoding="utf-8")
    request = NewModel("churn", "sqlite:///shop.db", "churned", str(query), left_out=["void"])
    write_model(request, SnapshotStore(str(clone / "snapshots"), clone, clone), clone)
    assert (f"{query} has no ORDER BY" in capsys.readouterr().out) is not bool(order)


def test_a_table_that_has_changed_shows_what_would_change(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new_model(clone) == 0
    assert new_model(clone) == 0
    assert "unchanged domain/models/churn.py" in capsys.readouterr().out
    table = pd.read_csv(clone / "churn.csv")
    table.loc[table["plan"] == "free", "plan"] = "trial"
    table.to_csv(clone / "churn.csv", index=False)
    capsys.readouterr()
    before = [path.read_bytes() for path in sorted(clone.rglob("*.*"))]
    assert new_model(clone) == 1
    lines = capsys.readouterr().out.splitlines()
    assert '  -        Category("plan", ("free", "paid")),' in lines
    assert '  +        Category("plan", ("paid", "trial")),' in lines
    assert [path.read_bytes() for path in sorted(clone.rglob("*.*"))] == before


def test_a_notebook_that_was_changed_is_kept_without_force(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert new_model(clone) == 0
    path = clone / "domain/experiments/notebooks/churn.ipynb"
    text = path.read_text("utf-8")
    path.write_text(text.replace('"outputs": []', '"outputs": ["a plot"]'), "utf-8")
    assert new_model(clone) == 0  # outputs do not count
    assert "a plot" in path.read_text("utf-8")
    path.write_text(text.replace("## Next", "## Mine"), "utf-8")
    capsys.readouterr()
    assert new_model(clone) == 1
    assert '  -    "## Mine\\n",' in capsys.readouterr().out.splitlines()
    assert "## Mine" in path.read_text("utf-8")
    assert new_model(clone, force="") == 0
    assert path.read_text("utf-8") == text


def test_rows_without_a_target_are_left_out_on_request_here_and_in_training(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(clone / "churn.csv")
    table.loc[:5, "churned"] = None
    table.to_csv(clone / "churn.csv", index=False)
    assert new_model(clone) == 1
    assert "6 of 200 rows have no churned: " in (message := capsys.readouterr().err)
    assert "DROP_UNLABELLED=1 (--drop-unlabelled)" in message
    assert new_model(clone, **{"drop-unlabelled": ""}) == 0
    assert "left out  6 of 200 rows have no churned" in capsys.readouterr().out
    data = config_of(clone)["data"]
    assert data["drop_unlabelled"] is True
    load = runpy.run_path(str(clone / "domain/models/churn.py"))["load"]
    assert len(load(str(clone / "churn.csv"), data["drop_unlabelled"])) == 194


def test_data_that_cannot_be_split_are_refused_before_anything_is_written(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    frame = pd.DataFrame({"x": [1.0] * 20 + [2.0] * 20, "y": ["a"] * 20 + ["b", "a"] * 10})
    frame.to_csv(clone / "twins.csv", index=False)
    assert new_model(clone, data=str(clone / "twins.csv"), target="y", **{"leave-out": ""}) == 1
    assert "cannot be split" in capsys.readouterr().err
    assert written(clone) == []


def test_a_repeated_customer_splits_the_rows_and_a_random_claim_is_shown(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(clone / "churn.csv")
    table["customer 顧客"] = [f"C{row // 4}" for row in range(ROWS)]
    table.to_csv(clone / "churn.csv", index=False)
    assert new_model(clone) == 0
    config = json.loads((clone / "application/training/configs/churn_config.json").read_text())
    assert config["data"]["split"] == {"group": "customer 顧客"}
    shown = capsys.readouterr().out
    assert '"data": {"split": {"group": "customer 顧客"}} in the configuration' in shown
    assert "LEFT OUT  customer 顧客: it tells groups apart" in shown
    assert (
        "with the split by group (customer 顧客), 0." in shown and " with a random split; " in shown
    )
    assert written(clone) == ["churn.ipynb", "churn.py", "churn_config.json"]


def test_dates_in_order_split_the_rows_by_time(clone: Path) -> None:
    table = pd.read_csv(clone / "churn.csv")
    table["day"] = pd.date_range("2026-01-01", periods=ROWS, freq="D").strftime("%Y-%m-%d")
    table.to_csv(clone / "churn.csv", index=False)
    assert new_model(clone) == 0
    config = json.loads((clone / "application/training/configs/churn_config.json").read_text())
    assert config["data"]["split"] == {"time": "day"}


@pytest.mark.parametrize("trend", [0.0, 0.2])
def test_a_trend_that_trees_cannot_continue_is_pointed_out(
    clone: Path, trend: float, capsys: pytest.CaptureFixture[str]
) -> None:
    rng, days = np.random.default_rng(0), pd.date_range("2024-01-01", periods=500)
    table = pd.DataFrame({"day": days.strftime("%Y-%m-%d"), "heat": rng.normal(15, 5, 500)})
    table["sales"] = 100 + trend * np.arange(500) + table["heat"] + rng.normal(0, 1, 500)
    table.to_csv(clone / "sales.csv", index=False)
    options = {"data": str(clone / "sales.csv"), "target": "sales", "leave-out": ""}
    assert new_model(clone, **options) == 0
    shown = capsys.readouterr().out
    assert "r2 of this estimator, by 500 rows: " in shown and "(day), 0.9" in shown
    assert ("try ESTIMATOR=ridge" in shown) is (trend > 0)


def test_a_daily_table_is_learned_far_better_with_its_date(clone: Path) -> None:
    rng, days = np.random.default_rng(0), pd.date_range("2024-01-01", periods=731)
    season = 40 * np.sin(2 * np.pi * days.day_of_year / 365) + 25 * (days.day_of_week > 4)
    table = pd.DataFrame({"day": days.strftime("%Y-%m-%d"), "heat": rng.normal(15, 5, 731)})
    table["sales"] = 100 + season + 1.5 * table["heat"] + rng.normal(0, 5, 731)
    table.to_csv(clone / "sales.csv", index=False)
    scores = []
    for name, left_out in (("dated", "void"), ("undated", "day")):
        table.assign(void=0 * table["heat"]).to_csv(clone / "sales.csv", index=False)
        options = {"name": name, "target": "sales", "leave-out": left_out}
        assert new_model(clone, data=str(clone / "sales.csv"), **options) == 0
        module = runpy.run_path(str(clone / f"domain/models/{name}.py"))
        spec, dataset = module["SPEC"], module["load"](str(clone / "sales.csv"))
        learned, judged = hold_out(dataset, spec, 0.2, 0)
        model = module["build"](**BOOSTING.parameters)
        model.fit(learned.encoded(spec), learned.encoded_target(spec))
        scores.append(model.score(judged.encoded(spec), judged.encoded_target(spec)))
    assert scores[0] > 0.9 > 0.3 > scores[1]


def test_a_split_that_would_leave_out_a_class_is_not_proposed(
    clone: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    table = pd.read_csv(clone / "churn.csv").sort_values("churned", ascending=False)
    table["day"] = pd.date_range("2026-01-01", periods=ROWS, freq="D").strftime("%Y-%m-%d")
    table.to_csv(clone / "churn.csv", index=False)
    assert new_model(clone) == 0
    config = json.loads((clone / "application/training/configs/churn_config.json").read_text())
    assert "split" not in config["data"]
    assert "day has dates that are in order, but rows are split at random" in (
        capsys.readouterr().out
    )
