"""Conformal prediction intervals of any regressor."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import RandomForestRegressor
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import KFold, cross_val_predict
from sklearn.neighbors import KNeighborsRegressor

from domain.data.split_keys import SplitKeys
from domain.errors import DataError
from domain.estimators.conformal import ConformalRegressor
from domain.estimators.fitting import default_folds


def sample(rng: np.random.Generator, rows: int) -> tuple[np.ndarray, np.ndarray]:
    """A linear relation with long-tailed errors."""
    inputs = rng.uniform(-3, 3, size=(rows, 2)).astype(np.float32)
    return inputs, inputs @ np.array([2.0, -1.0]) + rng.standard_t(3, size=rows)


@pytest.mark.parametrize("coverage", [0.5, 0.8, 0.9, 0.95])
@pytest.mark.parametrize("rows", [40, 150])
def test_the_intervals_have_about_their_nominal_coverage(coverage: float, rows: int) -> None:
    rng = np.random.default_rng(0)
    covered = []
    for _ in range(40):
        fitted = ConformalRegressor(LinearRegression(), coverage).fit(*sample(rng, rows))
        inputs, target = sample(rng, 500)
        _, lower, upper = fitted.predict_interval(inputs).T
        covered.append(((target >= lower) & (target <= upper)).mean())
    assert np.mean(covered) == pytest.approx(coverage, abs=0.03)


def test_an_overfitted_estimator_still_gets_honest_intervals() -> None:
    rng = np.random.default_rng(1)
    forest = RandomForestRegressor(20, min_samples_leaf=1, random_state=0)
    rows, target = sample(rng, 200)
    fitted = ConformalRegressor(forest, 0.9).fit(rows, target)
    inputs, actual = sample(rng, 1000)
    _, lower, upper = fitted.predict_interval(inputs).T
    assert ((actual >= lower) & (actual <= upper)).mean() > 0.86
    on_training = np.abs(target - fitted.predict(rows))
    assert fitted.half_width_ > np.quantile(on_training, 0.9) * 1.5


@pytest.mark.parametrize(("rows", "rank"), [(99, 90), (100, 91), (19, 18), (9, 9)])
def test_half_the_width_is_an_order_statistic_of_the_cross_validated_errors(
    rows: int, rank: int
) -> None:
    inputs, target = sample(np.random.default_rng(2), rows)
    folds = KFold(5, shuffle=True, random_state=7)
    errors = np.abs(target - cross_val_predict(LinearRegression(), inputs, target, cv=folds))
    fitted = ConformalRegressor(LinearRegression(), 0.9, 5, 7).fit(inputs, target)
    assert fitted.half_width_ == np.sort(errors)[rank - 1]


def test_the_inner_regressor_is_fitted_on_every_row() -> None:
    rows, target = sample(np.random.default_rng(3), 50)
    fitted = ConformalRegressor(LinearRegression()).fit(rows, target)
    assert (fitted.predict(rows) == LinearRegression().fit(rows, target).predict(rows)).all()


def test_the_prediction_is_the_middle_of_its_interval() -> None:
    rows, target = sample(np.random.default_rng(3), 50)
    fitted = ConformalRegressor(Ridge()).fit(rows, target)
    predictions = fitted.predict_interval(rows)
    assert predictions.shape == (50, 3)
    assert (predictions[:, 0] == fitted.predict(rows)).all()
    widths = predictions[:, 2] - predictions[:, 1]
    assert widths == pytest.approx(np.full(50, 2 * fitted.half_width_))


def test_column_shaped_predictions_are_flattened() -> None:
    rows, target = sample(np.random.default_rng(3), 50)
    flat = ConformalRegressor(LinearRegression()).fit(rows, target)
    column = ConformalRegressor(LinearRegression()).fit(rows, target)
    column.estimator_.fit(rows, target[:, None])
    assert column.predict_interval(rows) == pytest.approx(flat.predict_interval(rows))


@pytest.mark.parametrize(("rows", "coverage"), [(8, 0.9), (18, 0.95), (98, 0.99), (9, 0.5)])
def test_too_few_rows_for_the_coverage_or_the_folds_are_refused(rows: int, coverage: float) -> None:
    few = ConformalRegressor(DummyRegressor(), coverage, folds=10)
    message = f"{rows} rows are too few for intervals with a coverage of {coverage:g} and 10 folds"
    with pytest.raises(DataError, match=message):
        few.fit(*sample(np.random.default_rng(0), rows))


def test_the_seed_determines_the_folds() -> None:
    rows, target = sample(np.random.default_rng(4), 60)
    widths = [
        ConformalRegressor(LinearRegression(), random_state=seed).fit(rows, target).half_width_
        for seed in (1, 1, 2)
    ]
    assert widths[0] == widths[1] != widths[2]


def test_a_clone_has_the_parameters_but_is_not_fitted() -> None:
    fitted = ConformalRegressor(Ridge(alpha=3.0), 0.8, folds=4, random_state=5)
    fitted.fit(*sample(np.random.default_rng(0), 30))
    copy = clone(fitted)
    own = {name: value for name, value in copy.get_params().items() if name != "estimator"}
    expected = {"coverage": 0.8, "folds": 4, "random_state": 5, "estimator__alpha": 3.0}
    assert own.items() >= expected.items()
    assert not hasattr(copy, "half_width_") and not hasattr(copy.estimator, "coef_")
    assert copy.set_params(estimator__alpha=9.0).estimator.alpha == 9.0
    assert fitted.estimator.alpha == 3.0


def test_it_predicts_the_same_after_pickling_without_the_predictions_of_the_folds() -> None:
    rows, target = sample(np.random.default_rng(0), 30)
    fitted = ConformalRegressor(Ridge()).fit(rows, target)
    read = pickle.loads(pickle.dumps(fitted))
    assert (read.predict_interval(rows) == fitted.predict_interval(rows)).all()
    assert hasattr(fitted, "fold_predictions_") and not hasattr(read, "fold_predictions_")


def test_the_predictions_of_the_folds_are_those_of_a_cross_validation() -> None:
    rows, target = sample(np.random.default_rng(0), 30)
    folds = KFold(5, shuffle=True, random_state=7)
    expected = cross_val_predict(Ridge(), rows, target, cv=folds)
    fitted = ConformalRegressor(Ridge(), 0.8, 5, 7).fit(rows, target)
    assert len(fitted.fold_predictions_) == 5
    for (test, predicted), (_, other) in zip(fitted.fold_predictions_, folds.split(rows)):
        assert (test == other).all() and (predicted == expected[test]).all()


def test_its_score_is_the_r2_of_the_predictions() -> None:
    rows, target = sample(np.random.default_rng(0), 300)
    fitted = ConformalRegressor(LinearRegression()).fit(rows, target)
    assert fitted.score(rows, target) == LinearRegression().fit(rows, target).score(rows, target)


def test_the_folds_follow_the_groups() -> None:
    rng = np.random.default_rng(6)
    middle = np.repeat(rng.normal(0, 10, 40), 5)  # of each group; the inputs only name the group
    rows, target = np.repeat(np.arange(40.0), 5)[:, None], middle + rng.normal(0, 0.1, 200)
    keys = SplitKeys(group=np.repeat([f"g{number}" for number in range(40)], 5))
    widths = [
        ConformalRegressor(KNeighborsRegressor(1)).fit(rows, target, each).half_width_
        for each in (None, keys)
    ]
    assert widths[0] < 1 < widths[1]


def test_the_folds_follow_time() -> None:
    time = np.arange(200.0)
    rows, target = time[:, None], time  # a nearest neighbour in the past is always behind
    fitted = ConformalRegressor(KNeighborsRegressor(1), 0.5, folds=4)
    assert fitted.fit(rows, target, SplitKeys(time)).half_width_ == 21  # of blocks of 40 rows
    assert fitted.fit(rows, target).half_width_ <= 2
    assert fitted.predict(rows[-1:]) == 199


def test_too_few_groups_for_the_folds_are_refused() -> None:
    rows, target = sample(np.random.default_rng(0), 60)
    keys = SplitKeys(group=np.array(["a", "b"] * 30, object))
    with pytest.raises(DataError, match="60 rows are too few for intervals .* 10 folds: .*groups"):
        ConformalRegressor(LinearRegression()).fit(rows, target, keys)


@pytest.mark.parametrize(("rows", "fits"), [(20_000, 11), (20_001, 4)])
def test_many_rows_need_fewer_fits_for_an_interval_of_the_same_width(rows: int, fits: int) -> None:
    inputs, target = sample(np.random.default_rng(0), rows)
    fitted = ConformalRegressor(LinearRegression()).fit(inputs, target)
    assert fitted.fits_ == fits == 1 + default_folds(rows)
    ten = ConformalRegressor(LinearRegression(), folds=10).fit(inputs, target)
    assert fitted.half_width_ == pytest.approx(ten.half_width_, rel=0.001)
