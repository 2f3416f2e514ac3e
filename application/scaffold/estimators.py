"""The estimators that `make new-model` can write."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib.util import find_spec
from typing import Any, Literal

from domain.contract import ModelSpec, Text
from domain.errors import ConfigError, MissingExtraError

MANY_ROWS = 5_000
"""From here on histogram gradient boosting is as good as gradient boosting, at a fraction of its
time: docs/new-model.md."""
_FEW_ROWS = 1_000
"""Up to here gradient boosting learns at half its rate, with an error 4 to 36 % lower on three
tables of 178 to 569 rows. Above, it is 5 % higher on one of four."""
_ENOUGH_ROWS = 20_000
"""Up to here trees of 15 leaves classify better than those of 31, whose log loss is 3 to 8 % higher
on six tables of 6,000 to 10,000 rows. Numbers say more about a row than classes: for them there was
no difference."""
_SEED = 42


@dataclass(frozen=True)
class Estimator:
    """How the module of a new model builds its estimator.

    Attributes:
        module: what its class is imported from; an extra of the same name installs a library.
        classifier, regressor: names of its classes; empty if it has no such class.
        inputs: how categories and missing values get in: ``codes`` as they are, ``dense`` as a
            column for each category and a constant for missing values, ``scaled`` also with numbers
            of mean 0 and deviation 1; ``words`` of texts.
        parameters: of `build`, with what the configuration gives them.
        fixed: further arguments of the class, as code.
        renamed: arguments that a parameter of `build` has another name for.
    """

    module: str
    classifier: str
    regressor: str
    inputs: Literal["codes", "dense", "scaled", "words"]
    parameters: Mapping[str, Any]
    fixed: str = ""
    renamed: Mapping[str, str] | None = None

    def class_of(self, spec: ModelSpec) -> str:
        """The class for a contract's task; empty without one."""
        return self.classifier if spec.classes else self.regressor

    def arguments(self) -> str:
        """The arguments of the class, as code."""
        named = {name: (self.renamed or {}).get(name, name) for name in self.parameters}
        return ", ".join([*(f"{value}={name}" for name, value in named.items()), self.fixed])


_SEEDED = {"random_state": _SEED}
_BOOSTING = {"n_estimators": 200, "learning_rate": 0.05}
ESTIMATORS = {
    "hist_gradient_boosting": Estimator(
        *("sklearn.ensemble", "HistGradientBoostingClassifier", "HistGradientBoostingRegressor"),
        "codes",
        {
            **{"max_iter": 100, "learning_rate": 0.1, "max_leaf_nodes": 31, "min_samples_leaf": 20},
            **_SEEDED,
        },
        "categorical_features=SPEC.columns_of(Category), early_stopping=False",
    ),
    "gradient_boosting": Estimator(
        *("sklearn.ensemble", "GradientBoostingClassifier", "GradientBoostingRegressor"),
        "dense",
        {
            **{"n_estimators": 200, "learning_rate": 0.1, "max_depth": 3, "min_samples_leaf": 5},
            **{"subsample": 0.7, "max_features": 0.5, **_SEEDED},
        },
    ),
    "lightgbm": Estimator(
        *("lightgbm", "LGBMClassifier", "LGBMRegressor", "codes"),
        {**_BOOSTING, "num_leaves": 31, "min_child_samples": 20, "n_jobs": 2, **_SEEDED},
        "verbose=-1",
    ),
    "xgboost": Estimator(
        *("xgboost", "XGBClassifier", "XGBRegressor", "codes"),
        {**_BOOSTING, "max_depth": 6, "min_child_weight": 5, "n_jobs": 2, **_SEEDED},
        "enable_categorical=True, feature_types="
        '["c" if isinstance(item, Category) else "q" for item in SPEC.inputs '
        "for _ in range(item.width)]",
    ),
    "catboost": Estimator(
        *("catboost", "CatBoostClassifier", "CatBoostRegressor", "codes"),
        {"n_estimators": 500, "learning_rate": 0.05, "depth": 6, "n_jobs": 2, **_SEEDED},
        "verbose=False, allow_writing_files=False",
        {"n_jobs": "thread_count"},
    ),
    "random_forest": Estimator(
        *("sklearn.ensemble", "RandomForestClassifier", "RandomForestRegressor", "dense"),
        {"n_estimators": 200, "min_samples_leaf": 3, "max_features": 0.5, "n_jobs": 2, **_SEEDED},
    ),
    "logistic": Estimator(
        *("sklearn.linear_model", "LogisticRegression", "", "scaled"),
        {"inverse_strength": 1.0},
        "max_iter=1000",
        {"inverse_strength": "C"},
    ),
    "ridge": Estimator(
        *("sklearn.linear_model", "", "Ridge", "scaled"),
        {"strength": 1.0},
        renamed={"strength": "alpha"},
    ),
}
_OF_TEXT = {
    "logistic": Estimator(
        *("sklearn.linear_model", "LogisticRegression", "", "words"),
        {"min_df": 2, "inverse_strength": 10.0},
    ),
    "ridge": Estimator(
        "sklearn.linear_model", "", "Ridge", "words", {"min_df": 2, "strength": 1.0}
    ),
}


def choose_estimator(spec: ModelSpec, rows: int, name: str | None = None) -> Estimator:
    """The estimator of this name, or the one that suits the contract and the number of rows.

    Raises:
        ConfigError: the name is unknown, or does not fit the task or the inputs.
        MissingExtraError: its library is not installed; the message has the command.
    """
    is_text = isinstance(spec.inputs[0], Text)
    if name is None:
        name = "hist_gradient_boosting" if rows >= MANY_ROWS else "gradient_boosting"
        if is_text:
            name = "logistic" if spec.classes else "ridge"
    fitting = {
        each: estimator
        for each, estimator in (_OF_TEXT if is_text else ESTIMATORS).items()
        if estimator.class_of(spec)
    }
    if name not in fitting:
        kind = "a text" if is_text else "a table"
        raise ConfigError(
            f"ESTIMATOR={name} (--estimator) is not for a {spec.task} of {kind}: use "
            f"{', '.join(fitting)}"
        )
    library = fitting[name].module.partition(".")[0]
    if find_spec(library) is None:
        raise MissingExtraError(
            f"ESTIMATOR={name} needs {library}, which is not installed: "
            f"make install EXTRAS={library}"
        )
    chosen, smaller = fitting[name], {}
    if name == "gradient_boosting" and rows < _FEW_ROWS:
        smaller = {"learning_rate": 0.05}
    if name == "hist_gradient_boosting" and spec.classes and rows < _ENOUGH_ROWS:
        smaller = {"max_leaf_nodes": 15}
    return replace(chosen, parameters={**chosen.parameters, **smaller})
