"""Keras networks report their epochs, and their exports predict the same."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from sklearn.datasets import load_wine
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

tensorflow = pytest.importorskip("tensorflow", reason="make install EXTRAS=tensorflow")

# pylint: disable=wrong-import-position
from domain.contract import Classes, ModelSpec, Number, Quantity
from domain.errors import ExportError
from domain.estimators.keras_network import KerasClassifier, KerasRegressor
from domain.estimators.keras_network import keras as library
from infrastructure.frameworks import keras
from tests.exports import ignore, run_onnx, shapes

INPUTS = tuple(Number(name, "", 0.0, 1.0) for name in ("a", "b", "c"))
BINARY = ModelSpec("binary", INPUTS, Classes(("no", "yes")))
REGRESSION = ModelSpec("regression", INPUTS, Quantity("sum"))
ROWS = np.random.default_rng(0).random((60, 3), np.float32)
SUMS = ROWS.sum(axis=1).astype(np.float64)
ABOVE = (SUMS > 1.5).astype(np.int64)
MEASURES, LABELS = load_wine(return_X_y=True)
MEASURES = MEASURES.astype(np.float32)
WINES = ModelSpec(
    "wines",
    tuple(Number(f"measure_{number}", "", 0.0, 1e4) for number in range(13)),
    Classes(("grower_1", "grower_2", "grower_3")),
)


@library.saving.register_keras_serializable("tests")
class Unknown(library.layers.Layer):  # type: ignore[misc]
    """Computes a function without an ONNX operator."""

    def call(self, inputs: Any) -> Any:
        """Upper incomplete gamma function."""
        return tensorflow.math.igammac(inputs**2 + 1, inputs**2 + 1)


@library.saving.register_keras_serializable("tests")
class Holding(library.layers.Layer):  # type: ignore[misc]
    """Has a tensor that is not a weight."""

    def __init__(self, **options: Any) -> None:
        super().__init__(**options)
        self.held = tensorflow.ones((1, 3))

    def call(self, inputs: Any) -> Any:
        """The inputs times that tensor."""
        return inputs * self.held


def network(X: np.ndarray, y: np.ndarray, *layers: Any) -> Any:
    """A linear network after these layers."""
    # pylint: disable=invalid-name  # Keras's names
    activation = "softmax" if y.shape[1] > 1 else None
    model = library.Sequential(
        [
            library.Input((X.shape[1],)),
            *layers,
            library.layers.Dense(y.shape[1], activation=activation),
        ]
    )
    model.compile(
        loss="categorical_crossentropy" if activation else "mse",
        metrics=["accuracy"] if activation else [],
    )
    return model


def scaled(X: np.ndarray, y: np.ndarray) -> Any:  # pylint: disable=invalid-name
    """A network that standardizes its inputs, with a hidden layer and dropout."""
    scaling = library.layers.Normalization()
    scaling.adapt(X)
    hidden = library.layers.Dense(8, activation="relu")
    return network(X, y, scaling, hidden, library.layers.Dropout(0.1))


def classifier(model: Any = network, **fit_kwargs: Any) -> KerasClassifier:
    """A small network."""
    return KerasClassifier(model, fit_kwargs={"epochs": 3, **fit_kwargs})


def behind(layer: type) -> KerasClassifier:
    """A small fitted network that starts with a layer of this kind."""
    return classifier(lambda X, y: network(X, y, layer())).fit(ROWS, ABOVE)


@pytest.fixture(scope="module", name="estimator")
def _estimator() -> KerasClassifier:
    """A network fitted on the wines."""
    estimator = classifier(scaled, epochs=5)
    keras.fit(estimator, MEASURES, LABELS, ignore)
    return estimator


@pytest.fixture(scope="module", name="exported")
def _exported(estimator: KerasClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as it is served."""
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    keras.export(estimator, WINES, path)
    return path


def test_each_epoch_is_reported_when_it_ends() -> None:
    reported: list[str | tuple[int, list[str]]] = []

    class Begin(library.callbacks.Callback):  # type: ignore[misc]
        """Records when an epoch begins."""

        def on_epoch_begin(self, _epoch: int, _logs: Any = None) -> None:
            """Called by Keras."""
            reported.append("begin")

    estimator = classifier(epochs=2, callbacks=[Begin()])
    keras.fit(estimator, ROWS, ABOVE, lambda figures, e: reported.append((e, sorted(figures))))
    names = ["train_accuracy", "train_loss", "valid_accuracy", "valid_loss"]
    assert reported == ["begin", (0, names), "begin", (1, names)]


@pytest.mark.parametrize("callbacks", [None, library.callbacks.History(), ()])
def test_epochs_are_reported_with_or_without_another_callback(callbacks: Any) -> None:
    reported: list[int] = []
    estimator = classifier(callbacks=callbacks)
    keras.fit(estimator, ROWS, ABOVE, lambda _figures, epoch: reported.append(epoch))
    assert reported == [0, 1, 2]
    assert estimator.fit_kwargs == {"epochs": 3, "callbacks": callbacks}


def test_the_report_leaves_no_trace_in_the_estimator() -> None:
    estimator = classifier()
    keras.fit(estimator, ROWS, ABOVE, lambda figures, epoch: None)
    assert estimator.fit_kwargs == {"epochs": 3}
    again = pickle.loads(pickle.dumps(estimator))  # a lambda could not be pickled
    assert (again.predict_proba(ROWS) == estimator.predict_proba(ROWS)).all()


def test_an_error_in_the_report_ends_the_training_and_leaves_no_trace() -> None:
    def report(_figures: Mapping[str, float], _epoch: int) -> None:
        raise ConnectionError("no tracking server")

    estimator = classifier()
    with pytest.raises(ConnectionError):
        keras.fit(estimator, ROWS, ABOVE, report)
    assert estimator.fit_kwargs == {"epochs": 3}


def test_the_wrapper_of_keras_reports_epochs_too() -> None:
    reported: list[int] = []
    estimator = library.wrappers.SKLearnClassifier(network, fit_kwargs={"epochs": 2, "verbose": 0})
    keras.fit(estimator, ROWS, ABOVE, lambda _figures, epoch: reported.append(epoch))
    assert reported == [0, 1]
    assert estimator.fit_kwargs == {"epochs": 2, "verbose": 0}


@pytest.mark.parametrize("rows", [1, 2, len(MEASURES), 1000])
def test_the_exported_model_predicts_like_the_network(
    estimator: KerasClassifier, exported: Path, rows: int
) -> None:
    inputs = np.resize(MEASURES, (rows, 13))
    np.testing.assert_allclose(
        run_onnx(exported, inputs), estimator.predict_proba(inputs), atol=1e-5
    )


def test_a_pickled_network_has_the_same_export(
    estimator: KerasClassifier, exported: Path, tmp_path: Path
) -> None:
    keras.export(pickle.loads(pickle.dumps(estimator)), WINES, tmp_path / "model.onnx")
    assert (run_onnx(tmp_path / "model.onnx", MEASURES) == run_onnx(exported, MEASURES)).all()


def test_the_exported_model_is_one_file_with_named_inputs_and_outputs(exported: Path) -> None:
    graph = onnx.load(exported).graph
    assert [path.name for path in exported.parent.iterdir()] == ["model.onnx"]
    assert shapes(graph.input) == {"inputs": [0, 13]}
    assert shapes(graph.output) == {"probabilities": [0, 3]}


def test_scaling_in_a_nested_network_is_exported_too(tmp_path: Path) -> None:
    def nested(X: np.ndarray, y: np.ndarray) -> Any:  # pylint: disable=invalid-name
        scaling = library.layers.Normalization()
        scaling.adapt(X)
        return network(X, y, library.Sequential([library.Input((X.shape[1],)), scaling]))

    estimator = classifier(nested).fit(ROWS, ABOVE)
    keras.export(estimator, BINARY, tmp_path / "model.onnx")
    np.testing.assert_allclose(
        run_onnx(tmp_path / "model.onnx", ROWS), estimator.predict_proba(ROWS), atol=1e-5
    )


def test_a_regression_is_exported_as_a_prediction(tmp_path: Path) -> None:
    estimator = KerasRegressor(network, fit_kwargs={"epochs": 2})
    keras.fit(estimator, ROWS, SUMS, ignore)
    path = tmp_path / "model.onnx"
    keras.export(estimator, REGRESSION, path)
    assert shapes(onnx.load(path).graph.output) == {"prediction": [0, 1]}
    np.testing.assert_allclose(run_onnx(path, ROWS)[:, 0], estimator.predict(ROWS), atol=1e-5)


def test_exporting_is_silent_and_leaves_the_estimator_unchanged(
    estimator: KerasClassifier, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = estimator.predict_proba(MEASURES)
    capfd.readouterr()
    keras.export(estimator, WINES, tmp_path / "model.onnx")
    assert tuple(capfd.readouterr()) == ("", "")
    assert (estimator.predict_proba(MEASURES) == before).all()


def test_operators_that_onnx_lacks_are_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="Igammac") as refused:
        keras.export(behind(Unknown), BINARY, tmp_path / "model.onnx")
    assert "\n" not in str(refused.value)


def test_a_network_with_tensors_that_are_not_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExportError, match="tensors that are not weights: .*holding"):
        keras.export(behind(Holding), BINARY, tmp_path / "model.onnx")


def test_a_pipeline_around_a_network_is_refused(estimator: KerasClassifier, tmp_path: Path) -> None:
    pipeline = make_pipeline(StandardScaler(), estimator)
    with pytest.raises(ExportError, match="move the preprocessing into the network"):
        keras.export(pipeline, WINES, tmp_path / "model.onnx")
