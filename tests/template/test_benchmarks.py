"""The benchmarks report their measurements, and leave no process behind."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pandas as pd
import psutil
import pytest

from shared.paths import ROOT
from tests.served import Home
from tests.template.benchmarks.data_report import Comparison, Cost, plain_columns, row, run
from tests.template.benchmarks.measure import Measured
from tests.template.benchmarks.monitoring_report import (
    Shift,
    delays,
    draw_classes,
    draw_rows,
)
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
    """The record of a contestant with these requests per second, one value per round.

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
    """Records of five equal rounds, by contestant, with `_` for `-` in names."""
    names = {name.replace("_", "-"): rate for name, rate in rates.items()}
    return {name: record(name, *[rate] * 5) for name, rate in names.items()}


def verdict_on(words: str, measured: dict[str, Record]) -> Verdict:
    """The first verdict on a target with these words."""
    return next(each for each in verdicts(measured) if words in each.target)


def test_the_figures_of_wrk_are_read_from_its_last_line() -> None:
    load = parse(f"Running 3s test\n  1 threads\n\n{json.dumps(FIGURES)}\n", 0.5)
    assert load == Load(9000, 3.0, 0.0005, 0.002, 0.5)
    assert load.per_second == 3000


@pytest.mark.parametrize("kind", ["status", "connect", "read", "write", "timeout"])
def test_a_load_with_errors_is_refused(kind: str) -> None:
    with pytest.raises(ContestantError, match=f"7 × {kind}"):
        parse(json.dumps({**FIGURES, kind: 7}), 0.0)


@pytest.mark.parametrize(
    "output", ["", "unable to connect", json.dumps({**FIGURES, "requests": 0})]
)
def test_a_load_without_responses_is_refused(output: str) -> None:
    with pytest.raises(ContestantError):
        parse(output, 0.0)


def test_ratios_are_computed_round_by_round() -> None:
    fast, slow = Measured([20.0, 2.0, 10.0]), Measured([10.0, 1.0, 10.0])
    assert fast.times(slow).figures == [2.0, 2.0, 1.0]
    assert fast.ratio(slow) == "2.00"


def test_the_median_ratio_decides_whether_a_target_is_met() -> None:
    measured = records(ours=700, raw=1000, fastapi_onnx=400)
    assert verdict_on("0.6 × raw", measured).met is True
    single = verdict_on("single rows: ≥ 2 × FastAPI + ONNX", records(ours=700, fastapi_onnx=400))
    assert (single.met, single.measured) == (False, "1.75 (1.75 to 1.75) ×")
    assert "**not met**" in single.row


def test_a_target_without_its_contestant_is_not_measured() -> None:
    measured = records(ours=700, raw=1000)
    assert verdict_on("tutorial", measured).met is None
    measured[BOUND].failure = "it ended"
    assert verdict_on("0.6 × raw", measured).row.endswith("| — | not measured |")


def test_the_cost_of_monitoring_is_the_loss_of_throughput() -> None:
    verdict = verdict_on("monitoring", records(ours=800, ours_unmonitored=1000))
    assert (verdict.met, verdict.measured) == (False, "single rows 20 %, 100 rows 20 %")


def test_two_workers_on_full_cores_are_judged_by_the_cpu_time_of_a_request() -> None:
    measured = {OURS: record(OURS, 1000.0), TWO_WORKERS: record(TWO_WORKERS, 1200.0)}
    assert verdict_on("2 workers", measured).met is False
    full = record(TWO_WORKERS, 1200.0, cores=psutil.cpu_count() or 1, server=1.2)
    verdict = verdict_on("2 workers", {**measured, TWO_WORKERS: full})
    assert verdict.met is True
    assert "by CPU seconds for a request, 2.00 ×" in verdict.measured


def test_the_report_names_unmeasured_contestants_with_the_reason() -> None:
    measured = records(ours=700, raw=1000)
    measured["ray"] = Record(TITLES["ray"], failure="cannot be installed:\n no such version")
    text = render(measured, {}, 5, 3)
    assert "- Ray Serve + ONNX: cannot be installed: no such version" in text
    assert "99.0 % of 500 predicted rows" in text
    assert "### Connections" not in text


def test_the_report_warns_of_a_busy_machine() -> None:
    assert "**The machine was busy" not in render(records(ours=700), {}, 1, 1)
    assert "**The machine was busy" in render({OURS: record(OURS, 700.0, others=0.5)}, {}, 1, 1)


def test_a_full_report_has_the_sweep_the_curve_and_a_small_figure(tmp_path: Path) -> None:
    measured = records(ours=700, raw=1000)
    text = render(measured, measured, 5, 3)
    assert "| 10,000 | 7,000,000 | 10,000,000 | 0.70 (0.70 to 0.70) |" in text
    assert "| 64 | 700 | 1.43 | 2.86 | 1,000 | 1 | 2 |" in text
    draw(measured, measured, tmp_path / "serving.png")
    assert 10_000 < (tmp_path / "serving.png").stat().st_size < 200_000


def test_a_part_of_the_report_is_replaced_and_the_others_are_kept() -> None:
    report = replace_part("", "training", "## Training\n\n1 s")
    report = replace_part(report, "serving", "## Serving\n\n2 s")
    report = replace_part(report, "serving", r"## Serving \1")
    assert report.index("## Serving \\1") < report.index("## Training\n\n1 s")
    assert "2 s" not in report
    assert replace_part(report, "training", "## Training\n\n1 s") == report


def test_peers_are_chosen_by_name_or_prefix() -> None:
    of_the_project = [each.name for each in CONTESTANTS if not each.requirements]
    assert {OURS, BOUND} < set(of_the_project)
    quick = [each.name for each in choose("none")]
    assert set(quick) == {*of_the_project, "fastapi-onnx", "fastapi-onnx-typed"}
    chosen = {each.name for each in choose("mlserver fastapi")} - set(quick)
    assert chosen == {"mlserver", "fastapi-sklearn"}
    assert choose("all") == list(CONTESTANTS)
    with pytest.raises(BenchmarkError, match="unknown peer fast: use tutorial"):
        choose("fast")


def test_peers_without_a_version_get_that_of_this_project() -> None:
    bare, pinned_already = pinned(["numpy", "litserve==0.2.19"])
    assert bare.startswith("numpy==") and pinned_already == "litserve==0.2.19"


def test_overflows_of_the_log_are_summed_over_all_labels() -> None:
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


def test_plain_boosting_gets_numbers_booleans_and_words_that_are_few() -> None:
    table = pd.DataFrame(
        {
            "size": range(400),
            "new": [True, False] * 200,
            "kind": ["a", "b"] * 200,
            "same": "x",
            "name": [f"n{row}" for row in range(400)],
        }
    )
    kinds = {name: str(kind) for name, kind in plain_columns(table).dtypes.items()}
    assert kinds == {"size": "int64", "new": "float64", "kind": "category"}


def test_a_row_of_the_data_report_has_error_and_cost_beside_those_of_the_fits() -> None:
    compared = Comparison(5000, 12, "a number", 9.0, 10.0, fit_seconds=2.04, fits=11)
    text = row("wages", compared, Cost(31.2, 400.4), Cost(28.7, 612.0), folds=10)
    cells = [cell.strip() for cell in text.strip("|").split("|")]
    assert cells[:6] == ["wages", "5,000 × 12", "a number", "9", "10", "0.90"]
    assert cells[6:] == ["31 s", "11 × 2.0 s", "29 s", "10 × 2.0 s", "612 MB"]


def test_the_cost_of_a_command_includes_the_processes_that_it_starts(tmp_path: Path) -> None:
    busy = "import time\nwhile time.process_time() < 0.5: pass"
    cost, output = run(Home(tmp_path), "bash", "-c", f"{sys.executable} -c '{busy}'; echo done")
    assert cost.seconds >= 0.5 and cost.memory > 1
    assert output == "done\n"
    with pytest.raises(RuntimeError, match="no such table"):
        run(Home(tmp_path), "bash", "-c", "echo no such table; exit 2")


def test_the_delay_of_an_alarm_is_counted_from_the_shift(tmp_path: Path) -> None:
    strong = Shift("far", lambda rng, n: draw_rows(rng, n, mean=3.0))
    found = delays(strong, 5, tmp_path)
    cells, windows = found.cells, found.windows
    assert [cell.strip() for cell in cells.strip("|").split("|")] == ["far", "100", "100%", "100%"]
    assert [sorted(each.name for each in folder.iterdir()) for folder in windows] == [
        ["c.parquet", "r.parquet"]
    ]
    labels = Shift("labels", lambda rng, n: draw_classes(rng, n, positive=1.0), draw_classes)
    found = delays(labels, 5, tmp_path)
    cells, windows = found.cells, found.windows
    assert [cell.strip() for cell in cells.strip("|").split("|")][1:3] == ["100", "100%"]
    assert set(pd.read_parquet(windows[0] / "c.parquet")) == {"number", "word", "prediction"}
    cells = delays(Shift("none", draw_rows), 5, tmp_path).cells
    assert [cell.strip() for cell in cells.strip("|").split("|")] == ["none", "none", "0%", "0%"]
