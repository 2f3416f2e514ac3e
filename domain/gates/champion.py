"""Gates that compare a challenger with the champion: contract, loss, latency and size."""

from __future__ import annotations

from domain.evaluation.comparison import Comparison
from domain.evaluation.contract_change import ContractChange
from domain.gates.verdict import Verdict

_UNITS = {"s": ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs")), "B": ((2**20, "MiB"), (2**10, "KiB"))}


def contract_is_versioned(change: ContractChange | None, old: str | None, new: str) -> Verdict:
    """Refuse a contract that has changed under a version that does not say so.

    What breaks requests needs a larger first number, what else changes a larger second one; a
    description needs none.

    Args:
        change: from the champion's contract; None where there is no champion.
        old: the champion's version; None where there is none.
        new: the version of the package that is judged.

    References:
        T. Preston-Werner, "Semantic Versioning 2.0.0", 2013.
    """
    if change is None or old is None:
        return Verdict("contract_is_versioned", True, "there is no champion whose contract to keep")
    figures = {"breaking": len(change.breaking), "compatible": len(change.compatible)}
    told = "; ".join(change.breaking or change.compatible or change.wording)
    if _numbers(new) < _numbers(old):
        reason = f"version {new} is below that of the champion, {old}"
        return Verdict("contract_is_versioned", False, reason, figures)
    if not change.breaking and not change.compatible:
        reason = f"the contract is that of the champion {old}" + f": {told}" * bool(told)
        return Verdict("contract_is_versioned", True, reason, figures)
    major, minor, _ = _numbers(old)
    needed = (major + 1, 0, 0) if change.breaking else (major, minor + 1, 0)
    kind = "breaks requests" if change.breaking else "has changed"
    reason = f"since {old} the contract {kind}: {told}"
    versioned = _numbers(new) >= needed
    if not versioned:
        reason += f"; {new} does not say so: make it {'.'.join(map(str, needed))}"
    return Verdict("contract_is_versioned", versioned, reason, figures)


def not_worse_than_champion(
    comparison: Comparison | None,
    margin: float,
    fewest: int,
    left_out: int = 0,
    champion: str | None = None,
) -> Verdict:
    """Refuse a challenger that may be worse than the champion by the margin or more.

    A one-sided test at 5 %: the burden of proof is the challenger's. One that answers every row as
    the champion does has nothing to prove.

    Args:
        comparison: on the rows that are left; None where there is no champion, or no row.
        margin: in mean loss, the share of wrong classes or standard deviations of a quantity.
        fewest: rows that a comparison needs.
        left_out: hold-out rows that the champion has learned from, or whose values its contract
            refuses.
        champion: its version; None where there is no champion.
    """
    gate = "not_worse_than_champion"
    if comparison is None and champion is None:
        return Verdict(gate, True, "there is no champion to compare with")
    rows = comparison.rows if comparison else 0
    if comparison is None or rows < fewest:
        reason = (
            f"{left_out} of {left_out + rows} hold-out rows were left out, since the champion has "
            f"learned from them or does not take them; {rows} are left to compare on and {fewest} "
            "are needed: keep data.random_state, hold more rows out, or accept it once without a "
            "comparison by validation.skip"
        )
        return Verdict(gate, False, reason, {"rows": rows, "left_out": left_out, "fewest": fewest})
    counts = {"won": comparison.won, "lost": comparison.lost, "p": comparison.p}
    figures = {
        "rows": rows,
        "left_out": left_out,
        "champion": comparison.champion,
        "challenger": comparison.challenger,
        "difference": comparison.difference,
        "low": comparison.low,
        "high": comparison.high,
        "margin": margin,
        **{name: count for name, count in counts.items() if count is not None},
    }
    if comparison.identical:
        reason = f"every answer on {rows} rows is the champion's"
        return Verdict(gate, True, reason, figures)
    reason = f"{comparison}, margin {margin:g}"
    if comparison.low > -margin:
        return Verdict(gate, True, reason, figures)
    if comparison.difference <= -margin or comparison.high < -margin:
        return Verdict(gate, False, f"worse by more than the margin: {reason}", figures)
    needed = comparison.rows_needed(margin)
    reason = (
        f"too few rows to tell, about {needed:.0f} would be needed (or a larger "
        f"validation.margin): {reason}"
    )
    return Verdict(gate, False, reason, figures)


def budget(
    gate: str, challenger: float, champion: float | None, limit: float, unit: str
) -> Verdict:
    """Refuse what costs many times what the champion does.

    Args:
        gate: what was measured, ``latency`` or ``size``.
        champion: None where there is none; a figure that is not above 0 is none, and refuses.
        limit: largest ratio of the two.
        unit: ``s`` or ``B``.
    """
    if champion is None:
        return Verdict(gate, True, "there is no champion to compare with")
    ratio = challenger / champion if champion > 0 else float("nan")
    reason = (
        f"{_human(challenger, unit)}, the champion has {_human(champion, unit)}: "
        f"{ratio:.2f} times as much, limit {limit:.2f}"
    )
    figures = {"challenger": challenger, "champion": champion, "ratio": ratio, "limit": limit}
    return Verdict(gate, bool(ratio <= limit), reason, figures)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, version.split(".")))


def _human(value: float, unit: str) -> str:
    """A figure with the unit in which it reads best.

    >>> [_human(0.000212, "s"), _human(0.25, "s"), _human(3_500_000, "B")]
    ['212 µs', '250 ms', '3.34 MiB']
    """
    *larger, smallest = _UNITS[unit]
    scale, name = next((each for each in larger if value >= each[0]), smallest)
    return f"{value / scale:.3g} {name}"
