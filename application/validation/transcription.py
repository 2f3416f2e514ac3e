"""Judge packaged speech weights."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from application.training.config import ValidationConfig
from application.validation.judgement import JudgedPackage, Judgement
from application.validation.validate import champion_unavailable, contract_verdict, skip, spec_of
from domain import gates
from domain.errors import PackageError
from domain.evaluation.comparison import Comparison
from domain.evaluation.word_error_rate import WordErrors, compare_errors
from domain.gates import Verdict

_MARGIN = 0.05  # of the word error rate, by default


def judge(
    package: JudgedPackage,
    rules: ValidationConfig,
    replay: Callable[[], object],
    champion: JudgedPackage | None = None,
    unavailable: str = "",
) -> Judgement:
    """Run every gate.

    Args:
        replay: transcribes the golden recording again; PackageError if the result differs.
        champion: the champion's package; None without a champion, or if it is unavailable.
        unavailable: why the champion is unavailable; empty if it is available, or without one.
    """
    metrics = package.read_json("metrics.json")
    comparison, verdict = _against_champion(metrics, rules, champion)
    if unavailable:
        verdict = champion_unavailable(unavailable)
    verdicts = [
        contract_verdict(package, champion, unavailable),
        quality(metrics, rules.threshold),
        golden(replay),
        verdict,
    ]
    return Judgement(
        spec_of(package),
        skip(verdicts, rules.skip),
        champion=champion.version if champion else None,
        comparison=comparison,
    )


def _against_champion(
    metrics: Mapping[str, Any], rules: ValidationConfig, champion: JudgedPackage | None
) -> tuple[Comparison | None, Verdict]:
    """Compare word errors on the recordings that both were measured on."""
    gate, fewest = gates.not_worse_than_champion, rules.fewest_rows
    margin = _MARGIN if rules.margin is None else rules.margin
    if champion is None:
        return None, gate(None, margin, fewest)
    old, new = _errors(champion.read_json("metrics.json")), _errors(metrics)
    if not old or not new:
        reason = f"{champion.version if new else 'this one'} was not measured"
        return None, Verdict("not_worse_than_champion", True, f"cannot be compared: {reason}")
    common = sorted(new.keys() & old.keys())
    comparison = None
    if common:
        comparison = compare_errors([old[key] for key in common], [new[key] for key in common])
    return comparison, gate(comparison, margin, fewest, 0, champion.version)


def _errors(metrics: Mapping[str, Any]) -> dict[tuple[str, str], WordErrors]:
    """Errors in each recording, by its name and its reference text."""
    return {
        (row["recording"], row["said"]): WordErrors(
            row["words"], row["substitutions"], row["deletions"], row["insertions"]
        )
        for row in metrics["utterances"]
    }


def quality(metrics: Mapping[str, Any], threshold: float | None) -> Verdict:
    """Refuse if the word accuracy is below the threshold, or was not measured."""
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
    limits = f" (95 % interval {interval[0]:.3f} to {interval[1]:.3f})" if interval else ""
    measured = f"word error rate {rate:.3f}{limits}, accuracy {1 - rate:.3f}"
    return Verdict("quality", 1 - rate >= threshold, f"{measured}, threshold {threshold:.3f}")


def golden(replay: Callable[[], object]) -> Verdict:
    """Refuse if the packaged model does not reproduce its golden recording."""
    try:
        replay()
    except PackageError as error:
        return Verdict("golden", False, str(error))
    return Verdict("golden", True, "the golden recording was reproduced")
