"""Which changes of a contract are breaking and which are compatible."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from domain.contract import (
    Audio,
    Category,
    Classes,
    Datetime,
    HashedText,
    Input,
    ModelSpec,
    Number,
    Output,
    Quantity,
    Tensor,
    Text,
)
from domain.evaluation.contract_change import ContractChange, change_between
from tests import petals
from tests.kinds import KINDS

AREA = Number("area", "m²", 5, 500, "living area")
DISTRICT = Category("district", ("east", "north"))
IMAGE = Tensor("image", (3, 4), 0, 16)
REVIEW = Text("review", 200)
NOTE = HashedText("note", 200, 64)
DAY = Datetime("day", ("weekday",), "2024-01-01")
SOUND = Audio("sound", 16_000, 30)
CLASSES = Classes(("no", "yes", "later"), "leaves")
RENT = Quantity("rent", "EUR", 0.9)


def change(old: Any, new: Any) -> ContractChange:
    """The change of a model where only these inputs, or these outputs, differ."""

    def spec(item: Input | Output | tuple[Input, ...]) -> ModelSpec:
        if isinstance(item, Classes | Quantity):
            return ModelSpec("m", (AREA,), item)
        inputs: Any = item if isinstance(item, tuple) else (item,)
        return ModelSpec("m", inputs, CLASSES)

    return change_between(spec(old), spec(new))


@pytest.mark.parametrize("kind", KINDS)
def test_an_equal_contract_has_no_change(kind: str) -> None:
    spec = KINDS[kind].SPEC
    assert change_between(spec, ModelSpec.from_dict(spec.to_dict())) == ContractChange()


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ((AREA, DISTRICT), AREA, "district is no longer an input"),
        (AREA, (AREA, DISTRICT), "district is a new input"),
        (AREA, (AREA, replace(DISTRICT, nullable=True)), "district is a new input"),
        ((AREA, DISTRICT), (DISTRICT, AREA), "the inputs are reordered: district, area"),
        (
            AREA,
            Category("area", ("small",), "living area"),
            "the kind of area is now category, was number",
        ),
        (AREA, replace(AREA, unit="ft²"), "the unit of area is now ft², was m²"),
        (AREA, replace(AREA, unit=""), "the unit of area is now none, was m²"),
        (AREA, replace(AREA, decimal=","), "the decimal mark of area is now ,, was none"),
        (AREA, replace(AREA, maximum=400), "area is now at most 400, was 500"),
        (AREA, replace(AREA, minimum=6), "area is now at least 6, was 5"),
        (replace(AREA, nullable=True), AREA, "area may no longer be missing"),
        (IMAGE, replace(IMAGE, shape=(4, 3)), "the shape of image is now 4 × 3, was 3 × 4"),
        (IMAGE, replace(IMAGE, maximum=1), "image is now at most 1, was 16"),
        (IMAGE, replace(IMAGE, unit="lx"), "the unit of image is now lx, was none"),
        (
            DISTRICT,
            replace(DISTRICT, categories=("east",)),
            "district no longer has the categories north",
        ),
        (
            replace(DISTRICT, unseen="missing"),
            DISTRICT,
            "district now refuses unknown words; they counted as missing",
        ),
        (
            REVIEW,
            replace(REVIEW, max_length=100),
            "the length of review is now at most 100, was 200",
        ),
        (NOTE, replace(NOTE, max_length=9), "the length of note is now at most 9, was 200"),
        (NOTE, Text("note", 200), "the kind of note is now text, was hashed_text"),
        (
            replace(AREA, outside="clip"),
            AREA,
            "numbers outside the range of area: now refuse, was clip",
        ),
        (DAY, replace(DAY, zone="Asia/Taipei"), "the time zone of day is now Asia/Taipei, was UTC"),
        (
            DAY,
            replace(DAY, earliest="2024-02-01"),
            "day is now from 2024-02-01, was 2024-01-01",
        ),
        (DAY, replace(DAY, latest="2030-01-01"), "day is now to 2030-01-01, was 9999-12-31"),
        (
            SOUND,
            replace(SOUND, max_seconds=29.5),
            "the duration of sound in seconds is now at most 29.5, was 30",
        ),
        (
            CLASSES,
            replace(CLASSES, name="stays"),
            "the name of the output is now stays, was leaves",
        ),
        (
            CLASSES,
            replace(CLASSES, names=("no", "yes")),
            "leaves no longer has the classes later",
        ),
        (
            CLASSES,
            replace(CLASSES, names=("no", "yes", "later", "maybe")),
            "leaves has the new classes maybe",
        ),
        (
            CLASSES,
            replace(CLASSES, names=("yes", "no", "later")),
            "the classes of leaves are reordered",
        ),
        (RENT, replace(RENT, unit="USD"), "the unit of rent is now USD, was EUR"),
        (RENT, replace(RENT, coverage=0.8), "the coverage of rent is now 0.8, was 0.9"),
    ],
)
def test_breaking_changes_are_reported_by_name(old: Any, new: Any, message: str) -> None:
    assert change(old, new) == ContractChange(breaking=(message,))


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        (AREA, replace(AREA, maximum=600), "area is now at most 600, was 500"),
        (AREA, replace(AREA, minimum=1), "area is now at least 1, was 5"),
        (AREA, replace(AREA, nullable=True), "area may now be missing"),
        (
            AREA,
            replace(AREA, outside="accept"),
            "numbers outside the range of area: now accept, was refuse",
        ),
        (
            replace(AREA, outside="clip"),
            replace(AREA, outside="clip", maximum=400),
            "area is now at most 400, was 500",
        ),
        (DAY, replace(DAY, earliest=""), "day is now from 0001-01-01, was 2024-01-01"),
        (
            DISTRICT,
            replace(DISTRICT, categories=("west", "east", "north")),
            "district has the new categories west",
        ),
        (
            DISTRICT,
            replace(DISTRICT, unseen="missing"),
            "unknown words of district now count as missing; they were refused",
        ),
        (
            REVIEW,
            replace(REVIEW, max_length=300),
            "the length of review is now at most 300, was 200",
        ),
        (NOTE, replace(NOTE, features=128), "note now has 128 features"),
        (
            SOUND,
            replace(SOUND, max_seconds=60),
            "the duration of sound in seconds is now at most 60, was 30",
        ),
        (SOUND, replace(SOUND, sample_rate=8000), "sound is now resampled to 8000 Hz"),
    ],
)
def test_compatible_changes_are_reported_too(old: Any, new: Any, message: str) -> None:
    assert change(old, new) == ContractChange(compatible=(message,))


def test_a_renamed_class_is_one_removed_and_one_added() -> None:
    found = change(CLASSES, replace(CLASSES, names=("no", "yes", "soon")))
    assert found.breaking == (
        "leaves no longer has the classes later",
        "leaves has the new classes soon",
    )


def test_all_added_and_removed_words_and_classes_are_reported() -> None:
    found = change(DISTRICT, replace(DISTRICT, categories=("south", "west")))
    assert found.breaking == ("district no longer has the categories east, north",)
    assert found.compatible == ("district has the new categories south, west",)
    assert change(CLASSES, replace(CLASSES, names=("later", "a", "b"))).breaking == (
        "leaves no longer has the classes no, yes",
        "leaves has the new classes a, b",
    )


def test_a_coverage_is_shown_with_few_digits() -> None:
    breaking = change(RENT, replace(RENT, coverage=2 / 3)).breaking
    assert breaking == ("the coverage of rent is now 0.666667, was 0.9",)


def test_another_task_breaks_everything() -> None:
    assert change(CLASSES, RENT).breaking == (
        "the task is now regression, was classification",
        "the name of the output is now rent, was leaves",
    )


def test_one_input_can_have_breaking_and_compatible_changes() -> None:
    found = change(AREA, replace(AREA, minimum=0, maximum=100))
    assert found.breaking == ("area is now at most 100, was 500",)
    assert found.compatible == ("area is now at least 0, was 5",)


def test_the_order_of_words_is_not_a_change() -> None:
    assert change(DISTRICT, replace(DISTRICT, categories=("north", "east"))) == ContractChange()


def test_what_is_logged_is_not_a_change_for_clients() -> None:
    private = replace(AREA, logged=False)
    assert change(AREA, private) == ContractChange(wording=("area is no longer logged",))
    assert change(private, AREA) == ContractChange(wording=("area is now logged",))


def test_a_changed_description_is_a_change_of_wording() -> None:
    assert change(AREA, replace(AREA, description="floor")) == ContractChange(
        wording=("the description of area has changed",)
    )
    spec = petals.SPEC
    wording = change_between(spec, replace(spec, description="flowers")).wording
    assert wording == ("the description of the model has changed",)


@pytest.mark.parametrize(
    ("positive", "threshold", "wording"),
    [
        ("", 0.3, ("the threshold of leaves is now 0.3, was none",)),
        ("yes", None, ()),
        ("no", None, ("the positive class of leaves is now no, was yes",)),
        (
            "no",
            0.7,
            (
                "the positive class of leaves is now no, was yes",
                "the threshold of leaves is now 0.7, was none",
            ),
        ),
    ],
)
def test_a_decision_is_chosen_in_training_and_needs_no_new_version(
    positive: str, threshold: float | None, wording: tuple[str, ...]
) -> None:
    new = Classes(("no", "yes"), "leaves", positive, threshold)
    assert change(Classes(("no", "yes"), "leaves"), new) == ContractChange(wording=wording)


def test_a_threshold_that_is_dropped_is_reported() -> None:
    old, new = Classes(("no", "yes"), "leaves", threshold=0.3), Classes(("no", "yes"), "leaves")
    assert change(old, new).wording == ("the threshold of leaves is now none, was 0.3",)
