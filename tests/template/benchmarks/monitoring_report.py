"""`make monitoring-report`: false alarms and delays of drift detection, for docs/monitoring.md.

False alarms: for each model, training rows and a month of requests are drawn from one table, and
every look counts. Delays: a variable shifts after some thousand rows. The same windows go through
the population stability index and through Evidently's defaults, in an environment of its own.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from tqdm import tqdm

from domain import catalog
from domain.contract import Audio, Text
from domain.monitoring.drift import population_stability_index, watched_profiles
from domain.monitoring.evidence import LEVEL, DriftEvidence, alarms
from domain.monitoring.profile import Profile, profile_inputs
from shared.paths import ROOT
from tests.template.benchmarks.models_report import write_table

PAGE, PLOT = ROOT / "docs/monitoring.md", ROOT / "docs/monitoring-delays.png"
EVIDENTLY = ("evidently==0.7.23", "pandas<3", "pyarrow")
RUNS = 100
MONTH_ROWS, LOOK_ROWS = 30_000, 500
WINDOW = 1_000
BEFORE = 5_000  # rows before a shift
AFTER = 10_000
REFERENCE_ROWS = 2_000
_EVIDENTLY = """
import json, sys
from pathlib import Path
import pandas as pd
from evidently import Report
from evidently.presets import DataDriftPreset

found = []
for folder in sorted(Path(sys.argv[1]).iterdir()):
    reference, current = (pd.read_parquet(folder / f"{part}.parquet") for part in ("r", "c"))
    metrics = Report([DataDriftPreset()]).run(current, reference).dict()["metrics"]
    drifted = next(m for m in metrics if m["metric_name"].startswith("DriftedColumnsCount"))
    found.append(int(drifted["value"]["count"]))
print(json.dumps(found))
"""

Draw = Callable[[np.random.Generator, int], np.ndarray]
"""Draws rows: a number, one of five words by its code, and perhaps the predicted class."""


def draw_rows(
    rng: np.random.Generator,
    rows: int,
    mean: float = 0.0,
    deviation: float = 1.0,
    missing: float = 0.0,
    words: Sequence[float] = (0.4, 0.3, 0.15, 0.1, 0.05),
) -> np.ndarray:
    """A normal number, some of them missing, and words with these shares."""
    number = rng.normal(mean, deviation, rows)
    number[rng.random(rows) < missing] = np.nan
    return np.column_stack([number, rng.choice(len(words), rows, p=words)])


def draw_classes(rng: np.random.Generator, rows: int, positive: float = 0.3) -> np.ndarray:
    """As above, without missing ones, and a class that is predicted from the number.

    Args:
        positive: share of the positive class, whose number is 2 σ higher.
    """
    number = rng.normal(2 * (rng.random(rows) < positive), 1.0)
    return np.column_stack([number, draw_rows(rng, rows)[:, 1], number > 1])


@dataclass(frozen=True)
class Shift:
    """What changes, and how the rows are drawn then and before."""

    name: str
    draw: Draw
    before: Draw = draw_rows


SHIFTS = (
    Shift("mean by 0.25 σ", lambda rng, n: draw_rows(rng, n, mean=0.25)),
    Shift("mean by 0.5 σ", lambda rng, n: draw_rows(rng, n, mean=0.5)),
    Shift("mean by 1 σ", lambda rng, n: draw_rows(rng, n, mean=1.0)),
    Shift("deviation by half", lambda rng, n: draw_rows(rng, n, deviation=1.5)),
    Shift("20 % missing", lambda rng, n: draw_rows(rng, n, missing=0.2)),
    Shift(
        "a word from 15 % to 25 %",
        lambda rng, n: draw_rows(rng, n, words=(0.34, 0.26, 0.25, 0.1, 0.05)),
    ),
    Shift(
        "a class from 30 % to 50 %",
        lambda rng, n: draw_classes(rng, n, positive=0.5),
        draw_classes,
    ),
)


def first_alarm(evidence: DriftEvidence, rows: np.ndarray, step: int = LOOK_ROWS) -> int | None:
    """After how many rows there is an alarm, looking every `step` rows; None if there is none."""
    for start in range(0, len(rows), step):
        evidence.add(rows[start : start + step])
        found = evidence.logs()
        if any(alarms(each, LEVEL / len(found)) for each in found.values()):
            return start + step
    return None


def highest_indices(profiles: Mapping[str, tuple[int, Profile]], rows: np.ndarray) -> np.ndarray:
    """The highest population stability index of any variable in each window."""
    return np.array(
        [
            max(
                population_stability_index(profile, window[:, column])
                for column, profile in profiles.values()
            )
            for window in np.split(rows, len(rows) // WINDOW)
        ]
    )


def false_alarms(name: str, runs: int) -> str:
    """The row of a model: months of `runs` with an alarm, and with an index above 0.25."""
    model = catalog.get(name)
    spec, dataset = model.SPEC, model.load()
    encoded = dataset.encoded(spec)
    rng = np.random.default_rng(0)
    ours = index = 0
    for _ in tqdm(range(runs), name, leave=False, disable=None):
        training = encoded[rng.integers(len(encoded), size=len(encoded))]
        profiles = watched_profiles(spec, profile_inputs(spec, training))
        month = spec.monitored(encoded[rng.integers(len(encoded), size=MONTH_ROWS)])
        ours += first_alarm(DriftEvidence(profiles), month) is not None
        index += bool((highest_indices(profiles, month) > 0.1).any())
    return (
        f"| {name} | {len(encoded):,} | {len(profiles)} | {ours / runs:.0%} | {index / runs:.0%} |"
    )


@dataclass(frozen=True)
class Delays:
    """What was measured of a shift.

    Attributes:
        name: of the shift.
        rows: number of rows until the alarm in each run, at most `AFTER` + 1.
        index: share of the runs with a population stability index above 0.25.
        windows: folders with windows for Evidently.
    """

    name: str
    rows: np.ndarray
    index: float
    windows: list[Path]

    @property
    def cells(self) -> str:
        """The first cells of its row."""
        power, median = np.mean(self.rows <= WINDOW), np.median(self.rows)
        delay = "none" if median > AFTER else f"{median:,.0f}"
        return f"| {self.name} | {delay} | {power:.0%} | {self.index:.0%} |"


def delays(shift: Shift, runs: int, folder: Path) -> Delays:
    """Measure a shift; `folder` gets the windows for Evidently."""
    rng = np.random.default_rng(1)
    found, index, windows = [], [], []
    for run in range(runs):
        training = shift.before(rng, REFERENCE_ROWS)
        profiles = {
            "number": (0, Profile.of(training[:, 0], with_missing=True)),
            "word": (1, Profile.of_codes(training[:, 1], 5)),
        }
        if training.shape[1] > 2:
            profiles["prediction"] = (2, Profile.of_codes(training[:, 2], 2))
        evidence = DriftEvidence(profiles)
        evidence.add(shift.before(rng, BEFORE))
        shifted = shift.draw(rng, AFTER)
        found.append(first_alarm(evidence, shifted, 100) or AFTER + 1)
        index.append(highest_indices(profiles, shifted[:WINDOW])[0] > 0.25)
        if run < runs // 5:
            windows.append(folder / f"{len(list(folder.iterdir())):04}")
            windows[-1].mkdir()
            for part, rows in (("r", training), ("c", shifted[:WINDOW])):
                frame(rows).to_parquet(windows[-1] / f"{part}.parquet")
    return Delays(shift.name, np.array(found), float(np.mean(index)), windows)


def draw_delays(measured: Sequence[Delays], path: Path) -> None:
    """Plot the share of the runs with an alarm by the number of rows after a shift."""
    figure = Figure(figsize=(7, 4), layout="constrained")
    axes = figure.add_subplot()
    for each in measured:
        steps = np.unique(np.append(each.rows[each.rows <= AFTER], [100, AFTER]))
        axes.step(
            steps, [(each.rows <= step).mean() for step in steps], where="post", label=each.name
        )
    axes.set(xscale="log", xlim=(100, AFTER), ylim=(-0.02, 1.02))
    axes.set(xlabel="rows since the shift", ylabel="share of the runs with an alarm")
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=120)


def frame(rows: np.ndarray) -> pd.DataFrame:
    """Rows as a table, with words."""
    words = [f"word {code:.0f}" for code in rows[:, 1]]
    classes = {"prediction": rows[:, 2].astype(bool).astype(str)} if rows.shape[1] > 2 else {}
    return pd.DataFrame({"number": rows[:, 0], "word": words, **classes})


def by_evidently(folder: Path) -> list[bool]:
    """Whether Evidently finds a column that drifts, in each folder of windows."""
    return [count > 0 for count in json.loads(in_environment(EVIDENTLY, _EVIDENTLY, folder))]


def in_environment(requirements: Sequence[str], script: str, folder: Path) -> str:
    """The last line that a script about a folder prints, in an environment of its own, which is
    made next to the folder."""
    place = folder.parent / "environment"
    venv.create(place, with_pip=True)
    python = place / "bin/python"
    subprocess.run([python, "-m", "pip", "install", "--quiet", *requirements], check=True)
    file = folder.parent / "script.py"
    file.write_text(script, encoding="utf-8")
    done = subprocess.run(
        [python, file, folder], check=True, capture_output=True, text=True, cwd=folder.parent
    )
    return done.stdout.splitlines()[-1]


def main(arguments: list[str] | None = None) -> int:
    """Measure, and write both tables and the plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=RUNS, help=f"default {RUNS}; less only prints")
    runs = parser.parse_args(arguments).runs
    names = [name for name in catalog.names() if _is_table(name)]
    rows = [false_alarms(name, runs) for name in tqdm(names, "false alarms", disable=None)]
    false = (
        "| model | rows | variables | alarm | index above 0.1 |\n|---|---|---|---|---|\n"
        + "\n".join(rows)
        + "\n"
    )
    none = Shift("none", draw_rows)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "windows"
        folder.mkdir()
        measured = [
            delays(shift, runs, folder) for shift in tqdm((none, *SHIFTS), "delays", disable=None)
        ]
        drifting = by_evidently(folder)
    lines, start = [], 0
    for each in measured:
        part = drifting[start : start + len(each.windows)]
        start += len(each.windows)
        lines.append(f"{each.cells} {np.mean(part):.0%} |")
    delay = (
        "| shift | rows to an alarm | alarm in 1,000 rows | index above 0.25 | Evidently |\n"
        "|---|---|---|---|---|\n" + "\n".join(lines) + "\n"
    )
    print(false, delay, sep="\n")
    if runs >= RUNS:
        write_table(PAGE, false, "false-alarms")
        write_table(PAGE, delay, "delays")
        draw_delays(measured, PLOT)
    return 0


def _is_table(name: str) -> bool:
    model = catalog.get(name)
    return bool(model.SPEC.monitored_names) and not isinstance(model.SPEC.inputs[0], Text | Audio)


if __name__ == "__main__":
    sys.exit(main())
