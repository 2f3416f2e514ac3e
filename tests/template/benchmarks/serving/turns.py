"""Turns: each contestant is started, checked, put under load and stopped, in every round."""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from tqdm import tqdm

from tests.template.benchmarks.measure import Measured
from tests.template.benchmarks.serving import wrk
from tests.template.benchmarks.serving.contestants import UNMONITORED, Contestant
from tests.template.benchmarks.serving.errors import ContestantError
from tests.template.benchmarks.serving.model import Served
from tests.template.benchmarks.serving.server import Server, run_server

WARM_UP_SECONDS = 1
LOGGED_SECONDS = 30.0


@dataclass(frozen=True, order=True)
class Scenario:
    """A kind of load."""

    rows: int
    connections: int


@dataclass(frozen=True)
class Sample:
    """One load on one contestant.

    Attributes:
        server: CPU seconds of the server, including deferred work.
        cores: cores used by server and wrk together.
        others: cores used by other processes.
    """

    load: wrk.Load
    server: float
    cores: float
    others: float


@dataclass(frozen=True)
class Turn:
    """One turn of one contestant.

    Attributes:
        worker_bytes: mean resident memory of its workers after the loads.
        all_bytes: resident memory of all its processes.
        n_rows: number of predicted rows.
        logged: rows in the prediction log; None of a contestant without one.
        overflows: requests that were not logged.
    """

    samples: dict[Scenario, Sample]
    ready_seconds: int
    worker_bytes: float
    all_bytes: int
    n_rows: int
    logged: int | None
    overflows: int


@dataclass
class Record:
    """All turns of one contestant, and the error that excluded it, if any."""

    contestant: Contestant
    turns: list[Turn] = field(default_factory=list)
    failure: str | None = None

    @property
    def complete(self) -> bool:
        """Whether it had a turn in every round."""
        return self.failure is None

    def throughput(self, scenario: Scenario) -> Measured:
        """Requests per second, by round."""
        return Measured([turn.samples[scenario].load.per_second for turn in self.turns])

    def p50(self, scenario: Scenario) -> Measured:
        """Seconds, by round."""
        return Measured([turn.samples[scenario].load.p50 for turn in self.turns])

    def p99(self, scenario: Scenario) -> Measured:
        """Seconds, by round."""
        return Measured([turn.samples[scenario].load.p99 for turn in self.turns])

    def server_cpu(self, scenario: Scenario) -> Measured:
        """CPU seconds of the server per request, by round."""
        samples = [turn.samples[scenario] for turn in self.turns]
        return Measured([sample.server / sample.load.requests for sample in samples])

    def cores(self, scenario: Scenario) -> Measured:
        """Cores used by server and wrk together, by round."""
        return Measured([turn.samples[scenario].cores for turn in self.turns])

    def generator(self, scenario: Scenario) -> Measured:
        """Cores used by wrk, by round."""
        loads = [turn.samples[scenario].load for turn in self.turns]
        return Measured([load.generator / load.seconds for load in loads])


def measure(
    contestants: Sequence[Contestant],
    served: Served,
    scenarios: Sequence[Scenario],
    rounds: int,
    seconds: int,
) -> dict[str, Record]:
    """Give each contestant a turn per round, in alternating order; failed ones are excluded.

    Args:
        seconds: duration of each load.
    """
    records = {each.name: Record(each) for each in contestants}
    with tqdm(total=rounds * len(contestants), desc="turns", disable=None) as bar:
        for number in range(rounds):
            for contestant in contestants if number % 2 == 0 else reversed(contestants):
                record = records[contestant.name]
                if record.failure is None:
                    result = _take_turn(record, served, scenarios, seconds)
                    line = f"round {number + 1} of {rounds}, {contestant.title}: {result}"
                    tqdm.write(line, file=sys.stderr)
                bar.update()
    return records


def _take_turn(record: Record, served: Served, scenarios: Sequence[Scenario], seconds: int) -> str:
    try:
        turn = _turn(record.contestant, served, scenarios, seconds)
    except ContestantError as error:
        record.failure = str(error)
        return f"excluded: {error}"
    record.turns.append(turn)
    return f"{turn.samples[scenarios[0]].load.per_second:,.0f} requests/s"


def _turn(
    contestant: Contestant, served: Served, scenarios: Sequence[Scenario], seconds: int
) -> Turn:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        place = contestant.place(folder, served)
        contestant.prepare(place)
        command, environment = contestant.command(place), contestant.environment(place)
        with run_server(command, environment, folder, place.port, contestant.ready) as server:
            check(contestant, server, served, len(served.rows))
            n_rows = len(served.rows)
            samples = {}
            for scenario in scenarios:
                check(contestant, server, served, scenario.rows)
                warm = _load(contestant, server, served, scenario, WARM_UP_SECONDS, folder)
                samples[scenario] = _load(contestant, server, served, scenario, seconds, folder)
                requests = 1 + warm.load.requests + samples[scenario].load.requests
                n_rows += scenario.rows * requests
            check(contestant, server, served, len(served.rows))
            n_rows += len(served.rows)
            worker_bytes, all_bytes = server.resident_bytes(contestant.workers)
            monitored = contestant.is_ours and contestant.name != UNMONITORED
            logged = logged_rows(server) if monitored else None
            overflows = count_overflows(server.get("/metrics")) if monitored else 0
            ready = server.ready_seconds
    return Turn(samples, ready, worker_bytes, all_bytes, n_rows, logged, overflows)


def check(contestant: Contestant, server: Server, served: Served, rows: int) -> None:
    """Request predictions for rows of known class.

    Raises:
        ContestantError: the response is wrong.
    """
    body = json.dumps(contestant.body(served.request(rows))).encode()
    response = server.post(contestant.path, body)
    if contestant.codes is None:
        return
    try:
        codes = contestant.codes(response)
    except (KeyError, TypeError, ValueError, IndexError) as error:
        raise ContestantError(f"unexpected response: {str(response)[:200]}") from error
    wrong = sum(found != code for found, code in zip(codes, served.expected(rows)))
    if wrong or len(codes) != rows:
        raise ContestantError(f"{len(codes)} predictions for {rows} rows, {wrong} of them wrong")


def logged_rows(server: Server) -> int:
    """Predictions in the log, once it stops growing."""
    deadline = time.monotonic() + LOGGED_SECONDS
    before, logged = -1, 0
    while before != logged and time.monotonic() < deadline:
        time.sleep(0.5)
        summary = server.post("/get_metrics_summary", b'{"hours": 1}')
        before, logged = logged, int(summary["metrics"]["total_predictions"])
    return logged


def count_overflows(metrics: str) -> int:
    """Errors of type ``log_overflow`` in a page of metrics."""
    return sum(
        int(float(line.rsplit(" ", 1)[1]))
        for line in metrics.splitlines()
        if line.startswith("ml_prediction_errors_total{") and 'error_type="log_overflow"' in line
    )


def _load(
    contestant: Contestant,
    server: Server,
    served: Served,
    scenario: Scenario,
    seconds: int,
    folder: Path,
) -> Sample:
    body = json.dumps(contestant.body(served.request(scenario.rows))).encode()
    url = f"http://127.0.0.1:{server.port}{contestant.path}"
    used, busy = server.cpu_seconds(), _busy_seconds()
    load = wrk.send(url, body, scenario.connections, seconds, folder)
    cores = (server.cpu_seconds() - used + load.generator) / load.seconds
    others = max(0.0, (_busy_seconds() - busy) / load.seconds - cores)
    return Sample(load, server.settle() - used, cores, others)


def _busy_seconds() -> float:
    times = psutil.cpu_times()
    idle = times.idle + getattr(times, "iowait", 0.0)
    return float(sum(times) - idle - getattr(times, "guest", 0.0))
