"""Every model of the catalog, and one of each further kind, keeps every rule of `model_checks`."""

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
from tests import model_checks
from tests.kinds import KINDS
from tests.model_checks import RULES, TABULAR, FittedModel, cheap, fit_and_package, model_of

KIND_CONFIG = {
    "model": {},
    "data": {"test_size": 0.25, "random_state": 0},
    "experiment_name": "kinds",
    "version": "1.0.0",
}

GetFitted = Callable[[str], FittedModel]


@pytest.fixture(scope="session", name="fitted")
def _fitted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[GetFitted]:
    """A model by its name, fitted once; on one thread, since threads for few rows only wait."""

    @cache
    def get(name: str) -> FittedModel:
        folder = tmp_path_factory.mktemp(name)
        if name in KINDS:
            config = TrainingConfig.model_validate({**KIND_CONFIG, "model_name": name})
            return fit_and_package(KINDS[name], config, folder)
        return fit_and_package(
            model_of(name), cheap(TrainingConfig.read(config_path(name))), folder
        )

    with threadpool_limits(1):
        yield get


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__.removeprefix("check_"))
@pytest.mark.parametrize("name", [*TABULAR, *KINDS])
def test_every_model_keeps_every_rule(
    name: str, rule: Callable[[FittedModel], None], fitted: GetFitted
) -> None:
    rule(fitted(name))


def test_every_rule_says_what_it_asks_for() -> None:
    assert len({rule.__name__ for rule in RULES}) == len(RULES) > 20
    assert all(rule.__doc__ for rule in RULES)


# a rule that cannot refuse is none


def with_parts(model: FittedModel, **parts: Any) -> FittedModel:
    """The same with another contract, data or estimator."""
    whole = {name: getattr(model.model, name) for name in ("SPEC", "load", "build")}
    return replace(model, model=SimpleNamespace(**{**whole, **parts}))


def answering(change: Callable[[np.ndarray], Any]) -> Callable[[FittedModel], FittedModel]:
    """A change of what the served model answers."""

    def broken(model: FittedModel) -> FittedModel:
        return replace(model, served=lambda rows: change(model.served(rows)))

    return broken


def taking(**changes: Any) -> Callable[[FittedModel], FittedModel]:
    """A change of the first input in the contract, which the model and the data do not follow."""

    def broken(model: FittedModel) -> FittedModel:
        first, *others = model.spec.inputs
        spec = replace(model.spec, inputs=(replace(first, **changes), *others))
        return with_parts(model, SPEC=spec)

    return broken


def forgetful(model: FittedModel) -> FittedModel:
    """A model that is another one each time it is built."""
    seeds = iter(range(100, 200))

    def build(**parameters: Any) -> Any:
        return model.model.build(**{**parameters, "random_state": next(seeds)})

    return with_parts(model, build=wraps(model.model.build)(build))  # with its parameters


def seen_before(model: FittedModel) -> FittedModel:
    """A model that has learned a row of its hold-out."""
    return replace(model, training=model.dataset)


def restless(model: FittedModel) -> FittedModel:
    """Data that are others each time they are loaded."""

    def load() -> Dataset:
        return model.dataset.take(np.random.default_rng().permutation(len(model.dataset))[1:])

    return with_parts(model, load=load)


def first_row_decides(model: FittedModel) -> FittedModel:
    """A model whose answers depend on the first row of the batch."""

    def answer(rows: np.ndarray) -> np.ndarray:
        answers = model.served(rows)
        return np.where(answers[0, 0] > 0.5, answers, answers[:, ::-1])

    return replace(model, served=answer)


def thoughtless(model: FittedModel) -> FittedModel:
    """A model that changes the rows that it is asked about."""

    def answer(rows: np.ndarray) -> np.ndarray:
        rows[:] = np.sort(rows, axis=1)
        return model.served(rows)

    return replace(model, served=answer)


def one_input_more(model: FittedModel) -> FittedModel:
    """A contract with an input that the served model does not take."""
    further = replace(model.spec.inputs[0], name="another")
    spec = replace(model.spec, inputs=(*model.spec.inputs, further))
    return with_parts(model, SPEC=spec)


IN_BOUNDS = "probabilities_sum_to_one_and_predictions_lie_in_their_interval"
BREAKS: list[tuple[str, Callable[[FittedModel], FittedModel]]] = [
    ("the_data_keep_the_contract", taking(maximum=5.0)),
    ("the_data_keep_the_contract", taking(name="another")),
    ("the_data_are_the_same_each_time", restless),
    ("no_row_of_the_hold_out_was_learned", seen_before),
    ("the_contract_survives_json", taking(unit="inch")),
    ("missing_values_are_taken_as_the_contract_says", taking(nullable=True)),
    ("the_seed_repeats", forgetful),
    ("fitting_leaves_the_data_alone", thoughtless),
    ("it_is_better_than_a_guess", answering(lambda answers: answers[:, [1, 2, 0]])),
    (IN_BOUNDS, answering(lambda answers: answers * 1.01)),
    (IN_BOUNDS, answering(lambda answers: answers[:, :2])),
    (IN_BOUNDS, answering(lambda answers: np.full_like(answers, np.nan))),
    ("a_row_is_answered_alone_as_in_a_batch", first_row_decides),
    ("served_answers_as_native", answering(lambda answers: answers[:, [1, 0, 2]])),
    ("served_answers_as_native_at_edges", answering(lambda answers: answers + 1e-4)),
    ("what_is_served_takes_and_gives_what_the_contract_says", one_input_more),
    ("the_package_round_trips", answering(lambda answers: answers + 1e-4)),
    ("golden_rows_are_answered_again", answering(lambda answers: answers + 1e-4)),
]


@pytest.mark.parametrize(("rule", "broken"), BREAKS, ids=[name for name, _ in BREAKS])
def test_a_model_that_breaks_a_rule_is_caught(
    rule: str, broken: Callable[[FittedModel], FittedModel], fitted: GetFitted
) -> None:
    check = getattr(model_checks, f"check_{rule}")
    check(fitted("iris"))
    with pytest.raises((AssertionError, DataError, PackageError)):
        check(broken(fitted("iris")))
