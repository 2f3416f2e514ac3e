"""The card of every kind of model."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

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
from application.training.config import SplitConfig, TrainingConfig
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
from domain.evaluation.measures import Measure, default_measure
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
        (Number("x", "", 0, 1, nullable=True, logged=False), "0 to 1, or missing; not logged"),
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
def test_the_values_of_every_kind_of_input_are_described(item: Input, words: str) -> None:
    assert describe_values(item) == words


@pytest.mark.parametrize(
    ("output", "words"),
    [
        (Classes(("no", "yes"), "leaves"), "Predicts leaves, one of no, yes, with probabilities."),
        (
            Quantity("rent", "EUR", 0.8),
            "Predicts rent in EUR, with an interval that should cover 80% of the true values.",
        ),
        (
            Quantity("progression"),
            "Predicts progression, with an interval that should cover 90% of the true values.",
        ),
        (
            Transcript(),
            "Transcribes recordings: text, language, and segments with times.",
        ),
    ],
)
def test_every_kind_of_output_is_described_in_a_sentence(output: Output, words: str) -> None:
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
    ("outside", "words"),
    [("refuse", ""), ("clip", ", others clipped"), ("accept", ", others accepted")],
)
def test_what_happens_outside_a_range_is_described(outside: Any, words: str) -> None:
    item = Number("income", "EUR", 0, 100, outside=outside)
    assert describe_values(item) == f"0 to 100 EUR{words}"


def test_a_date_is_described_with_its_range_and_zone() -> None:
    item = KINDS["dates"].SPEC.inputs[0]
    assert describe_values(item) == (
        "ISO 8601 date or time from 2020-01-01 to 2039-12-31, in Europe/Berlin if without an "
        "offset, or missing"
    )


def card_of(kind: str, name: str | None = None, chosen: Mapping[str, Any] | None = None) -> str:
    """The card of a model whose predictions are all right, by the measure of this name."""
    model = KINDS[kind]
    spec, dataset = model.SPEC, model.load()
    actual = dataset.encoded_target(spec)[:24]
    perfect = np.eye(len(spec.classes))[actual] if spec.classes else np.stack([actual] * 3, axis=1)
    measure = Measure(spec, name) if name else default_measure(spec)
    report = evaluate(measure, perfect, actual)
    return write_card(CONFIG, spec, report, dataset, 90, 3.2e-7, PROVENANCE, chosen or {})


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
    assert "90 rows for training and 24 for the hold-out. They were divided at random" in card
    assert "(share 0.2, seed 0), stratified by " in card


@pytest.mark.parametrize(
    ("kind", "present", "absent"),
    [
        ("regression", ["values out of these ranges", "unknown to the model"], ["longer texts"]),
        ("categories", ["values out of these ranges", "unlisted words"], ["unknown to the model"]),
        ("text", ["longer texts"], ["ranges", "unlisted words"]),
    ],
)
def test_out_of_scope_uses_follow_from_the_inputs(
    kind: str, present: list[str], absent: list[str]
) -> None:
    sentence = card_of(kind).partition("It is not intended for ")[2].partition("\n\n")[0]
    assert [words for words in present if words not in sentence] == []
    assert [words for words in absent if words in sentence] == []


def test_limitations_name_the_uncertainty_and_what_was_not_measured() -> None:
    limits = card_of("categories").partition("## Limits")[2].partition("##")[0]
    assert "24 rows, so accuracy is only known to be between 0.862 and 1.000 (95 %" in limits
    assert "Fairness was not measured" in limits
    assert "The intervals cover" not in limits
    assert "The intervals cover" in card_of("regression")


def test_the_chosen_measure_comes_first_with_its_interval_and_others_beside_it() -> None:
    quality = card_of("categories", "roc_auc").partition("## Quality")[2].partition("##")[0]
    assert "the model never saw: roc_auc 1.000 (95 % interval " in quality
    assert "accuracy 1.000 (24 of 24)" in quality
    lines = [line for line in quality.splitlines() if line.startswith("| ")]
    assert lines[1].startswith("| roc auc | 1 | ")
    for name in ("accuracy", "average precision", "log loss", "f1", "f1 macro"):
        assert any(line.startswith(f"| {name} | ") for line in lines)
    limits = card_of("categories", "roc_auc").partition("## Limits")[2]
    assert "so roc_auc is only known to be between" in limits


def test_each_class_has_its_figures_unless_there_are_too_many() -> None:
    card = card_of("text")
    assert "| class | rows | precision | recall | f1 |" in card
    for name in KINDS["text"].SPEC.classes:
        assert any(line.startswith(f"| {name} | ") for line in card.splitlines())
    assert "| class |" not in card_of("regression")
    spec = replace(KINDS["text"].SPEC, output=Classes(tuple(f"c{place}" for place in range(26))))
    actual = np.arange(26)
    report = evaluate(default_measure(spec), np.eye(26), actual)
    many = write_card(CONFIG, spec, report, KINDS["text"].load(), 90, 0.0, PROVENANCE, {})
    assert "| class |" not in many


def test_parameters_found_by_a_search_are_listed() -> None:
    card = card_of("text", chosen={"C": 0.1, "penalty": "l2"})
    assert "Parameters found by a search: C 0.1, penalty l2.\n" in card
    assert "search" not in card_of("text")


def test_the_provenance_is_listed_with_missing_facts_as_unknown() -> None:
    lines = card_of("text").splitlines()
    for line in (
        "| commit | abc |",
        "| SHA-256 of poetry.lock | unknown |",
        "| seed | 0 |",
        "| Python | 3.12.3 |",
        "| libraries | numpy 2.3.4, pandas 3.0.0 |",
        "| created | 2026-01-02T03:04:05+00:00 |",
    ):
        assert line in lines


def test_text_in_cells_does_not_break_the_table() -> None:
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
def test_markdown_shows_text_literally(text: str) -> None:
    assert paragraphs(markdown_text(text)) == [text]
    assert paragraphs(f"above\n{markdown_text(text)}") == [f"above\n{text}"]
    classes = Classes((text, "other"), "kind")
    spec = ModelSpec("m", (Category("x", (text, "z"), text),), classes, description=text)
    rows, actual = np.eye(2), np.array([0, 1])
    report = evaluate(default_measure(spec), rows, actual)
    chosen = {"depth": text}
    dataset = KINDS["categories"].load()
    card = write_card(CONFIG, spec, report, dataset, 90, 0.0, PROVENANCE, chosen)
    found = paragraphs(card)
    assert f"Parameters found by a search: depth {text}." in found
    assert text in found and any(f"one of {text}, other, with" in each for each in found)
    assert f"{text}, z" in found
    validated = replace(refused_early(), verdicts=(Verdict("quality", False, text),))
    assert text in paragraphs(validated_card(validation_of(validated)))


def test_control_characters_are_escaped_as_on_the_terminal() -> None:
    assert paragraphs(markdown_text("red\x1b[31m\u202eeder")) == [r"red\x1b[31m\u202eeder"]


@pytest.mark.parametrize("text", ["petal_width", "0.1 to 30 cm", "größe", "-0.086 ≥ x", "R² (a)"])
def test_ordinary_names_and_figures_stay_unchanged(text: str) -> None:
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


@pytest.mark.parametrize(
    ("split", "words"),
    [
        (None, "divided at random (share 0.25, seed 7), stratified by class; equal rows"),
        ({"time": "day"}, "hold-out is later by day (share 0.25).\n"),
        ({"time": "day", "gap": 7.0}, "hold-out is later by day (share 0.25, after a gap of 7).\n"),
        ({"time": "day", "start": "2026-01-31"}, "later by day (from 2026-01-31).\n"),
        ({"group": "a_customer"}, "No a_customer is on both sides (share 0.25, seed 7).\n"),
        (
            {"time": "day", "group": "customer"},
            "later by day (share 0.25), and no customer is on both sides (share 0.25, seed 7).\n",
        ),
    ],
)
def test_the_card_says_how_the_rows_were_divided(split: Any, words: str) -> None:
    data = CONFIG.data.model_copy(
        update={
            "test_size": 0.25,
            "random_state": 7,
            "split": SplitConfig(**split) if split else None,
        }
    )
    spec = KINDS["categories"].SPEC
    report = evaluate(default_measure(spec), np.tile([0.4, 0.6], (30, 1)), np.tile([0, 1], 15))
    config = CONFIG.model_copy(update={"data": data})
    card = write_card(config, spec, report, KINDS["categories"].load(), 90, 0.0, PROVENANCE, {})
    assert "90 rows for training and 30 for the hold-out. " in card
    assert words in card
