"""A card says what a model takes and answers, whatever kind it is."""

from __future__ import annotations

import numpy as np
import pytest

from application.training.card import (
    describe_output,
    describe_values,
    inputs_table,
    write_card,
)
from domain.evaluation.metrics import evaluate
from domain.models.contract import (
    Audio,
    Category,
    Classes,
    Input,
    ModelSpec,
    Number,
    Output,
    Quantity,
    Tensor,
    Text,
    Transcript,
)
from tests.kinds import KINDS


@pytest.mark.parametrize(
    ("item", "words"),
    [
        (Number("x", "cm", 0.1, 30), "0.1 to 30 cm"),
        (Number("x", "", -1, 1), "-1 to 1"),
        (Number("x", "", 0, 1, nullable=True), "0 to 1, or missing"),
        (Category("x", ("a", "b")), "a, b"),
        (Category("x", ("a", "b"), unseen="missing"), "a, b, others count as missing"),
        (Category("x", ("a", "b"), nullable=True), "a, b, or missing"),
        (Tensor("x", (8, 8), 0, 16), "8 × 8 of 0 to 16"),
        (Tensor("x", (3, 4, 5), 0, 1, "lux"), "3 × 4 × 5 of 0 to 1 lux"),
        (Text("x", 200), "at most 200 characters"),
        (Text("x", 200, nullable=True), "at most 200 characters, or missing"),
        (Audio("x", 16_000, 1800), "at most 1800 s"),
    ],
)
def test_the_values_of_every_kind_of_input_are_told_in_a_few_words(item: Input, words: str) -> None:
    assert describe_values(item) == words


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (Classes(("no", "yes"), "leaves"), "Answers leaves, one of no, yes, with probabilities."),
        (
            Quantity("rent", "EUR", 0.8),
            "Answers rent in EUR, with an interval that is to hold 80% of the true values.",
        ),
        (
            Quantity("progression"),
            "Answers progression, with an interval that is to hold 90% of the true values.",
        ),
        (
            Transcript(),
            "Answers what was said: text, language, and segments with their times.",
        ),
    ],
)
def test_every_kind_of_output_is_told_in_a_sentence(output: Output, words: str) -> None:
    assert describe_output(output) == words


def test_the_inputs_are_a_table_in_the_order_of_the_contract() -> None:
    assert inputs_table(KINDS["regression"].SPEC).splitlines() == [
        "| input | kind | values | meaning |",
        "|---|---|---|---|",
        "| area | number | 5 to 500 m², or missing | living area |",
        "| district | category | east, north, west, others count as missing, or missing |  |",
        "| furnished | category | false, true |  |",
    ]


@pytest.mark.parametrize(
    ("kind", "figure", "quality"),
    [
        ("regression", "predictions", "R² "),
        ("categories", "confusion_matrix", "accuracy "),
        ("tensor", "confusion_matrix", "accuracy "),
        ("text", "confusion_matrix", "accuracy "),
    ],
)
def test_a_card_of_every_kind_has_quality_figure_and_data(
    kind: str, figure: str, quality: str
) -> None:
    model = KINDS[kind]
    spec, dataset = model.SPEC, model.load()
    actual = dataset.answers(spec)
    answers = np.eye(len(spec.classes))[actual] if spec.classes else np.stack([actual] * 3, axis=1)
    report = evaluate(spec, answers, actual)
    card = write_card("some_model 1.0.0", spec, report, dataset, 3.2e-7)
    assert card.startswith(f"# some_model 1.0.0\n\n{spec.description}\n\nAnswers ")
    assert inputs_table(spec) in card
    assert f"Measured on 120 rows that the model never saw: {quality}1.000" in card
    assert f"(figures/{figure}.png)" in card
    assert "at most 3.2e-07" in card
    assert card.endswith(f"made here: 120 rows, fingerprint {dataset.fingerprint}.\n")


def test_what_people_wrote_does_not_break_the_table() -> None:
    inputs = (Category("a|b", ("x|y", "z"), "two\nlines"), Number("c", "m|s", 0, 1))
    lines = inputs_table(ModelSpec("m", inputs, Quantity("q"))).splitlines()
    assert lines[2:] == [
        r"| a\|b | category | x\|y, z | two lines |",
        r"| c | number | 0 to 1 m\|s |  |",
    ]
