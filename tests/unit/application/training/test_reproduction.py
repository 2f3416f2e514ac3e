"""The comparison of a package with its rebuild names every difference; predictions decide."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from application.inference.transcriber import CHECKPOINT
from application.training.reproduction import (
    Finding,
    compare_packages,
    is_reproduced,
    use_snapshots,
)
from domain.errors import DataError
from tests.fakes import FakeSnapshots

PREDICTIONS = np.array([[0.25, 0.75], [0.5, 0.5], [1.0, 0.0]], np.float32)
FILES: dict[str, Any] = {
    "provenance.json": {
        "git_commit": "a" * 40,
        "lock_sha256": "b" * 64,
        "python": "3.11.9",
        "libraries": {"numpy": "2.3.0", "scikit-learn": "1.8.0"},
        "config": {"model": {"max_depth": 5}, "data": {"random_state": 42}},
        "data": {"source": "made here", "fingerprint": "f1"},
        "predictions": "d1",
    },
    "holdout.json": {"training": ["01", "02", "03"], "holdout": ["04"]},
    "contract.json": {"name": "iris", "inputs": [{"name": "width", "minimum": 0}]},
    "golden.json": {"rows": [[1.0], [2.0]], "answers": [[0.25, 0.75], [1.0, 0.0]]},
    "metrics.json": {"holdout_accuracy": 0.9, "fit_seconds": 0.1},
}
DIGESTS = {name: "00" for name in (*FILES, "card.md", "profile.json", "model.onnx", "model.joblib")}


@dataclass
class Package:
    """A package in memory."""

    digests: dict[str, str] = field(default_factory=lambda: dict(DIGESTS))
    files: dict[str, Any] = field(default_factory=lambda: copy.deepcopy(FILES))

    def read_json(self, name: str) -> Any:
        """A JSON file of the package."""
        return self.files[name]


def not_called() -> tuple[np.ndarray, np.ndarray]:
    """Fail: the digests are enough."""
    raise AssertionError("the models need not predict")


def found(
    recorded: Package, rebuilt: Package, predict_both: Any = not_called
) -> dict[str, Finding]:
    """The findings by topic."""
    return {finding.what: finding for finding in compare_packages(recorded, rebuilt, predict_both)}


def changed(rebuilt: Package, predict_both: Any = not_called) -> dict[str, str]:
    """Details of what differs from the recorded package, by topic."""
    return {
        what: finding.detail
        for what, finding in found(Package(), rebuilt, predict_both).items()
        if not finding.same
    }


def test_an_equal_package_is_reproduced_in_every_line() -> None:
    findings = compare_packages(Package(), Package(), not_called)
    assert is_reproduced(findings)
    assert {finding.word for finding in findings} == {"same"}
    assert [finding.what for finding in findings] == [
        *("commit", "data", "training rows", "hold-out", "configuration", "lock", "python"),
        *("libraries", "contract", "quality", "golden predictions", "predictions", "served model"),
        *("native model", "other files"),
    ]


@pytest.mark.parametrize(
    ("name", "keys", "value", "what", "detail"),
    [
        ("provenance.json", ["git_commit"], "c" * 40, "commit", f"rebuilt {'c' * 40}"),
        ("provenance.json", ["data", "fingerprint"], "f2", "data", "f1, rebuilt f2"),
        ("provenance.json", ["lock_sha256"], "e" * 64, "lock", f"rebuilt {'e' * 64}"),
        ("provenance.json", ["python"], "3.12.1", "python", "3.11.9, rebuilt 3.12.1"),
        (
            *("provenance.json", ["libraries", "numpy"], "2.4.0"),
            *("libraries", "numpy 2.3.0, rebuilt 2.4.0"),
        ),
        (
            *("provenance.json", ["libraries", "torch"], "2.13.0"),
            *("libraries", "torch missing, rebuilt 2.13.0"),
        ),
        (
            *("provenance.json", ["config", "model", "max_depth"], None),
            *("configuration", "model.max_depth 5, rebuilt None"),
        ),
        (
            *("contract.json", ["inputs", 0, "minimum"], 1),
            *("contract", "inputs.0.minimum 0, rebuilt 1"),
        ),
        (
            *("metrics.json", ["holdout_accuracy"], 0.8),
            *("quality", "holdout_accuracy 0.9, rebuilt 0.8"),
        ),
        (
            *("holdout.json", ["training"], ["01", "05", "06"]),
            *("training rows", "2 of 3 rows are missing, 2 are new"),
        ),
        (
            *("holdout.json", ["training"], ["02", "01", "03"]),
            *("training rows", "the same rows in another order"),
        ),
        (
            *("golden.json", ["answers", 1, 0], 0.5),
            *("golden predictions", "different in 1 of 2 rows, by at most 0.5"),
        ),
        (
            *("golden.json", ["answers"], [[1.0]]),
            *("golden predictions", "of shape (2, 2), rebuilt (1, 1)"),
        ),
        ("golden.json", ["rows", 0], [3.0], "golden predictions", "the golden rows differ"),
    ],
)
def test_differences_are_named(
    name: str, keys: list[Any], value: Any, what: str, detail: str
) -> None:
    rebuilt = Package()
    place = rebuilt.files[name]
    for key in keys[:-1]:
        place = place[key]
    place[keys[-1]] = value
    differing = changed(rebuilt)
    assert list(differing) == [what]
    assert detail in differing[what]


def test_the_duration_of_the_fit_is_not_a_difference() -> None:
    rebuilt = Package()
    rebuilt.files["metrics.json"]["fit_seconds"] = 7.0
    for name in ("provenance.json", "metrics.json", "card.md"):
        rebuilt.digests[name] = "11"
    assert not changed(rebuilt)


def test_differing_files_are_named() -> None:
    rebuilt = Package()
    rebuilt.digests |= {"model.joblib": "11", "profile.json": "11", "figures/new.png": "00"}
    assert changed(rebuilt) == {
        "native model": "model.joblib",
        "other files": "figures/new.png, profile.json",
    }


def test_a_different_native_model_with_equal_predictions_is_reproduced() -> None:
    rebuilt = Package()
    rebuilt.digests["model.joblib"] = "11"
    assert is_reproduced(compare_packages(Package(), rebuilt, not_called))


def test_a_commit_with_uncommitted_changes_is_never_equal() -> None:
    recorded = Package()
    recorded.files["provenance.json"]["git_commit"] += "-dirty"
    findings = found(recorded, Package())
    assert not findings["commit"].same
    assert "the training used uncommitted changes" in findings["commit"].detail
    assert is_reproduced(list(findings.values())), "the predictions decide"


def other_predictions() -> Package:
    """A package with another digest of its predictions."""
    rebuilt = Package()
    rebuilt.files["provenance.json"]["predictions"] = "d2"
    return rebuilt


def test_differing_predictions_are_counted_and_measured() -> None:
    others = PREDICTIONS + np.array([[0, 0], [0.125, -0.125], [0, 0]], np.float32)
    findings = compare_packages(Package(), other_predictions(), lambda: (PREDICTIONS, others))
    assert not is_reproduced(findings)
    assert changed(other_predictions(), lambda: (PREDICTIONS, others)) == {
        "predictions": "different in 1 of 3 rows, by at most 0.12"
    }


def test_predictions_that_differ_on_removed_rows_are_not_reproduced() -> None:
    differing = changed(other_predictions(), lambda: (PREDICTIONS, PREDICTIONS))
    assert "the predictions for the current rows are the same" in differing["predictions"]


def test_models_that_cannot_predict_are_not_reproduced() -> None:
    def fail() -> tuple[np.ndarray, np.ndarray]:
        raise ValueError("other columns\nand more")

    assert changed(other_predictions(), fail) == {
        "predictions": "cannot compare row by row: other columns"
    }


@pytest.mark.parametrize("shift", [0.0, 0.5])
def test_a_package_without_a_digest_of_its_predictions_is_compared_row_by_row(shift: float) -> None:
    recorded = Package()
    del recorded.files["provenance.json"]["predictions"]
    findings = compare_packages(recorded, Package(), lambda: (PREDICTIONS, PREDICTIONS + shift))
    assert is_reproduced(findings) is (shift == 0)


@pytest.mark.parametrize(
    ("words", "digest", "same"),
    [("hello", "00", True), ("goodbye", "00", False), ("hello", "11", False)],
)
def test_weights_are_compared_by_digest_and_golden_recording(
    words: str, digest: str, same: bool
) -> None:
    recorded, rebuilt = Package(), Package()
    for package, text in ((recorded, "hello"), (rebuilt, words)):
        package.files["provenance.json"]["weights"] = {"source": "tiny.pt"}
        package.files["golden.json"] = {"rows": [["golden.flac"]], "answers": [[text]]}
        del package.files["holdout.json"], package.digests["holdout.json"]
        del package.digests["model.onnx"]
    recorded.digests[CHECKPOINT], rebuilt.digests[CHECKPOINT] = "00", digest
    assert is_reproduced(compare_packages(recorded, rebuilt, not_called)) is same


def test_a_source_is_read_from_its_snapshot_and_is_no_difference(tmp_path: Path) -> None:
    snapshots = FakeSnapshots()
    (tmp_path / "t.parquet").touch()
    name = snapshots.keep(tmp_path / "t.parquet")
    recorded, rebuilt = Package(), Package()
    provenance = recorded.files["provenance.json"]
    source = {"address": "s3://bucket/t/", "query": None}
    provenance["config"] = {"model": {}, "data": {"source": source, "test_size": 0.2}}
    provenance["data"]["snapshots"] = {"data.source": name}
    config, files = use_snapshots(provenance, snapshots)
    assert config["data"] == {"path": str(tmp_path / "t.parquet"), "test_size": 0.2}
    assert files == {"s3://bucket/t/": tmp_path / "t.parquet"}
    rebuilt.files["provenance.json"]["config"] = config
    assert found(recorded, rebuilt)["configuration"].same
    with pytest.raises(DataError):
        use_snapshots(provenance, FakeSnapshots())


def test_a_file_is_read_from_its_snapshot_while_there_is_one(tmp_path: Path) -> None:
    snapshots = FakeSnapshots()
    (tmp_path / "t.csv").touch()
    name = snapshots.keep(tmp_path / "t.csv")
    data = {"path": "/data/t.csv", "source": None}
    recorded = {"/data/t.csv": name, "in/clone.csv": name, "gone.csv": "gone"}
    provenance = {"config": {"data": data}, "data": {"snapshots": recorded}}
    config, files = use_snapshots(provenance, snapshots)
    assert config["data"] == {"path": str(tmp_path / "t.csv")}
    assert set(files) == {"/data/t.csv", "in/clone.csv"}
    assert use_snapshots(provenance, FakeSnapshots()) == ({"data": {"path": "/data/t.csv"}}, {})


def test_labelled_rows_are_read_from_their_snapshot(tmp_path: Path) -> None:
    snapshots = FakeSnapshots()
    for name in ("t.parquet", "rows.parquet"):
        (tmp_path / name).write_text(name)
    source, rows = (snapshots.keep(tmp_path / name) for name in ("t.parquet", "rows.parquet"))
    path = "snapshots/rows.parquet"
    data = {"labelled": path, "source": {"address": "s3://bucket/t/"}}
    kept = {"data.source": source, path: rows}
    provenance = {"config": {"data": data}, "data": {"snapshots": kept}}
    config, files = use_snapshots(provenance, snapshots)
    read = {"path": str(tmp_path / "t.parquet"), "labelled": str(tmp_path / "rows.parquet")}
    assert config["data"] == read
    assert files == {"s3://bucket/t/": tmp_path / "t.parquet", path: tmp_path / "rows.parquet"}
