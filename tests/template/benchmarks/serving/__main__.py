"""`make benchmark`: serving against its alternatives, side by side in one run.

With all peers, it takes about half an hour and writes its part of docs/benchmarks/README.md and
serving.png; with fewer, it only prints. Peers are installed into .benchmarks/ and kept there.
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
from pathlib import Path

from tests.template.benchmarks.parts import REPORT, write_part
from tests.template.benchmarks.serving.contestants import BOUND, OURS, choose
from tests.template.benchmarks.serving.errors import BenchmarkError
from tests.template.benchmarks.serving.model import make_model
from tests.template.benchmarks.serving.plots import draw
from tests.template.benchmarks.serving.report import BATCHES, CURVE, render
from tests.template.benchmarks.serving.server import adopt_orphans
from tests.template.benchmarks.serving.targets import MAIN, Records
from tests.template.benchmarks.serving.turns import Record, measure
from tests.template.benchmarks.serving.wrk import find_wrk

FIGURE = REPORT.parent / "serving.png"


def main(arguments: list[str] | None = None) -> int:
    """Run the benchmark; returns 1 if our service cannot be measured, 2 if nothing can."""
    options = _parse(arguments)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda received, _: sys.exit(128 + received))
    try:
        return _run(options.peers, options.rounds, options.seconds)
    except BenchmarkError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


def _parse(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="tests.template.benchmarks.serving", description=__doc__)
    parser.add_argument(
        "--peers",
        default="all",
        help="all, none (ours, raw ASGI and FastAPI + ONNX only: quick), or names such as "
        '"fastapi mlserver" (default: all)',
    )
    parser.add_argument("--rounds", type=positive_number, help="rounds (5; with --peers none 3)")
    parser.add_argument(
        "--seconds", type=positive_number, help="duration of each load (3; with --peers none 2)"
    )
    options = parser.parse_args(arguments)
    quick = options.peers == "none"
    options.rounds = options.rounds or (3 if quick else 5)
    options.seconds = options.seconds or (2 if quick else 3)
    return options


def positive_number(text: str) -> int:
    """A number of rounds or seconds."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def pair_of(records: Records) -> list[Record]:
    """Our service and its bound, which are measured under all loads."""
    return [records[name] for name in (OURS, BOUND) if name in records]


def _run(peers: str, rounds: int, seconds: int) -> int:
    find_wrk()
    adopt_orphans()
    contestants = choose(peers)
    full = peers == "all"
    curves: Records = {}
    with tempfile.TemporaryDirectory() as folder:
        print("training and building the model ...", file=sys.stderr)
        served = make_model(Path(folder))
        records = measure(contestants, served, MAIN, rounds, seconds)
        if full and not any(each.failure for each in pair_of(records)):
            print("measuring batch sizes and numbers of connections ...", file=sys.stderr)
            pair = [each.contestant for each in pair_of(records)]
            scenarios = tuple(dict.fromkeys((*BATCHES, *CURVE)))
            curves = measure(pair, served, scenarios, rounds, seconds)
    report = render(records, curves, rounds, seconds)
    print(report)
    if not full:
        return 0 if records[OURS].complete else 1
    failures = [each.failure for each in (*pair_of(records), *pair_of(curves)) if each.failure]
    if failures:
        print(f"error: no report was written: {'; '.join(failures)}", file=sys.stderr)
        return 1
    write_part("serving", report)
    draw(records, curves, FIGURE)
    return 0


if __name__ == "__main__":
    sys.exit(main())
