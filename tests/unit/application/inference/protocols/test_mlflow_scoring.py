"""MLflow's scoring protocol: tables, predictions and refusals."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from application.inference.protocols.mlflow_scoring import MlflowScoring
from application.scaffold.table_inspection import inspect_table
from domain.contract import Classes, ModelSpec, Number, Text
from domain.data.tables import read_frame, read_table
from infrastructure.scoring.tables import open_table
from tests import petals
from tests.kinds import KINDS
from tests.messy_csv import FILES, write_csv
from tests.protocols import (
    DECISIONS,
    RISKS,
    Client,
    expected,
    labels,
    predictor_of,
    risk_predictor,
    rows_of,
)

ROWS = [[5.1, 3.5, 1.4, 0.2], [6.3, 3.3, 6.0, 2.5]]
NAMES = list(petals.SPEC.input_names)
RENTS = KINDS["regression"].SPEC


def service(spec: ModelSpec = petals.SPEC) -> Client:
    """A client of one model."""
    return Client(MlflowScoring(predictor_of(spec), "3.17.2").routes())


PETALS = service()


def wanted(spec: ModelSpec, rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """The expected predictions for rows."""
    found = [dict(zip(spec.output_columns, values)) for values in expected(spec, rows).tolist()]
    if spec.classes:
        found = [{"prediction": label} | row for label, row in zip(labels(spec, rows), found)]
    return found


def records(spec: ModelSpec, rows: Sequence[Sequence[Any]]) -> list[dict[str, Any]]:
    """Rows as objects."""
    return [dict(zip(spec.input_names, row)) for row in rows]


def columns(spec: ModelSpec, rows: Sequence[Sequence[Any]]) -> dict[str, list[Any]]:
    """Rows as columns."""
    return {name: list(values) for name, values in zip(spec.input_names, zip(*rows))}


def predictions(body: Any, client: Client = PETALS) -> Any:
    """The predictions for a body."""
    response = client.post("/invocations", json=body)
    assert response.status_code == 200, response.text
    assert list(response.json()) == ["predictions"]
    return response.json()["predictions"]


def refused(content: bytes, kind: str = "application/json", client: Client = PETALS) -> str:
    """Why a body is refused with 400."""
    response = client.post("/invocations", content=content, headers={"content-type": kind})
    assert response.status_code == 400, response.text
    assert response.json().keys() == {"error_code", "message"}
    assert response.json()["error_code"] == "BAD_REQUEST"
    return str(response.json()["message"])


def forms(spec: ModelSpec, rows: Sequence[Sequence[Any]]) -> Mapping[str, Any]:
    """The same table in every form."""
    names, reordered = list(spec.input_names), [row[::-1] for row in rows]
    return {
        "split": {"dataframe_split": {"columns": names, "data": rows, "index": None}},
        "reordered": {"dataframe_split": {"columns": names[::-1], "data": reordered}},
        "records": {"dataframe_records": records(spec, rows)},
        "instances by name": {"instances": records(spec, rows)},
        "instances in order": {"instances": rows},
        "instances by column": {"instances": columns(spec, rows)},
        "inputs by column": {"inputs": columns(spec, rows)},
        "inputs by name": {"inputs": records(spec, rows)},
        "inputs in order": {"inputs": rows},
    }


@pytest.mark.parametrize("form", list(forms(petals.SPEC, ROWS)))
@pytest.mark.parametrize("kind", list(KINDS))
def test_rows_of_every_contract_are_predicted_in_every_form(kind: str, form: str) -> None:
    spec, rows = KINDS[kind].SPEC, [list(row) for row in rows_of(kind)]
    assert predictions(forms(spec, rows)[form], service(spec)) == wanted(spec, rows)


@pytest.mark.parametrize("kind", ["tensor", "text"])
@pytest.mark.parametrize("form", ["instances", "inputs"])
def test_values_of_an_only_input_may_come_alone(kind: str, form: str) -> None:
    spec, rows = KINDS[kind].SPEC, rows_of(kind)
    assert predictions({form: [row[0] for row in rows]}, service(spec)) == wanted(spec, rows)


@pytest.mark.parametrize("form", ["instances", "inputs"])
@pytest.mark.parametrize("kind", ["regression", "categories", "mixed", "text"])
def test_an_object_of_single_values_is_one_row(kind: str, form: str) -> None:
    spec, rows = KINDS[kind].SPEC, rows_of(kind, 1)[:1]
    assert predictions({form: records(spec, rows)[0]}, service(spec)) == wanted(spec, rows)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": [{"note": 1, **row} for row in records(petals.SPEC, ROWS)]},
        {"inputs": {"note": 1, **columns(petals.SPEC, ROWS)}},
        {"dataframe_split": {"columns": ["note", *NAMES], "data": [[1, *row] for row in ROWS]}},
        {"dataframe_split": {"columns": [*NAMES, 0], "data": [[*row, None] for row in ROWS]}},
        {"inputs": columns(petals.SPEC, ROWS), "params": {"warm": True}, "note": 1},
    ],
)
def test_other_columns_parameters_and_keys_are_ignored(body: Any) -> None:
    assert predictions(body) == wanted(petals.SPEC, ROWS)


@pytest.mark.parametrize(
    "body",
    [
        {"dataframe_records": [{"furnished": "true"}, {"furnished": "false"}]},
        {"inputs": {"furnished": ["true", "false"]}},
        {"dataframe_split": {"columns": ["furnished"], "data": [["true"], ["false"]]}},
        {"inputs": {"furnished": [True, False], "area": [None, None]}},
    ],
)
def test_columns_that_may_be_missing_may_be_left_out(body: Any) -> None:
    rows = [[None, None, "true"], [None, None, "false"]]
    assert predictions(body, service(RENTS)) == wanted(RENTS, rows)


def test_missing_values_as_written_by_mlflows_client_are_accepted() -> None:
    table = {"columns": list(RENTS.input_names), "data": [[float("nan"), float("nan"), "true"]]}
    content = json.dumps({"dataframe_split": table})
    assert "NaN" in content
    headers = {"content-type": "application/json"}
    response = service(RENTS).post("/invocations", content=content, headers=headers)
    assert response.json()["predictions"] == wanted(RENTS, [[None, None, "true"]])


@pytest.mark.parametrize("kind", ["text/csv", "text/csv; charset=utf-8"])
def test_csv_with_a_header_is_a_table(kind: str) -> None:
    content = "note,furnished,area,district\r\n\r\nx,true,50.5,west\r\n,false,,\r\n"
    headers = {"content-type": kind}
    response = service(RENTS).post("/invocations", content=content, headers=headers)
    rows: list[list[Any]] = [[50.5, "west", "true"], [None, None, "false"]]
    assert response.json()["predictions"] == wanted(RENTS, rows)


def test_csv_holds_numbers_as_text_if_the_contract_says_how() -> None:
    price = Number("price", "$", 0, 5000, nullable=True, decimal=".")
    spec = ModelSpec("made", (price,), Classes(("a", "b")))
    content, headers = b'price\n"$1,234.50"\n12\n', {"content-type": "text/csv"}
    response = service(spec).post("/invocations", content=content, headers=headers)
    assert response.json()["predictions"] == wanted(spec, [[1234.5], [12.0]])
    rows = json.dumps({"instances": [{"price": "$12"}]}).encode()
    assert refused(rows, "application/json", service(spec)) == "row 0, price: '$12' is not a number"


def test_csv_holds_texts_with_line_breaks_and_commas() -> None:
    spec = KINDS["text"].SPEC
    content = '\ufeffreview\n"a ""fine"", film\nindeed"\n'.encode()
    headers = {"content-type": "text/csv"}
    response = service(spec).post("/invocations", content=content, headers=headers)
    assert response.json()["predictions"] == wanted(spec, [['a "fine", film\nindeed']])


def test_an_empty_field_of_csv_is_a_missing_text_as_in_training() -> None:
    content = b'review\n"fine"\n""\n'
    message = refused(content, "text/csv", service(KINDS["text"].SPEC))
    assert message == "row 1, review: a value is missing"


@pytest.mark.parametrize("name", FILES)
def test_csv_is_read_as_training_reads_it(name: str, tmp_path: Path) -> None:
    path = write_csv(tmp_path / "in.csv", name)
    spec = inspect_table(read_frame(str(path)), "churned", "messy").spec
    headers, content = {"content-type": "text/csv"}, path.read_bytes()
    response = service(spec).post("/invocations", content=content, headers=headers)
    assert response.json()["predictions"] == wanted(spec, read_table(str(path), spec).rows())


@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("excel", [False, True])
def test_csv_may_have_any_separator_that_training_reads(separator: str, excel: bool) -> None:
    lines = [NAMES, *ROWS]
    content = "\n".join(separator.join(map(str, line)) for line in lines)
    content = f"sep={separator}\r\n{content}" if excel else content
    response = PETALS.post("/invocations", content=content, headers={"content-type": "text/csv"})
    assert response.json()["predictions"] == wanted(petals.SPEC, ROWS)


def test_a_blank_text_is_a_missing_value_in_csv_and_json(tmp_path: Path) -> None:
    spec = ModelSpec("m", (Text("text"),), Classes(("a", "b"), "kind"))
    path = tmp_path / "in.csv"
    path.write_text('text\n" "\n')
    (scored,) = next(iter(open_table(path, spec).batches())).columns["text"]
    assert spec.faults([[scored]]) == {0: ["text: a value is missing"]}
    message = "row 0, text: a value is missing"
    assert refused(path.read_bytes(), "text/csv", service(spec)) == message
    assert refused(b'{"instances": [" "]}', client=service(spec)) == message


def test_the_version_of_mlflow_is_returned_as_by_its_server() -> None:
    response = PETALS.get("/version")
    assert (response.text, response.headers["content-type"]) == ("3.17.2", "application/json")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "expected exactly one of dataframe_split, dataframe_records, instances, inputs"),
        ({"note": 1}, "got none"),
        ({"inputs": ROWS, "instances": ROWS}, "got instances, inputs"),
        (ROWS, "expected an object, got a list: send one of dataframe_split, dataframe_records"),
        ({"dataframe_split": ROWS}, "dataframe_split: expected an object, got a list"),
        ({"dataframe_records": 5}, "dataframe_records: expected a list, got a number"),
        (
            {"dataframe_split": {"columns": NAMES, "data": ROWS, "x": 1}},
            "dataframe_split: unknown field 'x'",
        ),
        ({"dataframe_split": {"data": ROWS}}, "dataframe_split: the field columns is missing"),
        ({"dataframe_split": {"columns": NAMES, "data": []}}, "there are no rows"),
        ({"dataframe_split": {"columns": NAMES[::-1], "data": []}}, "there are no rows"),
        ({"dataframe_split": {"columns": NAMES, "data": [[1]]}}, "row 0 has 1 value, expected 4"),
        ({"dataframe_split": {"columns": NAMES[:3], "data": ROWS}}, "has 4 values, expected 3"),
        (
            {"dataframe_split": {"columns": NAMES[:3], "data": [row[:3] for row in ROWS]}},
            "the input petal_width is missing",
        ),
        (
            {"dataframe_split": {"columns": [*NAMES[:3], NAMES[0]], "data": ROWS}},
            "duplicate column 'sepal_length'",
        ),
        ({"dataframe_records": []}, "there are no rows"),
        ({"dataframe_records": [{}]}, "row 0, sepal_length: a value is missing"),
        ({"dataframe_records": ROWS}, "row 0 is a list, expected an object; row 1 is a list"),
        ({"instances": []}, "there are no rows"),
        ({"instances": ROWS[0]}, "row 0 is a number, expected a list or object"),
        ({"instances": [ROWS[0], {}]}, "row 1, sepal_length: a value is missing"),
        ({"instances": 1}, "instances: expected a list or an object, got a number"),
        (
            {"inputs": {}},
            "the inputs sepal_length, sepal_width, petal_length, petal_width are missing",
        ),
        (
            {"inputs": {**columns(petals.SPEC, ROWS), NAMES[3]: 1}},
            "sepal_length: [5.1, 6.3] is not",
        ),
        ({"inputs": {**columns(petals.SPEC, ROWS), NAMES[3]: [1]}}, "differ in length"),
        ({"inputs": [[5, 3, 1, 99]]}, "row 0, petal_width: 99 cm is outside"),
        ({"inputs": [[5, 3, 1, "x"]]}, "row 0, petal_width: 'x' is not a number"),
        ({"inputs": [[5, 3, 1, None]]}, "row 0, petal_width: a value is missing"),
        ({"inputs": [[5, 3, 1, float("nan")]]}, "row 0, petal_width: a value is missing"),
    ],
)
def test_an_invalid_table_gets_an_error_in_mlflows_format(body: Any, message: str) -> None:
    assert message in refused(json.dumps(body).encode())


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the body is empty: send JSON"),
        (b"{", "JSON is malformed: it ends too early (byte 1)"),
        (b'{"inputs": [[Infinity, 1, 1, 1]]}', "malformed"),
        (b'{"inputs": [[NaN, Infinity, 1, 1]]}', "sepal_length: a value is missing"),
        (b'{"inputs": [[NaN, 1, 1, 1]', "the body is not valid JSON"),
        (b'{"x": NaN, "inputs": 1}', "inputs: expected a list or an object, got a number"),
        (
            b'{"inputs": [[1e400, 1, 1, 1]]}',
            "inputs[0][0]: the number is too large",
        ),
        (b'{"inputs": ["\xff"]}', "byte 13 is not valid UTF-8: send UTF-8"),
        (b'{"x": NaN, "inputs": ["\xff"]}', "byte 23 is not valid UTF-8"),
        (b'{"inputs": ' + b"[" * 5000, "nested too deeply"),
    ],
)
def test_invalid_json_is_refused(content: bytes, message: str) -> None:
    assert message in refused(content)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "the body is empty: send CSV with a header"),
        (b"\n\n", "the body is empty: send CSV with a header"),
        (b'area\n"1', "the body is not CSV with a header"),
        (b"area\n\xff", "byte 5 is not valid UTF-8: send UTF-8"),
        (b"furnished\n", "there are no rows"),
        (b"area,furnished\n1\n", "row 0 has 1 value, expected 2"),
        (b"area,area\n1,1\n", "duplicate column 'area'"),
        (b"area\n50\n", "the input furnished is missing"),
        (b'furnished\n""\n', "row 0, furnished: a value is missing"),
        (b"area,furnished\nbig,true\n", "row 0, area: 'big' is not a number"),
        (b"area,furnished\ninf,true\n", "row 0, area: 'inf' is not a number"),
        (b"area,furnished\n4,true\n", "row 0, area: 4 m² is outside"),
    ],
)
def test_invalid_csv_is_refused(content: bytes, message: str) -> None:
    assert message in refused(content, "text/csv", service(RENTS))


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        (
            "text/plain",
            "unsupported content type 'text/plain': send application/json or text/csv",
        ),
        ("application/octet-stream", "unsupported content type"),
        (
            "application/xml",
            "unsupported content type 'application/xml': send application/json or text/csv",
        ),
        ("text/csv; charset=latin-1", "unsupported charset 'latin-1': send UTF-8"),
    ],
)
def test_another_content_type_is_refused_with_415(kind: str, message: str) -> None:
    response = PETALS.post("/invocations", content=b"{}", headers={"content-type": kind})
    assert response.status_code == 415
    assert message in response.json()["message"]


def test_csv_of_tensors_is_refused_with_415() -> None:
    headers = {"content-type": "text/csv"}
    response = service(KINDS["tensor"].SPEC).post(
        "/invocations", content="image\n1", headers=headers
    )
    assert response.status_code == 415
    assert "text/csv cannot hold tensors: send application/json" in response.json()["message"]


@pytest.mark.parametrize(
    ("status", "code"),
    [(401, "UNAUTHENTICATED"), (503, "TEMPORARILY_UNAVAILABLE"), (413, "BAD_REQUEST")]
    + [(500, "INTERNAL_ERROR"), (504, "DEADLINE_EXCEEDED"), (422, "BAD_REQUEST")],
)
def test_every_refusal_has_mlflows_code(status: int, code: str) -> None:
    route = MlflowScoring(predictor_of(petals.SPEC), "3").routes()["/invocations"]
    reply = route.refuse(status, "why", "id")
    assert json.loads(bytes(reply.body)) == {"error_code": code, "message": "why"}  # type: ignore[arg-type]
    assert reply.status == (400 if status == 422 else status)


@settings(max_examples=100, deadline=None)
@given(
    st.recursive(
        st.none() | st.booleans() | st.floats() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=3), inner, max_size=5),
        max_leaves=20,
    ),
    st.sampled_from(["dataframe_split", "dataframe_records", "instances", "inputs"]),
)
def test_no_json_makes_the_service_fail(value: Any, form: str) -> None:
    content = json.dumps({form: value})
    headers = {"content-type": "application/json"}
    response = PETALS.post("/invocations", content=content, headers=headers)
    assert response.status_code in (200, 400), response.text


def test_predictions_follow_the_decision_threshold_and_probabilities_stay() -> None:
    client = Client(MlflowScoring(risk_predictor(), "3.17.2").routes())
    found = predictions({"inputs": RISKS}, client)
    assert [row["prediction"] for row in found] == DECISIONS
    assert [row["yes"] for row in found] == pytest.approx([0.1, 0.2, 0.45, 0.9])


IDS: list[Any] = ["訂單-1", 17]


@pytest.mark.parametrize(
    "body",
    [
        {
            "dataframe_split": {
                "columns": [*NAMES, "id"],
                "data": [[*ROWS[0], IDS[0]], [*ROWS[1], 17]],
            }
        },
        {
            "dataframe_records": [
                {"id": i, **row} for i, row in zip(IDS, records(petals.SPEC, ROWS))
            ]
        },
        {"instances": [{"id": i, **row} for i, row in zip(IDS, records(petals.SPEC, ROWS))]},
        {"inputs": {"id": IDS, **columns(petals.SPEC, ROWS)}},
    ],
)
def test_a_column_of_ids_comes_back_with_the_predictions(body: Any) -> None:
    found = [{**row, "id": i} for i, row in zip(IDS, wanted(petals.SPEC, ROWS))]
    assert predictions(body) == found


def test_a_missing_id_is_left_out() -> None:
    content = json.dumps({"inputs": {"id": [float("nan"), 2.0], **columns(petals.SPEC, ROWS)}})
    response = PETALS.post(
        "/invocations", content=content, headers={"content-type": "application/json"}
    )
    assert [row.get("id") for row in response.json()["predictions"]] == [None, 2.0]


def test_a_column_of_ids_in_csv_comes_back_as_text() -> None:
    rows = "".join(f"{','.join(map(str, row))}, 0{i} \n" for i, row in enumerate(ROWS))
    content = f"{','.join(NAMES)},id\n{rows}{','.join(map(str, ROWS[0]))},\n"
    response = PETALS.post("/invocations", content=content, headers={"content-type": "text/csv"})
    found = response.json()["predictions"]
    assert [row.pop("id", None) for row in found] == ["00", "01", None]
    assert found == wanted(petals.SPEC, [*ROWS, ROWS[0]])


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        ([1, 0.5], "row 1, id: 0.5 is not an ID"),
        ([1], "the columns differ in length"),
        ("ab", "id: 'ab' is not a list of IDs, one for each row"),
        (7, "id: 7 is not a list of IDs"),
    ],
)
def test_a_wrong_column_of_ids_is_refused(ids: Any, message: str) -> None:
    body = {"inputs": {"id": ids, **columns(petals.SPEC, ROWS)}}
    assert message in refused(json.dumps(body).encode())


def test_an_input_called_id_is_no_id_of_a_row() -> None:
    spec = ModelSpec("m", (Number("id", "", 0, 9), Number("x", "", 0, 9)), Classes(("a", "b")))
    body = {"dataframe_split": {"columns": ["x", "id"], "data": [[2, 1]]}}
    assert predictions(body, service(spec)) == wanted(spec, [[1, 2]])


@pytest.mark.parametrize(
    "text", [rb"NaN \ud800", rb"\udc00\ud800 NaN", "NaN \ud800".encode("utf-8", "surrogatepass")]
)
def test_a_body_with_nan_is_unicode_like_any_other(text: bytes) -> None:
    reply = service(KINDS["text"].SPEC).post(
        "/invocations",
        content=b'{"inputs": ["' + text + b'"]}',
        headers={"content-type": "application/json"},
    )
    assert reply.status_code == 400
    assert "surrogate pair" in reply.text or "is not valid UTF-8" in reply.text


def test_a_float_that_may_have_lost_digits_of_an_id_is_refused() -> None:
    body = {"inputs": {"id": [float(2**53), None], **columns(petals.SPEC, ROWS)}}
    assert "row 0, id: 9007199254740992.0 is a float" in refused(json.dumps(body).encode())
    body["inputs"]["id"] = [17.0, None]
    assert [row.get("id") for row in predictions(body)] == [17.0, None]


def test_a_field_of_csv_may_be_as_long_in_a_request_as_in_training(tmp_path: Path) -> None:
    text = "a word" * 200_000
    spec = ModelSpec("m", (Text("text", max_length=2 * 10**6),), Classes(("a", "b"), "kind"))
    path = tmp_path / "long.csv"
    path.write_text(f'text,kind\n"{text}",a\n')
    (training,) = read_table(str(path), spec).rows()
    (scored,) = next(iter(open_table(path, spec).batches())).columns["text"]
    reply = service(spec).post(
        "/invocations", content=path.read_bytes(), headers={"content-type": "text/csv"}
    )
    assert reply.json()["predictions"] == wanted(spec, [[text]])
    assert [*training] == [scored] == [text]
