"""`make gates-report`: runs the gates on every mutant, on leaks and on equal challengers.

Writes docs/gates.md, with the same text each time, and changes no other file of the clone.
"""

from __future__ import annotations

import argparse
import re
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from tqdm import tqdm

from application.training.config import Gate, ValidationConfig
from domain.errors import MlopsError
from domain.evaluation.measures import names_of
from domain.gates import Verdict
from shared.paths import ROOT
from tests import leaky_tables
from tests.equal_challengers import (
    MAX_ERROR_RATE,
    RUNS,
    SETTINGS,
    Rates,
    Setting,
    exceeded_bounds,
    rates,
)
from tests.template.zoo import BY_MEASURE, MUTANTS, SOUND_MODELS, Mutant, Zoo

REPORT = ROOT / "docs/gates.md"

GATES: Mapping[str, tuple[str, Sequence[str]]] = {
    "digests_are_intact": ("Do all files match the digests in the registry?", ()),
    "loads": ("Can the served file be loaded?", ()),
    "holdout_is_unseen": (
        "Are all hold-out rows absent from training, and not copies of training rows?",
        (),
    ),
    "holdout_is_complete": ("Are all recorded hold-out rows in the data?", ()),
    "contract_is_versioned": ("Does a changed contract have a version that says so?", ()),
    "quality": ("Does the quality on the hold-out reach the threshold?", ("measure", "threshold")),
    "beats_baseline": (
        "Is it significantly better than the best constant prediction, and by macro F1 and recall "
        "at a precision than its own predictions in random order?",
        (),
    ),
    "calibration": (
        "Do a classifier's probabilities match how often it is right?",
        ("calibration_error",),
    ),
    "interval_coverage": (
        "Do the intervals of a regression have the coverage that they claim?",
        ("coverage_error",),
    ),
    "worst_slice": (
        "Is the quality on every declared and automatic slice close to the overall quality, or to "
        "what can be reached there?",
        ("slice_margin", "slice_rows", "slices"),
    ),
    "predictions_are_valid": (
        "Are probabilities valid, and values finite and inside their interval?",
        (),
    ),
    "deterministic": ("Do predictions stay the same on repeat?", ()),
    "column_order": ("Do predictions stay the same when the columns are reordered?", ()),
    "robustness": (
        "Do predictions stay the same under small changes of the inputs?",
        ("noise", "sensitivity"),
    ),
    "no_target_leakage": ("Does no input, or pair of inputs, give the target away?", ()),
    "parity": (
        "Does the served model predict the same as the native model?",
        ("parity_tolerance",),
    ),
    "parity_at_edges": (
        "Do both agree on either side of every split point?",
        ("parity_tolerance",),
    ),
    "not_worse_than_champion": (
        "Is it not worse than the champion by more than the margin, on rows that are new to both?",
        ("margin", "fewest_rows"),
    ),
    "latency": ("Is the latency of one prediction close to the champion's?", ("latency_ratio",)),
    "size": ("Is the size of the served file close to the champion's?", ("size_ratio",)),
    "serves_alone": ("Does it serve in a clean process with only what its Bento contains?", ()),
}

ADVICE: Mapping[str, str] = {  # what to do if a gate refuses
    "digests_are_intact": "A file of the package was changed after training, or its registration "
    "is gone. Do not repair it: run `make train` again, and find out what wrote to the folder.",
    "loads": "The export is damaged, or needs another version of ONNX Runtime or of a library. Run "
    "`make install` and `make train` again; if it still fails, the reason names the operator or "
    "type to avoid in `build`.",
    "holdout_is_unseen": "`load` or `build` brings hold-out rows into training, or the table has "
    "nearly equal rows on both sides. Remove duplicates from the data; if several rows belong to "
    "one customer or device, name that column in `data.split.group`.",
    "holdout_is_complete": "The data have lost rows since training, or their values have changed. "
    "Restore the file or the snapshot, or run `make train` on the data as they are now.",
    "contract_is_versioned": "Clients may notice the change. Raise `version` in the configuration "
    "to the one in the reason and train again, or undo the change in `SPEC`.",
    "quality": "Look at the notebook and the report: more rows, better inputs or another estimator "
    "(`make new-model ESTIMATOR=…`) help most. Lower `threshold` only if the task allows it: its "
    "interval on the hold-out shows whether the shortfall is noise.",
    "beats_baseline": "The inputs do not clearly predict the target. Check that rows "
    "and labels belong together; then add inputs or rows. With few rows even a good model cannot "
    "be told from luck.",
    "calibration": "Wrap the estimator in `CalibratedClassifierCV`, as the [recipe for "
    "images](new-model.md#by-hand-images) does, or regularise it more.",
    "interval_coverage": "The hold-out differs from the training rows, mostly because time has "
    "passed or groups are new. Split in the same way as the model will be used (`data.split`), or "
    "train on more recent rows.",
    "worst_slice": "The reason names the slice. Look whether its labels are right and its rows are "
    "enough, and add inputs that matter there. If a lower quality on it is acceptable, say so with "
    "`slice_margin`.",
    "predictions_are_valid": "Some rows get NaN, an infinite value or probabilities that do not "
    "add up to 1. Mostly missing values are not filled: put an imputer before the estimator.",
    "deterministic": "Something random runs at prediction: dropout or batch normalisation in "
    "training mode, or a step that draws random numbers. Switch it off for predictions.",
    "column_order": "`load` encodes columns by their position in the table. Return them by name in "
    "a `Dataset`, and let the contract encode them.",
    "robustness": "The model has learned noise: regularise it (fewer leaves, more rows in a leaf, "
    "a larger penalty), or round inputs that are more exact than they are measured. Raise "
    "`sensitivity` if predictions may well change that fast.",
    "no_target_leakage": "Ask when the value of the named input is known. If only after the "
    "outcome, remove it from `SPEC`; if it is known before, add the gate to `skip`.",
    "parity": "The exported model computes something else. Trees: do not scale before them, and "
    "fill missing values; text: `lowercase=False`. Else serve the native model "
    '(`"serving": {"format": "native"}`).',
    "parity_at_edges": "Values next to a split point take another branch after the export: remove "
    "what scales or divides before the trees, or serve the native model.",
    "not_worse_than_champion": "If the reason says worse, keep the champion. If it says that there "
    "are too few rows, hold out more (`test_size`), collect more, or allow a larger `margin`.",
    "latency": "Use fewer or smaller trees, layers or features. If a slower model is worth it, "
    "raise `latency_ratio`; on a busy machine, run `make validate` again first.",
    "size": "Use fewer or shallower trees, or a smaller vocabulary. If the size is worth it, raise "
    "`size_ratio`.",
    "serves_alone": "The service imports a module or a library that its Bento does not contain. "
    "Add the file to application/inference/services/bentofile.yaml, or remove the import; the "
    "reason has the end of its output.",
}

_DEFAULTS = {  # in words, of keys that are null
    "measure": "`accuracy`, or `r2` of a quantity",
    "margin": "a quarter of what the champion gains over the baseline",
    "slice_margin": "half of what the model gains over the baseline",
}


@dataclass(frozen=True)
class Result:
    """The verdicts on a mutant, or on a model without a fault.

    Attributes:
        refusals: the verdicts that refuse, or the error that stopped the validation.
    """

    mutant: Mutant
    refusals: Sequence[Verdict]

    @property
    def as_expected(self) -> bool:
        """Whether the intended gate refuses; for a sound model, whether none does."""
        names = [verdict.gate for verdict in self.refusals]
        return self.mutant.gate in names if self.mutant.gate else not names

    @property
    def row(self) -> str:
        """Its row of the table."""
        meant = [verdict for verdict in self.refusals if verdict.gate == self.mutant.gate]
        others = [verdict for verdict in self.refusals if verdict not in meant]
        word = "refused" if meant else "**not refused**"
        also = [f"`{verdict.gate}`" for verdict in others]
        if not meant:
            also = [f"`{verdict.gate}`: {_plain(verdict)}" for verdict in others]
        reason = f"{word}: {_plain(meant[0])}" if meant else word
        return (
            f"| {self.mutant.name}: {self.mutant.fault} | `{self.mutant.gate}` | {reason} "
            f"| {', '.join(also) or '—'} |"
        )


def run_gates(zoo: Zoo, mutant: Mutant, measure: str | None = None) -> Result:
    """Run every gate on a mutant, perhaps under the rules of another measure."""
    try:
        verdicts = zoo.verdicts_by(measure, mutant) if measure else zoo.verdicts(mutant)
    except MlopsError as error:
        return Result(mutant, [Verdict("not judged", False, f"{type(error).__name__}: {error}")])
    return Result(mutant, [verdict for verdict in verdicts if not verdict.accepted])


def leak_table(found: Sequence[tuple[leaky_tables.Case, float]]) -> str:
    """The section on tables with leaks and their sound twins, with the share that is refused."""
    rows = [
        f"| {case.kind} | {case.description} | {'leak' if case.refused else 'sound'} "
        f"| {100 * share:.0f} % |"
        for case, share in found
    ]
    parts = [
        "## Leaks",
        f"Share of {leaky_tables.RUNS} seeds at which `no_target_leakage` refuses a table made in "
        "`tests/leaky_tables.py`; for copies, `holdout_is_unseen` after a random split. A strong "
        "input or pair is pointed out in the reason and accepted: see "
        "[decision 15](decisions/0015-leaks-in-grades.md).",
        "| kind | table | made as | refused |\n|---|---|---|---:|\n" + "\n".join(rows),
    ]
    return "\n\n".join(parts)


def render(
    sound: Sequence[Result],
    zoo: Sequence[Result],
    by_measure: Mapping[str, Sequence[Result]],
    measured: Sequence[tuple[Setting, Rates]],
    leaks: Sequence[tuple[leaky_tables.Case, float]] = (),
) -> str:
    """The text of docs/gates.md."""
    refused = sum(each.as_expected for each in zoo)
    rules = ValidationConfig()
    gates = [
        f"| `{name}` | {question} | {_keys(rules, name, keys)} |"
        for name, (question, keys) in GATES.items()
    ]
    fine = [f"- {each.mutant.name}: {_sound(each)}" for each in sound]
    runs = [
        f"| {setting.description} | {setting.rows} | {_margin(setting.margin)} "
        f"| {_rate(found.false_promotion, MAX_ERROR_RATE)} "
        f"| {_rate(found.false_better, MAX_ERROR_RATE)} "
        f"| {_rate(found.false_refusal, setting.refusals)} |"
        for setting, found in measured
    ]
    parts = [
        "# The gates of `make validate`",
        "Written by `make gates-report`. Every gate gives a verdict with its reason; one refusal "
        "keeps a candidate from becoming champion. Keys are those of `validation` in the model's "
        "configuration; a gate that is named in `skip` there is reported and does not refuse.",
        "| gate | checks | keys and defaults |\n|---|---|---|\n" + "\n".join(gates),
        "## If a gate refuses",
        "\n".join(f"- `{gate}`: {text}" for gate, text in ADVICE.items()),
        "## The mutant zoo",
        f"{refused} of {len(zoo)} packages with one fault each are refused by the gate that is "
        "meant to. They are trained, packaged and judged with the defaults above, on data made "
        "in `tests/template/zoo.py`; `serves_alone` is run for its own mutants and for those "
        "without a fault.",
        "| mutant | intended gate | verdict | other gates that refuse |\n|---|---|---|---|\n"
        + "\n".join(each.row for each in zoo),
        "Without a fault:",
        "\n".join(fine),
        "The calibration error of an overconfident classifier is at most 1 − accuracy: with a "
        f"tolerance of {rules.calibration_error:g}, `calibration` cannot refuse a classifier whose "
        f"accuracy is above {100 - 100 * rules.calibration_error:g} %. Lower the tolerance there.",
        "### By measure",
        "The same models, without skill or with one slice that always gets the same prediction, "
        "judged under each measure that `validation.measure` may name. A measure of ranks sees the "
        "order within a slice, not that all of its probabilities are too high.",
        "| measure | trained on shuffled targets: `beats_baseline` | constant: `beats_baseline` "
        "| constant slice: `worst_slice` | sound |\n|---|---|---|---|---|\n"
        + "\n".join(_measure_row(name, results) for name, results in by_measure.items()),
        leak_table(leaks),
        "## Equal challengers",
        f"Error rates of `not_worse_than_champion` over {RUNS} simulated challengers that are as "
        "good as the champion, and as many that are worse by exactly the margin; ¼ is the default, "
        "a quarter of what the champion gains over the baseline. In brackets: the rate that the "
        "design allows ([decision 11](decisions/0011-champion-against-challenger.md)). "
        "Probabilities are those of 1,000 rows, a tenth of them positive, with a ROC AUC of 0.86.",
        "| challengers | rows | margin | worse and accepted | equal and called better "
        "| equal and refused |\n|---|---:|---:|---:|---:|---:|\n" + "\n".join(runs),
    ]
    return "\n\n".join(parts) + "\n"


def main(arguments: list[str] | None = None) -> int:
    """Write the report; return 1 if a mutant or a leak passes, something sound is refused, or an
    error rate exceeds its bound."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--dry-run", action="store_true", help="print the text, write no file")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as folder:
        zoo = Zoo(Path(folder))
        every = [
            run_gates(zoo, each)
            for each in tqdm((*SOUND_MODELS, *MUTANTS), "packages", disable=None)
        ]
        by_measure = {
            name: [run_gates(zoo, each, name) for each in mutants]
            for spec, mutants in BY_MEASURE.items()
            for name in tqdm(names_of(spec), f"measures of {spec.name}", disable=None)
        }
    with ProcessPoolExecutor() as pool:
        measured = _map(pool, rates, SETTINGS, "challengers")
        leaks = _map(pool, leaky_tables.refusals, leaky_tables.CASES, "leaks")
    sound, mutants = every[: len(SOUND_MODELS)], every[len(SOUND_MODELS) :]
    text = render(sound, mutants, by_measure, measured, leaks)
    if options.dry_run:
        print(text)
    else:
        REPORT.write_text(text, encoding="utf-8")
    problems = [
        f"{each.mutant.name}: {_sound(each) if not each.mutant.gate else 'not refused'}"
        for each in every
        if not each.as_expected
    ]
    problems += [
        f"{case.description}: refused at {share:.0%} of the seeds"
        for case, share in leaks
        if share != case.refused
    ]
    problems += [
        f"{name}, {each.mutant.name}: {_word(each)}"
        for name, results in by_measure.items()
        for each in results
        if not each.as_expected
    ]
    problems += [problem for each in measured for problem in exceeded_bounds(*each)]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


def _map(
    pool: Executor, function: Callable[[Any], Any], items: Sequence[Any], title: str
) -> list[tuple[Any, Any]]:
    """Each item with its result."""
    results = tqdm(pool.map(function, items), title, len(items), disable=None)
    return list(zip(items, results))


def _measure_row(measure: str, results: Sequence[Result]) -> str:
    return f"| `{measure}` | {' | '.join(map(_word, results))} |"


def _word(result: Result) -> str:
    """Whether a mutant was refused by its gate, or a sound model accepted; exceptions in bold."""
    if result.mutant.gate:
        return "refused" if result.as_expected else "**not refused**"
    names = ", ".join(f"`{verdict.gate}`" for verdict in result.refusals)
    return f"**refused** by {names}" if names else "accepted"


def _margin(margin: float | None) -> str:
    return "¼" if margin is None else f"{margin:g}"


def _rate(found: float, bound: float) -> str:
    return f"{100 * found:.1f} % ({100 * bound:g} %)"


def _keys(rules: ValidationConfig, gate: str, keys: Sequence[str]) -> str:
    settings = [f"`{key}` {_value(key, getattr(rules, key))}" for key in keys]
    return ", ".join([*settings, *["`skip`"] * (gate in get_args(Gate))]) or "—"


def _value(key: str, value: object) -> str:
    return f"{value:g}" if isinstance(value, float | int) else _DEFAULTS.get(key, "none")


def _sound(each: Result) -> str:
    refusals = ", ".join(f"`{verdict.gate}`: {_plain(verdict)}" for verdict in each.refusals)
    return (
        f"**refused** by {refusals}" if refusals else f"accepted by every gate; {each.mutant.fault}"
    )


def _plain(verdict: Verdict) -> str:
    """A reason without details that vary between runs: folders, digests and times."""
    if verdict.gate == "latency":
        return f"more than {verdict.figures['limit']:g} times as long as the champion"
    reason = re.sub(r"(/[\w. -]+)+/(?=[\w.-]+)", "", verdict.reason)
    reason = re.sub(r": its digest is .*", "", reason)
    return reason.partition("\n")[0][:300].replace("|", "\\|")


if __name__ == "__main__":
    sys.exit(main())
