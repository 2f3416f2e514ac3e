"""Judge packaged weights that recognise speech."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

from domain.errors import PackageError
from domain.evaluation.gates import Verdict


class SpeechPackage(Protocol):
    """What is read of a package."""

    def read_json(self, name: str) -> Any:
        """A JSON file of the package."""


def judge(
    package: SpeechPackage, threshold: float | None, replay: Callable[[], object]
) -> list[Verdict]:
    """Ask every gate.

    Args:
        threshold: smallest word accuracy, 1 − word error rate, that is accepted; None accepts
            weights whose errors nobody has counted.
        replay: has the packaged model hear its golden recording again; PackageError where it hears
            something else.
    """
    return [quality(package.read_json("metrics.json"), threshold), golden(replay)]


def quality(metrics: dict[str, Any], threshold: float | None) -> Verdict:
    """Refuse when the word accuracy is below the threshold, or was not measured."""
    rate = metrics.get("word_error_rate")
    if threshold is None:
        measured = "not measured" if rate is None else f"{rate:.3f}"
        reason = f"word error rate {measured}; the configuration has no validation.threshold"
        return Verdict("quality", True, reason)
    if rate is None:
        reason = (
            "the word error rate was not measured: name a manifest of recordings in data.manifest "
            "and train again, or accept that with validation.threshold null"
        )
        return Verdict("quality", False, reason)
    interval = metrics["word_error_rate_interval"]
    told = f" (95 % interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    reason = f"word error rate {rate:.3f}{told}, accuracy {1 - rate:.3f}, threshold {threshold:.3f}"
    return Verdict("quality", 1 - rate >= threshold, reason)


def golden(replay: Callable[[], object]) -> Verdict:
    """Refuse when the packaged model does not hear again what it heard."""
    try:
        replay()
    except PackageError as error:
        return Verdict("golden", False, str(error))
    return Verdict("golden", True, "the golden recording is heard as it was recorded")
