"""What notebooks start from is what training sees."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pytest
from sklearn.dummy import DummyClassifier, DummyRegressor

from application.training import config
from domain import catalog
from domain.contract import ModelSpec, Number, Quantity
from domain.data.dataset import Dataset
from domain.data.splitting import hold_out
from domain.data.tables import read_table
from domain.errors import UnknownModelError
from infrastructure.exploration import explore
from tests import petals


@pytest.mark.usefixtures("petals_in_catalog")
def test_a_model_is_explored_on_the_rows_that_training_learns_from() -> None:
    exploration = explore("petals")
    test_size, seed = exploration.config.data.share_and_seed
    training, holdout = hold_out(petals.load(), petals.SPEC, test_size, seed)
    assert exploration.training.fingerprint == training.fingerprint
    assert exploration.holdout.fingerprint == holdout.fingerprint
    assert exploration.table[petals.SPEC.output.name].tolist() == training.target.tolist()
    assert [*exploration.table][:-1] == [*petals.SPEC.input_names]
    assert str(exploration).startswith(f"{len(training)} training rows, {len(holdout)} hold-out")


@pytest.mark.usefixtures("petals_in_catalog")
def test_cross_validation_is_by_the_measure_of_the_configuration() -> None:
    exploration = explore("petals")
    crossed = exploration.cross_validate()
    assert crossed.measure == "accuracy"
    assert len(crossed.scores) == crossed.folds == (exploration.config.validation.folds or 10)
    assert crossed.scores.mean() > 0.9 > exploration.baseline() > 0.3
    constant = exploration.cross_validate(DummyClassifier())
    assert constant.scores.mean() == pytest.approx(exploration.baseline(), abs=0.05)


def test_data_of_a_source_are_read_and_split_as_configured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    days = pd.date_range("2026-01-01", periods=60).strftime("%Y-%m-%d")
    table = pd.DataFrame({"x": range(60), "day": days, "y": [float(n % 7) for n in range(60)]})
    table.to_json(tmp_path / "sales.json", orient="records")
    spec = ModelSpec("sales", (Number("x", "", 0, 99),), Quantity("y"))
    written = {
        "model": {},
        "data": {
            "source": {"address": str(tmp_path / "sales.json")},
            **{"test_size": 0.2, "random_state": 1, "split": {"time": "day"}},
        },
        **{"experiment_name": "sales", "model_name": "sales", "version": "1.0.0"},
        "validation": {"measure": "neg_mean_absolute_error", "threshold": -9, "folds": 3},
    }
    (tmp_path / "sales_config.json").write_text(json.dumps(written), encoding="utf-8")

    def load(path: str) -> Dataset:
        return read_table(path, spec)

    def build() -> DummyRegressor:
        return DummyRegressor()

    model = SimpleNamespace(SPEC=spec, load=load, build=build)
    monkeypatch.setattr(config, "CONFIGS", tmp_path)
    monkeypatch.setattr(catalog, "get", {"sales": model}.__getitem__)
    monkeypatch.setenv("DATA_SNAPSHOTS", str(tmp_path / "snapshots"))
    exploration = explore("sales")
    assert exploration.holdout.inputs["x"].tolist() == list(range(48, 60))
    crossed = exploration.cross_validate()
    assert (crossed.measure, crossed.folds) == ("neg_mean_absolute_error", 3)
    assert exploration.baseline() < -1


def test_an_unknown_model_is_an_error() -> None:
    with pytest.raises(UnknownModelError, match="unknown model 'no_such'"):
        explore("no_such")
