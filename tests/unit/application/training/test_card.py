"""A card says what a model takes and answers, whatever kind it is."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from markdown_it import MarkdownIt

from application.training.card import (
    describe_output,
    describe_values,
    inputs_table,
    markdown_text,
    write_card,
)
from application.training.config import TrainingConfig
from application.validation.validated_card import validated_card
from domain.contract import (
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
from domain.evaluation.metrics import evaluate
from domain.gates import Verdict
from tests.kinds import KINDS
from tests.validations import refused_early, validation_of

CONFIG = TrainingConfig.model_validate(
    {
        "model": {},
        "data": {"test_size": 0.2, "random_state": 0},
        "experiment_name": "some_experiment",
        "model_name": "some_model",
        "version": "1.0.0",
    }
)
PROVENANCE = {
    "git_commit": "abc",
    "lock_sha256": None,
    "python": "3.12.3",
    "libraries": {"numpy": "2.3.4", "pandas": "3.0.0"},
    "created": "2026-01-02T03:04:05+00:00",
}


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


def card_of(kind: str) -> str:
    """The card of a model that knows everything."""
    model = KINDS[kind]
    spec, dataset = model.SPEC, model.load()
    actual = dataset.encoded_target(spec)[:24]
    answers = np.eye(len(spec.classes))[actual] if spec.classes else np.stack([actual] * 3, axis=1)
    report = evaluate(spec, answers, actual)
    return write_card(CONFIG, spec, report, dataset, 3.2e-7, PROVENANCE)


@pytest.mark.parametrize(
    ("kind", "figure", "quality"),
    [
        ("regression", "predictions", "| r2 | 1 | 1.000 to 1.000 |"),
        ("categories", "confusion_matrix", "| accuracy | 1 | 0.862 to 1.000 |"),
        ("tensor", "confusion_matrix", "| accuracy | 1 | 0.862 to 1.000 |"),
        ("text", "confusion_matrix", "| accuracy | 1 | 0.862 to 1.000 |"),
    ],
)
def test_a_card_of_every_kind_has_use_quality_limits_data_and_provenance(
    kind: str, figure: str, quality: str
) -> None:
    spec, dataset = KINDS[kind].SPEC, KINDS[kind].load()
    card = card_of(kind)
    assert card.startswith(f"# some_model 1.0.0\n\n{spec.description}\n\n## Intended use\n")
    headings = [line for line in card.splitlines() if line.startswith("## ")]
    assert headings == ["## Intended use", "## Quality", "## Limits", "## Data", "## Provenance"]
    assert describe_output(spec.output) in card
    assert inputs_table(spec) in card
    assert "Measured on 24 rows that the model never saw" in card
    assert quality in card
    assert f"(figures/{figure}.png)" in card
    assert "at most 3.2e-07" in card
    assert f"made here: 120 rows, fingerprint {dataset.fingerprint}.\n" in card
    assert "96 rows were learned from and 24 held out (share 0.2,\nseed 0)" in card


@pytest.mark.parametrize(
    ("kind", "told", "untold"),
    [
        ("regression", ["values out of these ranges", "of which nothing"], ["longer texts"]),
        ("categories", ["values out of these ranges", "words that are not"], ["of which nothing"]),
        ("text", ["longer texts"], ["ranges", "words that are not listed"]),
    ],
)
def test_what_a_model_is_not_for_follows_from_its_inputs(
    kind: str, told: list[str], untold: list[str]
) -> None:
    sentence = card_of(kind).partition("It is not made for ")[2].partition("\n\n")[0]
    assert [words for words in told if words not in sentence] == []
    assert [words for words in untold if words in sentence] == []


def test_limits_tell_what_so_few_rows_say_and_what_was_not_measured() -> None:
    limits = card_of("categories").partition("## Limits")[2].partition("##")[0]
    assert "24 rows: it says that the accuracy is between 0.862 and 1.000 (95 %)" in limits
    assert "fairness" in limits
    assert "The intervals hold" not in limits
    assert "The intervals hold" in card_of("regression")


def test_the_origin_is_told_and_what_is_not_known_is_so() -> None:
    lines = card_of("text").splitlines()
    for line in (
        "| commit | abc |",
        "| SHA-256 of poetry.lock | not known |",
        "| seed | 0 |",
        "| Python | 3.12.3 |",
        "| libraries | numpy 2.3.4, pandas 3.0.0 |",
        "| created | 2026-01-02T03:04:05+00:00 |",
    ):
        assert line in lines


def test_what_people_wrote_does_not_break_the_table() -> None:
    inputs = (Category("a|b", ("x|y", "z"), "two\nlines"), Number("c", "m|s", 0, 1))
    lines = inputs_table(ModelSpec("m", inputs, Quantity("q"))).splitlines()
    assert lines[2:] == [
        r"| a\|b | category | x\|y, z | two lines |",
        r"| c | number | 0 to 1 m\|s |  |",
    ]


HOSTILE = (
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "![x](http://x/y.png)",
    "[x](javascript:alert)",
    "[x][y] and [x]: z",
    "<http://x.y>",
    "`code` **bold** _slanted_ ~~gone~~ __x__",
    "$x^2$ & R&D &amp; &#36;",
    r"a\b \* \\",
    "a|b",
    "# no heading",
    "- no item",
    "1. no item",
    "2) no item",
    "> no quotation",
    "---",
    "===",
)


@pytest.mark.parametrize("text", HOSTILE)
def test_markdown_shows_what_people_wrote_as_they_wrote_it(text: str) -> None:
    assert paragraphs(markdown_text(text)) == [text]
    assert paragraphs(f"above\n{markdown_text(text)}") == [f"above\n{text}"]
    classes = Classes((text, "other"), "kind")
    spec = ModelSpec("m", (Category("x", (text, "z"), text),), classes, description=text)
    rows, actual = np.eye(2), np.array([0, 1])
    report = evaluate(spec, rows, actual)
    card = write_card(CONFIG, spec, report, KINDS["categories"].load(), 0.0, PROVENANCE)
    shown = paragraphs(card)
    assert text in shown and any(f"one of {text}, other, with" in each for each in shown)
    assert f"{text}, z" in shown
    validated = replace(refused_early(), verdicts=(Verdict("quality", False, text),))
    assert text in paragraphs(validated_card(validation_of(validated)))


def test_control_characters_are_shown_as_on_the_terminal() -> None:
    assert paragraphs(markdown_text("red\x1b[31m\u202eeder")) == [r"red\x1b[31m\u202eeder"]


@pytest.mark.parametrize("text", ["petal_width", "0.1 to 30 cm", "größe", "-0.086 ≥ x", "R² (a)"])
def test_usual_names_and_figures_stay_as_they_are(text: str) -> None:
    assert markdown_text(text) == text


def paragraphs(markdown: str) -> list[str]:
    """The texts that a reader sees; a tag or a link among them would be missed."""
    rules = MarkdownIt("commonmark").enable(["table", "strikethrough"])
    blocks = (token.children or [] for token in rules.parse(markdown) if token.type == "inline")
    kinds = {"text": "{}", "text_special": "{}", "softbreak": "\n"}
    return [
        "".join(kinds.get(part.type, f"<{part.type}>").format(part.content) for part in parts)
        for parts in blocks
    ]
