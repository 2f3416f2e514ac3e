"""Bodies of the JSON endpoints: what is read, and what is wrong with the others."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import msgspec
import pytest

from application.inference.protocols.bodies import (
    FeedbackBodies,
    FeedbackForm,
    NamedRows,
    PositionalRows,
)
from domain.contract import Category, Classes, ModelSpec, Number, Quantity
from domain.errors import InputError, TooManyRowsError
from tests import petals
from tests.kinds import KINDS

NAMES = petals.SPEC.input_names
ROW = [5.1, 3.5, 1.4, 0.2]
FLOWER = dict(zip(NAMES, ROW))
MIXED = ModelSpec(
    "rent",
    (Number("area", "m²", 5, 500, nullable=True), Category("furnished", ("false", "true"))),
    Quantity("rent"),
)


def check_rows(rows: int) -> None:
    """At most twenty rows."""
    if rows > 20:
        raise TooManyRowsError(f"{rows} rows are too many")


def check_truth(field: str, value: Any) -> None:
    """One of two classes."""
    if value not in ("a", "b"):
        raise InputError(f"{field}_class: {value!r} is not one of a, b")


def lists(body: Any, spec: ModelSpec = petals.SPEC) -> Any:
    """What is read from lists."""
    return PositionalRows(spec, check_rows).read(json.dumps(body).encode())


def objects(body: Any, spec: ModelSpec = petals.SPEC) -> Any:
    """What is read from objects."""
    return NamedRows(spec, check_rows).read(json.dumps(body).encode())


def feedback(body: Any, spec: ModelSpec = petals.SPEC) -> Any:
    """What is read from feedback."""
    return FeedbackBodies(spec, check_truth).read(json.dumps(body).encode())


def refusal(read: Callable[..., Any], *args: Any) -> str:
    """The message of a refusal."""
    with pytest.raises(InputError) as refused:
        read(*args)
    return str(refused.value)


def test_rows_and_a_flat_row_are_read() -> None:
    assert lists([ROW, ROW]) == [ROW, ROW]
    assert lists(ROW) == [ROW]
    assert lists([None, True], MIXED) == [[None, True]]


def test_rows_of_a_wrong_type_are_left_to_the_contract() -> None:
    rows = [["5.1", None, [1], True], ROW]
    assert lists(rows) == rows
    reasons = petals.SPEC.faults(rows)[0]
    assert reasons == [
        "sepal_length: '5.1' is not a number",
        "sepal_width: a value is missing",
        "petal_length: [1] is not a number",
        "petal_width: true is not a number",
    ]


def test_rows_of_a_wrong_form_are_told_with_the_values_of_the_others() -> None:
    message = refusal(lists, [[5.1, 3.5, "a", 99], 7, [1], ROW, None])
    assert message == (
        "row 0, petal_length: 'a' is not a number; petal_width: 99 cm is outside [0.1, 30]; "
        "row 1 is a number, expected a list of values; "
        "row 2 has 1 value, expected 4: sepal_length, sepal_width, petal_length, petal_width; "
        "row 4 is null, expected a list of values"
    )


@pytest.mark.parametrize("body", [FLOWER, {"instances": [FLOWER]}, {}, [FLOWER], [ROW, FLOWER]])
def test_objects_among_lists_are_told_where_to_go(body: Any) -> None:
    assert refusal(lists, body).endswith("send objects to /predict_json or /classify_json")


def test_lists_under_instances_are_told_to_come_without_instances() -> None:
    message = refusal(lists, {"instances": [ROW]})
    assert message == (
        "expected a list of rows, got an object: send the list under instances by itself, as "
        "[[…], …]"
    )


def test_a_model_without_classes_has_no_classify() -> None:
    assert refusal(lists, {}, MIXED).endswith("send objects to /predict_json")
    assert refusal(objects, [[1, True]], MIXED).endswith("send lists of values to /predict")


@pytest.mark.parametrize("body", [ROW, [ROW], [], {"instances": [ROW]}])
def test_lists_among_objects_are_told_where_to_go(body: Any) -> None:
    assert refusal(objects, body).endswith("send lists of values to /predict or /classify")


def test_a_list_of_objects_is_told_to_be_instances() -> None:
    message = refusal(objects, [FLOWER])
    assert message.endswith('got a list: send several objects as {"instances": [{…}, …]}')


def test_objects_are_read_with_their_ids() -> None:
    values = tuple(ROW)
    assert objects(FLOWER) == ([values], None)
    several = {"instances": [FLOWER, {**FLOWER, "id": 7}]}
    rows, ids = objects(several)
    assert (list(map(tuple, rows)), ids) == ([values, values], [None, 7])


def test_every_fault_of_named_rows_is_told() -> None:
    bad = {"sepal_length": "abc", "sepal_width": None, "petal_length": [1], "customer_id": 3}
    misspelt = {**FLOWER, "petal_widht": 1, "id": ["x"]}
    message = refusal(
        objects, {"instances": [FLOWER, bad, misspelt, {**FLOWER, "petal_width": 99}]}
    )
    assert message == (
        "row 1, unknown input 'customer_id': a row's own key is called 'id'; "
        "sepal_length: 'abc' is not a number; sepal_width: a value is missing; "
        "petal_length: [1] is not a number; petal_width: a value is missing; "
        "row 2, unknown input 'petal_widht': did you mean 'petal_width'?; "
        'id: ["x"] is not an ID: send 1 to 200 characters without control characters, or a whole '
        "number of at most 63 bits; row 3, petal_width: 99 cm is outside [0.1, 30]"
    )


def test_named_rows_of_a_wrong_type_are_left_to_the_contract() -> None:
    rows, ids = objects({**FLOWER, "petal_width": "a", "id": "k"})
    assert (rows, ids) == ([[*ROW[:3], "a"]], ["k"])


def test_what_stands_next_to_instances_is_told() -> None:
    message = refusal(objects, {"instances": 1, "instance": []})
    assert message == (
        "unknown field 'instance': did you mean 'instances'?; "
        "instances: expected a list of objects, got a number"
    )


@pytest.mark.parametrize("read", [lists, objects])
def test_faults_are_not_searched_for_in_too_many_rows(read: Callable[[Any], Any]) -> None:
    body = [None] * 21 if read is lists else {"instances": [{}] * 21}
    with pytest.raises(TooManyRowsError):
        read([ROW, *body] if read is lists else body)


@pytest.mark.parametrize("kind", [PositionalRows, NamedRows])
def test_syntax_errors_keep_their_position(kind: type[Any]) -> None:
    with pytest.raises(msgspec.DecodeError, match=r"malformed.*byte 4"):
        kind(petals.SPEC, check_rows).read(b'[7, xyz, "')


def test_the_message_on_the_worst_rows_is_short() -> None:
    wide = ModelSpec("wide", tuple(Number(f"x{n}", "", 0, 9) for n in range(500)), Quantity("q"))
    rows = [{f"{'y' * 300}{n}": "z" * 300 for n in range(500)}] * 20
    assert len(refusal(objects, {"instances": rows}, wide)) < 30_000


TRUTH = {"actual_class": "a"}


@pytest.mark.parametrize(
    ("body", "form", "field"),
    [
        ({"request_id": "r", "row": 2, **TRUTH}, FeedbackForm.PREDICTION, "request_id"),
        ({"id": "k", **TRUTH}, FeedbackForm.ID, "id"),
        ({**FLOWER, "predicted_class": "a", **TRUTH}, FeedbackForm.INPUTS, "predicted"),
    ],
)
def test_feedback_names_its_prediction_in_three_ways(
    body: dict[str, Any], form: FeedbackForm, field: str
) -> None:
    found, item = feedback(body)
    assert found is form and item.actual == "a" and getattr(item, field)


@pytest.mark.parametrize("body", [{}, TRUTH, {"row": 1, **TRUTH}])
def test_feedback_without_a_prediction_is_told_how_to_name_one(body: Any) -> None:
    assert refusal(feedback, body) == (
        "the prediction is not named: send actual_class with id, or with request_id and row, or "
        "with the inputs and predicted_class"
    )


@pytest.mark.parametrize(
    ("body", "faults"),
    [
        ({"Id": "t-1"}, "unknown field 'Id': did you mean 'id'?"),
        ({"requestid": "r"}, "unknown field 'requestid': did you mean 'request_id'?"),
        ({"row": -1}, "row: -1 is not a whole number from 0 to 2147483647"),
    ],
)
def test_feedback_without_a_prediction_is_told_its_other_faults_too(
    body: dict[str, Any], faults: str
) -> None:
    message = refusal(feedback, {**body, "actual_class": "q"})
    assert message.startswith(faults) or f"; {faults}" in message
    assert "actual_class: 'q' is not one of a, b; " in message
    assert "; the prediction is not named: send actual_class with id" in message


@pytest.mark.parametrize("confidence", [-0.1, 1.001, 9])
def test_a_confidence_is_a_probability(confidence: float) -> None:
    body = {**FLOWER, "predicted_class": "a", **TRUTH, "confidence": confidence}
    assert refusal(feedback, body) == f"confidence: {confidence} is not a number from 0 to 1"
    assert feedback({**body, "confidence": 1})[1].confidence == 1


def test_feedback_is_told_only_ways_that_the_contract_has() -> None:
    spec = ModelSpec(
        "m", (Number("row", "", 0, 1), Number("confidence", "", 0, 1)), Classes(("id",))
    )
    assert refusal(feedback, {}, spec) == (
        "the prediction is not named: send actual_class with request_id and row"
    )


def test_every_fault_of_feedback_is_told() -> None:
    body = {**FLOWER, "petal_width": "x", "sepal_width": 99, "note": 1, "confidence": "high"}
    assert refusal(feedback, {**body, "actual_class": "c"}) == (
        "unknown field 'note', expected sepal_length, sepal_width, petal_length, petal_width, "
        "predicted_class, actual_class, confidence; sepal_width: 99 cm is outside [0.1, 30]; "
        "petal_width: 'x' is not a number; predicted_class: a value is missing; "
        "actual_class: 'c' is not one of a, b; confidence: 'high' is not a number "
        "from 0 to 1"
    )
    assert refusal(feedback, {"request_id": None, "row": -1, "actual": "a"}) == (
        "unknown field 'actual', expected request_id, actual_class, row; "
        "request_id: a value is missing; actual_class: a value is missing; "
        "row: -1 is not a whole number from 0 to 2147483647"
    )
    assert refusal(feedback, {"id": 0.5, "row": None}) == (
        "unknown field 'row', expected id, actual_class; id: 0.5 is not an ID: send 1 to 200 "
        "characters without control characters, or a whole number of at most 63 bits; "
        "actual_class: a value is missing"
    )


@pytest.mark.parametrize("kind", list(KINDS))
def test_a_null_in_a_field_with_a_default_is_refused(kind: str) -> None:
    spec = KINDS[kind].SPEC
    truth = {"actual_class" if spec.classes else "actual": "a" if spec.classes else 1.0}
    message = refusal(feedback, {"request_id": "r", "row": None, **truth}, spec)
    assert "row: null is not a whole number" in message
