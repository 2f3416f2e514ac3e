"""The notebook of iris runs without errors, and its runs and its model are in MLflow."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import mlflow
import numpy as np
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from nbformat import NotebookNode

from application.scaffold.model_file import render_notebook
from domain.models.iris import SPEC, load
from shared.paths import ROOT
from tests.notebooks import code_cells, execute, output_of, parse

NOTEBOOK = Path("domain/experiments/notebooks/iris_experiment.ipynb")


@dataclass(frozen=True)
class Executed:
    """The executed notebook, its folder and its tracking database."""

    notebook: NotebookNode
    folder: Path
    client: MlflowClient

    def runs(self) -> list[Run]:
        """The runs in the notebook's experiment."""
        experiment = self.client.get_experiment_by_name("iris_classification")
        assert experiment is not None
        return list(self.client.search_runs([experiment.experiment_id]))

    def code_cells(self) -> list[NotebookNode]:
        """The cells that were executed."""
        return code_cells(self.notebook)


@pytest.fixture(scope="module", name="executed")
def _executed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Executed]:
    """Execute the notebook, with a tracking database and a working directory of its own."""
    folder = tmp_path_factory.mktemp("notebook")
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    notebook = execute((ROOT / NOTEBOOK).read_bytes(), folder, {"MLFLOW_TRACKING_URI": uri})
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri(uri)
    yield Executed(notebook, folder, MlflowClient(uri))
    mlflow.set_tracking_uri(before)


def test_every_cell_runs_without_an_error(executed: Executed) -> None:
    assert all(cell.execution_count for cell in executed.code_cells())
    outputs = [output for cell in executed.code_cells() for output in cell.outputs]
    assert not [output for output in outputs if output.output_type == "error"]


def test_data_and_results_are_shown_as_figures(executed: Executed) -> None:
    drawn = [
        cell.id
        for cell in executed.code_cells()
        if any("image/png" in output.get("data", {}) for output in cell.outputs)
    ]
    assert drawn == ["table", "judgement"]
    assert output_of(executed.notebook, "plots").count("<svg") == 1 + len(SPEC.inputs)


def test_the_notebook_starts_as_those_that_new_model_writes() -> None:
    written = {cell.id: cell.source for cell in parse((ROOT / NOTEBOOK).read_bytes()).cells}
    for cell in code_cells(parse(render_notebook("iris").encode())):
        assert written[cell.id] == cell.source


def test_three_models_are_recorded_with_a_plausible_accuracy(executed: Executed) -> None:
    runs = executed.runs()
    assert {run.info.run_name for run in runs} == {
        "random_forest",
        "logistic_regression",
        "support_vector_machine",
    }
    for run in runs:
        metrics = run.data.metrics
        assert metrics["cv_accuracy_low"] < metrics["cv_accuracy"] <= metrics["cv_accuracy_high"]
        assert 0.85 < metrics["cv_accuracy"] < 1.0
        assert run.data.params["data_fingerprint"] == load().fingerprint
        artifacts = executed.client.list_artifacts(run.info.run_id)
        assert "confusion_matrix.png" in [artifact.path for artifact in artifacts]


def test_only_the_registered_model_was_evaluated_on_the_holdout(executed: Executed) -> None:
    (version,) = executed.client.search_model_versions("name = 'iris_classifier'")
    runs = executed.runs()
    (judged,) = (run for run in runs if "holdout_accuracy" in run.data.metrics)
    assert judged.info.run_id == version.run_id
    assert judged.data.metrics["cv_accuracy"] == max(r.data.metrics["cv_accuracy"] for r in runs)
    assert 0.8 <= judged.data.metrics["holdout_accuracy"] <= 1.0


def test_the_registered_model_can_be_loaded_and_predicts(executed: Executed) -> None:
    (version,) = executed.client.search_model_versions("name = 'iris_classifier'")
    model = mlflow.pyfunc.load_model(f"models:/iris_classifier/{version.version}")
    assert tuple(model.metadata.get_input_schema().input_names()) == SPEC.input_names
    flowers = load()
    predicted = model.predict(flowers.inputs)
    assert np.mean(predicted == flowers.encoded_target(SPEC)) > 0.9


def test_nothing_is_written_to_the_working_directory(executed: Executed) -> None:
    assert not list((executed.folder / "work").iterdir())
    assert (executed.folder / "mlartifacts").is_dir()


def test_the_notebook_imports_the_domain() -> None:
    cells = parse((ROOT / NOTEBOOK).read_bytes()).cells
    source = "\n".join(cell.source for cell in cells if cell.cell_type == "code")
    assert "from domain." in source
    assert "sys.path" not in source


def test_the_notebook_in_git_has_no_outputs() -> None:
    # from the index, not the file, so that the tests pass after the notebook was run and saved
    staged = subprocess.run(
        ["git", "show", f":./{NOTEBOOK.as_posix()}"], cwd=ROOT, capture_output=True, check=False
    )
    source = staged.stdout if staged.returncode == 0 else (ROOT / NOTEBOOK).read_bytes()
    for cell in parse(source).cells:
        if cell.cell_type == "code":
            assert not cell.outputs, f"cell {cell.id}: clear all outputs before `git add`"
            assert cell.execution_count is None, f"cell {cell.id}: clear all outputs"
