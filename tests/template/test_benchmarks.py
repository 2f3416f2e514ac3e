"""The benchmark of serving says what was measured, and leaves no process behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from shared.paths import ROOT
from tests.template.benchmarks.measure import Measured
from tests.template.benchmarks.parts import replace_part
from tests.template.benchmarks.serving.contestants import (
    BOUND,
    CONTESTANTS,
    OURS,
    TWO_WORKERS,
    choose,
)
from tests.template.benchmarks.serving.environments import pinned
from tests.template.benchmarks.serving.errors import BenchmarkError, ContestantError
from tests.template.benchmarks.serving.plots import draw
from tests.template.benchmarks.serving.report import BATCHES, CURVE, render
from tests.template.benchmarks.serving.targets import MAIN, Verdict, verdicts
from tests.template.benchmarks.serving.turns import Record, Sample, Turn, count_overflows
from tests.template.benchmarks.serving.wrk import Load, parse

FIGURES = {
    "requests": 9000,
    "microseconds": 3_000_000,
    "p50": 500,
    "p99": 2000,
    **dict.fromkeys(("status", "connect", "read", "write", "timeout"), 0),
}
TITLES = {each.name: each for each in CONTESTANTS}
SCENARIOS = (*MAIN, *BATCHES, *CURVE)


def record(
    name: str, *rates: float, cores: float = 1.0, server: float = 1.0, others: float = 0.0
) -> Record:
    """What would be kept of a contestant with these requests a second in as many rounds.

    Args:
        cores, server, others: as in `Sample`.
    """
    turns = []
    for rate in rates:
        load = Load(int(rate), 1.0, 1 / rate, 2 / rate, 0.25)
        samples = dict.fromkeys(SCENARIOS, Sample(load, server, cores, others))
        logged = 99 if name == OURS else None
        turns.append(Turn(samples, 2.0, 100e6, 200_000_000, 100, logged, 1))
    return Record(TITLES[name], turns)


def records(**rates: float) -> dict[str, Record]:
    """Records of contestants whose names have `_` for `-`, the same in five rounds."""
    names = {name.replace("_", "-"): rate for name, rate in rates.items()}
    return {name: record(name, *[rate] * 5) for name, rate in names.items()}


def verdict_on(words: str, told: dict[str, Record]) -> Verdict:
    """The first verdict on a target with these words."""
    return next(each for each in verdicts(told) if words in each.target)


def test_the_figures_of_wrk_are_those_of_its_last_line() -> None:
    load = parse(f"Running 3s test\n  1 threads\n\n{json.dumps(FIGURES)}\n", 0.5)
    assert load == Load(9000, 3.0, 0.0005, 0.002, 0.5)
    assert load.per_second == 3000


@pytest.mark.parametrize("kind", ["status", "connect", "read", "write", "timeout"])
def test_a_load_with_errors_is_no_measurement(kind: str) -> None:
    with pytest.raises(ContestantError, match=f"7 × {kind}"):
        parse(json.dumps({**FIGURES, kind: 7}), 0.0)


@pytest.mark.parametrize(
    "output", ["", "unable to connect", json.dumps({**FIGURES, "requests": 0})]
)
def test_a_load_without_answers_is_no_measurement(output: str) -> None:
    with pytest.raises(ContestantError):
        parse(output, 0.0)


def test_ratios_are_taken_round_by_round() -> None:
    fast, slow = Measured([20.0, 2.0, 10.0]), Measured([10.0, 1.0, 10.0])
    assert fast.times(slow).figures == [2.0, 2.0, 1.0]
    assert fast.ratio(slow) == "2.00"


def test_a_target_is_met_or_not_by_the_median_of_its_ratio() -> None:
    told = records(ours=700, raw=1000, fastapi_onnx=400)
    assert verdict_on("0.6 × raw", told).met is True
    single = verdict_on("single rows: ≥ 2 × FastAPI + ONNX", records(ours=700, fastapi_onnx=400))
    assert (single.met, single.measured) == (False, "1.75 (1.75 to 1.75) ×")
    assert "**not met**" in single.row


def test_a_target_without_its_contestant_is_not_measured() -> None:
    told = records(ours=700, raw=1000)
    assert verdict_on("tutorial", told).met is None
    told[BOUND].failure = "it ended"
    assert verdict_on("0.6 × raw", told).row.endswith("| — | not measured |")


def test_monitoring_is_what_throughput_lacks_with_it() -> None:
    verdict = verdict_on("monitoring", records(ours=800, ours_unmonitored=1000))
    assert (verdict.met, verdict.measured) == (False, "single rows 20 %, 100 rows 20 %")


def test_two_workers_on_full_cores_are_judged_by_the_cpu_time_of_a_request() -> None:
    told = {OURS: record(OURS, 1000.0), TWO_WORKERS: record(TWO_WORKERS, 1200.0)}
    assert verdict_on("2 workers", told).met is False
    full = record(TWO_WORKERS, 1200.0, cores=psutil.cpu_count() or 1, server=1.2)
    verdict = verdict_on("2 workers", {**told, TWO_WORKERS: full})
    assert verdict.met is True
    assert "by CPU seconds for a request, 2.00 ×" in verdict.measured


def test_the_report_names_who_was_not_measured_and_why() -> None:
    told = records(ours=700, raw=1000)
    told["ray"] = Record(TITLES["ray"], failure="cannot be installed:\n no such version")
    text = render(told, {}, 5, 3)
    assert "- Ray Serve + ONNX: cannot be installed: no such version" in text
    assert "99.0 % of 500 rows" in text
    assert "### Connections" not in text


def test_the_report_says_that_the_machine_was_busy() -> None:
    assert "**The machine was busy" not in render(records(ours=700), {}, 1, 1)
    assert "**The machine was busy" in render({OURS: record(OURS, 700.0, others=0.5)}, {}, 1, 1)


def test_a_full_report_has_the_sweep_the_curve_and_a_small_figure(tmp_path: Path) -> None:
    told = records(ours=700, raw=1000)
    text = render(told, told, 5, 3)
    assert "| 10,000 | 7,000,000 | 10,000,000 | 0.70 (0.70 to 0.70) |" in text
    assert "| 64 | 700 | 1.43 | 2.86 | 1,000 | 1 | 2 |" in text
    draw(told, told, tmp_path / "serving.png")
    assert 10_000 < (tmp_path / "serving.png").stat().st_size < 200_000


def test_a_part_of_the_report_is_replaced_and_the_others_stay() -> None:
    report = replace_part("", "training", "## Training\n\n1 s")
    report = replace_part(report, "serving", "## Serving\n\n2 s")
    report = replace_part(report, "serving", r"## Serving \1")
    assert report.index("## Serving \\1") < report.index("## Training\n\n1 s")
    assert "2 s" not in report
    assert replace_part(report, "training", "## Training\n\n1 s") == report


def test_peers_are_chosen_by_name_or_its_first_part() -> None:
    of_the_project = [each.name for each in CONTESTANTS if not each.requirements]
    assert {OURS, BOUND} < set(of_the_project)
    quick = [each.name for each in choose("none")]
    assert set(quick) == {*of_the_project, "fastapi-onnx", "fastapi-onnx-typed"}
    chosen = {each.name for each in choose("mlserver fastapi")} - set(quick)
    assert chosen == {"mlserver", "fastapi-sklearn"}
    assert choose("all") == list(CONTESTANTS)
    with pytest.raises(BenchmarkError, match="no peer fast; there are: tutorial"):
        choose("fast")


def test_peers_have_the_versions_of_this_project_where_none_is_told() -> None:
    bare, told = pinned(["numpy", "litserve==0.2.19"])
    assert bare.startswith("numpy==") and told == "litserve==0.2.19"


def test_overflows_of_the_log_are_counted_over_all_labels() -> None:
    page = """\
ml_prediction_errors_total{error_type="log_overflow",version="1"} 3.0
ml_prediction_errors_total{error_type="log_overflow",version="2"} 4.0
ml_prediction_errors_total{error_type="invalid_input",version="1"} 5.0
"""
    assert count_overflows(page) == 7


_ESCAPING = """
import subprocess, sys
sleep = "import time; time.sleep(600)"
start = f"import subprocess, sys; print(subprocess.Popen([sys.executable, '-c', {sleep!r}], " \\
    "start_new_session=True).pid, flush=True)"
subprocess.run([sys.executable, "-c", start], check=True)
from http.server import HTTPServer, SimpleHTTPRequestHandler
HTTPServer(("127.0.0.1", int(sys.argv[1])), SimpleHTTPRequestHandler).serve_forever()
"""
_RUN = """
import os, sys
from pathlib import Path
from tests.template.benchmarks.serving.server import adopt_orphans, run_server
from tests.served import free_port
adopt_orphans()
folder, port = Path(sys.argv[1]), free_port()
with run_server([sys.executable, str(folder / "server.py"), str(port)], os.environ, folder, port, "/"):
    print(int((folder / "server.log").read_text().split()[0]))
    raise KeyboardInterrupt
"""


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux only")
def test_no_process_of_a_server_survives_an_interrupt(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text(_ESCAPING, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-c", _RUN, str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "KeyboardInterrupt" in done.stderr
    assert not psutil.pid_exists(int(done.stdout)), done.stderr
