"""The model card after validation, and the verdict alone."""

from __future__ import annotations

from dataclasses import replace

from application.validation.validated_card import validated_card, verdict_page
from domain.gates import Verdict
from tests.validations import classification, refused_early, regression, speech, validation_of


def test_the_validated_card_extends_the_card_of_the_package() -> None:
    card = validated_card(validation_of(classification()))
    assert card.startswith("# some_model 1.0.0\n\n## Verdicts\n\nAccepted as 1.0.0-2026")
    headings = [line for line in card.splitlines() if line.startswith("## ")]
    assert headings == ["## Verdicts", "## Against the champion", "## Worst slices"]
    assert "| holdout_is_unseen | accepted | 0 of 200 hold-out rows were in training |" in card
    assert "Compared with 0.9.0-20251231-000000-abcdef: accuracy " in card
    assert "| slice | rows | accuracy | 95 % interval |" in card
    assert "| petal_length is low | 40 | 0.700 | 0.500 to 0.900 |" in card


def test_a_refusal_is_listed_with_its_gate() -> None:
    card = validated_card(validation_of(regression()))
    assert "Refused as " in card
    assert "| worst_slice | REFUSED | x is low: r2 0.400 on 31 rows |" in card


def test_missing_results_are_named() -> None:
    card = validated_card(validation_of(refused_early()))
    assert "There was no champion to compare it with." in card
    assert "No slice was measured." in card
    uncompared = replace(classification(), comparison=None)
    assert "Not compared with the champion 0.9.0" in validated_card(validation_of(uncompared))
    assert "word error rate 0.050" in validated_card(speech())


def test_reasons_do_not_break_the_table() -> None:
    hostile = replace(refused_early(), verdicts=(Verdict("quality", False, "a | b\nc"),))
    assert r"| quality | REFUSED | a \| b c |" in validated_card(validation_of(hostile))


def test_only_the_worst_slices_are_listed() -> None:
    judgement = classification()
    many = replace(judgement, slices=[judgement.slices[0]] * 30)
    assert validated_card(validation_of(many)).count("| petal_length is low |") == 10


def test_the_verdict_has_gates_the_interval_and_the_comparison_with_the_champion() -> None:
    page = verdict_page(validation_of(classification()))
    assert page.startswith("### some_model 1.0.0-2026")
    assert page.splitlines()[0].endswith(": accepted")
    assert "On the hold-out: accuracy " in page and "95 % interval " in page
    assert "Compared with 0.9.0-20251231-000000-abcdef: accuracy " in page
    assert "| holdout_is_unseen | accepted | 0 of 200 hold-out rows were in training |" in page


def test_the_verdict_names_what_refuses_and_what_is_missing() -> None:
    assert ": refused by worst_slice\n" in verdict_page(validation_of(regression()))
    early = verdict_page(validation_of(refused_early()))
    assert "Not measured. There was no champion to compare it with." in early
