"""The report of a validation is one self-contained HTML page."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from application.validation.judgement import Judgement, Validation
from domain.contract import Classes
from domain.evaluation.calibration import calibration_of
from domain.evaluation.measures import default_measure
from domain.evaluation.metrics import ClassificationReport, evaluate
from infrastructure.reporting.figures import COLOURS
from infrastructure.reporting.validation_report import write_report
from tests import validations
from tests.pages import Page, check_self_contained
from tests.validations import classification, many_classes, regression, validation_of

EVERY = {
    "classification": validation_of(classification()),
    "two classes": validation_of(classification(("no", "yes"))),
    "regression": validation_of(regression()),
    "hostile": validations.hostile(),
    "many classes": validation_of(many_classes()),
    "speech": validations.speech(),
    "refused early": validation_of(validations.refused_early()),
}


def page_of(validation: Validation, folder: Path) -> Page:
    """The report of a validation."""
    path = write_report(validation, folder)
    assert path == folder / "report.html"
    return Page(path.read_text(encoding="utf-8"))


def judged(judgement: Judgement, folder: Path) -> Page:
    """The report of a judgement."""
    return page_of(validation_of(judgement), folder)


@pytest.mark.parametrize("kind", EVERY)
def test_every_report_is_well_formed_and_self_contained(kind: str, tmp_path: Path) -> None:
    page = page_of(EVERY[kind], tmp_path / "new" / "folder")
    check_self_contained(page)
    for colour in COLOURS.values():  # of which figures use the variable
        assert page.source.count(colour) == 1
    assert len(page.source) < 1_500_000


@pytest.mark.parametrize("kind", EVERY)
def test_every_report_has_these_sections(kind: str, tmp_path: Path) -> None:
    titles = page_of(EVERY[kind], tmp_path).titles
    assert titles[2:5] == ["Gates", "Quality", "Champion and challenger"]
    assert titles[-4:] == ["Contract", "Data", "Configuration", "Provenance"]


def test_the_same_validation_gives_the_same_report(tmp_path: Path) -> None:
    first = write_report(EVERY["classification"], tmp_path / "a").read_bytes()
    assert first == write_report(EVERY["classification"], tmp_path / "b").read_bytes()


def test_the_report_of_an_accepted_classifier_shows_everything(tmp_path: Path) -> None:
    page = page_of(EVERY["classification"], tmp_path)
    assert page.titles[1] == "Accepted"
    assert page.figures == [
        *("difference", "confusion", "reliability", "roc", "precision-recall"),
        *("slices", "importance", "drift"),
    ]
    for text in (
        "The challenger has accuracy 0.",
        "accuracy of the best constant prediction 0.3",
        "accuracy 0.953 ± 0.045 (10 folds)",
        "a0a238a0c1d1a9c9e8d2a169aee0f75f97c00000",
        "validation.threshold 0.85",
        "libraries.numpy 2.3.4",
        "seed 42",
        "petal_length number 0 to 1 cm length of petal_length",
        "petal_length is low declared 40 0.7 0.5 to 0.9 0.2",
        "setosa 67 ",
        "parity skipped by the configuration; REFUSED",
    ):
        assert text in page.text


def test_a_refusal_is_at_the_top_with_its_gates(tmp_path: Path) -> None:
    page = page_of(EVERY["regression"], tmp_path)
    assert page.titles[1] == "REFUSED by worst_slice"
    assert "worst_slice REFUSED x is low: r2 0.400 on 31 rows" in page.text
    assert page.figures == [
        *("difference", "predictions", "residuals", "slices", "importance", "drift")
    ]
    unasked = judged(replace(classification(), verdicts=()), tmp_path)
    assert unasked.titles[1] == "REFUSED"
    assert "No gate was run." in unasked.text


def test_missing_parts_are_explained_in_a_sentence(tmp_path: Path) -> None:
    page = page_of(EVERY["refused early"], tmp_path)
    assert not page.figures
    assert page.text.count("Not measured: a gate refused earlier") == 2
    assert "There is no champion to compare with" in page.text
    assert "There is no champion to compare the training data with" in page.text
    bare = replace(
        classification(), calibration=None, slices=(), comparison=None, importances={}, drift={}
    )
    page = judged(bare, tmp_path)
    assert page.figures == ["confusion", "roc", "precision-recall"]
    assert "Not compared with the champion, 0.9.0" in page.text
    assert "Calibration: Not measured" in page.text
    assert "No slice has enough rows" in page.text


def test_a_single_input_has_no_importance(tmp_path: Path) -> None:
    alone = replace(classification(inputs=("x",)), importances={})
    assert "There is only one input" in judged(alone, tmp_path).text


def test_a_transcriber_shows_what_its_package_measured(tmp_path: Path) -> None:
    page = page_of(EVERY["speech"], tmp_path)
    assert "word error rate 0.05" in page.text
    assert "word error rate interval 0.03, 0.08" in page.text
    assert "not on recordings" in page.text
    assert "utterances" not in page.text


def test_user_text_is_escaped(tmp_path: Path) -> None:
    page = page_of(EVERY["hostile"], tmp_path)
    assert "<script>document.title='taken'</script> & 'more' {{ 7 * 7 }}" in page.text
    assert "a <b>bold</b> & name" in page.titles[0]
    assert "$\\frac{$" in page.text


def test_many_classes_are_shown_by_their_worst_pairs_and_some_curves(tmp_path: Path) -> None:
    page = page_of(EVERY["many classes"], tmp_path)
    assert "confusion" not in page.figures
    assert "A matrix of 30 classes would be unreadable" in page.text
    assert "Curves of 10 of 30 classes" in page.text
    predictions = np.eye(30)[many_classes().actual]
    report = evaluate(default_measure(many_classes().spec), predictions, many_classes().actual)
    perfect = judged(replace(many_classes(), predictions=predictions, report=report), tmp_path)
    assert "Every row of the hold-out is predicted correctly." in perfect.text


def test_two_classes_have_one_curve_and_a_single_class_has_none(tmp_path: Path) -> None:
    page = page_of(EVERY["two classes"], tmp_path)
    assert "ROC curves; areas: yes 0." in page.source
    one = classification(("no", "yes"))
    actual = np.zeros(len(one.actual), int)
    report = evaluate(default_measure(one.spec), one.predictions, actual)
    text = judged(replace(one, actual=actual, report=report), tmp_path).text
    assert "the hold-out has only one class" in text


def test_a_class_missing_from_the_holdout_has_no_curve(tmp_path: Path) -> None:
    whole = classification()
    rows = whole.actual != 2
    predictions, actual = whole.predictions[rows], whole.actual[rows]
    report = evaluate(default_measure(whole.spec), predictions, actual)
    page = judged(replace(whole, predictions=predictions, actual=actual, report=report), tmp_path)
    assert "Curves of 2 of 3 classes" in page.text


def test_a_report_is_written_for_nan_predictions(tmp_path: Path) -> None:
    for whole in (classification(), regression()):
        predictions = whole.predictions.copy()
        predictions[3] = np.nan
        report = evaluate(default_measure(whole.spec), predictions, whole.actual)
        calibration = calibration_of(predictions, whole.actual) if whole.spec.classes else None
        broken = replace(
            whole,
            predictions=predictions,
            report=report,
            calibration=calibration,
            slices=[replace(whole.slices[0], score=np.nan, low=np.nan, high=np.nan, p=np.nan)],
            importances={"x": np.nan},
            drift={"x": np.nan},
        )
        page = judged(broken, tmp_path)
        assert not {"roc", "predictions", "slices", "importance", "drift"} & set(page.figures)
        assert "too few rows" in page.text


def test_many_rows_are_sampled_to_keep_the_file_small(tmp_path: Path) -> None:
    page = judged(regression(20_000), tmp_path)
    assert "2,000 of 20,000 rows are drawn." in page.text
    assert len(page.source) < 1_500_000


def test_a_null_in_the_configuration_is_its_default(tmp_path: Path) -> None:
    validation = replace(EVERY["regression"], config={"validation": {"folds": None}})
    assert "validation.folds default" in page_of(validation, tmp_path).text


def test_wide_contracts_are_truncated(tmp_path: Path) -> None:
    names = [f"input_{number}" for number in range(150)]
    wide = classification(inputs=names)
    wide = replace(wide, slices=[wide.slices[0]] * 130)
    page = judged(wide, tmp_path)
    assert "The first 100 of 150 inputs" in page.text
    assert "The 20 most important of 150 inputs" in page.text
    assert "The 20 of 151 distributions that drifted most" in page.text
    assert "Slices: 130, the most significantly worse first." in page.text
    assert "The table shows the first 100." in page.text


def test_a_report_of_an_older_configuration_has_no_seed(tmp_path: Path) -> None:
    page = page_of(replace(EVERY["classification"], config={"validation": None}), tmp_path)
    assert "seed none" in page.text


# the decision of two classes


def decided(threshold: float | None) -> Judgement:
    """A classifier of two classes with this threshold."""
    plain = classification(("no", "yes"))
    spec = replace(plain.spec, output=Classes(("no", "yes"), "species", threshold=threshold))
    return replace(
        plain, spec=spec, report=evaluate(default_measure(spec), plain.predictions, plain.actual)
    )


def test_the_decision_of_two_classes_is_shown_with_other_thresholds(tmp_path: Path) -> None:
    page = judged(decided(0.2), tmp_path)
    assert "yes is predicted where its probability is at least 0.2." in page.text
    assert "Each error costs 1" in page.text and "At 0.2: precision" in page.text
    assert "thresholds" in page.figures
    assert "The most probable class is predicted." in judged(decided(None), tmp_path).text
    assert "thresholds" not in page_of(EVERY["classification"], tmp_path).figures


def test_the_decision_is_shown_with_how_it_was_chosen_and_its_costs(tmp_path: Path) -> None:
    whole = validation_of(decided(0.2))
    reason = "threshold 0.2 for yes, by cost per row: 0.254 for the most probable class"
    whole = replace(
        whole,
        config={**whole.config, "decision": {"costs": {"yes": {"no": 5.0}}}},
        metrics={"decision": {"reason": reason}},
    )
    text = page_of(whole, tmp_path).text
    assert f"Chosen in training: {reason}." in text
    assert "The costs are those of the configuration" in text


def test_the_costs_of_the_measure_are_shown_where_the_decision_has_none(tmp_path: Path) -> None:
    costs = {"name": "neg_expected_cost", "costs": {"yes": {"no": 5.0}}}
    whole = validation_of(decided(None))
    whole = replace(whole, config={**whole.config, "validation": {"measure": costs}})
    text = page_of(whole, tmp_path).text
    assert "The costs are those of the configuration (validation.measure.costs)." in text


def test_other_thresholds_are_not_drawn_without_probabilities_or_of_a_single_class(
    tmp_path: Path,
) -> None:
    whole = decided(0.2)
    nothing = replace(whole, predictions=np.full_like(whole.predictions, np.nan))
    zeros = np.zeros(len(whole.actual), int)
    alone = replace(
        whole, actual=zeros, report=evaluate(default_measure(whole.spec), whole.predictions, zeros)
    )
    for judgement in (nothing, alone):
        page = judged(judgement, tmp_path)
        assert "Other thresholds cannot be measured." in page.text
        assert "thresholds" not in page.figures


def test_the_chosen_measure_is_used_in_every_section(tmp_path: Path) -> None:
    page = judged(classification(("no", "yes"), measure_name="average_precision"), tmp_path)
    for text in (
        "On the hold-out: average_precision 0.",
        "The challenger has average_precision 0.",
        "average_precision of the champion, 0.9.0",
        "average_precision of the best constant prediction 0.5",
        "Difference of average_precision with its 90 % interval",
        "average_precision by slice",
        "by how much average_precision decreases when an input is shuffled",
        "The line is the score of all rows. The dashed line is 0.2 below it.",
    ):
        assert text in page.text
    assert "only the challenger is right does not apply" in page.text


def test_the_margin_of_the_comparison_is_shown(tmp_path: Path) -> None:
    text = judged(classification(), tmp_path).text
    assert "The dashed line is the margin, −0.05." in text


def test_each_class_has_its_figures_and_of_many_classes_those_with_most_rows(
    tmp_path: Path,
) -> None:
    page = page_of(EVERY["two classes"], tmp_path)
    report = classification(("no", "yes")).report
    assert isinstance(report, ClassificationReport)
    precision, recall, f1 = (each[1] for each in report.of_each_class.values())
    assert "Each class class rows precision recall f1 no 100 " in page.text
    assert f"yes 100 {precision:.3f} {recall:.3f} {f1:.3f}" in page.text
    assert "Each class" not in page_of(EVERY["regression"], tmp_path).text
