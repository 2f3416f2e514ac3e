"""Every model of the catalog, and one of each extra kind, keeps every rule of `model_checks`."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, wraps
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from application.training.config import TrainingConfig, config_path
from domain.data.dataset import Dataset
from domain.errors import DataError, PackageError
from tests import model_checks, petals
from tests.fakes import PETALS_CONFIG
from tests.kinds import KINDS, boosted
from tests.model_checks import RULES, TABULAR, FittedModel, cheap, fit_and_package, model_of

KIND_CONFIG = {
    "model": {},
    "data": {"test_size": 0.25, "random_state": 0},
    "experiment_name": "kinds",
    "version": "1.0.0",
}

BOOSTED = {  # name → library, how it is served
    **{library: (library, "onnx") for library in ("catboost", "lightgbm", "xgboost")},
    "lightgbm_native": ("lightgbm", "native"),
}

GetFitted = Callable[[str], FittedModel]


@pytest.fixture(scope="session", name="fitted")
def _fitted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GetFitted]:
    """Fits a model by name, once; on one thread, which is faster for few rows."""

    @cache
    def get(name: str) -> FittedModel:
        folder = tmp_path_factory.mktemp(name)
        if name == "petals":
            return fit_and_package(petals, TrainingConfig.read(PETALS_CONFIG), folder)
        if name in KINDS:
            config = TrainingConfig.model_validate({**KIND_CONFIG, "model_name": name})
            return fit_and_package(KINDS[name], config, folder)
        if name in BOOSTED:
            library, form = BOOSTED[name]
            pytest.importorskip(library, reason=f"make install EXTRAS={library}")
            fields = {**KIND_CONFIG, "model_name": name, "serving": {"format": form}}
            return fit_and_package(boosted(library), TrainingConfig.model_validate(fields), folder)
        return fit_and_package(
            model_of(name), cheap(TrainingConfig.read(config_path(name))), folder
        )

    with threadpool_limits(1):
        yield get


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", [*TABULAR, *KINDS, *BOOSTED])
def test_every_model_keeps_every_rule(
    name: str, rule: Callable[[FittedModel], None], fitted: GetFitted
) -> None:
    rule(fitted(name))


def test_every_rule_has_a_docstring() -> None:
    assert len({rule.__name__ for rule in RULES}) == len(RULES) > 20
    assert all(rule.__doc__ for rule in RULES)


# every rule can fail


def with_parts(model: FittedModel, **parts: Any) -> FittedModel:
    """The model with another contract, data or estimator."""
    whole = {name: getattr(model.model, name) for name in ("SPEC", "load", "build")}
    return replace(model, model=SimpleNamespace(**{**whole, **parts}))


def with_predictions(change: Callable[[np.ndarray], Any]) -> Callable[[FittedModel], FittedModel]:
    """Changes the predictions of the served model."""

    def broken(model: FittedModel) -> FittedModel:
        return replace(model, served=lambda rows: change(model.served(rows)))

    return broken


def with_first_input(**changes: Any) -> Callable[[FittedModel], FittedModel]:
    """Changes the first input in the contract, but neither the model nor the data."""

    def broken(model: FittedModel) -> FittedModel:
        first, *others = model.spec.inputs
        spec = replace(model.spec, inputs=(replace(first, **changes), *others))
        return with_parts(model, SPEC=spec)

    return broken


def unseeded(model: FittedModel) -> FittedModel:
    """A model with another seed each time it is built."""
    seeds = iter(range(100, 200))

    def build(**parameters: Any) -> Any:
        return model.model.build(**{**parameters, "random_state": next(seeds)})

    return with_parts(model, build=wraps(model.model.build)(build))  # with its parameters


def trained_on_hold_out(model: FittedModel) -> FittedModel:
    """A model that was trained on its hold-out."""
    return replace(model, training=model.dataset)


def unrepeatable_data(model: FittedModel) -> FittedModel:
    """Data that differ each time they are loaded."""

    def load() -> Dataset:
        return model.dataset.take(np.random.default_rng().permutation(len(model.dataset))[1:])

    return with_parts(model, load=load)


def depends_on_first_row(model: FittedModel) -> FittedModel:
    """A model whose predictions depend on the first row of the batch."""

    def predict(rows: np.ndarray) -> np.ndarray:
        predictions = model.served(rows)
        return np.where(predictions[0, 0] > 0.5, predictions, predictions[:, ::-1])

    return replace(model, served=predict)


def modifies_rows(model: FittedModel) -> FittedModel:
    """A model that modifies its input rows."""

    def predict(rows: np.ndarray) -> np.ndarray:
        rows[:] = np.sort(rows, axis=1)
        return model.served(rows)

    return replace(model, served=predict)


def with_extra_input(model: FittedModel) -> FittedModel:
    """A contract with an input that the served model lacks."""
    extra = replace(model.spec.inputs[0], name="another")
    spec = replace(model.spec, inputs=(*model.spec.inputs, extra))
    return with_parts(model, SPEC=spec)


IN_BOUNDS = "probabilities_sum_to_one_and_predictions_are_in_their_interval"
BREAKS: list[tuple[str, Callable[[FittedModel], FittedModel]]] = [
    ("the_data_keep_the_contract", with_first_input(maximum=5.0)),
    ("the_data_keep_the_contract", with_first_input(name="another")),
    ("loading_is_repeatable", unrepeatable_data),
    ("no_hold_out_row_is_in_training", trained_on_hold_out),
    ("the_contract_survives_json", with_first_input(unit="inch")),
    ("missing_values_follow_the_contract", with_first_input(nullable=True)),
    ("fitting_is_repeatable", unseeded),
    ("fitting_leaves_the_data_alone", modifies_rows),
    ("it_beats_the_baseline", with_predictions(lambda predictions: predictions[:, [1, 2, 0]])),
    (IN_BOUNDS, with_predictions(lambda predictions: predictions * 1.01)),
    (IN_BOUNDS, with_predictions(lambda predictions: predictions[:, :2])),
    (IN_BOUNDS, with_predictions(lambda predictions: np.full_like(predictions, np.nan))),
    ("a_row_alone_is_predicted_as_in_a_batch", depends_on_first_row),
    (
        "served_predicts_like_native",
        with_predictions(lambda predictions: predictions[:, [1, 0, 2]]),
    ),
    (
        "served_predicts_like_native_at_edges",
        with_predictions(lambda predictions: predictions + 1e-4),
    ),
    ("the_served_model_has_the_signature_of_the_contract", with_extra_input),
    ("the_package_round_trips", with_predictions(lambda predictions: predictions + 1e-4)),
    ("golden_requests_are_reproduced", with_predictions(lambda predictions: predictions + 1e-4)),
]


@pytest.mark.parametrize(("rule", "broken"), BREAKS, ids=[name for name, _ in BREAKS])
def test_a_model_that_breaks_a_rule_is_caught(
    rule: str, broken: Callable[[FittedModel], FittedModel], fitted: GetFitted
) -> None:
    check = getattr(model_checks, f"check_{rule}")
    check(fitted("petals"))
    with pytest.raises((AssertionError, DataError, PackageError)):
        check(broken(fitted("petals")))
