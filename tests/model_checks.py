"""What every model must do: one function per rule, run over the whole catalog.

A rule asserts one property of a fitted model and is named after it. Models in the catalog are
checked automatically.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import pandas as pd
import pytest
from sklearn.base import clone

from application.inference.predictor import replay_golden
from application.ports.model import Model
from application.training.config import SourceConfig, TrainingConfig
from application.training.schema import check_data
from application.training.train import make_estimator
from domain import catalog, gates
from domain.catalog import CatalogModel
from domain.contract import (
    Category,
    Datetime,
    HashedText,
    ModelSpec,
    Number,
    Tensor,
    Text,
)
from domain.data.dataset import Dataset
from domain.data.splitting import hold_out
from domain.errors import InputError, MissingExtraError, MlopsError
from domain.evaluation.measures import repeat
from domain.evaluation.parity import Parity, edge_rows
from domain.evaluation.predictions import predict_function
from domain.monitoring.profile import Profile, profile_inputs
from infrastructure.frameworks.dispatch import Frameworks
from infrastructure.inference.loading import load_served
from infrastructure.packaging.model_package import ModelPackage, PackageDraft
from infrastructure.storage.snapshots import open_snapshots
from shared.paths import ROOT
from shared.settings import Settings
from tests.packages import open_recorded

MOST_EPOCHS = 8
_WORD = "a word that no contract has"


@dataclass(frozen=True)
class FittedModel:
    """A model of the catalog, fitted on its training rows and packaged.

    Attributes:
        native, served: both forms of the model, as functions.
        epochs: metrics of each epoch, by name; empty for a model without epochs.
    """

    model: CatalogModel
    config: TrainingConfig
    dataset: Dataset
    training: Dataset
    holdout: Dataset
    estimator: Any
    package: Path
    native: Model
    served: Model
    epochs: list[dict[str, float]] = field(default_factory=list)

    @property
    def spec(self) -> ModelSpec:
        """The contract."""
        return self.model.SPEC

    @cached_property
    def encoded(self) -> np.ndarray:
        """All rows, encoded; shape (n_rows, width)."""
        return self.dataset.encoded(self.spec)

    @property
    def forms(self) -> Iterator[tuple[str, Model]]:
        """Names and functions of the native and the served model."""
        yield from {"native": self.native, "served": self.served}.items()

    @property
    def row(self) -> list[Any]:
        """A hold-out row in the form of a request."""
        return list(self.holdout.take(np.array([0])).rows()[0])


TABULAR = [  # recordings have separate tests
    name
    for name in catalog.names()
    if "Transcript(" not in (ROOT / f"domain/models/{name}.py").read_text("utf-8")
]


def model_of(name: str) -> CatalogModel:
    """A model of the catalog; skips the test if its library is not installed."""
    try:
        return catalog.get(name)
    except MissingExtraError as error:
        raise pytest.skip.Exception(str(error)) from error


def load_data(model: CatalogModel, config: TrainingConfig) -> Dataset:
    """The data of a model; skips the test if they are not on this machine."""
    source = source_file(config.data.source)
    path = str(config.load_arguments(model, source).get("path", ""))
    if path and not (ROOT / path).exists():
        pytest.skip(f"{path}, which {model.SPEC.name} learns from, is not on this machine")
    return config.load_data(model, source)


@cache
def source_file(source: SourceConfig | None) -> Path | None:
    """A snapshot of a model's source; skips the test if it cannot be reached from here."""
    if source is None:
        return None
    try:
        return open_snapshots(Settings.load()).fetch(source.address, source.query).file
    except MlopsError as error:
        raise pytest.skip.Exception(str(error)) from error


def cheap(config: TrainingConfig) -> TrainingConfig:
    """The same configuration with few epochs."""
    few = {key: MOST_EPOCHS for key in config.model if key == "max_epochs"}
    return config.model_copy(update={"model": {**config.model, **few}})


def fit_and_package(model: CatalogModel, config: TrainingConfig, folder: Path) -> FittedModel:
    """Fit as in training, and write the files of the package that the rules read."""
    spec = model.SPEC
    dataset = load_data(model, config)
    training, holdout = hold_out(dataset, spec, *config.data.share_and_seed)
    estimator, epochs = fit(model, config, training)
    with PackageDraft(folder, config.model_name, "1.0.0-a") as draft:
        name = "model.onnx" if config.serving.format == "onnx" else "model.skops"
        write = Frameworks().export if config.serving.format == "onnx" else Frameworks().save
        write(estimator, spec, draft.folder / name)
        served = load_served(draft.folder / name, spec)
        golden = holdout.rows()[:3]
        predictions = served(spec.encode_rows(golden)).tolist()
        draft.write_native(estimator)
        draft.write_json("contract.json", spec.to_dict())
        draft.write_json("golden.json", {"rows": golden, "answers": predictions})
        package = draft.seal()
    native = predict_function(estimator, spec)
    return FittedModel(
        *(model, config, dataset, training, holdout, estimator, package, native, served, epochs)
    )


def fit(
    model: CatalogModel, config: TrainingConfig, training: Dataset
) -> tuple[Any, list[dict[str, float]]]:
    """A fitted estimator, and the metrics of its epochs."""
    epochs: list[dict[str, float]] = []
    estimator = make_estimator(model, config)
    rows, target = training.encoded(model.SPEC), training.encoded_target(model.SPEC)
    report = lambda metrics, _: epochs.append(dict(metrics))  # pylint: disable=C3001
    Frameworks().fit(estimator, rows, target, report, training.keys)
    return estimator, epochs


# data and contract


def check_the_data_keep_the_contract(model: FittedModel) -> None:
    """The columns, every value and the target are valid."""
    check_data(model.dataset, model.spec)


def check_loading_is_repeatable(model: FittedModel) -> None:
    """Loading twice gives the same data in the same order."""
    again = load_data(model.model, model.config)
    assert again.fingerprint == model.dataset.fingerprint
    assert (again.row_hashes == model.dataset.row_hashes).all()


def check_no_hold_out_row_is_in_training(model: FittedModel) -> None:
    """Training and hold-out have no rows in common; without `data.split` they are all rows."""
    assert not set(model.training.row_hashes) & set(model.holdout.row_hashes)
    if model.config.data.split is None:
        assert len(model.training) + len(model.holdout) == len(model.dataset)


def check_the_contract_survives_json(model: FittedModel) -> None:
    """The contract in the package equals that of the model."""
    read = ModelSpec.from_dict(ModelPackage(model.package).read_json("contract.json"))
    assert read == model.spec
    np.testing.assert_array_equal(model.dataset.encoded(read), model.encoded)


def check_requests_are_encoded_like_training_rows(model: FittedModel) -> None:
    """A row is encoded the same from the data, from JSON, and alone."""
    rows = as_json(model.dataset.rows())
    np.testing.assert_array_equal(model.spec.encode_rows(rows), model.encoded)
    for index in (0, len(rows) // 2, -1):
        np.testing.assert_array_equal(
            model.spec.encode_rows([rows[index]])[0], model.encoded[index]
        )


def check_columns_may_come_in_any_order(model: FittedModel) -> None:
    """Neither the order of named columns nor extra columns matter."""
    names = [*reversed(model.spec.input_names)]
    inputs = model.dataset.inputs[names].assign(**{"not an input": 0})
    np.testing.assert_array_equal(model.spec.encode(inputs), model.encoded)


def check_missing_values_follow_the_contract(model: FittedModel) -> None:
    """A missing input is refused by name or predicted, the same in data, batches and requests."""
    for place, item in enumerate(model.spec.inputs):
        for missing in (None, math.nan):
            encoded = encoded_with(model, place, missing)
            if item.nullable:
                assert not isinstance(encoded, str), encoded
                assert_predicted(model, encoded)
            else:
                wanted = "expected" if isinstance(item, Tensor) else "a value is missing"
                assert isinstance(encoded, str), f"{item.name} may not be missing, and is taken"
                assert f"row 0, {item.name}: {wanted}" in encoded


def check_values_out_of_range_are_refused(model: FittedModel) -> None:
    """Infinite values and those beyond a range are refused by name, in data and requests."""
    for place, item in enumerate(model.spec.inputs):
        if not isinstance(item, Number | Tensor):
            continue
        below, above = (
            float(np.nextafter(item.minimum, -math.inf)),
            float(np.nextafter(item.maximum, math.inf)),
        )
        for value in (math.inf, -math.inf, below, above, 1e300):
            filled = np.full(item.shape, value) if isinstance(item, Tensor) else value
            refused = encoded_with(model, place, filled)
            assert isinstance(refused, str), f"{item.name} takes {value}"
            assert refused.startswith(f"row 0, {item.name}: ")


def check_unseen_words_follow_the_contract(model: FittedModel) -> None:
    """An unknown category is refused by name or treated as missing."""
    for place, item in enumerate(model.spec.inputs):
        if not isinstance(item, Category):
            continue
        encoded = encoded_with(model, place, _WORD)
        if item.unseen == "refuse":
            assert isinstance(encoded, str) and f"{item.name}: {_WORD!r} is not one of" in encoded
        else:
            assert not isinstance(encoded, str), encoded
            assert_predicted(model, encoded)


def check_invalid_values_are_refused(model: FittedModel) -> None:
    """No JSON value of the wrong type is accepted."""
    for place, item in enumerate(model.spec.inputs):
        values: list[Any] = [[], {}, [[[[1]]]]]
        if not isinstance(item, Category):
            values += [True]
        if not isinstance(item, Category | HashedText | Text):
            values += ["1", 10**400]
        for value in values:
            refused = encoded_with(model, place, value)
            assert isinstance(refused, str), f"{item.name} takes {value!r}"
            assert refused.startswith(f"row 0, {item.name}: ")


def check_monitored_values_are_finite(model: FittedModel) -> None:
    """Monitored variables have unique names, are finite unless missing, and have a profile,
    except dates."""
    names, monitored = model.spec.monitored_names, model.spec.monitored(model.encoded)
    assert len(set(names)) == len(names)
    assert monitored.shape == (len(model.dataset), len(names))
    assert monitored.dtype == np.float64
    finite = np.isfinite(monitored)
    missing = np.zeros(len(monitored), bool)
    if model.encoded.dtype != object:
        missing = np.isnan(model.encoded).any(axis=1)
    assert (finite.all(axis=1) | missing).all()
    profiles = as_json(profile_inputs(model.spec, model.encoded))
    inputs = zip(names, model.spec.monitored_inputs, strict=True)
    assert list(profiles) == [name for name, item in inputs if not isinstance(item, Datetime)]
    for name in profiles:
        assert Profile.from_dict(profiles[name]).shares.sum() == pytest.approx(1), name


# learning


def check_fitting_is_repeatable(model: FittedModel) -> None:
    """A second fit with the same configuration predicts the same."""
    estimator, epochs = fit(model.model, model.config, model.training)
    again = predict_function(estimator, model.spec)(model.encoded)
    np.testing.assert_allclose(again, model.native(model.encoded), rtol=1e-5, atol=1e-6)
    assert len(epochs) == len(model.epochs)


def check_fitting_leaves_the_data_alone(model: FittedModel) -> None:
    """Neither fitting nor predicting changes a row."""
    before = model.encoded.copy()
    for _, predict in model.forms:
        predict(model.encoded)
    np.testing.assert_array_equal(model.encoded, before)
    again = load_data(model.model, model.config)
    assert again.fingerprint == model.dataset.fingerprint


def check_it_can_be_cloned(model: FittedModel) -> None:
    """A clone has the parameters but is not fitted, as cross-validation needs."""
    copy = clone(model.estimator)
    fresh = make_estimator(model.model, model.config)
    assert set(copy.get_params()) == set(fresh.get_params())
    assert {name for name in vars(copy) if name.endswith("_")} <= set(vars(fresh))


def check_epochs_are_reported_in_order_with_finite_metrics(model: FittedModel) -> None:
    """Every epoch is reported with its training and validation loss."""
    for metrics in model.epochs:
        assert {"train_loss", "valid_loss"} <= set(metrics)
        assert np.isfinite(list(metrics.values())).all()
    if "max_epochs" in model.config.model:
        assert 1 < len(model.epochs) <= MOST_EPOCHS


def check_it_beats_the_baseline(model: FittedModel) -> None:
    """On the hold-out, it beats the most frequent class or the mean."""
    actual = model.holdout.encoded_target(model.spec)
    measure = model.config.validation.measure_of(model.spec)
    predictions = model.served(model.holdout.encoded(model.spec))
    constant = repeat(measure.constant(actual), len(actual))
    assert measure.score(actual, predictions) > measure.score(actual, constant)


# predictions


def check_probabilities_sum_to_one_and_predictions_are_in_their_interval(
    model: FittedModel,
) -> None:
    """Predictions have the shape of the contract, and valid values."""
    for name, predict in model.forms:
        predictions = np.asarray(predict(model.encoded))
        assert predictions.shape == (len(model.encoded), len(model.spec.output_columns)), name
        assert np.isfinite(predictions).all(), name
        if model.spec.classes:
            assert (predictions >= -1e-6).all() and (predictions <= 1 + 1e-6).all(), name  # float32
            np.testing.assert_allclose(predictions.sum(axis=1), 1, atol=1e-5, err_msg=name)
        else:
            prediction, lower, upper = predictions.T
            assert (lower < prediction).all() and (prediction < upper).all(), name


def check_a_row_alone_is_predicted_as_in_a_batch(model: FittedModel) -> None:
    """A prediction depends neither on the other rows nor on their order."""
    order = np.random.default_rng(0).permutation(len(model.encoded))
    for name, predict in model.forms:
        batch = predict(model.encoded)
        scale = np.abs(batch).max()
        close: dict[str, Any] = {"rtol": 1e-5, "atol": 1e-6 * scale, "err_msg": name}
        np.testing.assert_allclose(predict(model.encoded[order]), batch[order], **close)
        for row in order[:10]:
            np.testing.assert_allclose(predict(model.encoded[[row]])[0], batch[row], **close)


def check_served_predicts_like_native(model: FittedModel) -> None:
    """The parity gate accepts on all rows."""
    parity = Parity.of(model.native(model.encoded), model.served(model.encoded), model.spec)
    verdict = gates.parity("parity", parity)
    assert verdict.accepted, verdict.reason


def check_served_predicts_like_native_at_edges(model: FittedModel) -> None:
    """The parity gate accepts on edge rows."""
    edges = edge_rows(model.native, model.encoded, model.spec, random_state=0)
    if len(edges):
        parity = Parity.of(model.native(edges), model.served(edges), model.spec)
        verdict = gates.parity("parity_at_edges", parity)
        assert verdict.accepted, verdict.reason


# the package


def check_the_served_model_has_the_signature_of_the_contract(model: FittedModel) -> None:
    """One input of float32 rows, or of text; probabilities, or a value with its interval."""
    path = ModelPackage(model.package).served
    if path.suffix != ".onnx":
        return
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    (entry,) = session.get_inputs()
    outputs = {output.name: output for output in session.get_outputs()}
    text = isinstance(model.spec.inputs[0], Text)
    assert entry.type == ("tensor(string)" if text else "tensor(float)")
    assert (entry.name, entry.shape[1]) == ("inputs", model.spec.width)
    assert isinstance(entry.shape[0], str | None), "the number of rows is fixed"
    names = ("probabilities",) if model.spec.classes else model.spec.output_columns
    assert set(names) <= set(outputs)
    assert {outputs[name].type for name in names} == {"tensor(float)"}


def check_the_package_round_trips(model: FittedModel) -> None:
    """The native and the served model predict the same after being written and read."""
    package, some = open_recorded(model.package), model.encoded[:50]
    native = predict_function(package.load_native(), model.spec)
    served = load_served(package.served, model.spec)
    np.testing.assert_array_equal(native(some), model.native(some))
    np.testing.assert_array_equal(served(some), model.served(some))


def check_golden_requests_are_reproduced(model: FittedModel) -> None:
    """The golden requests are valid, and their predictions are reproduced."""
    golden = ModelPackage(model.package).read_json("golden.json")
    replay_golden(model.spec, model.served, golden)
    assert golden["rows"] == as_json(model.holdout.rows()[:3])


RULES: list[Callable[[FittedModel], None]] = [
    rule for name, rule in globals().items() if name.startswith("check_") and name != "check_data"
]


def as_json(data: Any) -> Any:
    """The data after a round trip through JSON."""
    return json.loads(json.dumps(data, allow_nan=False))


def encoded_with(model: FittedModel, place: int, value: Any) -> np.ndarray | str:
    """A hold-out row with one value replaced, encoded; or the message with which it is refused.

    Asserts that requests, columns, and a data frame of several rows agree.
    """
    row, names = model.row, model.spec.input_names
    row[place] = value
    columns: dict[str, Any] = {name: [item] for name, item in zip(names, row, strict=True)}
    # in a data frame, a value shares its column with values of the usual type
    two = model.holdout.inputs.iloc[[0, 0]].astype(object).reset_index(drop=True)
    two[names[place]] = pd.Series([value, model.row[place]], dtype=object)
    ways: list[Callable[[], np.ndarray]] = [
        lambda: model.spec.encode_rows([row]),
        lambda: model.spec.encode(columns),
        lambda: model.spec.encode(two)[:1],
    ]
    results: list[np.ndarray | str] = []
    for encode in ways:
        try:
            results.append(encode())
        except InputError as error:
            results.append(str(error))
    for other in results[1:]:
        np.testing.assert_array_equal(other, results[0])
    return results[0]


def assert_predicted(model: FittedModel, encoded: np.ndarray) -> None:
    """Both forms of the model give finite and equal predictions."""
    native, served = model.native(encoded), model.served(encoded)
    assert np.isfinite(native).all()
    verdict = gates.parity("parity", Parity.of(native, served, model.spec))
    assert verdict.accepted, verdict.reason
