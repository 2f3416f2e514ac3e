"""The two files of a new model: their contents, and that they work unchanged."""

from __future__ import annotations

import importlib.util
import inspect
import json
import math
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest

from application.scaffold.model_file import (
    check_name,
    data_path,
    render_config,
    render_module,
    to_json,
    write_files,
)
from application.scaffold.table_inspection import Inspection, inspect_table
from domain import catalog
from domain.contract import ModelSpec, Number
from domain.data.tables import read_frame
from domain.errors import ConfigError
from infrastructure.frameworks import scikit_learn
from shared.paths import ROOT
from tests.fakes import PETALS_CONFIG

ROWS = 300
ODD_NAMES = (
    "Total Charges",
    "class",
    "label",
    "größe",
    'a "b"',
    "d'e",
    "x\\y",
    "{z}",
    "%s",
    "a\tb",
)


def mixed(rng: np.random.Generator) -> dict[str, Any]:
    """Numbers and categories, with gaps."""
    return {
        "age": rng.integers(18, 90, ROWS),
        "income": np.where(rng.random(ROWS) < 0.2, np.nan, rng.lognormal(8, 1, ROWS)),
        "plan": rng.choice(["free", "small", "large"], ROWS),
        "city": pd.Series(rng.choice(list("abcdefgh"), ROWS)).where(rng.random(ROWS) > 0.1),
        "active": rng.random(ROWS) < 0.5,
        "id": np.arange(ROWS),
    }


def table(kind: str) -> pd.DataFrame:
    """A synthetic table with the target y."""
    rng = np.random.default_rng(3)
    noise = rng.normal(size=ROWS)
    if kind in ("text", "scored_text"):
        words = np.array("the parcel late broken größe GREAT refund x-ray 日本語 ok".split())
        texts = [" ".join(rng.choice(words, 9)) for _ in range(ROWS)]
        count = pd.Series(texts).str.count("late|GREAT")
        return pd.DataFrame({"text": texts, "y": count > 1 if kind == "text" else count + noise})
    if kind == "odd":
        frame = pd.DataFrame({name: rng.normal(size=ROWS) for name in ODD_NAMES})
        words = ["sagt 'ja'", 'sagt "nein"', "beides '\"", "\\", "\n", "\u200b", "w" * 90]
        frame["wörter"] = rng.choice(words, ROWS)
        return frame.assign(y=np.where(noise > 0, 'the "one"', "the 'other'"))
    frame = pd.DataFrame(mixed(rng))
    score = frame["age"] / 30 + (frame["plan"] == "free") + frame["income"].isna() + noise
    if kind == "binary":
        return frame.assign(y=np.where(score > score.median(), "yes", "no"))
    if kind == "many":
        return frame.assign(y=pd.qcut(score, 3, labels=False))
    if kind == "categories":
        return frame[["plan", "active"]].assign(y=score > score.median())
    return frame.assign(y=score * 1e5)


KINDS = ("binary", "many", "categories", "regression", "odd", "text", "scored_text")


@pytest.fixture(name="made", params=KINDS)
def _made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[Path, Inspection]:
    """The written module, and the inspection that it was written from."""
    path = tmp_path / "made.parquet"
    table(request.param).to_parquet(path)
    inspection = inspect_table(read_frame(str(path)), "y", "made")
    module = tmp_path / "made.py"
    module.write_text(render_module(inspection, path.name), encoding="utf-8")
    return module, inspection


def imported(path: Path) -> ModuleType:
    """The module in a file."""
    spec = importlib.util.spec_from_file_location("made", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_module_has_the_contract_that_was_inspected(made: tuple[Path, Inspection]) -> None:
    path, inspection = made
    assert imported(path).SPEC == inspection.spec


def test_the_configuration_has_the_parameters_of_the_module(made: tuple[Path, Inspection]) -> None:
    module, config = imported(made[0]), render_config(made[1], {"path": "made.parquet"})
    assert list(config["model"]) == list(inspect.signature(module.build).parameters)
    assert set(config["data"]) - {"test_size", "random_state"} == {"path"}
    assert list(inspect.signature(module.load).parameters) == ["path"]


def test_the_estimator_beats_the_baseline_and_its_export_predicts_the_same(
    made: tuple[Path, Inspection], tmp_path: Path
) -> None:
    module = imported(made[0])
    dataset = module.load(str(tmp_path / "made.parquet"))
    rows, target = dataset.encoded(module.SPEC), dataset.encoded_target(module.SPEC)
    estimator = module.build(**render_config(made[1], {"path": "made.parquet"})["model"])
    estimator.fit(rows, target)
    assert estimator.score(rows, target) > made[1].baseline

    scikit_learn.export(estimator, module.SPEC, tmp_path / "model.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "model.onnx")
    tested = (
        rows
        if rows.dtype == object
        else np.concatenate([rows, around_splits(estimator, rows, module.SPEC)])
    )
    exported = session.run(None, {"inputs": tested})[-1]
    native = (
        estimator.predict_proba(tested)
        if module.SPEC.classes
        else estimator.predict(tested).reshape(-1, 1)
    )
    assert np.abs(native - exported).max() <= 2e-6 * np.abs(native).max()


def around_splits(estimator: Any, rows: np.ndarray, spec: ModelSpec) -> np.ndarray:
    """Rows with values at the trees' thresholds and one float32 to either side; one of NaN."""
    trees = [tree.tree_ for tree in estimator[-1].estimators_.ravel()]
    splits = np.unique(np.concatenate([tree.threshold[tree.feature >= 0] for tree in trees]))
    middle = splits.astype(np.float32)
    low, high = np.nextafter(middle, np.float32(-np.inf)), np.nextafter(middle, np.float32(np.inf))
    values = np.concatenate([low, middle, high])
    base = rows[np.arange(len(values)) % len(rows)]
    changed = [np.full((1, rows.shape[1]), np.nan, np.float32)]
    for column in spec.columns_of(Number):
        changed.append(base.copy())
        changed[-1][:, column] = values
    return np.concatenate(changed)


def test_the_module_is_formatted(made: tuple[Path, Inspection]) -> None:
    config = f"--config={ROOT / 'pyproject.toml'}"
    check([sys.executable, "-m", "black", "--check", "--quiet", config, str(made[0])])


def test_numbers_are_written_as_black_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "large.py"
    frame = table("binary").assign(income=np.random.default_rng(4).normal(size=ROWS) * 1e18)
    inspection = inspect_table(frame, "y", "large")
    path.write_text(render_module(inspection, "large.csv"), encoding="utf-8")
    assert "e18" in path.read_text(encoding="utf-8")
    config = f"--config={ROOT / 'pyproject.toml'}"
    check([sys.executable, "-m", "black", "--check", "--quiet", config, str(path)])


def test_a_module_passes_mypy_and_pylint(tmp_path: Path) -> None:
    files = []
    for kind in ("binary", "odd", "scored_text"):
        frame = table(kind)
        files.append(tmp_path / f"{kind}.py")
        text = render_module(inspect_table(frame, "y", kind), f"{kind}.csv")
        files[-1].write_text(text, encoding="utf-8")
    names, rules = list(map(str, files)), str(ROOT / "pyproject.toml")
    check([sys.executable, "-m", "mypy", f"--config-file={rules}", *names])
    check([sys.executable, "-m", "pylint", "--jobs=1", f"--rcfile={rules}", *names])


def check(command: list[str]) -> None:
    """Run a command that must succeed."""
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_dropped_columns_are_named_in_the_module() -> None:
    frame = table("binary").assign(leak=lambda made: np.where(made["y"] == "yes", "gone", "here"))
    text = render_module(inspect_table(frame, "y", "made"), "made.csv")
    assert "# left out: id, an identifier: 300 different values in 300 rows" in text
    assert '# Category("leak", ("gone", "here")),' in text


def test_the_threshold_is_just_above_a_constant_prediction() -> None:
    def threshold(frame: pd.DataFrame) -> float:
        config = render_config(inspect_table(frame, "y", "made"), {"path": "made.csv"})
        return float(config["validation"]["threshold"])

    assert threshold(table("binary")) == 0.501
    third = table("binary").assign(y=np.arange(ROWS) % 3 == 0)
    assert threshold(third) == 0.667
    assert threshold(table("regression")) == 0.0


@pytest.mark.parametrize(("rows", "measure"), [(2000, "roc_auc"), (4000, "average_precision")])
def test_a_rare_class_is_positive_and_not_judged_by_accuracy(rows: int, measure: str) -> None:
    rng = np.random.default_rng(0)
    target = np.where(np.arange(rows) % 7 == 0, "churned", "stays")
    frame = pd.DataFrame({"x": rng.normal(size=rows), "y": target})
    inspection = inspect_table(frame, "y", "made")
    validation = render_config(inspection, {"path": "made.csv"})["validation"]
    baseline = {"roc_auc": 0.5, "average_precision": (target == "churned").mean()}[measure]
    assert inspection.baseline == pytest.approx(baseline)
    assert validation == {"measure": measure, "threshold": math.floor(baseline * 1000 + 1) / 1000}
    assert "Classes(('churned', 'stays'), 'y', positive='churned')" in render_module(
        inspection, "made.csv"
    ).replace('"', "'")


def test_the_configuration_is_like_the_existing_ones() -> None:
    config = render_config(
        inspect_table(table("regression"), "y", "made"), {"path": "data/made.csv"}
    )
    known = json.loads(PETALS_CONFIG.read_text("utf-8"))
    assert list(config) == list(known)
    assert config["data"] == {"path": "data/made.csv", "test_size": 0.2, "random_state": 42}
    assert (config["model_name"], config["experiment_name"]) == ("made_regressor", "made_pipeline")
    assert json.loads(to_json(config)) == config


@pytest.mark.parametrize("name", ["churn", "price_2", "x"])
def test_an_identifier_is_a_valid_model_name(name: str, tmp_path: Path) -> None:
    check_name(name, tmp_path)


@pytest.mark.parametrize(
    "name", ["", "Churn", "2fast", "my-model", "a b", "_x", "class", "größe", "../x", "a.b", "x\n"]
)
def test_a_name_that_is_not_an_identifier_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot name a model"):
        check_name(name, tmp_path)


def test_a_name_can_be_as_long_as_bentoml_allows(tmp_path: Path) -> None:
    check_name("x" * 52, tmp_path)
    assert len("x" * 52 + "_classifier") == 63
    with pytest.raises(ConfigError, match="^the name x{20}… of 300 characters is too long"):
        check_name("x" * 300, tmp_path)


@pytest.mark.parametrize("name", catalog.names())
def test_a_name_with_a_module_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"the name {name} is taken: domain/models/{name}.py"):
        check_name(name, ROOT)


def test_a_name_with_a_configuration_is_refused(tmp_path: Path) -> None:
    configs = tmp_path / "application" / "training" / "configs"
    configs.mkdir(parents=True)
    (configs / "churn_config.json").touch()
    with pytest.raises(ConfigError, match="churn_config.json exists"):
        check_name("churn", tmp_path)


def test_a_path_in_the_clone_is_written_as_a_relative_path(tmp_path: Path) -> None:
    assert data_path(str(tmp_path / "data" / "x.csv"), tmp_path) == "data/x.csv"
    assert data_path("/elsewhere/x.csv", tmp_path) == "/elsewhere/x.csv"
    assert data_path("https://host/x.csv", tmp_path) == "https://host/x.csv"


def test_either_all_files_are_written_or_none(tmp_path: Path) -> None:
    good, bad = tmp_path / "a.py", tmp_path / ("b" * 300)
    for files in ({good: "a", bad: "b"}, {bad: "b", good: "a"}):
        with pytest.raises(OSError):
            write_files(files)
        assert not list(tmp_path.iterdir())
    write_files({good: "a"})
    assert [path.name for path in tmp_path.iterdir()] == ["a.py"]
