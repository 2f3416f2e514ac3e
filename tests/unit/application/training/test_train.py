"""A training run from its data to its package, with a fake tracking server."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pandas as pd
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer
from sklearn.tree import DecisionTreeClassifier

from application.ports.figures import DrawFigures
from application.ports.framework import Framework
from application.ports.model import Loader
from application.ports.snapshots import Fetched
from application.training.config import (
    DecisionConfig,
    MeasureConfig,
    SourceConfig,
    SplitConfig,
    TrainingConfig,
    ValidationConfig,
)
from application.training.train import Candidate, make_estimator, train
from application.validation.validate import cross_validate
from domain import gates
from domain.catalog import CatalogModel
from domain.contract import Classes, Datetime, ModelSpec, Number, Quantity
from domain.data.dataset import Dataset
from domain.data.splitting import hold_out, hold_out_masks, with_keys
from domain.data.tables import read_table
from domain.errors import ConfigError, DataError, ExportError
from domain.estimators.conformal import ConformalRegressor
from domain.evaluation.importance import permutation_importances
from domain.evaluation.isotonic import calibrate
from domain.evaluation.measures import default_measure
from domain.evaluation.metrics import ClassificationReport, RegressionReport
from domain.evaluation.prediction_digest import digest_of
from domain.evaluation.predictions import predict_function
from infrastructure.frameworks.dispatch import Frameworks
from infrastructure.inference.loading import load_served
from infrastructure.packaging.model_package import ModelPackage, PackageDraft
from tests import petals
from tests.fakes import (
    PETALS_CONFIG,
    FakeDrawFigures,
    FakeFramework,
    FakeLoader,
    FakeSnapshots,
    FakeTracker,
    fake_model,
)
from tests.kinds import KINDS, UNLIKE
from tests.packages import open_recorded

DATA = petals.load()
CONFIG = TrainingConfig.read(PETALS_CONFIG)


def with_parameters(config: TrainingConfig, **parameters: Any) -> TrainingConfig:
    """The configuration with some parameters of the model changed."""
    return config.model_copy(update={"model": config.model | parameters})


SMALL = with_parameters(CONFIG, n_estimators=8)
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
    """Trains with fakes for everything except the package."""

    folder: Path
    background: ThreadPoolExecutor
    tracker: FakeTracker = field(default_factory=FakeTracker)
    framework: Framework = field(default_factory=FakeFramework)
    load: Loader = field(default_factory=FakeLoader)
    draw: DrawFigures = field(default_factory=FakeDrawFigures)
    steps: list[tuple[str, str]] = field(default_factory=list)
    snapshots: FakeSnapshots = field(default_factory=FakeSnapshots)

    def train(
        self,
        dataset: Dataset = DATA,
        config: TrainingConfig = SMALL,
        version: str = "1.0.0-a",
        model: CatalogModel | None = None,
        fetched: Fetched | None = None,
    ) -> Candidate:
        """Train petals, or another model."""
        with PackageDraft(self.folder, config.model_name, version) as draft:
            return train(
                model or fake_model(dataset),
                config,
                draft,
                framework=self.framework,
                load_served=self.load,
                draw=self.draw,
                tracker=self.tracker,
                background=self.background,
                provenance={"git_commit": "abc123", "python": "3.11"},
                keep=self.snapshots.keep,
                fetched=fetched,
                progress=lambda name, result: self.steps.append((name, result)),
            )

    def left_behind(self) -> list[Path]:
        """Every file in the folder of the packages."""
        return [path for path in self.folder.rglob("*") if path.is_file()]


@pytest.fixture(name="workshop")
def _workshop(tmp_path: Path) -> Iterator[Workshop]:
    with ThreadPoolExecutor(1) as background:
        yield Workshop(tmp_path, background)


@pytest.fixture(name="real")
def _real(workshop: Workshop) -> Workshop:
    """The workshop with real frameworks and a real loader."""
    workshop.framework, workshop.load = Frameworks(), load_served
    return workshop


def config_of(model: CatalogModel, form: str = "onnx", **parameters: Any) -> TrainingConfig:
    """A configuration of a model that is not in the catalog."""
    return TrainingConfig.model_validate(
        {
            "model": parameters,
            "data": {"test_size": 0.25, "random_state": 3},
            "experiment_name": "kinds",
            "model_name": model.SPEC.name,
            "version": "1.0.0",
            "serving": {"format": form},
        }
    )


def read(candidate: Candidate, name: str) -> Any:
    """A JSON file of the candidate's package."""
    return json.loads((candidate.package / name).read_text(encoding="utf-8"))


def bad_data() -> dict[str, Dataset]:
    """Data that break the contract, each in its own way."""
    nan, text = DATA.inputs.copy(), DATA.inputs.astype(object)
    nan.iloc[7, 1] = np.nan
    text.iloc[7, 1] = "wide"
    target = DATA.target.copy()
    target.iloc[7] = "rose"
    return {
        "row 7, sepal_width: a value is missing": Dataset("flowers", "", nan, DATA.target),
        "row 7, sepal_width: 'wide'": Dataset("flowers", "", text, DATA.target),
        "row 0, sepal_length": Dataset("flowers", "", -DATA.inputs, DATA.target),
        "row 7, species": Dataset("flowers", "", DATA.inputs, target),
        "has the columns sepal_length;": Dataset("f", "", DATA.inputs.iloc[:, :1], DATA.target),
        "colour": Dataset("flowers", "", DATA.inputs.assign(colour=1.0), DATA.target),
        "petal_width, petal_length": Dataset("f", "", DATA.inputs.iloc[:, ::-1], DATA.target),
        "no rows": DATA.take(np.arange(0)),
        "no row has the class 'virginica'": DATA.take(np.arange(51)),
        "cannot be split": DATA.take(np.arange(49, 101)),
    }


@pytest.mark.parametrize("place", bad_data())
def test_bad_data_are_refused_by_place_and_nothing_is_recorded_or_left_behind(
    workshop: Workshop, place: str
) -> None:
    with pytest.raises(DataError) as refused:
        workshop.train(bad_data()[place])
    assert place in str(refused.value)
    assert not workshop.tracker.journal
    assert not workshop.left_behind()
    assert not workshop.steps


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"n_estimators": "8"}, "model.n_estimators: input should be a valid integer"),
        ({"depth": 3}, "unknown key 'model.depth'"),
        ({"n_estimators": 0}, "RandomForestClassifier cannot be trained with this configuration: "),
        ({"min_samples_split": 1}, "The 'min_samples_split' parameter"),
        ({"max_depth": 0}, "The 'max_depth' parameter"),
        ({"min_samples_leaf": 0}, "The 'min_samples_leaf' parameter"),
        ({"random_state": -1}, "The 'random_state' parameter"),
    ],
)
def test_parameters_that_the_model_refuses_are_a_configuration_error(
    workshop: Workshop, parameters: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        workshop.train(config=with_parameters(CONFIG, **parameters))
    assert message in str(refused.value)
    assert not workshop.tracker.journal
    assert not workshop.left_behind()


def test_a_configuration_without_a_split_trains_nothing(workshop: Workshop) -> None:
    unsplit = CONFIG.model_copy(update={"data": type(CONFIG.data)()})
    with pytest.raises(ConfigError, match="data.test_size and data.random_state"):
        workshop.train(config=unsplit)
    assert not workshop.tracker.journal
    assert not workshop.left_behind()


def test_an_error_about_a_parameter_names_the_estimator_in_a_pipeline(
    workshop: Workshop,
) -> None:
    model = KINDS["regression"]
    with pytest.raises(
        ConfigError, match="Ridge cannot be trained with this configuration: .*alpha"
    ):
        workshop.train(config=config_of(model, alpha=-1.0), model=model)


def test_a_package_is_complete_and_its_digests_are_correct(workshop: Workshop) -> None:
    candidate = workshop.train()
    assert candidate.package == workshop.folder / "petals_pipeline" / "1.0.0-a"
    assert ModelPackage(candidate.package).version == "1.0.0-a"
    names = {p.relative_to(candidate.package).as_posix() for p in workshop.left_behind()}
    assert names == FILES


def test_the_hold_out_is_recorded_and_not_trained_on(workshop: Workshop) -> None:
    record = read(workshop.train(), "holdout.json")
    training, holdout = hold_out(DATA, petals.SPEC, 0.2, 42)
    assert record["holdout"] == holdout.row_hashes.tolist()
    assert record["training"] == training.row_hashes.tolist()
    assert gates.holdout_is_unseen(
        np.array(record["holdout"]), np.array(record["training"])
    ).accepted


def test_the_split_follows_the_configured_columns(workshop: Workshop) -> None:
    others = pd.DataFrame({"day": np.arange(150) * 7 % 150, "plant": np.arange(150) // 3})
    data = replace(DATA, others=others)
    by_day = SMALL.data.model_copy(update={"split": SplitConfig(time="day", gap=10)})
    candidate = workshop.train(data, SMALL.model_copy(update={"data": by_day}))
    keyed = with_keys(data, time="day")
    record = read(candidate, "holdout.json")
    assert record["holdout"] == keyed.take(others["day"] >= 120).row_hashes.tolist()
    assert record["training"] == keyed.take(others["day"] < 110).row_hashes.tolist()
    assert "30 held out, 10 on neither side of the split" in dict(workshop.steps)["data"]
    card = (candidate.package / "card.md").read_text("utf-8")
    assert "110 rows for training and 30 for the hold-out. The hold-out is later by day" in card


def test_the_digest_of_the_predictions_on_all_rows_is_recorded(real: Workshop) -> None:
    candidate = real.train()
    served = load_served(candidate.package / "model.onnx", petals.SPEC)
    expected = digest_of(served(DATA.encoded(petals.SPEC)), DATA.row_hashes)
    assert read(candidate, "provenance.json")["predictions"] == expected


def test_quality_is_measured_on_the_hold_out(workshop: Workshop) -> None:
    candidate = workshop.train()
    native = open_recorded(candidate.package).load_native()
    _, holdout = hold_out(DATA, petals.SPEC, 0.2, 42)
    right = native.predict(holdout.encoded(petals.SPEC)) == holdout.encoded_target(petals.SPEC)
    metrics = read(candidate, "metrics.json")
    assert isinstance(candidate.report, ClassificationReport)
    assert candidate.report.accuracy == right.mean() == metrics["holdout_accuracy"]
    assert metrics["measure"] == "accuracy"
    assert candidate.report.rows == len(holdout) == metrics["holdout_rows"]
    assert metrics["confusion_matrix"] == candidate.report.confusion.tolist()
    assert metrics["holdout_log_loss"] > 0
    assert tuple(metrics["holdout_accuracy_interval"]) == candidate.report.interval


def test_the_importances_of_the_inputs_on_the_hold_out_are_recorded(workshop: Workshop) -> None:
    candidate = workshop.train()
    found = read(candidate, "metrics.json")["importances"]
    served = FakeLoader()(candidate.package / "model.onnx", petals.SPEC)
    _, holdout = hold_out(DATA, petals.SPEC, 0.2, 42)
    rows, actual = holdout.encoded(petals.SPEC), holdout.encoded_target(petals.SPEC)
    expected = permutation_importances(served, rows, actual, default_measure(petals.SPEC))
    assert found == pytest.approx(expected)
    assert found.keys() == set(petals.SPEC.input_names)
    assert max(found.values()) > 0.1


def test_the_served_model_is_calibrated_on_the_hold_out(workshop: Workshop) -> None:
    large = SMALL.data.model_copy(update={"test_size": 0.8})
    rough = with_parameters(SMALL.model_copy(update={"data": large}), max_depth=1, n_estimators=2)
    candidate = workshop.train(config=rough)
    _, holdout = hold_out(DATA, petals.SPEC, 0.8, 42)
    served = FakeLoader()(candidate.package / "model.onnx", petals.SPEC)
    predictions = served(holdout.encoded(petals.SPEC))
    expected = calibrate(petals.SPEC, predictions, holdout.encoded_target(petals.SPEC), 0.1)
    assert not expected.reason
    assert read(candidate, "metrics.json")["calibration"] == expected.to_dict()


def test_a_small_hold_out_is_recorded_as_too_few_to_calibrate(workshop: Workshop) -> None:
    assert read(workshop.train(), "metrics.json")["calibration"] == {
        "reason": "too few to say: 30 hold-out rows, 100 are needed"
    }


def test_the_golden_requests_are_one_hold_out_row_of_each_class_with_its_prediction(
    workshop: Workshop,
) -> None:
    candidate = workshop.train()
    golden = read(candidate, "golden.json")
    rows = np.array(golden["rows"], dtype=np.float32)
    _, holdout = hold_out(DATA, petals.SPEC, 0.2, 42)
    known = {tuple(row): label for row, label in zip(_float32(holdout.inputs), holdout.target)}
    assert [known[tuple(row)] for row in rows.tolist()] == list(petals.SPEC.classes)
    assert golden["actual"] == list(petals.SPEC.classes)
    predictions = FakeLoader()(candidate.package / "model.onnx", petals.SPEC)(rows)
    assert np.allclose(predictions, golden["answers"], atol=1e-7)


def _float32(inputs: pd.DataFrame) -> list[list[float]]:
    rows: list[list[float]] = inputs.to_numpy(np.float32).tolist()
    return rows


def test_provenance_has_the_configuration_the_data_and_the_environment(
    workshop: Workshop,
) -> None:
    provenance = read(workshop.train(), "provenance.json")
    assert TrainingConfig.model_validate(provenance["config"]) == SMALL
    source = {"source": DATA.source, "fingerprint": DATA.fingerprint, "snapshots": {}}
    assert provenance["data"] == source
    assert provenance["git_commit"] == "abc123"


def test_the_profile_covers_the_training_rows(workshop: Workshop) -> None:
    profile = read(workshop.train(), "profile.json")
    assert set(profile) == {*petals.SPEC.input_names, "prediction"}
    training, _ = hold_out(DATA, petals.SPEC, 0.2, 42)
    for name in ("petal_length", "prediction"):
        shares = np.array(profile[name]["shares"])
        assert shares.sum() == pytest.approx(1)
        assert np.allclose(shares * len(training), np.round(shares * len(training)))
    assert len(profile["prediction"]["shares"]) == 3


def test_after_a_retraining_the_profile_covers_the_latest_rows_of_the_log(
    workshop: Workshop,
) -> None:
    rng = np.random.default_rng(0)
    widths = np.concatenate([np.full(300, 20.0), rng.uniform(8, 9, 1400)])
    inputs = pd.DataFrame({name: 5.0 for name in petals.SPEC.input_names}, index=range(1700))
    inputs["petal_width"] = widths
    species = pd.Series(np.tile(petals.SPEC.classes, 567)[:1700], name="species")
    for rows, low, high in ((slice(1700), 8, 9), (slice(100), 0.1, 21)):
        logged = Dataset("petals", "log", inputs[rows], species[rows])
        candidate = workshop.train(DATA.with_log_rows(logged, petals.SPEC), version=f"1.0.0-{high}")
        profile = read(candidate, "profile.json")
        assert all(low <= edge <= high for edge in profile["petal_width"]["edges"])
        training = len(read(candidate, "holdout.json")["training"])
        assert profile["prediction"]["rows"] == (1000 if high == 9 else training)


@pytest.mark.parametrize(("since_drift", "rows"), [(500, 400), (0, 200)])
def test_rows_of_the_log_from_before_a_drift_are_no_reference(
    workshop: Workshop, since_drift: int, rows: int
) -> None:
    rng = np.random.default_rng(0)
    inputs = pd.DataFrame({name: 5.0 for name in petals.SPEC.input_names}, index=range(1500))
    inputs["petal_width"] = np.concatenate([rng.uniform(8, 8.4, 1000), rng.uniform(8.5, 9, 500)])
    species = pd.Series(np.tile(petals.SPEC.classes, 500), name="species")
    dataset = DATA.with_log_rows(Dataset("petals", "log", inputs, species), petals.SPEC)
    data = SMALL.data.model_copy(update={"reference_rows": since_drift})
    candidate = workshop.train(dataset, SMALL.model_copy(update={"data": data}))
    profile = read(candidate, "profile.json")
    assert all(8.5 <= edge <= 9 for edge in profile["petal_width"]["edges"])
    assert profile["prediction"]["rows"] == pytest.approx(rows, abs=25 * bool(since_drift))


@pytest.mark.parametrize("sorted_by_length", [True, False])
def test_what_depends_on_time_in_training_is_marked_in_the_profile(
    workshop: Workshop, sorted_by_length: bool
) -> None:
    days = np.arange(150) * 7.0 % 150
    if sorted_by_length:  # but the last ones, which are held out, have every class
        days = np.where(days % 5 == 0, 999.0, DATA.inputs["petal_length"])
    data = replace(DATA, others=pd.DataFrame({"day": days}))
    by_day = SMALL.data.model_copy(update={"split": SplitConfig(time="day")})
    profile = read(workshop.train(data, SMALL.model_copy(update={"data": by_day})), "profile.json")
    marked = [name for name, each in profile.items() if each.get("varies_in_time")]
    assert ("petal_length" in marked) is sorted_by_length
    assert "sepal_width" not in marked


def test_the_card_describes_the_predictions_and_their_quality(workshop: Workshop) -> None:
    candidate = workshop.train()
    card = (candidate.package / "card.md").read_text(encoding="utf-8")
    for part in (
        "# petals_pipeline 1.0.0\n",
        "Predicts species, one of setosa, versicolor, virginica, with probabilities.",
        "| petal_width | number | 0.1 to 30 cm | width of the petal |",
        f"accuracy {candidate.report.score:.3f}",
        f"150 rows, fingerprint {DATA.fingerprint}",
    ):
        assert part in card


def test_the_tracker_records_the_run_after_its_package_is_in_place(
    workshop: Workshop,
) -> None:
    candidate = workshop.train()
    assert len(workshop.tracker.records) == 1
    record = workshop.tracker.records[0]
    assert record.package == candidate.package
    assert record.package_version == "1.0.0-a"
    assert record.experiment_name == "petals_experiment"
    assert record.model_name == candidate.registered.model_name == "petals_pipeline"
    assert record.parameters == SMALL.parameters()
    assert record.metrics["holdout_accuracy"] == candidate.report.score
    assert record.metrics["parity_largest_difference"] == candidate.parity.largest_difference
    assert record.tags == {"git_commit": "abc123", "measure": "accuracy"}
    assert record.dataset["digest"] == DATA.fingerprint
    assert record.dataset["rows"] == "150"
    assert record.spec == petals.SPEC
    assert record.example == [tuple(row) for row in read(candidate, "golden.json")["rows"]]
    assert record.run_id is None


def test_parameters_chosen_by_a_search_are_recorded_in_run_metrics_and_card(real: Workshop) -> None:
    tree = DecisionTreeClassifier(random_state=0)
    model = fake_model(DATA, build=lambda: GridSearchCV(tree, {"max_depth": [1, 3]}, cv=3))
    candidate = real.train(model=model, config=config_of(model))
    assert real.tracker.records[0].parameters["chosen.max_depth"] == 3
    assert read(candidate, "metrics.json")["chosen_parameters"] == {"max_depth": 3}
    card = (candidate.package / "card.md").read_text(encoding="utf-8")
    assert "Parameters found by a search: max_depth 3." in card


def test_the_configured_measure_is_recorded_with_its_interval(workshop: Workshop) -> None:
    rules = SMALL.validation.model_copy(
        update={"measure": MeasureConfig(name="neg_log_loss"), "threshold": -1.0}
    )
    candidate = workshop.train(config=SMALL.model_copy(update={"validation": rules}))
    record = workshop.tracker.records[0]
    assert record.tags["measure"] == "neg_log_loss"
    assert record.metrics["holdout_neg_log_loss"] == candidate.report.score < 0
    assert {"holdout_accuracy", "holdout_roc_auc", "holdout_f1_macro"} <= record.metrics.keys()
    metrics = read(candidate, "metrics.json")
    assert metrics["measure"] == "neg_log_loss"
    low, high = metrics["holdout_neg_log_loss_interval"]
    assert low <= metrics["holdout_neg_log_loss"] <= high
    assert metrics["holdout_rows"] == candidate.report.rows


def test_the_figures_show_the_hold_out_and_the_importance_of_each_input(
    workshop: Workshop,
) -> None:
    draw = FakeDrawFigures()
    workshop.draw = draw
    candidate = workshop.train()
    data = draw.drawn[0]
    assert len(draw.drawn) == 1
    assert data.report is candidate.report
    assert data.spec == petals.SPEC
    assert data.predictions.shape == (candidate.report.rows, 3)
    assert not data.curves
    assert tuple(data.importances) == petals.SPEC.input_names
    assert sum(data.importances.values()) == pytest.approx(1)
    assert len(data.actual) == candidate.report.rows


def test_every_step_is_reported_in_order(workshop: Workshop) -> None:
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
    assert not gates.parity("parity", candidate.parity).accepted


def test_a_tracker_that_fails_leaves_no_package_behind(workshop: Workshop) -> None:
    workshop.tracker = FakeTracker(failure=ConnectionError("no tracking server"))
    with pytest.raises(ConnectionError, match="no tracking server"):
        workshop.train()
    assert not workshop.left_behind()


FAILURES: dict[str, Callable[[Workshop], None]] = {
    "export": lambda w: setattr(
        w, "framework", FakeFramework(failure=RuntimeError("export failed"))
    ),
    "figures": lambda w: setattr(w, "draw", FakeDrawFigures(RuntimeError("figures failed"))),
}


@pytest.mark.parametrize("step", FAILURES)
def test_a_step_that_fails_records_nothing_and_leaves_no_package_behind(
    workshop: Workshop, step: str
) -> None:
    FAILURES[step](workshop)
    with pytest.raises(RuntimeError, match=f"{step} failed"):
        workshop.train()
    assert not workshop.tracker.journal
    assert not workshop.left_behind()


def test_a_run_that_fails_leaves_earlier_packages_as_they_were(workshop: Workshop) -> None:
    first = workshop.train(version="1.0.0-a")
    workshop.tracker = FakeTracker(failure=ConnectionError("no tracking server"))
    with pytest.raises(ConnectionError):
        workshop.train(version="1.0.0-b")
    assert ModelPackage(first.package).version == "1.0.0-a"
    assert {path.parts[-2] for path in workshop.left_behind()} == {"1.0.0-a", "figures"}


def test_the_same_configuration_and_data_give_the_same_golden_predictions(real: Workshop) -> None:
    first = real.train(config=CONFIG, version="1.0.0-a")
    second = real.train(config=CONFIG, version="1.0.0-b")
    assert read(first, "golden.json") == read(second, "golden.json")
    all_rows = DATA.encoded(petals.SPEC)
    served = [load_served(made.package / "model.onnx", petals.SPEC) for made in (first, second)]
    assert (served[0](all_rows) == served[1](all_rows)).all()
    assert gates.parity("parity", first.parity).accepted
    for name in ("contract.json", "holdout.json", "profile.json"):
        assert read(first, name) == read(second, name)


def test_another_seed_of_the_model_gives_different_predictions(workshop: Workshop) -> None:
    first = workshop.train(version="1.0.0-a")
    second = workshop.train(config=with_parameters(SMALL, random_state=7), version="1.0.0-b")
    assert read(first, "holdout.json") == read(second, "holdout.json")
    all_rows = DATA.encoded(petals.SPEC)
    native = [open_recorded(candidate.package).load_native() for candidate in (first, second)]
    assert (native[0].predict_proba(all_rows) != native[1].predict_proba(all_rows)).any()


@pytest.mark.parametrize("form", ["onnx", "native"])
@pytest.mark.parametrize("kind", KINDS)
def test_a_served_model_of_every_kind_predicts_as_trained(
    real: Workshop, kind: str, form: str
) -> None:
    model = KINDS[kind]
    spec, dataset = model.SPEC, model.load()
    candidate = real.train(config=config_of(model, form), model=model)
    package = open_recorded(candidate.package)
    assert gates.parity("parity", candidate.parity).accepted
    assert ModelSpec.from_dict(read(candidate, "contract.json")) == spec
    assert candidate.report.score > 0.6
    golden = read(candidate, "golden.json")
    rows = dataset.rows()
    assert {json.dumps(row) for row in golden["rows"]} <= {json.dumps(row) for row in rows}
    served = load_served(package.served, spec)
    predictions = served(spec.encode_rows(golden["rows"]))
    assert predictions.tolist() == golden["answers"]
    assert predictions.shape == (len(golden["rows"]), len(spec.output_columns))
    unlike = spec.encode_rows(UNLIKE[kind])
    native = predict_function(package.load_native(), spec)(unlike)
    np.testing.assert_allclose(served(unlike), native, rtol=1e-5, atol=1e-6)
    watched = zip(spec.monitored_names, spec.monitored_inputs, strict=True)
    profiled = {name for name, item in watched if not isinstance(item, Datetime)}
    assert set(read(candidate, "profile.json")) == {*profiled, "prediction"}
    assert read(candidate, "provenance.json")["config"]["serving"] == {"format": form}


def test_a_regression_has_intervals_with_the_coverage_of_its_contract() -> None:
    model = KINDS["regression"]
    estimator = make_estimator(model, config_of(model, alpha=2.0))
    assert isinstance(estimator, ConformalRegressor)
    assert (estimator.coverage, estimator.random_state) == (0.8, 3)
    assert estimator.estimator[-1].alpha == 2.0


def test_the_cross_validation_for_the_intervals_is_recorded_with_its_scores(real: Workshop) -> None:
    model, config = KINDS["regression"], config_of(KINDS["regression"])
    config = config.model_copy(update={"validation": ValidationConfig(folds=4)})
    metrics = read(real.train(config=config, model=model), "metrics.json")
    training, _ = hold_out(model.load(), model.SPEC, 0.25, 3)
    estimator = model.build(**config.build_arguments(model))
    expected = cross_validate(estimator, training, default_measure(model.SPEC), 4, 3)
    assert metrics["cross_validation"] == pytest.approx(expected.scores.tolist())


def test_a_classifier_is_not_wrapped() -> None:
    assert type(make_estimator(fake_model(DATA), SMALL)) is type(petals.build(1, 1, 2, 1, 0))


def test_quality_of_a_regression_is_measured_on_the_hold_out(real: Workshop) -> None:
    model = KINDS["regression"]
    candidate = real.train(config=config_of(model), model=model)
    _, holdout = hold_out(model.load(), model.SPEC, 0.25, 3)
    native = open_recorded(candidate.package).load_native()
    errors = native.predict(holdout.encoded(model.SPEC)) - holdout.target.to_numpy()
    metrics = read(candidate, "metrics.json")
    assert isinstance(candidate.report, RegressionReport)
    assert metrics["measure"] == "r2"
    assert "calibration" not in metrics
    assert metrics["holdout_r2"] == candidate.report.score
    assert metrics["holdout_mean_absolute_error"] == pytest.approx(np.abs(errors).mean())
    assert metrics["holdout_rows"] == len(holdout)
    assert metrics["holdout_interval_coverage"] == candidate.report.covered
    low, high = metrics["holdout_r2_interval"]
    assert low <= metrics["holdout_r2"] <= high
    assert "holdout_log_loss" not in metrics and "confusion_matrix" not in metrics
    assert real.tracker.records[0].metrics["holdout_r2"] == candidate.report.score


def test_the_golden_requests_of_a_quantity_have_its_smallest_middle_and_largest_values(
    real: Workshop,
) -> None:
    model = KINDS["regression"]
    candidate = real.train(config=config_of(model), model=model)
    _, holdout = hold_out(model.load(), model.SPEC, 0.25, 3)
    by_rent = sorted(zip(holdout.target, holdout.rows()), key=lambda pair: pair[0])
    golden = read(candidate, "golden.json")
    wanted = [by_rent[0], by_rent[len(by_rent) // 2], by_rent[-1]]
    assert golden["rows"] == [list(row) for _, row in wanted]
    assert golden["actual"] == pytest.approx([rent for rent, _ in wanted])
    prediction, lower, upper = np.array(golden["answers"]).T
    assert (lower < prediction).all() and (prediction < upper).all()


def test_there_are_at_most_twenty_golden_requests_for_any_number_of_classes(
    workshop: Workshop,
) -> None:
    names = tuple(f"class_{number:02}" for number in range(25))
    spec = ModelSpec("many", petals.SPEC.inputs, Classes(names))
    inputs = pd.DataFrame(np.linspace(1, 20, 1000).reshape(250, 4), columns=petals.SPEC.input_names)
    dataset = Dataset("many", "", inputs, pd.Series([names[row // 10] for row in range(250)]))
    model = fake_model(dataset, spec)
    candidate = workshop.train(config=with_parameters(CONFIG, n_estimators=2), model=model)
    assert len(read(candidate, "golden.json")["rows"]) == 20


def test_a_missing_value_in_a_golden_request_is_null(workshop: Workshop) -> None:
    inputs = (Number("x", "", 0, 1, nullable=True), Number("weight", "kg", 0, 1))
    spec = ModelSpec("holes", inputs, Quantity("y"))
    everywhere = pd.DataFrame({"x": np.full(60, np.nan), "weight": np.linspace(0, 1, 60)})
    everywhere.loc[::2, "x"] = 0.5
    dataset = Dataset("holes", "", everywhere, everywhere["weight"] - everywhere["x"].isna())
    candidate = workshop.train(
        config=config_of(KINDS["regression"]),
        model=fake_model(dataset, spec, KINDS["regression"].build),
    )
    smallest, _, largest = read(candidate, "golden.json")["rows"]
    assert smallest[0] is None
    assert largest[0] == 0.5


def test_of_many_rows_the_first_ones_and_the_hold_out_are_compared(workshop: Workshop) -> None:
    spec = ModelSpec("many", (Number("x", "", 0, 1),), Quantity("y"))
    inputs = pd.DataFrame({"x": np.linspace(0, 1, 11_000)})
    dataset = Dataset("many", "", inputs, inputs["x"] ** 2)
    model = fake_model(dataset, spec, KINDS["regression"].build)
    candidate = workshop.train(config=config_of(model), model=model)
    _, held = hold_out_masks(dataset, spec, 0.25, 3)
    assert 0 < held[10_000:].sum() == candidate.parity.rows - 10_000
    assert candidate.report.rows == held.sum()


def doubled(rows: np.ndarray) -> np.ndarray:
    """A step that is not scikit-learn's."""
    return 2 * rows


def test_a_native_model_is_served_from_a_file_without_pickles(real: Workshop) -> None:
    config = SMALL.model_copy(update={"serving": config_of(fake_model(DATA), "native").serving})
    candidate = real.train(config=config)
    package = open_recorded(candidate.package)
    names = {path.name for path in candidate.package.iterdir()}
    assert "model.skops" in names and "model.onnx" not in names
    assert package.served == candidate.package / "model.skops"
    all_rows = DATA.encoded(petals.SPEC)
    np.testing.assert_allclose(
        load_served(package.served, petals.SPEC)(all_rows),
        package.load_native().predict_proba(all_rows),
        atol=1e-7,
    )
    assert dict(real.steps)["export"].startswith("model.skops, ")


def test_a_model_with_a_foreign_type_is_not_served_natively(real: Workshop) -> None:
    foreign = make_pipeline(FunctionTransformer(doubled), LogisticRegression())
    model = fake_model(DATA, build=lambda: foreign)
    with pytest.raises(ExportError, match="without ONNX: it contains .*doubled, and"):
        real.train(config=config_of(model, "native"), model=model)
    assert not real.steps  # it is known before the fit
    assert not real.tracker.journal
    assert not real.left_behind()


def test_exporting_a_model_without_an_onnx_form_is_refused(real: Workshop) -> None:
    foreign = make_pipeline(FunctionTransformer(doubled), LogisticRegression())
    model = fake_model(DATA, build=lambda: foreign)
    with pytest.raises(ExportError, match="FunctionTransformer cannot be exported to ONNX: "):
        real.train(config=config_of(model), model=model)
    assert not real.tracker.journal
    assert not real.left_behind()


def test_the_fit_is_reported_with_the_name_of_the_estimator(real: Workshop) -> None:
    for kind, name in (("regression", "Ridge"), ("text", "LogisticRegression")):
        real.steps.clear()
        real.train(config=config_of(KINDS[kind]), model=KINDS[kind], version=f"1.0.0-{kind}")
        assert dict(real.steps)["fit"].startswith(f"{name} in ")


def test_importances_are_drawn_only_if_every_input_has_one(real: Workshop) -> None:
    draw = FakeDrawFigures()
    real.draw = draw
    for kind in ("categories", "regression", "tensor", "text"):
        real.train(config=config_of(KINDS[kind]), model=KINDS[kind])
    assert [tuple(data.importances) for data in draw.drawn] == [("months", "plan"), (), (), ()]


def test_data_files_are_listed_as_prerequisites_for_make(workshop: Workshop) -> None:
    data = Dataset("flowers", "a file", DATA.inputs, DATA.target, (Path("flowers.csv"),))
    assert workshop.train(data).data_files == (Path("flowers.csv"),)
    assert not workshop.train(version="1.0.0-b").data_files


def test_a_snapshot_of_each_data_file_is_kept_and_recorded(workshop: Workshop) -> None:
    file = workshop.folder / "flowers.csv"
    file.write_text("x\n1\n", encoding="utf-8")
    candidate = workshop.train(Dataset("flowers", "a file", DATA.inputs, DATA.target, (file,)))
    snapshot = workshop.snapshots.keep(file)
    assert candidate.snapshots == {str(file): snapshot}
    assert read(candidate, "provenance.json")["data"]["snapshots"] == {str(file): snapshot}


def test_a_source_is_trained_on_as_its_snapshot_and_named_by_its_address(
    workshop: Workshop,
) -> None:
    table = workshop.folder / "s.parquet"
    DATA.inputs.assign(species=DATA.target).to_parquet(table)
    fetched = Fetched("postgresql://${PGUSER}@host/shop", "s.parquet", table)

    def load(path: str) -> Dataset:
        return read_table(path, petals.SPEC)

    source = SourceConfig(address=fetched.address, query="q.sql")
    config = SMALL.model_copy(update={"data": SMALL.data.model_copy(update={"source": source})})
    model = cast(CatalogModel, SimpleNamespace(SPEC=petals.SPEC, load=load, build=petals.build))
    candidate = workshop.train(config=config, model=model, fetched=fetched)
    assert candidate.snapshots == {"data.source": "s.parquet"}
    assert not candidate.data_files
    assert not workshop.snapshots.kept
    data = read(candidate, "provenance.json")["data"]
    assert data["source"] == "postgresql://${PGUSER}@host/shop, snapshot s.parquet"
    assert data["fingerprint"] == DATA.fingerprint
    assert read(candidate, "provenance.json")["config"]["data"]["source"]["query"] == "q.sql"


def live(workshop: Workshop, epochs: int) -> list[str]:
    """Make the training run in epochs; returns the journal of tracker and framework."""
    journal: list[str] = []
    workshop.tracker = FakeTracker(journal=journal)
    workshop.framework = FakeFramework(epochs, journal)
    return journal


def test_a_run_starts_before_the_fit_ends_and_shows_each_epoch_in_order(
    workshop: Workshop,
) -> None:
    journal = live(workshop, epochs=3)
    workshop.train()
    assert journal[0] == "begun petals_experiment 1.0.0-a"
    assert journal.index("fit ended") > 0
    assert [line for line in journal if "epoch" in line] == [
        "begun-run epoch 0: train_loss 1, valid_loss 2",
        "begun-run epoch 1: train_loss 0.5, valid_loss 1",
        "begun-run epoch 2: train_loss 0.25, valid_loss 0.5",
    ]
    assert journal[-1] == "begun-run recorded"


def test_the_record_goes_into_the_run_that_was_started(workshop: Workshop) -> None:
    live(workshop, epochs=1)
    candidate = workshop.train()
    assert workshop.tracker.records[0].run_id == "begun-run" == candidate.registered.run_id


def test_the_epochs_are_counted_and_drawn(workshop: Workshop) -> None:
    live(workshop, epochs=3)
    draw = FakeDrawFigures()
    workshop.draw = draw
    workshop.train()
    assert draw.drawn[0].curves == {"train_loss": [1, 0.5, 0.25], "valid_loss": [2, 1, 0.5]}
    assert dict(workshop.steps)["fit"].endswith(" and 3 epochs")


def test_without_epochs_no_run_is_started_early(workshop: Workshop) -> None:
    journal = live(workshop, epochs=0)
    workshop.train()
    assert journal == ["fit ended", "run-1 recorded"]


@pytest.mark.parametrize(
    "fail",
    [
        lambda w: setattr(w.framework, "failure", RuntimeError("no disk")),
        lambda w: setattr(w, "draw", FakeDrawFigures(RuntimeError("no disk"))),
        lambda w: setattr(
            w, "tracker", FakeTracker(RuntimeError("no disk"), journal=w.tracker.journal)
        ),
    ],
    ids=["export", "figures", "record"],
)
def test_a_started_run_is_marked_as_failed_when_training_fails_later(
    workshop: Workshop, fail: Callable[[Workshop], None]
) -> None:
    journal = live(workshop, epochs=2)
    fail(workshop)
    with pytest.raises(RuntimeError, match="no disk"):
        workshop.train()
    assert journal[-1] == "begun-run failed"
    assert not workshop.tracker.records
    assert not workshop.left_behind()


class Diverging(FakeFramework):
    """Fails in its second epoch."""

    def fit(
        self, estimator: Any, rows: np.ndarray, target: np.ndarray, report: Any, keys: Any = None
    ) -> None:
        """Report one epoch and fail."""
        report({"train_loss": 1.0}, 0)
        raise FloatingPointError("the loss is not a number")


def test_a_run_whose_fit_fails_is_marked_as_failed_and_keeps_its_epochs(workshop: Workshop) -> None:
    workshop.framework = Diverging()
    with pytest.raises(FloatingPointError):
        workshop.train()
    assert workshop.tracker.journal == [
        "begun petals_experiment 1.0.0-a",
        "begun-run epoch 0: train_loss 1",
        "begun-run failed",
    ]


class Forgetful(FakeTracker):
    """Cannot record an epoch."""

    def log_epoch(self, run_id: str, figures: Any, epoch: int) -> None:
        """Fail."""
        raise ConnectionError("no tracking server")


def test_an_epoch_that_cannot_be_recorded_fails_the_run(workshop: Workshop) -> None:
    workshop.framework, workshop.tracker = FakeFramework(epochs=1), Forgetful()
    with pytest.raises(ConnectionError):
        workshop.train()
    assert workshop.tracker.journal[-1] == "begun-run failed"
    assert not workshop.left_behind()


def test_a_model_whose_predictions_are_not_finite_is_not_packaged(workshop: Workshop) -> None:
    workshop.load = FakeLoader(error=float("nan"))
    with pytest.raises(ExportError, match="are not finite for 150 of 150 rows"):
        workshop.train()
    assert not workshop.tracker.records


# the decision threshold


def rare() -> Dataset:
    """1,000 rows, of which a tenth is of the second class."""
    rng = np.random.default_rng(0)
    leaves = rng.random(1_000) < 0.1
    inputs = pd.DataFrame({"x": rng.normal(size=1_000) + 1.5 * leaves})
    return Dataset("leaves", "made here", inputs, pd.Series(np.where(leaves, "yes", "no")))


RARE = SimpleNamespace(
    SPEC=ModelSpec("leaves", (Number("x", "", -10, 10),), Classes(("no", "yes"), "leaves")),
    load=rare,
    build=lambda: LogisticRegression(),  # pylint: disable=unnecessary-lambda  # its parameters
)


def decision_config(**decision: Any) -> TrainingConfig:
    """A configuration of the rare class with a decision."""
    config = config_of(RARE)
    return config.model_copy(update={"decision": DecisionConfig(**decision)})


def test_a_chosen_threshold_is_in_the_contract_the_metrics_and_the_steps(real: Workshop) -> None:
    candidate = real.train(model=RARE, config=decision_config(by="f1"))
    metrics = read(candidate, "metrics.json")
    threshold = read(candidate, "contract.json")["output"]["threshold"]
    assert 0.1 < threshold < 0.4
    decision = metrics["decision"]
    assert (decision["threshold"], decision["by"], decision["positive"]) == (threshold, "f1", "yes")
    assert decision["score"] > decision["default"]
    (step,) = [result for name, result in real.steps if name == "decision"]
    assert step.startswith(f"threshold {threshold:g} for yes, by f1: ")
    card = (candidate.package / "card.md").read_text(encoding="utf-8")
    assert f"yes where its probability is at least {threshold:g}" in card


def test_quality_and_profile_follow_the_chosen_threshold(real: Workshop) -> None:
    candidate = real.train(model=RARE, config=decision_config(by="f1"))
    package = open_recorded(candidate.package)
    dataset = rare()
    training, holdout = hold_out(dataset, RARE.SPEC, 0.25, 3)
    threshold = package.spec.to_dict()["output"]["threshold"]
    native = package.load_native()

    def decided(part: Dataset) -> np.ndarray:
        return native.predict_proba(part.encoded(RARE.SPEC))[:, 1] >= threshold

    right = decided(holdout) == holdout.encoded_target(RARE.SPEC)
    metrics = read(candidate, "metrics.json")
    assert metrics["holdout_accuracy"] == pytest.approx(right.mean())
    share = decided(training).mean()
    assert read(candidate, "profile.json")["prediction"]["shares"] == pytest.approx(
        [1 - share, share]
    )


def test_without_a_decision_nothing_is_chosen(real: Workshop) -> None:
    candidate = real.train(model=RARE, config=decision_config())
    assert "decision" not in read(candidate, "metrics.json")
    assert read(candidate, "contract.json")["output"]["threshold"] is None
    assert "decision" not in [name for name, _ in real.steps]


def test_a_decision_that_does_not_suit_the_model_is_refused_before_anything_is_fitted(
    workshop: Workshop,
) -> None:
    config = SMALL.model_copy(update={"decision": DecisionConfig(by="f1")})
    with pytest.raises(ConfigError, match="petals does not predict one of two classes"):
        workshop.train(config=config)
    assert not workshop.steps
