"""A training run from its data to its package; the tracking server is a fake."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from application.ports import DrawFigures, Exporter, Loader
from application.training.config import TrainingConfig, config_path
from application.training.train import Candidate, train
from domain.data.dataset import Dataset
from domain.data.splitting import hold_out
from domain.errors import DataError
from domain.evaluation import gates
from domain.models import iris
from infrastructure.inference.onnx_runtime import load_onnx
from infrastructure.packaging.model_package import ModelPackage, PackageDraft
from infrastructure.packaging.onnx_export import export_onnx
from tests.fakes import FakeDrawFigures, FakeExporter, FakeLoader, FakeTracker, fake_model

DATA = iris.load()
CONFIG = TrainingConfig.read(config_path("iris"))
SMALL = CONFIG.model_copy(update={"model": CONFIG.model.model_copy(update={"n_estimators": 8})})
FILES = {
    "MANIFEST.sha256",
    "card.md",
    "contract.json",
    "figures/confusion_matrix.png",
    "golden.json",
    "holdout.json",
    "metrics.json",
    "model.joblib",
    "model.onnx",
    "profile.json",
    "provenance.json",
}


@dataclass
class Workshop:
    """Where training runs, with fakes for everything but the package."""

    folder: Path
    beside: ThreadPoolExecutor
    tracker: FakeTracker = field(default_factory=FakeTracker)
    export: Exporter = field(default_factory=FakeExporter)
    load: Loader = field(default_factory=FakeLoader)
    draw: DrawFigures = field(default_factory=FakeDrawFigures)
    steps: list[tuple[str, str]] = field(default_factory=list)

    def train(
        self, dataset: Dataset = DATA, config: TrainingConfig = SMALL, version: str = "1.0.0-a"
    ) -> Candidate:
        """One training run."""
        with PackageDraft(self.folder, config.model_name, version) as draft:
            return train(
                fake_model(dataset),
                config,
                draft,
                export=self.export,
                load_exported=self.load,
                draw=self.draw,
                tracker=self.tracker,
                beside=self.beside,
                provenance={"git_commit": "abc123", "python": "3.11"},
                progress=lambda name, result: self.steps.append((name, result)),
            )

    def left_behind(self) -> list[Path]:
        """Every file below the packages' folder."""
        return [path for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture(name="workshop")
def _workshop(tmp_path: Path) -> Iterator[Workshop]:
    with ThreadPoolExecutor(1) as beside:
        yield Workshop(tmp_path, beside)


def read(candidate: Candidate, name: str) -> Any:
    """A JSON file of the candidate's package."""
    return json.loads((candidate.package / name).read_text(encoding="utf-8"))


def bad_data() -> dict[str, Dataset]:
    """Data that break the contract, each in its own way."""
    nan, text = DATA.inputs.copy(), DATA.inputs.astype(object)
    nan.iloc[7, 1] = np.nan
    text.iloc[7, 1] = "wide"
    labels = DATA.labels.copy()
    labels.iloc[7] = "rose"
    return {
        "row 7.sepal_width": Dataset("flowers", "", nan, DATA.labels),
        "row 7.sepal_width: ": Dataset("flowers", "", text, DATA.labels),
        "row 0.sepal_length": Dataset("flowers", "", -DATA.inputs, DATA.labels),
        "row 7.label": Dataset("flowers", "", DATA.inputs, labels),
        "has the columns sepal_length;": Dataset("f", "", DATA.inputs.iloc[:, :1], DATA.labels),
        "colour": Dataset("flowers", "", DATA.inputs.assign(colour=1.0), DATA.labels),
        "petal_width, petal_length": Dataset("f", "", DATA.inputs.iloc[:, ::-1], DATA.labels),
        "no rows": DATA.take(np.arange(0)),
        "cannot be split": DATA.take(np.arange(51)),
    }


@pytest.mark.parametrize("place", bad_data())
def test_bad_data_are_refused_by_their_place_and_nothing_is_recorded_or_left(
    workshop: Workshop, place: str
) -> None:
    with pytest.raises(DataError) as refused:
        workshop.train(bad_data()[place])
    assert place in str(refused.value)
    assert not workshop.tracker.records
    assert not workshop.left_behind()
    assert not workshop.steps


def test_a_package_is_whole_and_its_digests_are_right(workshop: Workshop) -> None:
    candidate = workshop.train()
    assert candidate.package == workshop.folder / "iris_classifier_pipeline" / "1.0.0-a"
    assert ModelPackage(candidate.package).version == "1.0.0-a"
    names = {p.relative_to(candidate.package).as_posix() for p in workshop.left_behind()}
    assert names == FILES


def test_the_hold_out_is_recorded_and_was_not_learned_from(workshop: Workshop) -> None:
    record = read(workshop.train(), "holdout.json")
    training, holdout = hold_out(DATA, 0.2, 42)
    assert record["holdout"] == holdout.row_hashes.tolist()
    assert record["training"] == training.row_hashes.tolist()
    assert gates.holdout_is_unseen(
        np.array(record["holdout"]), np.array(record["training"])
    ).accepted


def test_quality_is_measured_on_the_hold_out(workshop: Workshop) -> None:
    candidate = workshop.train()
    native = ModelPackage(candidate.package).load_native()
    _, holdout = hold_out(DATA, 0.2, 42)
    right = native.predict(holdout.inputs.to_numpy(np.float32)) == holdout.codes(iris.SPEC.classes)
    metrics = read(candidate, "metrics.json")
    assert candidate.report.accuracy == right.mean() == metrics["holdout_accuracy"]
    assert candidate.report.rows == len(holdout) == metrics["holdout_rows"]
    assert metrics["confusion_matrix"] == candidate.report.confusion.tolist()
    assert metrics["holdout_log_loss"] > 0
    assert tuple(metrics["holdout_accuracy_interval"]) == candidate.report.interval


def test_the_golden_requests_are_one_hold_out_row_of_each_class_with_its_answer(
    workshop: Workshop,
) -> None:
    candidate = workshop.train()
    golden = read(candidate, "golden.json")
    rows = np.array(golden["rows"], dtype=np.float32)
    _, holdout = hold_out(DATA, 0.2, 42)
    known = {tuple(row): label for row, label in zip(_float32(holdout.inputs), holdout.labels)}
    assert [known[tuple(row)] for row in rows.tolist()] == list(iris.SPEC.classes)
    answers = FakeLoader()(candidate.package / "model.onnx")(rows)
    assert np.allclose(answers, golden["probabilities"], atol=1e-7)


def _float32(inputs: pd.DataFrame) -> list[list[float]]:
    rows: list[list[float]] = inputs.to_numpy(np.float32).tolist()
    return rows


def test_provenance_has_the_configuration_the_data_and_what_the_environment_adds(
    workshop: Workshop,
) -> None:
    provenance = read(workshop.train(), "provenance.json")
    assert TrainingConfig.model_validate(provenance["config"]) == SMALL
    assert provenance["data"] == {"source": DATA.source, "fingerprint": DATA.fingerprint}
    assert provenance["git_commit"] == "abc123"


def test_the_profile_is_that_of_the_training_rows(workshop: Workshop) -> None:
    profile = read(workshop.train(), "profile.json")
    assert tuple(profile) == iris.SPEC.feature_names
    shares = np.array(profile["petal_length"]["shares"])
    training, _ = hold_out(DATA, 0.2, 42)
    assert shares.sum() == pytest.approx(1)
    assert np.allclose(shares * len(training), np.round(shares * len(training)))


def test_the_card_tells_people_what_it_predicts_and_how_well(workshop: Workshop) -> None:
    candidate = workshop.train()
    card = (candidate.package / "card.md").read_text(encoding="utf-8")
    for part in (
        "# iris_classifier_pipeline 1.0.0\n",
        "Classes: setosa, versicolor, virginica.",
        "| petal_width | cm | 0.1 to 30 | width of the petal |",
        f"accuracy {candidate.report.accuracy:.3f}",
        f"150 rows, fingerprint {DATA.fingerprint}",
    ):
        assert part in card


def test_the_tracker_is_told_of_the_run_when_its_package_lies_in_its_place(
    workshop: Workshop,
) -> None:
    candidate = workshop.train()
    assert len(workshop.tracker.records) == 1
    record = workshop.tracker.records[0]
    assert record.package == candidate.package
    assert record.package_version == "1.0.0-a"
    assert record.experiment_name == "iris_production_pipeline"
    assert record.model_name == candidate.registered.model_name == "iris_classifier_pipeline"
    assert record.parameters == SMALL.parameters()
    assert record.metrics["holdout_accuracy"] == candidate.report.accuracy
    assert record.metrics["parity_largest_difference"] == candidate.parity.largest_difference
    assert record.tags == {"git_commit": "abc123"}
    assert record.dataset["digest"] == DATA.fingerprint
    assert record.dataset["rows"] == "150"
    assert record.spec == iris.SPEC
    assert len(record.example) == 3


def test_the_figures_show_the_hold_out_and_the_importance_of_each_input(
    workshop: Workshop,
) -> None:
    draw = FakeDrawFigures()
    workshop.draw = draw
    candidate = workshop.train()
    data = draw.drawn[0]
    assert len(draw.drawn) == 1
    assert data.report.confusion.tolist() == candidate.report.confusion.tolist()
    assert data.probabilities.shape == (candidate.report.rows, 3)
    assert tuple(data.importances) == iris.SPEC.feature_names
    assert sum(data.importances.values()) == pytest.approx(1)
    assert len(data.actual) == candidate.report.rows


def test_every_step_is_told_in_order(workshop: Workshop) -> None:
    workshop.train()
    names = [name for name, _ in workshop.steps]
    assert names == ["data", "fit", "quality", "export", "figures", "record"]
    assert "150 rows × 4 inputs" in workshop.steps[0][1]
    assert DATA.fingerprint[:12] in workshop.steps[0][1]


def test_a_difference_between_the_native_and_the_exported_model_is_measured(
    workshop: Workshop,
) -> None:
    workshop.load = FakeLoader(error=0.01)
    candidate = workshop.train()
    assert candidate.parity.largest_difference == pytest.approx(0.01, abs=1e-6)
    assert candidate.parity.rows == 150
    assert not gates.parity(candidate.parity).accepted


def test_a_tracker_that_fails_leaves_no_package_behind(workshop: Workshop) -> None:
    workshop.tracker = FakeTracker(failure=ConnectionError("no tracking server"))
    with pytest.raises(ConnectionError, match="no tracking server"):
        workshop.train()
    assert not workshop.left_behind()


FAILURES: dict[str, Callable[[Workshop], None]] = {
    "export": lambda w: setattr(w, "export", FakeExporter(RuntimeError("export failed"))),
    "figures": lambda w: setattr(w, "draw", FakeDrawFigures(RuntimeError("figures failed"))),
}


@pytest.mark.parametrize("step", FAILURES)
def test_a_step_that_fails_records_nothing_and_leaves_no_package_behind(
    workshop: Workshop, step: str
) -> None:
    FAILURES[step](workshop)
    with pytest.raises(RuntimeError, match=f"{step} failed"):
        workshop.train()
    assert not workshop.tracker.records
    assert not workshop.left_behind()


def test_a_run_that_fails_leaves_earlier_packages_as_they_were(workshop: Workshop) -> None:
    first = workshop.train(version="1.0.0-a")
    workshop.tracker = FakeTracker(failure=ConnectionError("no tracking server"))
    with pytest.raises(ConnectionError):
        workshop.train(version="1.0.0-b")
    assert ModelPackage(first.package).version == "1.0.0-a"
    assert {path.parts[-2] for path in workshop.left_behind()} == {"1.0.0-a", "figures"}


def test_the_same_configuration_and_data_give_the_same_golden_answers(workshop: Workshop) -> None:
    workshop.export, workshop.load = export_onnx, load_onnx
    first = workshop.train(config=CONFIG, version="1.0.0-a")
    second = workshop.train(config=CONFIG, version="1.0.0-b")
    assert read(first, "golden.json") == read(second, "golden.json")
    everything = DATA.inputs.to_numpy(np.float32)
    answers = [load_onnx(candidate.package / "model.onnx") for candidate in (first, second)]
    assert (answers[0](everything) == answers[1](everything)).all()
    assert gates.parity(first.parity).accepted
    for name in ("contract.json", "holdout.json", "profile.json"):
        assert read(first, name) == read(second, name)


def test_another_seed_of_the_model_gives_other_answers(workshop: Workshop) -> None:
    other = SMALL.model_copy(update={"model": SMALL.model.model_copy(update={"random_state": 7})})
    first = workshop.train(version="1.0.0-a")
    second = workshop.train(config=other, version="1.0.0-b")
    assert read(first, "holdout.json") == read(second, "holdout.json")
    everything = DATA.inputs.to_numpy(np.float32)
    native = [ModelPackage(candidate.package).load_native() for candidate in (first, second)]
    assert (native[0].predict_proba(everything) != native[1].predict_proba(everything)).any()
