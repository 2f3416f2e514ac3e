"""Validations of every kind of model, for tests of the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from application.training.config import TrainingConfig
from application.validation.judgement import Judgement, Validation
from domain.contract import Audio, Classes, ModelSpec, Number, Quantity, Transcript
from domain.evaluation.calibration import calibration_of
from domain.evaluation.comparison import compare
from domain.evaluation.measures import Measure, default_measure
from domain.evaluation.metrics import evaluate
from domain.evaluation.slices import SliceReport
from domain.gates import Verdict

CONFIG = TrainingConfig.model_validate(
    {
        "model": {"n_estimators": 150},
        "data": {"test_size": 0.2, "random_state": 42},
        "experiment_name": "some_experiment",
        "model_name": "some_model",
        "version": "1.0.0",
    }
)
PROVENANCE = {
    "git_commit": "a0a238a0c1d1a9c9e8d2a169aee0f75f97c00000",
    "lock_sha256": "5feceb66ffc86f38d952786c6d696c79c2dbc239dd4e91b46729d73a27fb57e9",
    "python": "3.12.3",
    "libraries": {"numpy": "2.3.4", "scikit-learn": "1.8.0"},
    "created": "2026-01-02T03:04:05+00:00",
    "config": CONFIG.model_dump(),
    "data": {"source": "a table", "fingerprint": "0cf3c6f1ff8a"},
}
VERDICTS = (
    Verdict("holdout_is_unseen", True, "0 of 200 hold-out rows were in training"),
    Verdict("quality", True, "hold-out accuracy 0.900, threshold 0.850"),
    Verdict("parity", True, "by the configuration; REFUSED: differ by at most 0.5", skipped=True),
)
MARGINS = (
    Verdict("worst_slice", True, "x is low: 0.60 on 31 rows", {"margin": 0.2}),
    Verdict("not_worse_than_champion", True, "0.02 better", {"margin": 0.05}),
)
REFUSAL = Verdict("worst_slice", False, "x is low: r2 0.400 on 31 rows")


def numbers(names: Sequence[str]) -> tuple[Number, ...]:
    """Inputs between 0 and 1."""
    return tuple(Number(name, "cm", 0, 1, f"length of {name}") for name in names)


def probabilities(actual: np.ndarray, n_classes: int, seed: int = 0) -> np.ndarray:
    """Mostly correct probabilities, shape (n_rows, n_classes)."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(actual), n_classes))
    logits[np.arange(len(actual)), actual] += 3
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)


def validation_of(judgement: Judgement, name: str = "some_model") -> Validation:
    """A validation with a configuration, a provenance and a card."""
    return Validation(
        model_name=name,
        package_version="1.0.0-20260102-030405-abcdef",
        judgement=judgement,
        config=CONFIG.model_dump(),
        provenance=PROVENANCE,
        metrics={"holdout_rows": len(judgement.actual), "measure": "accuracy"},
        card=f"# {name} 1.0.0\n",
        cross_validation="accuracy 0.953 ± 0.045 (10 folds)",
    )


def classification(
    classes: Sequence[str] = ("setosa", "versicolor", "virginica"),
    inputs: Sequence[str] = ("petal_length", "petal_width", "sepal_length", "sepal_width"),
    rows: int = 200,
    measure_name: str = "accuracy",
) -> Judgement:
    """A classifier with a champion."""
    spec = ModelSpec("flowers", numbers(inputs), Classes(tuple(classes), "species"), "Flowers.")
    actual = np.arange(rows) % len(classes)
    predictions = probabilities(actual, len(classes))
    measure, baseline = Measure(spec, measure_name), np.full(len(classes), 1 / len(classes))
    champion = probabilities(actual, len(classes), 1)
    return Judgement(
        spec=spec,
        verdicts=(*VERDICTS, *MARGINS),
        report=evaluate(measure, predictions, actual),
        predictions=predictions,
        actual=actual,
        calibration=calibration_of(predictions, actual),
        slices=[
            SliceReport(f"{name} is low", 40 - place, 0.7 + place / 20, 0.5, 0.9, 0.2, not place)
            for place, name in enumerate(inputs[:5])
        ],
        champion="0.9.0-20251231-000000-abcdef",
        comparison=compare(measure, champion, predictions, actual, baseline),
        importances={name: 0.3 / (place + 1) for place, name in enumerate(inputs)},
        drift={name: place / 8 for place, name in enumerate((*inputs, "prediction"))},
    )


def regression(rows: int = 200) -> Judgement:
    """A refused regression with a champion."""
    rng = np.random.default_rng(0)
    spec = ModelSpec("rents", numbers(("area", "age")), Quantity("rent", "EUR"), "Rents of flats.")
    actual = rng.normal(1000, 300, rows)
    value = actual + rng.normal(0, 100, rows)
    predictions = np.stack([value, value - 165, value + 165], axis=1)
    champion = predictions + rng.normal(0, 50, (rows, 1))
    measure = default_measure(spec)
    return Judgement(
        spec=spec,
        verdicts=(*VERDICTS, REFUSAL),
        report=evaluate(measure, predictions, actual),
        predictions=predictions,
        actual=actual,
        slices=[SliceReport("area is low", 31, 0.6, 0.5, 0.7, 0.01, True)],
        champion="0.9.0-20251231-000000-abcdef",
        comparison=compare(measure, champion, predictions, actual, np.full(3, actual.mean())),
        importances={"area": 0.5, "age": -0.01},
        drift={"area": 0.02, "age": 0.3, "prediction": 0.12},
    )


def speech() -> Validation:
    """A transcriber, which has no predictions of rows."""
    spec = ModelSpec("speech", (Audio("audio", 16_000, 1800),), Transcript(), "What is said.")
    verdicts = (Verdict("quality", True, "word error rate 0.050, threshold 0.850"),)
    validation = validation_of(Judgement(spec, verdicts), "speech_model")
    metrics = {
        "word_error_rate": 0.05,
        "word_error_rate_interval": [0.03, 0.08],
        "utterances": [{"said": "one two", "heard": "one two"}],
    }
    return replace(validation, metrics=metrics, cross_validation=None)


def hostile() -> Validation:
    """A validation with text that HTML, SVG or plots could misinterpret."""
    bad = "<script>document.title='taken'</script>"
    judgement = classification(
        classes=(bad, "a & b", 'quote" id="x', "$\\frac{$", "類別 ☃"),
        inputs=("<img src=x onerror=alert(1)>", "b & c", "line\nbreak\x07", "long " * 40),
    )
    verdicts = (*VERDICTS, Verdict("quality", False, f"{bad} & 'more' {{{{ 7 * 7 }}}}"))
    return validation_of(replace(judgement, verdicts=verdicts), "a <b>bold</b> & name")


def many_classes() -> Judgement:
    """A classifier with more classes than a matrix or curves can show."""
    return classification([f"class number {number}" for number in range(30)], rows=900)


def refused_early() -> Judgement:
    """A judgement refused before anything could be measured."""
    spec = classification(rows=6).spec
    return Judgement(spec, (Verdict("holdout_is_complete", False, "0 of 30 rows found"),))
