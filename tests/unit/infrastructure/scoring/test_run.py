"""Scoring files: every kind of model, every format, and errors."""

from __future__ import annotations

import csv
import json
import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from domain.contract import Category, ModelSpec, Number, Quantity
from domain.errors import DataError
from infrastructure.inference.onnx_runtime import load_onnx
from infrastructure.packaging.model_package import ModelPackage
from infrastructure.scoring.run import Totals, score_file
from tests import petals
from tests.fakes import SETOSA, VERSICOLOR, VIRGINICA, FakeClassifier
from tests.kinds import KINDS
from tests.protocols import DECISIONS, RISK, RISKS, risk_of

FORMATS = (".parquet", ".csv", ".ndjson")
FLOWERS = (SETOSA, VIRGINICA, (99.0, 3.0, 1.0, 0.2), VERSICOLOR)


def _plain(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        return value.tolist()
    return None if isinstance(value, float) and math.isnan(value) else value


def rows_of(kind: str) -> list[dict[str, Any]]:
    """All data of a model as plain objects."""
    model = KINDS[kind]
    plain = ([_plain(value) for value in row] for row in model.load().rows())
    return [dict(zip(model.SPEC.input_names, row, strict=True)) for row in plain]


def write(path: Path, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows in the format of the suffix."""
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path)
        return path
    with path.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".csv":
            writer = csv.DictWriter(file, rows[0])
            writer.writeheader()
            writer.writerows(
                {k: json.dumps(v) if isinstance(v, list | bool) else v for k, v in row.items()}
                for row in rows
            )
        else:
            file.writelines(f"{json.dumps(row)}\n" for row in rows)
    return path


def read(path: Path) -> list[dict[str, Any]]:
    """The rows of an output."""
    if path.suffix == ".parquet":
        return list(pq.read_table(path).to_pylist())
    if path.suffix == ".csv":
        return [dict(row) for row in csv.DictReader(path.read_text(encoding="utf-8").splitlines())]
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def flowers(path: Path, rows: Sequence[Sequence[float]] = FLOWERS) -> Path:
    """Write numbered flowers."""
    names = petals.SPEC.input_names
    return write(
        path, [{"id": id_, **dict(zip(names, row, strict=True))} for id_, row in enumerate(rows)]
    )


def score_flowers(source: Path, output: Path) -> Totals:
    """Score flowers by the length of their petal."""
    return score_file(petals.SPEC, FakeClassifier(), source, output, {"model_name": "petals"})


@pytest.mark.parametrize("output", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_model_scores_files_like_requests(
    kind: str, source: str, output: str, make_package: Callable[..., Path], tmp_path: Path
) -> None:
    package = ModelPackage(make_package(tmp_path / "packages", kind, "1.0.0-a", kind))
    spec, model = package.spec, load_onnx(package.served, package.spec)
    rows = rows_of(kind)
    expected = model(spec.encode_rows([list(row.values()) for row in rows]))

    out = tmp_path / f"out{output}"
    totals = score_file(spec, model, write(tmp_path / f"in{source}", rows), out, {})
    assert (totals.scored, totals.rejected) == (len(rows), 0)
    assert not totals.rejects.exists()
    found = read(out)
    names = [f"probability_{name}" for name in spec.classes] or list(spec.output_columns)
    assert list(found[0]) == [
        *spec.input_names,
        *(["prediction", *names] if spec.classes else names),
    ]
    assert np.array_equal(
        np.array([[row[n] for n in names] for row in found], np.float32), expected
    )
    if spec.classes:
        words = [spec.classes[code] for code in expected.argmax(axis=1)]
        assert [row["prediction"] for row in found] == words


@pytest.mark.parametrize("output", FORMATS)
@pytest.mark.parametrize("source", FORMATS)
def test_rejected_rows_get_a_separate_file_and_the_others_keep_their_order(
    source: str, output: str, tmp_path: Path
) -> None:
    out = tmp_path / f"out{output}"
    totals = score_flowers(flowers(tmp_path / f"in{source}"), out)
    assert totals == Totals(3, 1, tmp_path / "out.rejected.ndjson")
    (rejected,) = read(totals.rejects)
    assert (rejected["row"], rejected["reason"]) == (
        2,
        "sepal_length: 99 cm is outside [0.1, 30]",
    )
    assert [float(value) for value in rejected["values"].values()] == [2, *FLOWERS[2]]
    assert [(int(row["id"]), row["prediction"]) for row in read(out)] == [
        (0, "setosa"),
        (1, "virginica"),
        (3, "versicolor"),
    ]


def test_row_numbers_count_from_the_start_of_the_file(tmp_path: Path) -> None:
    rows = [SETOSA] * 70_000
    for bad in (3, 65_535, 65_536, 69_999):
        rows[bad] = (0.0, *SETOSA[1:])
    out = tmp_path / "out.parquet"
    totals = score_flowers(flowers(tmp_path / "in.parquet", rows), out)
    assert [row["row"] for row in read(totals.rejects)] == [3, 65_535, 65_536, 69_999]
    kept = [row for row in range(70_000) if row not in (3, 65_535, 65_536, 69_999)]
    assert pq.read_table(out)["id"].to_pylist() == kept


def test_parquet_metadata_names_the_scoring_model(tmp_path: Path) -> None:
    score_flowers(flowers(tmp_path / "in.csv"), tmp_path / "out.parquet")
    assert pq.read_schema(tmp_path / "out.parquet").metadata[b"model_name"] == b"petals"


def test_a_scored_table_can_be_scored_again(tmp_path: Path) -> None:
    score_flowers(flowers(tmp_path / "in.csv"), tmp_path / "once.parquet")
    score_flowers(tmp_path / "once.parquet", tmp_path / "twice.parquet")
    first, *_ = read(tmp_path / "twice.parquet")
    assert first["prediction"] == first["predicted_prediction"] == "setosa"


def test_an_output_replaces_the_previous_one_and_its_rejected_rows(
    tmp_path: Path,
) -> None:
    out, source = tmp_path / "out.csv", tmp_path / "in.csv"
    assert score_flowers(flowers(source), out).rejects.exists()
    totals = score_flowers(flowers(source, [SETOSA]), out)
    assert len(read(out)) == 1
    assert not totals.rejects.exists()


def test_an_output_is_not_replaced_if_every_row_is_rejected(tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("previous")
    totals = score_flowers(flowers(tmp_path / "in.csv", [(0.0,) * 4] * 3), out)
    assert (totals.scored, totals.rejected) == (0, 3)
    assert len(read(totals.rejects)) == 3
    assert out.read_text() == "previous"


@pytest.mark.parametrize("output", FORMATS)
def test_a_table_without_rows_gives_an_empty_output(output: str, tmp_path: Path) -> None:
    source = tmp_path / "in.parquet"
    pq.write_table(pq.read_table(flowers(source)).slice(0, 0), source)
    assert score_flowers(source, tmp_path / f"out{output}").scored == 0
    assert not read(tmp_path / f"out{output}")


class _Interrupted(FakeClassifier):
    """Predicts only for the first batch."""

    def __call__(self, rows: np.ndarray) -> np.ndarray:
        if self.calls:
            raise KeyboardInterrupt
        return super().__call__(rows)


@pytest.mark.parametrize("output", FORMATS)
def test_an_interrupted_run_changes_nothing(output: str, tmp_path: Path) -> None:
    source = flowers(tmp_path / "in.parquet", FLOWERS * 20_000)
    out, rejects = tmp_path / f"out{output}", tmp_path / "out.rejected.ndjson"
    for path in (out, rejects):
        path.write_text("previous")
    with pytest.raises(KeyboardInterrupt):
        score_file(petals.SPEC, _Interrupted(), source, out, {})
    assert sorted(tmp_path.iterdir()) == sorted([source, out, rejects])
    assert out.read_text() == rejects.read_text() == "previous"


def test_a_file_cannot_be_scored_into_itself(tmp_path: Path) -> None:
    source = flowers(tmp_path / "in.csv")
    with pytest.raises(DataError, match="in.csv is also the input: choose another output"):
        score_flowers(source, tmp_path / "." / "in.csv")


def test_a_file_that_lacks_an_input_is_not_scored(tmp_path: Path) -> None:
    source = write(tmp_path / "in.csv", [{"sepal_length": 5.1, "sepal_width": 3.5}])
    with pytest.raises(DataError, match="lacks petal_length, petal_width, which petals needs"):
        score_flowers(source, tmp_path / "out.csv")
    assert [path.name for path in tmp_path.iterdir()] == ["in.csv"]


@pytest.mark.parametrize("output", FORMATS)
def test_predictions_follow_the_decision_threshold_and_probabilities_stay(
    output: str, tmp_path: Path
) -> None:
    source = write(tmp_path / "in.csv", [{"risk": risk} for (risk,) in RISKS])
    score_file(RISK, risk_of, source, tmp_path / f"out{output}", {})
    found = read(tmp_path / f"out{output}")
    assert [row["prediction"] for row in found] == DECISIONS
    shares = [float(row["probability_yes"]) for row in found]
    assert shares == pytest.approx([0.1, 0.2, 0.45, 0.9])


@pytest.mark.parametrize("source", FORMATS)
def test_unknown_words_that_count_as_missing_are_counted(source: str, tmp_path: Path) -> None:
    team = Category("team", ("a", "b"), nullable=True, unseen="missing")
    spec = ModelSpec("teams", (team,), Quantity("pay"))
    words = ["a", "z", None, "b", "y"]
    path = write(
        tmp_path / f"in{source}", [{"row": str(i), "team": w} for i, w in enumerate(words)]
    )
    totals = score_file(
        spec, lambda rows: np.zeros((len(rows), 3), np.float32), path, tmp_path / "out.csv", {}
    )
    assert (totals.scored, totals.unknown) == (5, {"team": 2})


@pytest.mark.parametrize("source", FORMATS)
def test_numbers_outside_a_range_that_refuses_none_are_counted(source: str, tmp_path: Path) -> None:
    spec = ModelSpec("pay", (Number("pay", "EUR", 0, 10, outside="clip"),), Quantity("rent"))
    path = write(tmp_path / f"in{source}", [{"pay": pay} for pay in (5.0, -1.0, 99.0, 10.0)])
    totals = score_file(spec, lambda rows: np.repeat(rows, 3, axis=1), path, tmp_path / "o.csv", {})
    assert (totals.scored, totals.outside) == (4, {"pay": 2})
    found = [float(row["prediction"]) for row in read(tmp_path / "o.csv")]
    assert found == [5, 0, 10, 10]
