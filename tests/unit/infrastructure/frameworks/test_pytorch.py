"""skorch networks report their epochs, and their exports predict the same."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from sklearn.datasets import load_digits
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

torch = pytest.importorskip("torch", reason="make install EXTRAS=torch")
pytest.importorskip("skorch", reason="make install EXTRAS=torch")

# pylint: disable=wrong-import-position
from skorch.callbacks import EarlyStopping

from domain.contract import Classes, ModelSpec, Number, Quantity, Tensor
from domain.errors import ExportError
from domain.estimators.torch_network import TorchClassifier, TorchRegressor
from infrastructure.frameworks import pytorch
from tests.exports import ignore, run_onnx, shapes

INPUTS = tuple(Number(name, "", 0.0, 1.0) for name in ("a", "b", "c"))
BINARY = ModelSpec("binary", INPUTS, Classes(("no", "yes")))
REGRESSION = ModelSpec("regression", INPUTS, Quantity("sum"))
ROWS = np.random.default_rng(0).random((60, 3), np.float32)
SUMS = ROWS.sum(axis=1).astype(np.float64)
IMAGES, LABELS = load_digits(return_X_y=True)
IMAGES = IMAGES.astype(np.float32)
DIGITS = ModelSpec("images", (Tensor("image", (8, 8), 0.0, 16.0),), Classes(tuple("0123456789")))


class Convolution(torch.nn.Module):  # type: ignore[misc, name-defined]
    """A convolution, batch normalization and dropout on images of 8 × 8 pixels."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Unflatten(1, (1, 8, 8)),
            torch.nn.Conv2d(1, 4, 3),
            torch.nn.BatchNorm2d(4),
            torch.nn.ReLU(),
            torch.nn.Flatten(),
            torch.nn.Dropout(0.1),
            torch.nn.Linear(4 * 6 * 6, 10),
        )

    def forward(self, inputs: Any) -> Any:
        """Logits."""
        return self.layers(inputs)


class Branching(torch.nn.Module):  # type: ignore[misc, name-defined]
    """Branches by the values of its inputs, which cannot be exported."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(3, 2)

    def forward(self, inputs: Any) -> Any:
        """Logits."""
        return self.layer(inputs) if inputs.sum() > 0 else -self.layer(inputs)


@pytest.fixture(scope="module", name="estimator")
def _estimator() -> TorchClassifier:
    """A network fitted on some digits."""
    estimator = TorchClassifier(
        Convolution,
        criterion=torch.nn.CrossEntropyLoss,
        callbacks=[("early_stopping", EarlyStopping(load_best=True))],
        max_epochs=2,
        verbose=0,
    )
    pytorch.fit(estimator, IMAGES[:300], LABELS[:300], ignore)
    return estimator


@pytest.fixture(scope="module", name="exported")
def _exported(estimator: TorchClassifier, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network as it is served."""
    path = tmp_path_factory.mktemp("onnx") / "model.onnx"
    pytorch.export(estimator, DIGITS, path)
    return path


def linear(**changes: Any) -> TorchClassifier:
    """A network of one layer."""
    parameters: dict[str, Any] = {
        "module__in_features": 3,
        "module__out_features": 2,
        "max_epochs": 3,
    }
    return TorchClassifier(
        torch.nn.Linear, **parameters, criterion=torch.nn.CrossEntropyLoss, verbose=0, **changes
    )


def test_each_epoch_is_reported_when_it_ends() -> None:
    estimator = linear()
    reported: list[tuple[int, int, list[str]]] = []

    def report(figures: Mapping[str, float], epoch: int) -> None:
        reported.append((epoch, len(estimator.history), sorted(figures)))

    pytorch.fit(estimator, ROWS, (SUMS > 1.5).astype(np.int64), report)
    names = ["train_loss", "valid_accuracy", "valid_loss"]
    assert reported == [(0, 1, names), (1, 2, names), (2, 3, names)]


def test_the_report_leaves_no_trace_in_the_estimator() -> None:
    estimator = linear()
    pytorch.fit(estimator, ROWS, (SUMS > 1.5).astype(np.int64), lambda figures, epoch: None)
    assert estimator.callbacks is None
    again = pickle.loads(pickle.dumps(estimator))  # a lambda could not be pickled
    assert (again.predict_proba(ROWS) == estimator.predict_proba(ROWS)).all()


@pytest.mark.parametrize("callbacks", [None, "disable", []])
def test_epochs_are_reported_without_other_callbacks(callbacks: Any) -> None:
    reported: list[int] = []
    estimator = linear(callbacks=callbacks)
    pytorch.fit(
        estimator, ROWS, (SUMS > 1.5).astype(np.int64), lambda _, epoch: reported.append(epoch)
    )
    assert reported == [0, 1, 2]
    assert estimator.callbacks == callbacks
    assert "report" not in dict(estimator.callbacks_)


def test_an_error_in_the_report_ends_the_training_and_leaves_no_trace() -> None:
    def report(_figures: Mapping[str, float], _epoch: int) -> None:
        raise ConnectionError("no tracking server")

    estimator = linear()
    with pytest.raises(ConnectionError):
        pytorch.fit(estimator, ROWS, (SUMS > 1.5).astype(np.int64), report)
    assert estimator.callbacks is None


def test_reporting_does_not_change_what_is_learned() -> None:
    target = (SUMS > 1.5).astype(np.int64)
    reported, alone = linear(), linear().fit(ROWS, target)
    pytorch.fit(reported, ROWS, target, ignore)
    assert (reported.predict_proba(ROWS) == alone.predict_proba(ROWS)).all()


@pytest.mark.parametrize("rows", [1, 2, 1000, len(IMAGES)])
def test_the_exported_model_predicts_like_the_network(
    estimator: TorchClassifier, exported: Path, rows: int
) -> None:
    np.testing.assert_allclose(
        run_onnx(exported, IMAGES[:rows]), estimator.predict_proba(IMAGES[:rows]), atol=1e-5
    )


def test_the_exported_model_is_one_file_with_named_inputs_and_outputs(exported: Path) -> None:
    graph = onnx.load(exported).graph
    assert [path.name for path in exported.parent.iterdir()] == ["model.onnx"]
    assert shapes(graph.input) == {"inputs": [0, 64]}
    assert shapes(graph.output) == {"probabilities": [0, 10]}


def test_a_network_that_outputs_probabilities_is_exported_unchanged(tmp_path: Path) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.Softmax(dim=1))
    estimator = TorchClassifier(network, max_epochs=1, verbose=0)  # skorch's criterion: NLLLoss
    estimator.fit(ROWS, (SUMS > 1.5).astype(np.int64))
    pytorch.export(estimator, BINARY, tmp_path / "model.onnx")
    np.testing.assert_allclose(
        run_onnx(tmp_path / "model.onnx", ROWS), estimator.predict_proba(ROWS), atol=1e-5
    )


@pytest.mark.parametrize("behind", [[], [torch.nn.Flatten(0)]], ids=["column", "plain"])
def test_a_regression_is_exported_as_a_prediction(tmp_path: Path, behind: list[Any]) -> None:
    network = torch.nn.Sequential(torch.nn.Linear(3, 1), *behind)
    estimator = TorchRegressor(network, max_epochs=1, verbose=0)
    pytorch.fit(estimator, ROWS, SUMS, ignore)
    path = tmp_path / "model.onnx"
    pytorch.export(estimator, REGRESSION, path)
    assert shapes(onnx.load(path).graph.output) == {"prediction": [0, 1]}
    for rows in (ROWS, ROWS[:1]):
        np.testing.assert_allclose(run_onnx(path, rows)[:, 0], estimator.predict(rows), atol=1e-5)


def test_exporting_is_silent_and_leaves_the_estimator_unchanged(
    estimator: TorchClassifier, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    before = estimator.predict_proba(IMAGES)
    capfd.readouterr()
    pytorch.export(estimator, DIGITS, tmp_path / "model.onnx")
    assert tuple(capfd.readouterr()) == ("", "")
    assert (estimator.predict_proba(IMAGES) == before).all()


def test_a_network_that_cannot_be_a_graph_is_refused_with_the_reason(tmp_path: Path) -> None:
    estimator = TorchClassifier(
        Branching, criterion=torch.nn.CrossEntropyLoss, max_epochs=1, verbose=0
    ).fit(ROWS, (SUMS > 1.5).astype(np.int64))
    with pytest.raises(ExportError, match="data-dependent") as refused:
        pytorch.export(estimator, BINARY, tmp_path / "model.onnx")
    assert "\n" not in str(refused.value)


def test_a_pipeline_around_a_network_is_refused(estimator: TorchClassifier, tmp_path: Path) -> None:
    pipeline = make_pipeline(StandardScaler(), estimator)
    with pytest.raises(ExportError, match="move the preprocessing into the network"):
        pytorch.export(pipeline, DIGITS, tmp_path / "model.onnx")
