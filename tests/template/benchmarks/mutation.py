"""`make mutation`: small changes in the code of the gates, each of which must make a test fail.

A mutant that no test detects is either harmless, for a reason in docs/mutation.md, or an error: a
gap in the tests. mutmut works in a copy; only that page is changed. Its figures are replaced, its
reasons are kept, since they are written by hand.

References:
    R. A. DeMillo, R. J. Lipton and F. G. Sayward, "Hints on test data selection: help for the
    practicing programmer", 1978.
"""

from __future__ import annotations

import argparse
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from pathlib import Path

from tqdm import tqdm

from shared.paths import ROOT

PAGE = ROOT / "docs/mutation.md"
LOWEST = 0.9
UNEXPLAINED = "**not explained**"
INSTALL = "bash scripts/setup/install.sh mutation"
_NOTICED = ("killed", "timeout", "segfault")
_INTRODUCTION = """\
# Mutation testing of the gates

Written by `make mutation` with mutmut. Each mutant is one small change in the code of a gate: `<`
for `<=`, 2 for 1, `and` for `or`, an argument left out. A test of that code must fail for it.
{mutants:,} mutants took {minutes} on {cores} cores.

{table}

A mutant is noticed if a test fails or times out. mutmut changes functions only; constants at module
level are covered by tests of each gate at its limit, by the simulations of equal challengers, and
by the mutant zoo.

## Survivors

No survivor makes a gate accept what it must refuse: each is equivalent to the code, or differs in
undocumented behaviour. The reasons are written here by hand and kept by `make mutation`, which
fails if a survivor has no reason, or if fewer than {lowest:.0%} of the mutants are noticed.

"""

_SIMULATIONS = (  # slow, and other tests detect the same mutants
    "error_rate_over_many_challengers",
    "power_of_four_in_five",
    "pass_one_time_in_twenty",
    "rarely_flagged",
    "five_of_a_hundred_cases",
)


@dataclass(frozen=True)
class Part:
    """Modules that are tested by their own unit tests only, which is fast."""

    modules: tuple[str, ...]

    @property
    def settings(self) -> str:
        """Settings of mutmut for setup.cfg."""
        settings = {
            "source_paths": ["domain", "application", "shared"],
            "only_mutate": [f"{module}.py" for module in self.modules],
            "also_copy": ["infrastructure", "conftest.py"],
            "pytest_add_cli_args_test_selection": [
                f"tests/unit/{folder}/test_{name}.py"
                for folder, _, name in (module.rpartition("/") for module in self.modules)
            ],
            "pytest_add_cli_args": ["-k", "not " + " and not ".join(_SIMULATIONS)],
        }
        lines = [f"{name} =\n    " + "\n    ".join(values) for name, values in settings.items()]
        return "[mutmut]\n" + "\n".join(lines) + "\n"


PARTS = (
    Part(
        (
            *("domain/gates/behaviour", "domain/gates/champion", "domain/gates/data"),
            *("domain/gates/performance", "domain/gates/uncertainty", "domain/gates/verdict"),
            *("domain/evaluation/comparison", "domain/evaluation/calibration"),
            *("domain/evaluation/slices", "domain/evaluation/robustness"),
            *("domain/evaluation/leakage", "domain/evaluation/input_skill"),
            *("domain/evaluation/near_duplicates", "domain/evaluation/contract_change"),
        )
    ),
    Part(("application/validation/judgement", "application/validation/validate")),
)


@dataclass(frozen=True)
class Mutant:
    """A mutant and its result.

    Attributes:
        name: the name in mutmut, ``domain.gates.performance.x_quality__mutmut_3``.
        status: ``killed``, ``survived``, ``no tests``, ``timeout`` or another status of mutmut.
    """

    name: str
    status: str

    @property
    def module(self) -> str:
        """The module that contains it."""
        return self.name.rpartition(".")[0]


@dataclass(frozen=True)
class Survivor:
    """A mutant that no test detects.

    Attributes:
        before: the original lines.
        after: the changed lines.
        reason: why it is harmless; None if unknown.
    """

    mutant: Mutant
    before: str
    after: str
    reason: str | None


def copy_tree(folder: Path) -> None:
    """Copy the files that git would commit, so that this clone does not change."""
    listed = subprocess.run(
        ["git", "ls-files", "-coz", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).is_file():  # removed files are still listed
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)


def mutmut(folder: Path, *arguments: str) -> str:
    """The output of a command of mutmut.

    Raises:
        RuntimeError: it failed.
    """
    command = [sys.executable, "-m", "mutmut", *arguments]
    done = subprocess.run(command, cwd=folder, check=False, capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{done.stdout}{done.stderr}")
    return done.stdout


def mutants_of(results: str) -> list[Mutant]:
    """Mutants from ``mutmut results --all true``."""
    return [Mutant(*found) for found in re.findall(r"^ +(\S+): (.+)$", results, re.MULTILINE)]


def known_reasons(page: str) -> dict[tuple[str, str], str]:
    """Reasons why survivors are harmless, by module and changed code; maintained in the page."""
    reasons = {}
    for section in page.split("\n### ")[1:]:
        module, _, rest = section.partition("\n")
        for code, why in re.findall(r"^\| `.*` \| (`.*`) \| (.+) \|$", rest, re.MULTILINE):
            if why != UNEXPLAINED:
                reasons[module, code] = why
    return reasons


def survivor(mutant: Mutant, shown: str, reasons: Mapping[tuple[str, str], str]) -> Survivor:
    """The changed code of a mutant, from ``mutmut show``."""
    lines = [line for line in shown.splitlines() if not line.startswith(("---", "+++"))]
    before, after = (
        "\n".join(line[1:].strip() for line in lines if line.startswith(sign)) for sign in "-+"
    )
    return Survivor(mutant, before, after, reasons.get((mutant.module, _code(after))))


def table_of(mutants: list[Mutant]) -> str:
    """A row per module, and a total."""
    groups = {module: [m for m in mutants if m.module == module] for module in _modules(mutants)}
    lines = ["| module | mutants | killed | timeout | not covered | survived | noticed |"]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for name, group in {**groups, "**all**": mutants}.items():
        count = Counter(mutant.status for mutant in group)
        other = len(group) - count["killed"] - count["timeout"] - count["no tests"]
        lines.append(
            f"| {name} | {len(group)} | {count['killed']} | {count['timeout']} "
            f"| {count['no tests']} | {other} | {score(group):.1%} |"
        )
    return "\n".join(lines)


def score(mutants: list[Mutant]) -> float:
    """Share of the mutants that are detected."""
    return sum(mutant.status in _NOTICED for mutant in mutants) / len(mutants)


def _modules(mutants: list[Mutant]) -> list[str]:
    return list(dict.fromkeys(mutant.module for mutant in mutants))


def survivors_of(survivors: list[Survivor]) -> str:
    """A table of the survivors per module."""
    parts = []
    for module in _modules([each.mutant for each in survivors]):
        rows = [
            f"| {_code(each.before)} | {_code(each.after)} | {each.reason or UNEXPLAINED} |"
            for each in survivors
            if each.mutant.module == module
        ]
        head = f"### {module}\n\n| code | mutant | why it does no harm |\n|---|---|---|\n"
        parts.append(head + "\n".join(rows))
    return "\n\n".join(parts)


def _code(text: str) -> str:
    return "`" + " ".join(text.split()).replace("|", "\\|") + "`" if text else ""


def main(arguments: list[str] | None = None) -> int:
    """Run mutmut and write the page; returns 1 if too many mutants survive, or one without a known
    reason."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="default: all cores")
    options = parser.parse_args(arguments)
    if find_spec("mutmut") is None:
        print(f"error: mutmut is not installed: {INSTALL}", file=sys.stderr)
        return 1
    start = time.perf_counter()
    reasons = known_reasons(PAGE.read_text(encoding="utf-8"))
    mutants: list[Mutant] = []
    survivors: list[Survivor] = []
    for part in PARTS:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            copy_tree(folder)
            (folder / "setup.cfg").write_text(part.settings, encoding="utf-8")
            run = [sys.executable, "-m", "mutmut", "run", "--max-children", str(options.jobs)]
            if subprocess.run(run, cwd=folder, check=False).returncode:
                return 1
            found = mutants_of(mutmut(folder, "results", "--all", "true"))
            mutants += found
            survivors += [
                survivor(mutant, mutmut(folder, "show", mutant.name), reasons)
                for mutant in tqdm([m for m in found if m.status not in _NOTICED], "survivors")
            ]
    table = table_of(mutants)
    introduction = _INTRODUCTION.format(
        mutants=len(mutants),
        minutes=str(timedelta(seconds=round(time.perf_counter() - start))),
        cores=options.jobs,
        table=table,
        lowest=LOWEST,
    )
    PAGE.write_text(introduction + survivors_of(survivors) + "\n", encoding="utf-8")
    print(table)
    unexplained = [each for each in survivors if each.reason is None]
    for each in unexplained:
        print(
            f"error: {each.mutant.name} survives\n- {each.before}\n+ {each.after}", file=sys.stderr
        )
    return int(bool(unexplained) or score(mutants) < LOWEST)


if __name__ == "__main__":
    sys.exit(main())
