"""Whether a package that was built again is the recorded one: what is the same, what differs."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from application.inference.transcriber import CHECKPOINT
from domain.errors import reason_of

AnswersOfBoth = Callable[[], tuple[np.ndarray, np.ndarray]]
"""What the recorded and the rebuilt model answer to all rows, each (n_rows, n_answers)."""

PREDICTIONS = "predictions"
DIRTY = "-dirty"  # behind a commit: changes were trained that nobody had committed
_SERVED = ("model.onnx", "model.skops", CHECKPOINT)
_NATIVE = ("model.joblib",)
_DATED = ("provenance.json", "metrics.json", "card.md")  # they hold times
_COMPARED = {"contract.json", "golden.json", "holdout.json", *_SERVED, *_NATIVE, *_DATED}


class ComparedPackage(Protocol):
    """What is compared of a package."""

    @property
    def digests(self) -> Mapping[str, str]:
        """SHA-256 of each file, by its name."""

    def read_json(self, name: str) -> Any:
        """A JSON file of the package."""


@dataclass(frozen=True)
class Finding:
    """One line of the comparison.

    Attributes:
        detail: what is the same, or exactly what differs.
    """

    what: str
    same: bool
    detail: str

    @property
    def word(self) -> str:
        """The finding in a word."""
        return "same" if self.same else "DIFFERS"


def is_reproduced(findings: list[Finding]) -> bool:
    """Whether the predictions are the same; what else differs has not changed them."""
    return all(finding.same for finding in findings if finding.what == PREDICTIONS)


def compare_packages(
    recorded: ComparedPackage, rebuilt: ComparedPackage, ask: AnswersOfBoth
) -> list[Finding]:
    """Compare what a training read, what it ran with and what came of it.

    Args:
        ask: called where digests do not tell how the predictions differ.
    """
    previous, latter = (package.read_json("provenance.json") for package in (recorded, rebuilt))
    golden = _compare_golden(recorded, rebuilt)
    served = _compare_files("served model", recorded, rebuilt, _SERVED)
    return [
        _compare_commits(previous["git_commit"], latter["git_commit"]),
        _compare_values("data", previous["data"]["fingerprint"], latter["data"]["fingerprint"]),
        *_compare_split(recorded, rebuilt),
        _compare_keys("configuration", _flat(previous["config"]), _flat(latter["config"])),
        _compare_values("lock", previous["lock_sha256"], latter["lock_sha256"]),
        _compare_values("python", previous["python"], latter["python"]),
        _compare_keys("libraries", previous["libraries"], latter["libraries"]),
        _compare_keys(
            "contract",
            _flat(recorded.read_json("contract.json")),
            _flat(rebuilt.read_json("contract.json")),
        ),
        _compare_keys("quality", _quality(recorded), _quality(rebuilt)),
        golden,
        _compare_predictions(previous, latter, golden, served, ask),
        served,
        _compare_files("native model", recorded, rebuilt, _NATIVE),
        _compare_files(
            "other files",
            recorded,
            rebuilt,
            sorted((recorded.digests.keys() | rebuilt.digests.keys()) - _COMPARED),
        ),
    ]


def _compare_commits(recorded: str, rebuilt: str) -> Finding:
    if recorded.endswith(DIRTY):
        told = f"{recorded}: uncommitted changes were trained, which nobody has kept"
        return Finding("commit", False, told)
    return _compare_values("commit", recorded, rebuilt)


def _compare_values(what: str, recorded: Any, rebuilt: Any) -> Finding:
    same = recorded == rebuilt
    return Finding(what, same, str(recorded) if same else f"{recorded}, rebuilt {rebuilt}")


def _compare_split(recorded: ComparedPackage, rebuilt: ComparedPackage) -> list[Finding]:
    """Which rows were learned from and which were not; none where nothing was trained."""
    if "holdout.json" not in recorded.digests:
        return []
    rows, again = (package.read_json("holdout.json") for package in (recorded, rebuilt))
    return [
        _compare_rows("training rows", rows["training"], again["training"]),
        _compare_rows("hold-out", rows["holdout"], again["holdout"]),
    ]


def _compare_rows(what: str, recorded: list[str], rebuilt: list[str]) -> Finding:
    if recorded == rebuilt:
        return Finding(what, True, f"{len(recorded)} rows")
    lacking, added = len(set(recorded) - set(rebuilt)), len(set(rebuilt) - set(recorded))
    told = f"{lacking} of {len(recorded)} rows are missing, {added} others are there"
    return Finding(what, False, told if lacking or added else "the rows come in another order")


def _compare_keys(what: str, recorded: Mapping[str, Any], rebuilt: Mapping[str, Any]) -> Finding:
    changed = [
        f"{key} {recorded.get(key, 'not there')}, rebuilt {rebuilt.get(key, 'not there')}"
        for key in sorted(recorded.keys() | rebuilt.keys())
        if (key in recorded, recorded.get(key)) != (key in rebuilt, rebuilt.get(key))
    ]
    return Finding(what, not changed, "; ".join(changed) or f"{len(recorded)} values")


def _compare_golden(recorded: ComparedPackage, rebuilt: ComparedPackage) -> Finding:
    first, second = (package.read_json("golden.json") for package in (recorded, rebuilt))
    if first["rows"] != second["rows"]:
        return Finding("golden answers", False, "other rows are asked")
    answers, others = np.array(first["answers"]), np.array(second["answers"])
    return _compare_answers("golden answers", answers, others)


def _compare_predictions(
    recorded: Mapping[str, Any],
    rebuilt: Mapping[str, Any],
    golden: Finding,
    served: Finding,
    ask: AnswersOfBoth,
) -> Finding:
    if "weights" in recorded:  # nothing was trained
        same = golden.same and served.same
        return Finding(PREDICTIONS, same, "judged by the weights and the golden recording")
    digests = recorded.get(PREDICTIONS), rebuilt.get(PREDICTIONS)
    if digests[0] and digests[0] == digests[1]:
        return Finding(PREDICTIONS, True, f"digest {digests[0]}")
    try:
        found = _compare_answers(PREDICTIONS, *ask())
    except Exception as error:  # pylint: disable=broad-exception-caught  # whatever a model raises
        return Finding(PREDICTIONS, False, f"not told row by row: {reason_of(error)}")
    if found.same and all(digests):
        told = "their digests differ, but not the answers to the rows that there are now"
        return Finding(PREDICTIONS, False, told)
    return found


def _compare_answers(what: str, recorded: np.ndarray, rebuilt: np.ndarray) -> Finding:
    if recorded.shape != rebuilt.shape:
        return Finding(what, False, f"of shape {recorded.shape}, rebuilt {rebuilt.shape}")
    other = recorded != rebuilt
    if not other.any():
        return Finding(what, True, f"{len(recorded)} rows")
    told = f"{int(other.any(axis=1).sum())} of {len(recorded)} rows are answered otherwise"
    if np.issubdtype(recorded.dtype, np.number):
        told += f", by at most {np.abs(recorded - rebuilt).max():.2g}"
    return Finding(what, False, told)


def _compare_files(
    what: str,
    recorded: ComparedPackage,
    rebuilt: ComparedPackage,
    names: list[str] | tuple[str, ...],
) -> Finding:
    there = [name for name in names if name in recorded.digests or name in rebuilt.digests]
    other = [name for name in there if recorded.digests.get(name) != rebuilt.digests.get(name)]
    return Finding(what, not other, ", ".join(other or there) or "there is none")


def _quality(package: ComparedPackage) -> dict[str, Any]:
    figures = package.read_json("metrics.json")
    measured = ("holdout_", "word_error_rate")
    return {name: value for name, value in figures.items() if name.startswith(measured)}


def _flat(values: Any, name: str = "") -> dict[str, Any]:
    """Values below dotted names."""
    pairs = values.items() if isinstance(values, dict) else enumerate(values)
    flat: dict[str, Any] = {}
    for key, value in pairs:
        full = f"{name}.{key}" if name else str(key)
        flat |= _flat(value, full) if isinstance(value, dict | list) else {full: value}
    return flat
