"""PyTorch networks behave as scikit-learn estimators."""

from __future__ import annotations

import pickle
import signal
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.model_selection import cross_val_predict

torch = pytest.importorskip("torch", reason="make install EXTRAS=torch")
# pylint: disable=wrong-import-position
from skorch.callbacks import Callback, EarlyStopping
from skorch.dataset import ValidSplit

from domain.data.split_keys import SplitKeys
from domain.errors import ConfigError
from domain.estimators.torch_network import (
    TorchClassifier,
    TorchRegressor,
    found_device,
    gains_from_mixed_precision,
)

RNG = np.random.default_rng(0)
ROWS = RNG.normal(size=(200, 3)).astype(np.float32)
CLASSES = (ROWS.sum(axis=1) > 0).astype(np.int64)
VALUES = (ROWS @ [1.0, -2.0, 0.5] + 3).astype(np.float64)


def classifier(**changes: Any) -> TorchClassifier:
    """A small network that has not been fitted."""
    parameters: dict[str, Any] = {
        "criterion": torch.nn.CrossEntropyLoss,
        "module__in_features": 3,
        "module__out_features": 2,
        "max_epochs": 5,
        "lr": 0.5,
        "verbose": 0,
    }
    return TorchClassifier(torch.nn.Linear, **{**parameters, **changes})


def regressor(*last_layers: Any) -> TorchRegressor:
    """A small network, with these layers at its end, that has not been fitted."""
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(3, 1), *last_layers)
    return TorchRegressor(network, max_epochs=30, lr=0.1, verbose=0)


class CtrlC(Callback):  # type: ignore[misc]
    """Presses Ctrl-C at the end of a batch or an epoch, in the second epoch."""

    def __init__(self, when: str) -> None:
        self.when = when

    def _press(self, net: Any, when: str) -> None:
        if when == self.when and len(net.history) == 2:
            signal.raise_signal(signal.SIGINT)

    def on_epoch_end(self, net: Any, **_kwargs: Any) -> None:
        """Called by skorch."""
        self._press(net, "epoch")

    def on_batch_end(self, net: Any, **_kwargs: Any) -> None:
        """Called by skorch."""
        self._press(net, "batch")


@pytest.fixture(name="terminal")
def fixture_terminal() -> Iterator[None]:
    """Makes Ctrl-C interrupt, as on a terminal; in background processes it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_the_same_seed_gives_the_same_predictions() -> None:
    first, second = (classifier().fit(ROWS, CLASSES).predict_proba(ROWS) for _ in range(2))
    assert (first == second).all()


def test_another_seed_gives_different_predictions() -> None:
    first = classifier(random_state=1).fit(ROWS, CLASSES).predict_proba(ROWS)
    assert (first != classifier(random_state=2).fit(ROWS, CLASSES).predict_proba(ROWS)).any()


def test_fitting_does_not_change_the_global_seed() -> None:
    torch.manual_seed(7)
    expected = torch.rand(3)
    torch.manual_seed(7)
    classifier().fit(ROWS, CLASSES)
    assert torch.equal(torch.rand(3), expected)


def test_a_clone_has_the_same_parameters_and_learns_the_same() -> None:
    estimator = classifier(random_state=3, mixed_precision=True).fit(ROWS, CLASSES)
    copy = clone(estimator)
    assert (copy.random_state, copy.mixed_precision) == (3, True)
    again = copy.fit(ROWS, CLASSES).predict_proba(ROWS)
    assert (again == estimator.predict_proba(ROWS)).all()


def test_probabilities_sum_to_one_and_the_classes_are_learned() -> None:
    estimator = classifier().fit(ROWS, CLASSES)
    np.testing.assert_allclose(estimator.predict_proba(ROWS).sum(axis=1), 1, atol=1e-6)
    assert (estimator.predict(ROWS) == CLASSES).mean() > 0.9


def test_mixed_precision_changes_training_but_predictions_are_float32() -> None:
    full = classifier().fit(ROWS, CLASSES)
    mixed = classifier(mixed_precision=True).fit(ROWS, CLASSES)
    probabilities = mixed.predict_proba(ROWS)
    assert (probabilities != full.predict_proba(ROWS)).any()
    assert probabilities.dtype == np.float32
    in_float32 = mixed.module_(torch.from_numpy(ROWS)).softmax(1).detach().numpy()
    assert (probabilities == in_float32).all()


def test_a_pickled_network_predicts_the_same() -> None:
    estimator = classifier().fit(ROWS, CLASSES)
    again = pickle.loads(pickle.dumps(estimator))
    assert (again.predict_proba(ROWS) == estimator.predict_proba(ROWS)).all()


def test_a_regression_predicts_one_number_per_row() -> None:
    predicted = regressor().fit(ROWS, VALUES).predict(ROWS)
    assert predicted.shape == VALUES.shape
    assert np.corrcoef(predicted, VALUES)[0, 1] > 0.99


def test_a_network_with_a_flat_output_learns_like_one_with_a_column() -> None:
    column, plain = regressor().fit(ROWS, VALUES), regressor(torch.nn.Flatten(0)).fit(ROWS, VALUES)
    assert plain.module_(torch.from_numpy(ROWS)).shape == VALUES.shape
    np.testing.assert_allclose(plain.predict(ROWS), column.predict(ROWS), atol=1e-5)
    assert np.corrcoef(plain.predict(ROWS), VALUES)[0, 1] > 0.99


@pytest.mark.usefixtures("terminal")
@pytest.mark.parametrize("when", ["batch", "epoch"])
def test_ctrl_c_ends_the_training_and_the_program(when: str) -> None:
    estimator = classifier(callbacks=[CtrlC(when)])
    with pytest.raises(KeyboardInterrupt):
        estimator.fit(ROWS, CLASSES)
    assert len(estimator.history) == 2
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.mark.usefixtures("terminal")
def test_an_early_stop_ends_the_training_only() -> None:
    stop = EarlyStopping(patience=2, load_best=True)
    estimator = classifier(lr=0.0, max_epochs=50, callbacks=[stop]).fit(ROWS, CLASSES)
    assert len(estimator.history) == 3
    assert estimator.predict(ROWS).shape == CLASSES.shape
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_an_existing_ctrl_c_handler_is_left_alone() -> None:
    received: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: received.append(number))
    try:
        estimator = classifier(callbacks=[CtrlC("epoch")]).fit(ROWS, CLASSES)
    finally:
        signal.signal(signal.SIGINT, before)
    assert received == [signal.SIGINT]
    assert len(estimator.history) == 5


def test_a_regression_is_cross_validated_by_scikit_learn() -> None:
    predicted = cross_val_predict(regressor(), ROWS, VALUES, cv=3)
    assert predicted.shape == VALUES.shape
    assert np.corrcoef(predicted, VALUES)[0, 1] > 0.99


def test_the_device_is_a_gpu_if_there_is_one() -> None:
    assert found_device() == ("cuda" if torch.cuda.is_available() else "cpu")


def test_mixed_precision_changes_nothing_on_a_cpu() -> None:
    assert not gains_from_mixed_precision("cpu")


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_network_trained_on_a_gpu_predicts_the_same_on_a_cpu() -> None:
    mixed = gains_from_mixed_precision("cuda")
    estimator = classifier(device="cuda", mixed_precision=mixed).fit(ROWS, CLASSES)
    assert (estimator.predict(ROWS) == CLASSES).mean() > 0.9
    on_gpu = estimator.predict_proba(ROWS)
    on_processor = estimator.module_.cpu()(torch.from_numpy(ROWS)).softmax(1).detach().numpy()
    np.testing.assert_allclose(on_gpu, on_processor, atol=1e-5)


def valid_rows_of(network: Any, target: np.ndarray, keys: SplitKeys) -> list[int]:
    """Positions of the rows that a network sets apart for early stopping."""
    seen: list[int] = []

    def remember(dataset_train: Any, dataset_valid: Any) -> None:
        assert len(dataset_train) + len(dataset_valid) == len(target)
        seen.extend(dataset_valid.indices.tolist())

    network.set_params(callbacks=[("remember", Remember(remember))])
    network.fit(ROWS, target, keys)
    return seen


class Remember(Callback):  # type: ignore[misc]
    """Calls a function when the training begins."""

    def __init__(self, call: Any) -> None:
        self.call = call

    def on_train_begin(self, net: Any, X: Any = None, y: Any = None, **_kwargs: Any) -> None:
        """Called by skorch."""
        self.call(*net.get_split_datasets(X, y))


def test_early_stopping_follows_the_split() -> None:
    keys = SplitKeys(time=np.arange(200.0))
    split = ValidSplit(0.1, stratified=True)
    network = classifier(train_split=split, max_epochs=1)
    assert valid_rows_of(network, CLASSES, keys) == [*range(180, 200)]
    assert network.train_split is split
    group = np.repeat([f"g{number}" for number in range(40)], 5).astype(object)
    valid = valid_rows_of(regressor().set_params(max_epochs=1), VALUES, SplitKeys(group=group))
    assert 20 <= len(valid) <= 60 and len(valid) == 5 * len(set(group[valid]))


def test_a_split_of_rows_that_skorch_cannot_share_out_is_refused() -> None:
    folds = ValidSplit([(np.arange(100), np.arange(100, 200))])
    with pytest.raises(ConfigError, match="a share or a number of folds"):
        classifier(train_split=folds).fit(ROWS, CLASSES, SplitKeys(time=np.arange(200.0)))
