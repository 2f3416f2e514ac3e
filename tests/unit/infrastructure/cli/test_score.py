"""The output of the command; tests/integration/test_score.py runs it with make."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from infrastructure.cli.__main__ import main
from infrastructure.registry.mlflow_registry import MlflowRegistry
from tests.fakes import SETOSA, VIRGINICA

pytestmark = pytest.mark.usefixtures("petals_in_catalog")
NAME = "petals_pipeline"
HEADER = "sepal_length,sepal_width,petal_length,petal_width"


@pytest.fixture(scope="module", name="recorded")
def _recorded(tracking: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder; the registry has a champion and versions that were refused and not judged."""
    folder = tmp_path_factory.mktemp("recorded")
    own = type(tracking)(folder, tracking.make_package)
    registry = MlflowRegistry(own.uri, own.packages_dir)
    (folder / "verdict").mkdir()
    for version, verdict in {"1.0.0-a": "accepted", "1.0.0-b": "refused", "1.0.0-c": None}.items():
        own.record(NAME, version, form="skops" if verdict == "refused" else "onnx")
        if verdict:
            found = registry.find(NAME, version)
            registry.record_verdict(found, verdict, folder / "verdict")
    registry.promote(NAME, "1.0.0-a")
    return folder


@pytest.fixture(name="place")
def _place(recorded: Path, tracking: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the recorded folder, which a test may change."""
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)
    own = type(tracking)(tmp_path, tracking.make_package)
    own.use(monkeypatch)
    return tmp_path


def run(place: Path, *rows: tuple[float, ...], version: str | None = None) -> int:
    """Score rows of petals."""
    lines = [HEADER, *(",".join(map(str, row)) for row in rows)]
    (place / "in.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")
    arguments = ["--input", str(place / "in.csv"), "--output", str(place / "out.parquet")]
    return main(
        ["score", "--model", "petals", *arguments, *(["--version", version] if version else [])]
    )


def test_rows_are_scored_with_the_champion(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place, SETOSA, (0.0,) * 4, VIRGINICA) == 0
    output = capsys.readouterr().out
    assert f"model     {NAME} version 1, 1.0.0-a" in output
    rejects = place / "out.rejected.ndjson"
    assert f"result    2 rows scored, 1 rejected: see {rejects}\n" in output
    scored = pq.read_table(place / "out.parquet")
    assert scored["prediction"].to_pylist() == ["setosa", "virginica"]
    metadata = {key.decode(): value.decode() for key, value in scored.schema.metadata.items()}
    assert metadata.pop("package_digest")
    assert metadata == {
        "model_name": NAME,
        "model_version": "1.0.0-a",
        "registry_version": "1",
    }


def test_no_rejects_file_without_rejects(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place, SETOSA) == 0
    assert "result    1 rows scored, 0 rejected\n" in capsys.readouterr().out


def test_a_version_can_be_named(place: Path) -> None:
    assert run(place, SETOSA, version="1.0.0-a") == 0


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("1.0.0-b", f"error: {NAME} version 2 (1.0.0-b) was refused\n"),
        (
            "candidate",
            f"error: {NAME} version 3 (1.0.0-c) has not been validated: run make validate\n",
        ),
        ("9", f"error: {NAME} has no 9 in the registry; its versions: 3, 2, 1\n"),
    ],
)
def test_a_version_that_was_not_accepted_scores_nothing(
    version: str, message: str, place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place, SETOSA, version=version) == 1
    assert capsys.readouterr().err == message
    assert not (place / "out.parquet").exists()


def test_all_rows_rejected_is_a_failure(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(place, (0.0,) * 4, (99.0,) * 4) == 3
    assert "error: all 2 rows were rejected: see " in capsys.readouterr().err


def test_an_unreadable_input_is_reported(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    output = ["--output", str(place / "out.parquet")]
    assert main(["score", "--model", "petals", "--input", str(place / "absent.csv"), *output]) == 2
    assert capsys.readouterr().err == f"error: the file {place / 'absent.csv'} does not exist\n"
