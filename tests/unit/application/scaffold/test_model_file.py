"""The files of a new model: their contents, and that they work unchanged."""

from __future__ import annotations

import importlib.util
import inspect
import json
import math
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Any

import black
import nbformat
import numpy as np
import pandas as pd
import pytest
from black.files import parse_pyproject_toml
from threadpoolctl import threadpool_limits

from application.scaffold.estimators import ESTIMATORS, Estimator, choose_estimator
from application.scaffold.model_file import (
    check_name,
    current_text,
    difference_of,
    render_config,
    render_module,
    render_notebook,
    to_json,
    write_files,
)
from application.scaffold.table_inspection import Inspection, inspect_table
from domain.data.tables import read_frame
from domain.errors import ConfigError, MissingExtraError
from domain.evaluation.parity import edge_rows
from domain.evaluation.predictions import predict_function
from infrastructure.frameworks import scikit_learn
from shared.paths import ROOT
from tests.exports import run_onnx
from tests.fakes import PETALS_CONFIG
from tests.notebooks import parse
from tests.reviews import chinese_reviews

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


def visits(rng: np.random.Generator, noise: np.ndarray) -> pd.DataFrame:
    """Times with gaps, and what follows the hour and the weekday."""
    times = pd.date_range("2023-01-01", periods=ROWS, freq="59h").to_series(index=range(ROWS))
    demand = 9 * (times.dt.day_of_week > 4) + times.dt.hour + noise
    frame = pd.DataFrame({"at": times.where(rng.random(ROWS) > 0.1), "heat": noise})
    return frame.assign(hall=rng.choice(["a", "b"], ROWS), y=demand)


def odd(rng: np.random.Generator, noise: np.ndarray) -> pd.DataFrame:
    """Names and words with quotes and control characters."""
    frame = pd.DataFrame({name: rng.normal(size=ROWS) for name in ODD_NAMES})
    words = ["sagt 'ja'", 'sagt "nein"', "beides '\"", "\\", "\n", "\u200b", "w" * 90]
    frame["wörter"] = rng.choice(words, ROWS)
    return frame.assign(y=np.where(noise > 0, 'the "one"', "the 'other'"))


def notes(rng: np.random.Generator, noise: np.ndarray) -> pd.DataFrame:
    """Numbers, categories and a text, with gaps, of which one word decides."""
    frame, urgent = pd.DataFrame(mixed(rng)), noise > 0
    words = rng.choice(list("abcdefgh"), (ROWS, 5))
    words[:, 0] = np.where(urgent, "u", "w")
    texts = pd.Series([" ".join(each) for each in words]).where(frame["city"].notna())
    return frame.assign(note=texts, y=np.where(urgent, "now", "later"))


def table(kind: str) -> pd.DataFrame:
    """A synthetic table with the target y."""
    rng = np.random.default_rng(3)
    noise = rng.normal(size=ROWS)
    if kind.endswith(("text", "chinese")):
        words = np.array("the parcel late broken größe GREAT refund x-ray 日本語 ok".split())
        texts = pd.Series([" ".join(rng.choice(words, 9)) for _ in range(ROWS)])
        count = texts.str.count("late|GREAT")
        if kind.endswith("chinese"):
            reviews = chinese_reviews(ROWS)
            texts, count = reviews["句子"], 2 * (reviews["類別"] == "好評")
        scored = kind.startswith("scored")
        return pd.DataFrame({"text": texts, "y": count + noise if scored else count > 1})
    if kind in ("dates", "odd", "note"):
        made = {"dates": visits, "odd": odd, "note": notes}[kind]
        return made(rng, noise)
    frame = pd.DataFrame(mixed(rng))
    score = frame["age"] / 30 + (frame["plan"] == "free") + frame["income"].isna() + noise
    if kind == "binary":
        return frame.assign(y=np.where(score > score.median(), "yes", "no"))
    if kind == "many":
        return frame.assign(y=pd.qcut(score, 3, labels=False))
    if kind == "categories":
        return frame[["plan", "active"]].assign(y=score > score.median())
    return frame.assign(y=score * 1e5)


KINDS = (
    "binary",
    "many",
    "categories",
    "regression",
    "odd",
    "text",
    "scored_text",
    "chinese",
    "scored_chinese",
    "dates",
    "note",
)
BOOSTING = ESTIMATORS["gradient_boosting"]
VARIANTS = [
    *((kind, None) for kind in KINDS),
    *(
        (kind, name)
        for kind in ("binary", "many", "regression", "dates", "note")
        for name, estimator in ESTIMATORS.items()
        if (estimator.regressor if kind in ("regression", "dates") else estimator.classifier)
    ),
]


@dataclass(frozen=True)
class Made:
    """A written module, its table, the inspection that it was written from, and its estimator."""

    path: Path
    table: Path
    inspection: Inspection
    estimator: Estimator


@pytest.fixture(name="inspected", scope="module")
def _inspected(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[str], tuple[Path, Inspection]]:
    """Writes the table of a kind and inspects it, once."""
    folder = tmp_path_factory.mktemp("tables")

    @cache
    def inspected(kind: str) -> tuple[Path, Inspection]:
        path = folder / f"{kind}.parquet"
        table(kind).to_parquet(path)
        return path, inspect_table(read_frame(str(path)), "y", "made")

    return inspected


@pytest.fixture(name="made", params=VARIANTS, ids=lambda each: "-".join(filter(None, each)))
def _made(
    request: pytest.FixtureRequest,
    inspected: Callable[[str], tuple[Path, Inspection]],
    tmp_path: Path,
) -> Made:
    kind, name = request.param
    path, inspection = inspected(kind)
    try:
        estimator = choose_estimator(inspection.spec, inspection.rows, name)
    except MissingExtraError as error:
        pytest.skip(str(error))
    module = tmp_path / "made.py"
    module.write_text(render_module(inspection, path.name, estimator), encoding="utf-8")
    return Made(module, path, inspection, estimator)


def imported(path: Path) -> ModuleType:
    """The module in a file."""
    spec = importlib.util.spec_from_file_location("made", path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_module_has_the_contract_that_was_inspected(made: Made) -> None:
    assert imported(made.path).SPEC == made.inspection.spec


def test_the_configuration_has_the_parameters_of_the_module(made: Made) -> None:
    module = imported(made.path)
    config = render_config(made.inspection, {"path": "made.parquet"}, made.estimator)
    assert list(config["model"]) == list(inspect.signature(module.build).parameters)
    assert set(config["data"]) - {"test_size", "random_state"} == {"path"}
    assert list(inspect.signature(module.load).parameters) == ["path", "drop_unlabelled"]


def test_the_estimator_beats_the_baseline_and_its_export_predicts_the_same(
    made: Made, tmp_path: Path
) -> None:
    module = imported(made.path)
    spec, dataset = module.SPEC, module.load(str(made.table))
    rows, target = dataset.encoded(spec), dataset.encoded_target(spec)
    estimator = module.build(**made.estimator.parameters)
    scikit_learn.check_export(estimator)
    with threadpool_limits(1):  # what others run on the cores must not count
        assert_exported(estimator.fit(rows, target), made, rows, target, tmp_path)


def assert_exported(
    estimator: Any, made: Made, rows: np.ndarray, target: np.ndarray, folder: Path
) -> None:
    """Check that a fitted estimator beats the baseline, and that its export predicts the same."""
    spec = made.inspection.spec
    least = 0.9 if "note" in spec.input_names else made.inspection.baseline
    assert estimator.score(rows, target) > least

    native = predict_function(estimator, spec)
    scikit_learn.export(estimator, spec, folder / "model.onnx")
    tested = np.concatenate([rows, edge_rows(native, rows, spec, 0)])
    difference = np.abs(native(tested) - run_onnx(folder / "model.onnx", tested)).max()
    assert difference <= 3e-6 * np.abs(native(tested)).max()


def test_text_without_blanks_is_split_as_the_export_splits_it(tmp_path: Path) -> None:
    frame = table("chinese")
    inspection = inspect_table(frame, "y", "made")
    path = tmp_path / "made.py"
    estimator = choose_estimator(inspection.spec, ROWS)
    path.write_text(render_module(inspection, "made.csv", estimator), encoding="utf-8")
    spaces = [chr(code) for code in range(0x3001) if chr(code).isspace()]
    texts = [
        f"很{space}好"
        for space in [*spaces, "  ", "\n\n", "\u200b", "。", ", ", "😀", "𠀀", "e\u0301"]
    ]
    rows = np.array([*frame["text"], *texts, "", "iPhone很好"], object)[:, None]
    fitted = imported(path).build(min_df=1, inverse_strength=10.0)
    fitted.fit(rows, np.arange(len(rows)) % 2)
    scikit_learn.export(fitted, inspection.spec, tmp_path / "model.onnx")
    native = predict_function(fitted, inspection.spec)(rows)
    assert np.abs(native - run_onnx(tmp_path / "model.onnx", rows)).max() < 1e-6


def test_the_module_is_formatted(made: Made) -> None:
    assert_formatted(made.path)


def test_numbers_are_written_as_black_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "large.py"
    frame = table("binary").assign(income=np.random.default_rng(4).normal(size=ROWS) * 1e18)
    inspection = inspect_table(frame, "y", "large")
    path.write_text(render_module(inspection, "large.csv", BOOSTING), encoding="utf-8")
    assert "e18" in path.read_text(encoding="utf-8")
    assert_formatted(path)


def assert_formatted(path: Path) -> None:
    """Check that black, with the project's settings, would not change a file."""
    settings = parse_pyproject_toml(str(ROOT / "pyproject.toml"))
    versions = {black.TargetVersion[name.upper()] for name in settings.pop("target_version")}
    text = path.read_text(encoding="utf-8")
    assert black.format_str(text, mode=black.Mode(versions, **settings)) == text


def test_a_module_passes_mypy_and_pylint(tmp_path: Path) -> None:
    files = []
    for kind, name in (
        *(("odd", None), ("scored_text", None), ("chinese", None)),
        *(("binary", "hist_gradient_boosting"),),
        *(("many", "xgboost"), ("regression", "catboost"), ("regression", "ridge")),
        *(("dates", "xgboost"), ("dates", None), ("note", None), ("note", "lightgbm")),
    ):
        inspection = inspect_table(table(kind), "y", f"{kind}_{name}".lower())
        with suppress(MissingExtraError):
            estimator = choose_estimator(inspection.spec, inspection.rows, name)
            files.append(tmp_path / f"{inspection.spec.name}.py")
            text = render_module(inspection, f"{kind}.csv", estimator)
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
    text = render_module(inspect_table(frame, "y", "made"), "made.csv", BOOSTING)
    assert "# left out: id, an identifier: 300 different values in 300 rows" in text
    assert '# Category("leak", ("gone", "here")),' in text


def test_the_threshold_is_just_above_a_constant_prediction() -> None:
    def threshold(frame: pd.DataFrame) -> float:
        config = render_config(inspect_table(frame, "y", "made"), {"path": "made.csv"}, BOOSTING)
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
    validation = render_config(inspection, {"path": "made.csv"}, BOOSTING)["validation"]
    baseline = {"roc_auc": 0.5, "average_precision": (target == "churned").mean()}[measure]
    assert inspection.baseline == pytest.approx(baseline)
    assert validation == {"measure": measure, "threshold": math.floor(baseline * 1000 + 1) / 1000}
    assert "Classes(('churned', 'stays'), 'y', positive='churned')" in render_module(
        inspection, "made.csv", BOOSTING
    ).replace('"', "'")


def test_the_configuration_is_like_the_existing_ones() -> None:
    config = render_config(
        inspect_table(table("regression"), "y", "made"), {"path": "data/made.csv"}, BOOSTING
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


def test_a_name_of_a_package_is_refused(tmp_path: Path) -> None:
    (tmp_path / "domain" / "models" / "churn").mkdir(parents=True)
    with pytest.raises(ConfigError, match="the name churn is taken: domain/models/churn exists"):
        check_name("churn", tmp_path)


def test_a_difference_has_the_lines_that_would_change() -> None:
    assert difference_of("a\nb\nc\nd\n", "a\nb\nc\ne\n", "changed.py") == [
        *("--- changed.py", "+++ changed.py (new)", "@@ -3,2 +3,2 @@", " c", "-d", "+e")
    ]
    assert not difference_of("a\n", "a\n", "same.py")


def test_a_notebook_that_was_run_and_saved_is_compared_without_its_outputs(tmp_path: Path) -> None:
    path, text = tmp_path / "churn.ipynb", render_notebook("churn")
    notebook = json.loads(text)
    for cell in notebook["cells"]:
        cell.update(metadata={"tags": ["x"]}, source="".join(cell["source"]))
        if cell["cell_type"] == "code":
            cell.update(execution_count=3, outputs=[{"output_type": "stream", "text": "x"}])
    notebook["metadata"]["language_info"]["version"] = "3.11"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    assert current_text(path) == text
    notebook["cells"][1]["source"] += "\nmine = 1"
    path.write_text(json.dumps(notebook), encoding="utf-8")
    lines = difference_of(current_text(path), text, "churn.ipynb")
    assert [line for line in lines if line[0] in "+-"][2:] == [
        '-    "print(exploration)\\n",',
        '-    "mine = 1"',
        '+    "print(exploration)"',
    ]


def test_a_file_in_another_encoding_differs_and_is_replaced_or_stays(tmp_path: Path) -> None:
    first, second, folder = tmp_path / "a.ipynb", tmp_path / "b.py", tmp_path / "folder"
    for path in (first, second):
        path.write_bytes("é".encode("latin-1"))
    folder.mkdir()
    assert current_text(second) == "\ufffd"
    with pytest.raises(OSError):
        write_files({first: "new", second: "new", folder: "no file can replace it"})
    assert first.read_bytes() == second.read_bytes() == "é".encode("latin-1")
    write_files({first: "new"})
    assert first.read_text("utf-8") == "new"


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cells": 3}', '{"cells": [{}]}'])
def test_a_file_that_is_not_a_notebook_is_compared_as_it_is(tmp_path: Path, text: str) -> None:
    path = tmp_path / "churn.ipynb"
    path.write_text(text, encoding="utf-8")
    assert current_text(path) == text


def test_a_notebook_is_valid_and_names_its_model() -> None:
    notebook = parse(render_notebook("churn").encode())
    nbformat.validate(notebook)  # type: ignore[no-untyped-call]
    assert 'explore("churn")' in notebook.cells[1].source


def test_either_all_files_are_written_or_none(tmp_path: Path) -> None:
    good, bad = tmp_path / "a.py", tmp_path / ("b" * 300)
    for files in ({good: "a", bad: "b"}, {bad: "b", good: "a"}):
        with pytest.raises(OSError):
            write_files(files)
        assert not list(tmp_path.iterdir())
    write_files({good: "a"})
    assert [path.name for path in tmp_path.iterdir()] == ["a.py"]
    with pytest.raises(OSError):
        write_files({good: "b", bad: "b"})
    assert good.read_text(encoding="utf-8") == "a"
