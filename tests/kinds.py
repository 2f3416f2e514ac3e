"""A small model of each kind of contract, with generated data; not in the catalog."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from types import SimpleNamespace
from typing import Any

import numpy as np
import pandas as pd
from sklearn.compose import make_column_transformer
from sklearn.ensemble import RandomForestClassifier, RandomForestRegressor
from sklearn.feature_extraction.text import TfidfTransformer, TfidfVectorizer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from domain.catalog import CatalogModel
from domain.contract import (
    Category,
    Classes,
    Datetime,
    HashedText,
    ModelSpec,
    Number,
    Quantity,
    Tensor,
    Text,
)
from domain.data.dataset import Dataset

_ROWS = 120


def _rents() -> Dataset:
    rng = np.random.default_rng(0)
    area, district = rng.uniform(20, 120, _ROWS).round(1), rng.integers(0, 3, _ROWS)
    furnished = rng.random(_ROWS) < 0.5
    rent = 12 * area + 100 * district + 80 * furnished + rng.normal(0, 20, _ROWS)
    inputs = pd.DataFrame(
        {
            "area": np.where(np.arange(_ROWS) % 9 == 4, np.nan, area),
            "district": np.array(["east", "north", "west"], object)[district],
            "furnished": furnished,
        }
    )
    inputs.loc[::10, "district"] = None
    return Dataset("rents", "made here", inputs, pd.Series(rent, name="rent"))


def _ridge(alpha: float = 1.0) -> Any:
    return make_pipeline(SimpleImputer(), Ridge(alpha))


def _visits() -> Dataset:
    rng = np.random.default_rng(4)
    days = pd.date_range("2024-01-01", periods=_ROWS, freq="31h")
    visits = 50 + 30 * (days.day_of_week > 4) + days.hour + rng.normal(0, 2, _ROWS)
    times = days.strftime("%Y-%m-%dT%H:%M").to_numpy(object)
    inputs = pd.DataFrame({"at": np.where(np.arange(_ROWS) % 11 == 3, None, times)})
    inputs["open"] = rng.random(_ROWS) < 0.9
    return Dataset("visits", "made here", inputs, pd.Series(visits, name="visits"))


def _trees(n_estimators: int = 10, random_state: int = 0) -> Any:
    forest = RandomForestRegressor(n_estimators, random_state=random_state)
    return make_pipeline(SimpleImputer(strategy="constant", fill_value=-1e30), forest)


def _churn() -> Dataset:
    rng = np.random.default_rng(1)
    months, plan = rng.integers(0, 60, _ROWS), rng.choice(["basic", "plus"], _ROWS)
    leaves = np.where(months + 10 * (plan == "plus") + rng.normal(0, 5, _ROWS) < 30, "yes", "no")
    inputs = pd.DataFrame({"months": months, "plan": plan})
    return Dataset("churn", "made here", inputs, pd.Series(leaves, name="leaves"))


def _forest(n_estimators: int = 10, random_state: int = 0) -> Any:
    return RandomForestClassifier(n_estimators, random_state=random_state)


def _images() -> Dataset:
    rng = np.random.default_rng(2)
    images = rng.integers(0, 17, (_ROWS, 3, 4)).astype(np.float32)
    bright = np.where(images.mean(axis=(1, 2)) > 8, "bright", "dark")
    inputs = pd.DataFrame({"image": list(images)})
    return Dataset("images", "made here", inputs, pd.Series(bright, name="brightness"))


def _logistic(inverse_penalty: float = 0.01) -> Any:
    return LogisticRegression(C=inverse_penalty)


def _parcels() -> Dataset:
    images = _images()
    weights = np.random.default_rng(3).uniform(0, 30, _ROWS).round(2)
    inputs = pd.DataFrame({"weight": weights, "image": images.inputs["image"]})
    inputs["box"] = np.where(weights > 20, "large", "small")
    heavy = np.where((weights > 15) | (images.target == "bright"), "dear", "cheap")
    return Dataset("parcels", "made here", inputs, pd.Series(heavy, name="price"))


def _tickets() -> Dataset:
    rng = np.random.default_rng(5)
    waited, urgent = rng.uniform(0, 100, _ROWS).round(1), rng.random(_ROWS) < 0.5
    other = rng.choice(["the invoice", "my account", "a parcel"], _ROWS)
    messages = [f"{'urgent: ' if now else ''}about {what}" for now, what in zip(urgent, other)]
    inputs = pd.DataFrame({"waited": waited, "message": np.array(messages, object)})
    inputs["plan"] = rng.choice(["basic", "plus"], _ROWS)
    inputs.loc[::12, "message"] = None
    known = urgent & (np.arange(_ROWS) % 12 != 0)
    reply = pd.Series(np.where(known | (waited > 80), "now", "later"), name="reply")
    return Dataset("tickets", "made here", inputs, reply)


def _weighted_words() -> Any:
    words = (TfidfTransformer(), list(range(1, 33)))
    columns = make_column_transformer(words, remainder=StandardScaler())
    return make_pipeline(columns, LogisticRegression())


def _reviews() -> Dataset:
    words = ("awful dull", "lovely fine", "so so")
    opinions = ("bad", "good", "unsure")
    inputs = pd.DataFrame({"review": [f"{words[row % 3]} film {row}" for row in range(_ROWS)]})
    target = pd.Series([opinions[row % 3] for row in range(_ROWS)], name="opinion")
    return Dataset("reviews", "made here", inputs, target)


def _bag_of_words() -> Any:
    words = TfidfVectorizer(lowercase=False, token_pattern="[a-z]+")
    return make_pipeline(make_column_transformer((words, 0)), LogisticRegression())


KINDS: dict[str, CatalogModel] = {
    "regression": SimpleNamespace(
        SPEC=ModelSpec(
            "rents",
            (
                Number("area", "m²", 5, 500, "living area", nullable=True),
                Category(
                    "district", ("east", "north", "west"), "", nullable=True, unseen="missing"
                ),
                Category("furnished", ("false", "true")),
            ),
            Quantity("rent", "EUR", coverage=0.8),
            "Monthly rent of a flat.",
        ),
        load=_rents,
        build=_ridge,
    ),
    "dates": SimpleNamespace(
        SPEC=ModelSpec(
            "visits",
            (
                Datetime(
                    "at",
                    ("days_since", "weekday", "hour"),
                    "2020-01-01",
                    "2039-12-31",
                    "Europe/Berlin",
                    "start of the hour",
                    nullable=True,
                ),
                Category("open", ("false", "true")),
            ),
            Quantity("visits", coverage=0.8),
            "Visitors in an hour.",
        ),
        load=_visits,
        build=_trees,
    ),
    "categories": SimpleNamespace(
        SPEC=ModelSpec(
            "churn",
            (Number("months", "", 0, 600), Category("plan", ("basic", "plus"))),
            Classes(("no", "yes"), "leaves"),
            "Whether a customer leaves.",
        ),
        load=_churn,
        build=_forest,
    ),
    "tensor": SimpleNamespace(
        SPEC=ModelSpec(
            "images",
            (Tensor("image", (3, 4), 0, 16, description="grey"),),
            Classes(("dark", "bright"), "brightness"),
            "Whether an image is bright.",
        ),
        load=_images,
        build=_logistic,
    ),
    "mixed": SimpleNamespace(
        SPEC=ModelSpec(
            "parcels",
            (
                Number("weight", "kg", 0, 30),
                Tensor("image", (3, 4), 0, 16),
                Category("box", ("small", "large")),
            ),
            Classes(("cheap", "dear"), "price"),
            "Whether a parcel is dear.",
        ),
        load=_parcels,
        build=_forest,
    ),
    "hashed": SimpleNamespace(
        SPEC=ModelSpec(
            "tickets",
            (
                Number("waited", "h", 0, 100),
                HashedText("message", 200, features=32, nullable=True),
                Category("plan", ("basic", "plus")),
            ),
            Classes(("later", "now"), "reply"),
            "Whether a message needs a reply now.",
        ),
        load=_tickets,
        build=_weighted_words,
    ),
    "text": SimpleNamespace(
        SPEC=ModelSpec(
            "reviews",
            (Text("review", 200),),
            Classes(("bad", "good", "unsure"), "opinion"),
            "What a review thinks of a film.",
        ),
        load=_reviews,
        build=_bag_of_words,
    ),
}

# valid rows that are unlike the data
UNLIKE: dict[str, Sequence[Sequence[Any]]] = {
    "regression": ((None, None, "true"), (50, "south", "false"), (50.5, "west", True)),
    "dates": (
        ("2030-02-28", "true"),
        (None, False),
        ("2024-07-01T12:30:15.5Z", "true"),
        ("2024-07-01 12:30-05:00", "false"),
    ),
    "categories": ((600, "basic"), (0, "plus")),
    "tensor": (([[0, 0, 0, 0]] * 3,), ([[16.0] * 4] * 3,)),
    "mixed": ((0, [[16.0] * 4] * 3, "large"), (30, [[0, 0, 0, 0]] * 3, "small")),
    "hashed": ((0.5, "不能用了 please, help!", "plus"), (99, None, "basic")),
    "text": (("dull and awful",), ("?",)),
}

_REGRESSORS: dict[str, tuple[str, dict[str, Any]]] = {
    "catboost": ("CatBoostRegressor", {"verbose": False, "allow_writing_files": False}),
    "lightgbm": ("LGBMRegressor", {"verbose": -1}),
    "xgboost": ("XGBRegressor", {}),
}


def boosted(library: str) -> CatalogModel:
    """The regression of `KINDS` with the trees of a boosting library, which must be installed."""
    name, parameters = _REGRESSORS[library]
    regressor = getattr(import_module(library), name)

    def build(n_estimators: int = 30, random_state: int = 0) -> Any:
        return regressor(n_estimators=n_estimators, random_state=random_state, **parameters)

    return SimpleNamespace(**{**vars(KINDS["regression"]), "build": build})
