"""`make gates-report`: every mutant before its judges, and how often equal challengers are refused.

Writes docs/gates.md, the same text each time. Nothing of the clone is touched but that file.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from tqdm import tqdm

from application.training.config import Gate, ValidationConfig
from domain.errors import MlopsError
from domain.gates import Verdict
from shared.paths import ROOT
from tests.equal_challengers import MOST_MISTAKEN, RUNS, SETTINGS, Rates, Setting, broken, rates
from tests.template.zoo import MUTANTS, SOUND_ONES, Mutant, Zoo

REPORT = ROOT / "docs/gates.md"

GATES: Mapping[str, tuple[str, Sequence[str]]] = {
    "digests_are_intact": ("Is every file as the registry has it on record?", ()),
    "loads": ("Can the served file be loaded?", ()),
    "holdout_is_unseen": ("Was no hold-out row in training? Near-duplicates are told.", ()),
    "holdout_is_complete": ("Are all recorded hold-out rows in the data?", ()),
    "contract_is_versioned": ("Does the version say how the contract has changed?", ()),
    "quality": ("Is accuracy, or R², on the hold-out high enough?", ("threshold",)),
    "beats_baseline": ("Is it clearly better than always answering the same?", ()),
    "calibration": ("Is a classifier as often right as it says?", ("calibration_error",)),
    "interval_coverage": (
        "Do the intervals of a regression hold about as much as they say?",
        ("coverage_error",),
    ),
    "worst_slice": (
        "Is no declared or automatic slice served much worse than all rows?",
        ("slice_margin", "slice_rows", "slices"),
    ),
    "predictions_are_valid": ("Are probabilities probabilities, and values in their interval?", ()),
    "deterministic": ("Are the same rows answered alike when asked again?", ()),
    "column_order": ("Are they answered alike when the columns are reordered?", ()),
    "robustness": ("Do answers stay when inputs hardly change?", ("noise", "sensitivity")),
    "no_target_leakage": ("Does no input alone give the target away?", ()),
    "parity": ("Does the served model answer as the native one?", ("parity_tolerance",)),
    "parity_at_edges": ("Does it so beside every jump of the answer?", ("parity_tolerance",)),
    "not_worse_than_champion": (
        "Is it shown not to be worse than the champion, on rows that neither has learned?",
        ("margin", "fewest_rows"),
    ),
    "latency": ("Does an answer take about as long as the champion's?", ("latency_ratio",)),
    "size": ("Is the served file about as large as the champion's?", ("size_ratio",)),
    "serves_alone": ("Does it serve in a clean process, with what its Bento brings?", ()),
}


@dataclass(frozen=True)
class Judged:
    """What became of a mutant, or of a model without a fault.

    Attributes:
        refusals: the verdicts that refuse, or what stopped the validation.
    """

    mutant: Mutant
    refusals: Sequence[Verdict]

    @property
    def as_meant(self) -> bool:
        """Whether the gate that is meant refuses; of a sound model, whether none does."""
        names = [verdict.gate for verdict in self.refusals]
        return self.mutant.gate in names if self.mutant.gate else not names

    @property
    def row(self) -> str:
        """Its row of the table."""
        meant = [verdict for verdict in self.refusals if verdict.gate == self.mutant.gate]
        others = [verdict for verdict in self.refusals if verdict not in meant]
        word = "refused" if meant else "**not refused**"
        told = [f"`{verdict.gate}`" for verdict in others]
        if not meant:
            told = [f"`{verdict.gate}`: {_plain(verdict)}" for verdict in others]
        reason = f"{word}: {_plain(meant[0])}" if meant else word
        return (
            f"| {self.mutant.name}: {self.mutant.fault} | `{self.mutant.gate}` | {reason} "
            f"| {', '.join(told) or '—'} |"
        )


def judged(zoo: Zoo, mutant: Mutant) -> Judged:
    """Ask every gate about a mutant."""
    try:
        verdicts = zoo.verdicts(mutant)
    except MlopsError as error:
        return Judged(mutant, [Verdict("not judged", False, f"{type(error).__name__}: {error}")])
    return Judged(mutant, [verdict for verdict in verdicts if not verdict.accepted])


def render(
    sound: Sequence[Judged], zoo: Sequence[Judged], measured: Sequence[tuple[Setting, Rates]]
) -> str:
    """The text of docs/gates.md."""
    refused = sum(each.as_meant for each in zoo)
    rules = ValidationConfig()
    gates = [
        f"| `{name}` | {asks} | {_keys(rules, name, keys)} |"
        for name, (asks, keys) in GATES.items()
    ]
    fine = [f"- {each.mutant.name}: {_sound(each)}" for each in sound]
    runs = [
        f"| {setting.told} | {setting.rows} | {setting.margin:g} "
        f"| {_rate(found.false_promotion, MOST_MISTAKEN)} "
        f"| {_rate(found.false_better, MOST_MISTAKEN)} "
        f"| {_rate(found.false_refusal, setting.refusals)} |"
        for setting, found in measured
    ]
    parts = [
        "# The gates of `make validate`",
        "Written by `make gates-report`. Every gate gives a verdict with its reason; one refusal "
        "keeps a candidate from becoming champion. Keys are those of `validation` in the model's "
        "configuration; a gate that is named in `skip` there, as some may be, is told and does not "
        "refuse.",
        "| gate | asks | keys and defaults |\n|---|---|---|\n" + "\n".join(gates),
        "## The mutant zoo",
        f"{refused} of {len(zoo)} packages with one fault each are refused by the gate that is "
        "meant for it. They are trained, packaged and judged with the defaults above, on data made "
        "in `tests/template/zoo.py`; `serves_alone` is run for its own mutants and for those "
        "without a fault.",
        "| mutant | meant gate | verdict | other gates that refuse |\n|---|---|---|---|\n"
        + "\n".join(each.row for each in zoo),
        "Without a fault:",
        "\n".join(fine),
        "Overconfidence makes an error of at most 1 − accuracy: with a tolerance of "
        f"{rules.calibration_error:g}, `calibration` cannot refuse it in a classifier that is "
        f"right in more than {100 - 100 * rules.calibration_error:g} %. Ask for less there.",
        "## Equal challengers",
        f"{RUNS} simulated challengers as good as the champion, and as many that are worse by the "
        "margin, before `not_worse_than_champion`: how often it is mistaken and, in brackets, how "
        "often it is stated to be, which more than 500 runs would come nearer to "
        "([decision 11](decisions/0011-champion-against-challenger.md)).",
        "| challengers | rows | margin | worse and accepted | equal and called better "
        "| equal and refused |\n|---|---:|---:|---:|---:|---:|\n" + "\n".join(runs),
    ]
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Judge, simulate and write; 1 where a mutant passes, a sound model does not, or a bound is
    broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="print the text, write no file")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        zoo = Zoo(Path(folder))
        every = [
            judged(zoo, each) for each in tqdm((*SOUND_ONES, *MUTANTS), "packages", disable=None)
        ]
    measured = [
        (each, rates(each.task, each.rows, each.alike, each.margin, runs=RUNS))
        for each in tqdm(SETTINGS, "challengers", disable=None)
    ]
    text = render(every[: len(SOUND_ONES)], every[len(SOUND_ONES) :], measured)
    if options.dry_run:
        print(text)
    else:
        REPORT.write_text(text, encoding="utf-8")
    problems = [
        f"{each.mutant.name}: {_sound(each) if not each.mutant.gate else 'not refused'}"
        for each in every
        if not each.as_meant
    ]
    problems += [problem for each in measured for problem in broken(*each)]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _rate(found: float, bound: float) -> str:
    return f"{100 * found:.1f} % ({100 * bound:g} %)"


def _keys(rules: ValidationConfig, gate: str, keys: Sequence[str]) -> str:
    told = [f"`{key}` {_value(getattr(rules, key))}" for key in keys]
    return ", ".join([*told, *["`skip`"] * (gate in get_args(Gate))]) or "—"


def _value(value: object) -> str:
    return f"{value:g}" if isinstance(value, float | int) else "none"


def _sound(each: Judged) -> str:
    told = ", ".join(f"`{verdict.gate}`: {_plain(verdict)}" for verdict in each.refusals)
    return f"**refused** by {told}" if told else f"accepted by every gate; {each.mutant.fault}"


def _plain(verdict: Verdict) -> str:
    """A reason without what differs from run to run: folders, digests and times."""
    if verdict.gate == "latency":
        return f"more than {verdict.figures['limit']:g} times as long as the champion"
    reason = re.sub(r"(/[\w. -]+)+/(?=[\w.-]+)", "", verdict.reason)
    reason = re.sub(r": its digest is .*", "", reason)
    return reason.partition("\n")[0][:300].replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
