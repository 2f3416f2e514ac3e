"""Gates that compare a challenger with the champion: contract, loss, latency and size."""

from __future__ import annotations

from domain.evaluation.comparison import Comparison
from domain.evaluation.contract_change import ContractChange
from domain.gates.verdict import Verdict

_NO_CHAMPION = "no champion to compare with"
_RECOGNISED = 0.5  # share of the champion's training rows, below which the reason says so
_UNITS = {"s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")), "B": ((2**20, "MiB"), (2**10, "KiB"))}


def contract_is_versioned(change: ContractChange | None, old: str | None, new: str) -> Verdict:
    """Refuse a changed contract whose version was not raised accordingly.

    A breaking change needs a new major version, a compatible one a new minor version; a changed
    description needs neither.

    Args:
        change: from the champion's contract; None without a champion.
        old: the champion's version; None without a champion.
        new: the candidate's version.

    References:
        T. Preston-Werner, "Semantic Versioning 2.0.0", 2013.
    """
    if change is None or old is None:
        return Verdict("contract_is_versioned", True, _NO_CHAMPION)
    version, previous = _numbers(new), _numbers(old)
    needed = previous
    if change.breaking:
        needed = (previous[0] + 1, 0, 0)
    elif change.compatible:
        needed = (previous[0], previous[1] + 1, 0)
    lowest = ".".join(map(str, needed))
    changes = "; ".join(change.breaking or change.compatible or change.wording)
    if version < previous:
        reason = f"version {new} is lower than the champion's, {old}; raise it to at least {lowest}"
    elif needed == previous:
        reason = f"no change for requests since champion {old}"
        if changes:
            reason += f": {changes}"
    else:
        kind = "breaking" if change.breaking else "compatible"
        reason = f"{kind} change since champion {old}: {changes}"
        if version < needed:
            reason += f"; raise the version to {lowest} (it is {new})"
    figures = {"breaking": len(change.breaking), "compatible": len(change.compatible)}
    return Verdict("contract_is_versioned", version >= needed, reason, figures)


def not_worse_than_champion(
    comparison: Comparison | None,
    configured: float | None,
    fewest: int,
    left_out: int = 0,
    champion: str | None = None,
    recognised: float = 1.0,
) -> Verdict:
    """Refuse a challenger that may be worse than the champion by the margin or more.

    A one-sided test at 5 %: the burden of proof is on the challenger. A challenger with the same
    predictions as the champion is accepted.

    Args:
        comparison: on the rows that can be compared; None without a champion or without such rows.
        configured: margin in the unit of the measure; None for a quarter of what the champion gains
            over the baseline. Half of this gain is the most that counts.
        fewest: minimum number of rows of a comparison.
        left_out: hold-out rows that the champion was trained on, that its contract refuses, or
            that would change the class shares.
        champion: its version; None without a champion.
        recognised: share of the champion's training rows that are in the data. Where most are not,
            the reason says so: if only their form has changed, such as the number of decimals, the
            champion has learned from rows that seem to be new to it.
    """
    gate = "not_worse_than_champion"
    if comparison is None and champion is None:
        return Verdict(gate, True, _NO_CHAMPION)
    rows = comparison.rows if comparison else 0
    if comparison is None or rows < fewest:
        reason = (
            f"only {rows} of {left_out + rows} hold-out rows can be compared, {fewest} are needed: "
            f"the champion was trained on the other {left_out}, its contract refuses them, or they "
            "would change the class shares; keep data.random_state, hold out more rows, or skip "
            "this gate once with validation.skip"
        )
        return Verdict(gate, False, reason, {"rows": rows, "left_out": left_out, "fewest": fewest})
    margin = comparison.margin(configured)
    counts = {"won": comparison.won, "lost": comparison.lost, "p": comparison.p}
    figures = {
        "rows": rows,
        "left_out": left_out,
        "champion": comparison.champion,
        "challenger": comparison.challenger,
        "baseline": comparison.baseline,
        "difference": comparison.difference,
        "low": comparison.low,
        "high": comparison.high,
        "margin": margin,
        **{name: count for name, count in counts.items() if count is not None},
    }
    if comparison.identical:
        reason = f"the predictions for all {rows} rows are the same as the champion's"
        return Verdict(gate, True, reason, figures)
    reason = f"{comparison}, margin {margin:.3g}"
    if configured is None or margin < configured:
        share = "a quarter" if configured is None else "limited to half"
        rest = ", less its uncertainty" if configured is None else ""
        reason += f" ({share} of what the champion gains over the baseline{rest})"
    if recognised < _RECOGNISED:
        share = f"{recognised:.0%}" if recognised >= 0.01 else "under 1%" if recognised else "none"
        reason += (
            f"; {share} of the champion's training rows are in the data as they were: if the "
            "others were not removed but written differently, the champion has learned from rows "
            "that it is compared on"
        )
    if comparison.low > -margin:
        return Verdict(gate, True, reason, figures)
    if comparison.difference <= -margin or comparison.high < -margin:
        return Verdict(gate, False, f"worse by more than the margin: {reason}", figures)
    needed = comparison.rows_needed(margin)
    larger = ""
    if margin < comparison.largest_margin:
        larger = f", or a larger validation.margin, up to {comparison.largest_margin:.3g}"
    reason = f"too few rows to decide: about {needed:.0f} are needed{larger}: {reason}"
    return Verdict(gate, False, reason, figures)


def budget(
    gate: str, challenger: float, champion: float | None, limit: float, unit: str
) -> Verdict:
    """Refuse a challenger that is many times slower, or larger, than the champion.

    Args:
        gate: name of the gate, ``latency`` or ``size``.
        challenger: figure of the challenger, in `unit`.
        champion: figure of the champion; None without a champion. Refused unless it is above 0.
        limit: largest ratio of challenger to champion.
        unit: ``s`` or ``B``.
    """
    if champion is None:
        return Verdict(gate, True, _NO_CHAMPION)
    ratio = challenger / champion if champion > 0 else float("nan")
    reason = (
        f"{_format(challenger, unit)}, champion {_format(champion, unit)}: "
        f"ratio {ratio:.2f}, limit {limit:.2f}"
    )
    figures = {"challenger": challenger, "champion": champion, "ratio": ratio, "limit": limit}
    return Verdict(gate, bool(ratio <= limit), reason, figures)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _format(value: float, unit: str) -> str:
    """A figure in the largest unit that fits.

    >>> [_format(0.000212, "s"), _format(0.25, "s"), _format(3_500_000, "B")]
    ['212 µs', '250 ms', '3.34 MiB']
    """
    *larger, smallest = _UNITS[unit]
    scale, name = next((each for each in larger if value >= each[0]), smallest)
    return f"{value / scale:.3g} {name}"
