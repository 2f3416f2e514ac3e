"""What a new model needs: models for unknown data, added as in docs/new-model.md.

Each is added to a copy of the repository, trained, validated and served. The test fails if more
than one module and one configuration had to be written, next to the notebook of `make new-model`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pandas as pd
import pytest

from domain.evaluation.calibration import calibration_of
from domain.gates.uncertainty import calibration
from shared.paths import ROOT
from tests.reviews import chinese_reviews
from tests.served import Home, serve

GUIDE = ROOT / "docs/new-model.md"
N_REQUESTED = 100


def changed_files(place: Home) -> set[str]:
    """Files of the copy that are new or changed."""
    status = place.run("git", "status", "--porcelain", "--untracked-files=all").stdout
    return {line[3:] for line in status.splitlines()}


def make(place: Home, *arguments: str) -> str:
    """Run a target that must succeed, and return its output."""
    done = place.make(*arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def predictions_of(place: Home, name: str, rows: Sequence[Any]) -> list[dict[str, Any]]:
    """Train, validate, build and serve a model; its predictions for objects with named inputs."""
    make(place, "bento-build", f"MODEL={name}")
    bento = place.receipts.parent / name / "bento"
    with serve(bento, place.folder / "service", workers=1) as url:
        response = httpx.post(f"{url}/predict_json", json={"instances": rows}, timeout=30)
    assert response.status_code == 200, response.text
    predictions: list[dict[str, Any]] = response.json()["predictions"]
    return predictions


def objects(table: pd.DataFrame) -> list[dict[str, Any]]:
    """Rows as JSON objects, with null for missing values."""
    rows: list[dict[str, Any]] = json.loads(table.to_json(orient="records"))
    return rows


def files_of(name: str) -> set[str]:
    """The two files that a new model needs."""
    return {f"domain/models/{name}.py", f"application/training/configs/{name}_config.json"}


def written_for(name: str) -> set[str]:
    """The files that `make new-model` writes."""
    return {*files_of(name), f"domain/experiments/notebooks/{name}.ipynb"}


def test_a_table_with_categories_and_missing_values_needs_two_files(
    copy: Home, tmp_path: Path
) -> None:
    rng = np.random.default_rng(1)
    rows = 800
    table = pd.DataFrame(
        {
            "customer_id": [f"C{number:05d}" for number in rng.permutation(rows)],
            "Monthly Charge": rng.gamma(4, 20, rows).round(2),
            "plan": rng.choice(["basic", "plus", "pro"], rows),
            "months": rng.integers(1, 72, rows),
            "paperless": rng.random(rows) < 0.5,
            "country": "NL",
        }
    )
    risk = (table["plan"] == "basic") * 2.0 - table["months"] / 15 + table["Monthly Charge"] / 60
    table["churned"] = np.where(risk + rng.logistic(0, 0.4, rows) > 0.5, "yes", "no")
    table.loc[rng.random(rows) < 0.1, "Monthly Charge"] = np.nan
    table.loc[rng.random(rows) < 0.1, "plan"] = None
    file = tmp_path / "churn.csv"
    table.to_csv(file, index=False)

    output = make(copy, "new-model", "NAME=churn", f"DATA={file}", "TARGET=churned")
    assert "customer_id" in output and "country" in output, "dropped columns are named"
    requested = table.head(N_REQUESTED)
    inputs = requested.drop(columns=["customer_id", "country", "churned"])
    predictions = predictions_of(copy, "churn", objects(inputs))
    correct = np.array([item["prediction"] for item in predictions]) == requested["churned"]
    assert correct.mean() > requested["churned"].value_counts(normalize=True).max() + 0.1
    assert changed_files(copy) == written_for("churn")


@pytest.mark.nightly
def test_a_regression_with_prices_as_text_needs_two_files(copy: Home, tmp_path: Path) -> None:
    rng = np.random.default_rng(2)
    rows = 600
    table = pd.DataFrame(
        {
            "area": rng.uniform(30, 200, rows).round(1),
            "rooms": rng.integers(1, 8, rows),
            "district": rng.choice(["north", "south", "harbour"], rows),
        }
    )
    dearer = table["district"].map({"north": 0.0, "south": 40.0, "harbour": 120.0})
    table["price"] = 700 + table["area"] * 3.5 + dearer + rng.normal(0, 25, rows)
    file = tmp_path / "houses.parquet"
    as_text = table.assign(price=[f"€{price:,.2f}" for price in table["price"]])
    as_text.loc[::100, "price"] = None
    as_text.to_parquet(file)

    options = ("READ_AS_NUMBERS=price", "DROP_UNLABELLED=1")
    make(copy, "new-model", "NAME=houses", f"DATA={file}", "TARGET=price", *options)
    requested = table.head(N_REQUESTED)
    predictions = pd.DataFrame(
        predictions_of(copy, "houses", objects(requested.drop(columns="price")))
    )
    errors = (predictions["prediction"] - requested["price"]).abs()
    assert errors.mean() < requested["price"].std() / 3
    inside = (requested["price"] >= predictions["lower"]) & (
        requested["price"] <= predictions["upper"]
    )
    assert inside.mean() > 0.8
    assert changed_files(copy) == written_for("houses")


@pytest.mark.nightly
def test_reviews_in_chinese_need_two_files(copy: Home, tmp_path: Path) -> None:
    table, file = chinese_reviews(600), tmp_path / "reviews.csv"
    table.to_csv(file, index=False)
    make(copy, "new-model", "NAME=reviews", f"DATA={file}", "TARGET=類別")
    new = chinese_reviews(N_REQUESTED, seed=1)
    predictions = predictions_of(copy, "reviews", objects(new[["句子"]]))
    correct = np.array([item["prediction"] for item in predictions]) == new["類別"]
    assert correct.mean() > 0.9
    assert changed_files(copy) == written_for("reviews")


def noisy_shapes(rows: int) -> tuple[np.ndarray, np.ndarray]:
    """Images of shape (rows, 12, 12) of shapes in other places, paler and with noise, and what they
    show. A forest is mostly right, and far too unsure."""
    rng = np.random.default_rng(3)
    shapes = np.zeros((3, 12, 12))
    shapes[0, 5:7] = 200  # a bar
    shapes[1, 5:7] = shapes[1, :, 5:7] = 200  # a cross
    shapes[2, 1:11, 1:11] = 200  # a frame
    shapes[2, 3:9, 3:9] = 0
    kinds = rng.integers(3, size=rows)
    places = rng.integers(-3, 4, (rows, 2))
    images = np.stack([np.roll(shapes[k], at, axis=(0, 1)) for k, at in zip(kinds, places)])
    images *= rng.uniform(0.5, 1, (rows, 1, 1))
    images += rng.normal(0, 80, images.shape)
    return np.clip(images, 0, 255), np.array(["bar", "cross", "frame"])[kinds]


def test_the_images_of_the_guide_need_calibration() -> None:
    images, labels = noisy_shapes(1500)
    rows = images.reshape(len(images), -1).astype(np.float32)
    names: dict[str, Any] = {}
    exec(guide_blocks("shapes")[0], names)  # pylint: disable=exec-used
    recipe = names["build"](n_estimators=50, random_state=42)
    target = np.array([names["SPEC"].classes.index(label) for label in labels])
    verdicts = []
    for estimator in (recipe.estimator, recipe):
        fitted = estimator.fit(rows[:1000], target[:1000])
        measured = calibration_of(fitted.predict_proba(rows[1000:]), target[1000:])
        verdicts.append(calibration(measured, tolerance=0.1).accepted)
    assert verdicts == [False, True]


@pytest.mark.nightly
def test_images_need_the_two_files_of_the_guide(copy: Home, tmp_path: Path) -> None:
    images, labels = noisy_shapes(3000)
    file = tmp_path / "shapes.npz"
    np.savez(file, images=images, labels=labels)

    module, config = guide_blocks("shapes")
    paths = sorted(files_of("shapes"))
    (copy.root / paths[1]).write_text(module, encoding="utf-8")
    (copy.root / paths[0]).write_text(config.replace("shapes.npz", str(file)), encoding="utf-8")
    rows = [{"image": image.tolist()} for image in images[:N_REQUESTED]]
    predictions = predictions_of(copy, "shapes", rows)
    correct = np.array([item["prediction"] for item in predictions]) == labels[:N_REQUESTED]
    assert correct.mean() > 0.95
    assert changed_files(copy) == files_of("shapes")


def guide_blocks(name: str) -> tuple[str, str]:
    """The module and the configuration of this name in the guide."""
    blocks = re.findall(r"```(python|json)\n(.*?)```", GUIDE.read_text("utf-8"), re.DOTALL)
    (module,) = (text for kind, text in blocks if kind == "python" and f'name="{name}"' in text)
    (config,) = (text for kind, text in blocks if kind == "json" and f'"{name}_' in text)
    return module, config


def rare_churn(rows: int, seed: int) -> pd.DataFrame:
    """Customers, of whom about 8 % left, by a rule with much noise."""
    rng = np.random.default_rng(seed)
    table = pd.DataFrame(
        {
            "months": rng.integers(1, 72, rows),
            "charge": rng.gamma(4, 20, rows).round(2),
            "calls": rng.poisson(1.2, rows),
            "plan": rng.choice(["basic", "plus", "pro"], rows, p=(0.5, 0.3, 0.2)),
        }
    )
    score = 0.8 * table["calls"] - table["months"] / 20 + (table["plan"] == "basic") - 3.4
    table["churned"] = np.where(rng.random(rows) < 1 / (1 + np.exp(-score)), "yes", "no")
    return table


@pytest.mark.nightly
def test_a_rare_class_is_judged_by_its_measure_before_and_after_rows_are_appended(
    copy: Home, tmp_path: Path
) -> None:
    file, table = tmp_path / "rare.csv", rare_churn(12_000, 0)
    assert 0.05 < (table["churned"] == "yes").mean() < 0.11
    table.head(10_000).to_csv(file, index=False)
    output = make(copy, "new-model", "NAME=rare", f"DATA={file}", "TARGET=churned")
    assert "average_precision (validation.measure), of the positive class yes" in output
    first = make(copy, "train", "validate", "MODEL=rare")
    assert "skipped" not in first and "accepted  beats_baseline: average_precision" in first
    table.to_csv(file, index=False)
    second = make(copy, "train", "validate", "MODEL=rare")
    assert "skipped" not in second
    comparison = re.search(r"accepted  not_worse_than_champion: .*?, (\d+) rows;", second)
    held = re.search(r"12000 rows × 4 inputs, (\d+) held out", second)
    assert comparison and held and comparison[1] == held[1], second
