"""Compares a rebuilt package with the recorded one: what is the same, and what differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from application.inference.transcriber import CHECKPOINT
from application.ports.snapshots import Snapshots, recorded_snapshots, recorded_source
from domain.errors import DataError, reason_of
from shared.wording import inflected

PredictBoth = Callable[[], tuple[np.ndarray, np.ndarray]]
"""Predictions of the recorded and of the rebuilt model for all rows, each (n_rows, n_outputs)."""

PREDICTIONS = "predictions"
DIRTY = "-dirty"  # suffix of a commit: the training used uncommitted changes
_SERVED = ("model.onnx", "model.skops", CHECKPOINT)
_NATIVE = ("model.joblib",)
_DATED = ("provenance.json", "metrics.json", "card.md")  # they contain times
_PLACES = ("path", "source", "labelled")  # keys that say where the data are
_COMPARED = {"contract.json", "golden.json", "holdout.json", *_SERVED, *_NATIVE, *_DATED}


class ComparedPackage(Protocol):
    """A package as the comparison reads it."""

    @property
    def digests(self) -> Mapping[str, str]:
        """SHA-256 of each file, by its name."""

    def read_json(self, name: str) -> Any:
        """A JSON file of the package."""


@dataclass(frozen=True)
class Finding:
    """One line of the comparison.

    Attributes:
        detail: the value if it is the same, else exactly what differs.
    """

    what: str
    same: bool
    detail: str

    @property
    def word(self) -> str:
        """The finding in one word."""
        return "same" if self.same else "DIFFERS"


def use_snapshots(
    provenance: Mapping[str, Any], snapshots: Snapshots
) -> tuple[dict[str, Any], dict[str, Path]]:
    """The recorded configuration with the data that were trained on, and the snapshots by path.

    What was ``data.source`` or a file outside the clone is read from its snapshot. A missing
    snapshot of a file is left out: the file itself may still be there.

    Raises:
        DataError: the snapshot of the source is missing, or a snapshot was changed.
    """
    config = {**provenance["config"], "data": dict(provenance["config"]["data"])}
    data, files = config["data"], {}
    source, labelled = recorded_source(provenance, snapshots)
    if labelled is not None:
        files[data["labelled"]], data["labelled"] = labelled, str(labelled)
    if source is not None:
        data["path"], files[data.pop("source")["address"]] = str(source), source
        return config, files
    data.pop("source", None)  # the commit may be older than this key
    for path, snapshot in recorded_snapshots(provenance).items():
        with suppress(DataError):
            files[path] = snapshots.find(snapshot)
            if data.get("path") == path and path.startswith("/"):
                data["path"] = str(files[path])
    return config, files


def is_reproduced(findings: list[Finding]) -> bool:
    """Whether the predictions are the same; other differences do not matter."""
    return all(finding.same for finding in findings if finding.what == PREDICTIONS)


def compare_packages(
    recorded: ComparedPackage, rebuilt: ComparedPackage, predict_both: PredictBoth
) -> list[Finding]:
    """Compare the inputs, the environment and the results of two trainings.

    Args:
        predict_both: called if the digests do not show how the predictions differ.
    """
    old, new = (package.read_json("provenance.json") for package in (recorded, rebuilt))
    golden = _compare_golden(recorded, rebuilt)
    served = _compare_files("served model", recorded, rebuilt, _SERVED)
    return [
        _compare_commits(old["git_commit"], new["git_commit"]),
        _compare_values("data", old["data"]["fingerprint"], new["data"]["fingerprint"]),
        *_compare_split(recorded, rebuilt),
        _compare_keys("configuration", _settings_of(old), _settings_of(new)),
        _compare_values("lock", old["lock_sha256"], new["lock_sha256"]),
        _compare_values("python", old["python"], new["python"]),
        _compare_keys("libraries", old["libraries"], new["libraries"]),
        _compare_keys(
            "contract",
            _flatten(recorded.read_json("contract.json")),
            _flatten(rebuilt.read_json("contract.json")),
        ),
        _compare_keys("quality", _quality_metrics(recorded), _quality_metrics(rebuilt)),
        golden,
        _compare_predictions(old, new, golden, served, predict_both),
        served,
        _compare_files("native model", recorded, rebuilt, _NATIVE),
        _compare_files(
            "other files",
            recorded,
            rebuilt,
            sorted((recorded.digests.keys() | rebuilt.digests.keys()) - _COMPARED),
        ),
    ]


def _settings_of(provenance: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration, except where the data are: `use_snapshots` changes that."""
    data = {k: v for k, v in provenance["config"]["data"].items() if k not in _PLACES}
    return _flatten({**provenance["config"], "data": data})


def _compare_commits(recorded: str, rebuilt: str) -> Finding:
    if recorded.endswith(DIRTY):
        detail = f"{recorded}: the training used uncommitted changes, which are not recorded"
        return Finding("commit", False, detail)
    return _compare_values("commit", recorded, rebuilt)


def _compare_values(what: str, recorded: Any, rebuilt: Any) -> Finding:
    same = recorded == rebuilt
    return Finding(what, same, str(recorded) if same else f"{recorded}, rebuilt {rebuilt}")


def _compare_split(recorded: ComparedPackage, rebuilt: ComparedPackage) -> list[Finding]:
    """Compare training rows and hold-out; no findings if nothing was trained."""
    if "holdout.json" not in recorded.digests:
        return []
    old, new = (package.read_json("holdout.json") for package in (recorded, rebuilt))
    return [
        _compare_rows("training rows", old["training"], new["training"]),
        _compare_rows("hold-out", old["holdout"], new["holdout"]),
    ]


def _compare_rows(what: str, recorded: list[str], rebuilt: list[str]) -> Finding:
    if recorded == rebuilt:
        return Finding(what, True, f"{len(recorded)} rows")
    missing, added = len(set(recorded) - set(rebuilt)), len(set(rebuilt) - set(recorded))
    changed = (
        f"{missing} of {len(recorded)} rows {inflected(missing, 'is', 'are')} missing, "
        f"{added} {inflected(added, 'is', 'are')} new"
    )
    return Finding(what, False, changed if missing or added else "the same rows in another order")


def _compare_keys(what: str, recorded: Mapping[str, Any], rebuilt: Mapping[str, Any]) -> Finding:
    changed = [
        f"{key} {recorded.get(key, 'missing')}, rebuilt {rebuilt.get(key, 'missing')}"
        for key in sorted(recorded.keys() | rebuilt.keys())
        if (key in recorded, recorded.get(key)) != (key in rebuilt, rebuilt.get(key))
    ]
    return Finding(what, not changed, "; ".join(changed) or f"{len(recorded)} values")


def _compare_golden(recorded: ComparedPackage, rebuilt: ComparedPackage) -> Finding:
    first, second = (package.read_json("golden.json") for package in (recorded, rebuilt))
    if first["rows"] != second["rows"]:
        return Finding("golden predictions", False, "the golden rows differ")
    old, new = np.array(first["answers"]), np.array(second["answers"])
    return _compare_arrays("golden predictions", old, new)


def _compare_predictions(
    recorded: Mapping[str, Any],
    rebuilt: Mapping[str, Any],
    golden: Finding,
    served: Finding,
    predict_both: PredictBoth,
) -> Finding:
    if "weights" in recorded:  # nothing was trained
        same = golden.same and served.same
        return Finding(PREDICTIONS, same, "compared by the weights and the golden recording")
    digests = recorded.get(PREDICTIONS), rebuilt.get(PREDICTIONS)
    if digests[0] and digests[0] == digests[1]:
        return Finding(PREDICTIONS, True, f"digest {digests[0]}")
    try:
        found = _compare_arrays(PREDICTIONS, *predict_both())
    except Exception as error:  # pylint: disable=broad-exception-caught  # whatever a model raises
        return Finding(PREDICTIONS, False, f"cannot compare row by row: {reason_of(error)}")
    if found.same and all(digests):
        detail = "the digests differ, but the predictions for the current rows are the same"
        return Finding(PREDICTIONS, False, detail)
    return found


def _compare_arrays(what: str, recorded: np.ndarray, rebuilt: np.ndarray) -> Finding:
    if recorded.shape != rebuilt.shape:
        return Finding(what, False, f"of shape {recorded.shape}, rebuilt {rebuilt.shape}")
    changed = recorded != rebuilt
    if not changed.any():
        return Finding(what, True, f"{len(recorded)} rows")
    detail = f"different in {int(changed.any(axis=1).sum())} of {len(recorded)} rows"
    if np.issubdtype(recorded.dtype, np.number):
        detail += f", by at most {np.abs(recorded - rebuilt).max():.2g}"
    return Finding(what, False, detail)


def _compare_files(
    what: str,
    recorded: ComparedPackage,
    rebuilt: ComparedPackage,
    names: list[str] | tuple[str, ...],
) -> Finding:
    existing = [name for name in names if name in recorded.digests or name in rebuilt.digests]
    changed = [n for n in existing if recorded.digests.get(n) != rebuilt.digests.get(n)]
    return Finding(what, not changed, ", ".join(changed or existing) or "none")


def _quality_metrics(package: ComparedPackage) -> dict[str, Any]:
    metrics = package.read_json("metrics.json")
    prefixes = ("holdout_", "word_error_rate")
    return {name: value for name, value in metrics.items() if name.startswith(prefixes)}


def _flatten(values: Any, name: str = "") -> dict[str, Any]:
    """Nested values by dotted names."""
    pairs = values.items() if isinstance(values, dict) else enumerate(values)
    flat: dict[str, Any] = {}
    for key, value in pairs:
        full = f"{name}.{key}" if name else str(key)
        flat |= _flatten(value, full) if isinstance(value, dict | list) else {full: value}
    return flat
