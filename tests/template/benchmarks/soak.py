"""`make soak SECONDS=600`: a service under steady load of every kind, whose memory must not grow.

The exported Bento is served with two workers, and `make watch` watches it. Valid, invalid and large
requests, feedback, summaries and scrapes of /metrics are sent at a steady rate, over connections
that are renewed now and then. It fails if memory, descriptors or threads grow, or if a response is
unexpected.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import matplotlib
import numpy as np
import psutil

from domain.errors import MlopsError
from shared.console import fail, show_step
from tests.served import serve
from tests.strength import (
    JSON,
    Response,
    Service,
    example_row,
    read_response,
    request_of,
    service_at,
)

WORKERS = 2
CONNECTIONS = 16
REQUESTS_PER_CONNECTION = 200
SAMPLE_SECONDS, WATCH_SECONDS = 2.0, 10.0
LINE_SECONDS = 10.0
KEPT = 1000  # request ids for feedback, and latencies per line
MEBIBYTE = 2**20
# limits for the second half of the run; smaller growth is noise of the allocator
GROWN_BYTES, GROWN_PERCENT_PER_HOUR = 2 * MEBIBYTE, 5.0
GROWN_COUNT = 2


@dataclass(frozen=True)
class Kind:
    """One kind of request.

    Attributes:
        share: how often it is sent, relative to the others.
        make: returns the bytes of a request.
        statuses: expected statuses.
        prefix: expected start of the body of a 200.
    """

    share: float
    make: Callable[[], bytes]
    statuses: tuple[int, ...]
    prefix: bytes = b""


@dataclass
class Tally:
    """Counts of the responses."""

    statuses: Counter[int] = field(default_factory=Counter)
    wrong: Counter[str] = field(default_factory=Counter)
    seconds: deque[float] = field(default_factory=lambda: deque(maxlen=KEPT))
    request_ids: deque[str] = field(default_factory=lambda: deque(maxlen=KEPT))

    def count(self, name: str, kind: Kind, response: Response) -> None:
        """Count a response, as wrong if it is unexpected."""
        self.statuses[response.status] += 1
        if response.status not in (*kind.statuses, 503):
            self.wrong[f"{name}: {response.status}"] += 1
        elif response.status == 200 and not response.body.startswith(kind.prefix):
            self.wrong[f"{name}: unexpected body"] += 1

    @property
    def requests(self) -> int:
        """Number of responses."""
        return self.statuses.total()


@dataclass(frozen=True)
class Sample:
    """Measurements at one moment: memory of each worker and of the watch, else summed over them."""

    seconds: float
    requests: int
    memory: list[int]
    descriptors: int
    threads: int
    log_bytes: int
    p99: float


def kinds_of(url: str, tally: Tally) -> dict[str, Kind]:
    """Every kind of request, for the model of this service."""
    row = example_row(url)
    classes = httpx.get(f"{url}/health_check").json().get("classes", [])
    truth = {"actual_class": classes[0]} if classes else {"actual": 0.0}

    def rows(number: int) -> bytes:
        return json.dumps([row] * number).encode()

    def fixed(path: str, body: bytes, *lines: bytes) -> Callable[[], bytes]:
        request = request_of(path, body, *(lines or [JSON]), keep=True)
        return lambda: request

    def feedback() -> bytes:
        known = {"request_id": random.choice(tally.request_ids)} if tally.request_ids else {}
        return request_of("/feedback", json.dumps(known | truth).encode(), JSON, keep=True)

    def prefix(number: int) -> bytes:
        response = httpx.post(f"{url}/predict", content=rows(number)).content
        return response[: response.index(b'"request_id"')]

    deep = b"[" * 10_000
    large = [b"content-length: 99999999", JSON]
    return {
        "one row": Kind(700, fixed("/predict", rows(1)), (200,), prefix(1)),
        "100 rows": Kind(80, fixed("/predict", rows(100)), (200,), prefix(100)),
        "2000 rows": Kind(8, fixed("/predict", rows(2000)), (200,), prefix(2000)),
        "feedback": Kind(40, feedback, (200, 404, 422)),
        "summary": Kind(2, fixed("/get_metrics_summary", b"{}"), (200,)),
        "metrics": Kind(2, lambda: request_of("/metrics", b"", method=b"GET", keep=True), (200,)),
        "not JSON": Kind(40, fixed("/predict", b"[[1, 2"), (400,)),
        "breaks the contract": Kind(40, fixed("/predict", b"[[]]"), (422,)),
        "deep JSON": Kind(10, fixed("/predict", deep), (400, 422)),
        "another type": Kind(20, fixed("/predict", rows(1), b"content-type: text/html"), (415,)),
        "too many rows": Kind(1, fixed("/predict", b"[" + b"[1]," * 10_000 + b"[1]]"), (413, 422)),
        "unknown path": Kind(
            20, lambda: request_of(f"/{random.random()}", b"", method=b"GET", keep=True), (404,)
        ),
        "not HTTP": Kind(10, lambda: b"not HTTP\r\n\r\n", (400,)),
        "too large": Kind(
            10, lambda: request_of("/predict", b"", *large, length=False, keep=True), (413,)
        ),
    }


async def connection_of(
    port: int, kinds: dict[str, Kind], tally: Tally, pause: float, until: float
) -> None:
    """Send requests at a fixed rate, and reconnect now and then."""
    names, shares = list(kinds), [kind.share for kind in kinds.values()]
    due = time.monotonic() + random.random() * pause
    while due < until:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for _ in range(REQUESTS_PER_CONNECTION):
            await asyncio.sleep(max(0.0, due - time.monotonic()))
            due += pause
            (name,) = random.choices(names, shares)
            start = time.monotonic()
            try:
                writer.write(kinds[name].make())
                response = await asyncio.wait_for(read_response(reader), 60)
            except (OSError, asyncio.IncompleteReadError, TimeoutError) as error:
                tally.wrong[f"{name}: {type(error).__name__}"] += 1
                break
            tally.count(name, kinds[name], response)
            if name == "one row":
                tally.seconds.append(time.monotonic() - start)
                tally.request_ids.append(response.headers["x-request-id"])
            if response.headers.get("connection") == "close" or name == "too large" or due >= until:
                break
        writer.close()


def sample_of(
    service: Service, watch: psutil.Process, tally: Tally, start: float, log: Path
) -> Sample:
    """Measure the service and its watch."""
    workers = [*service.workers(), watch]
    return Sample(
        time.monotonic() - start,
        tally.requests,
        [worker.memory_info().rss for worker in workers],
        sum(worker.num_fds() for worker in workers),
        sum(worker.num_threads() for worker in workers),
        sum(part.stat().st_size for part in log.parent.glob(f"{log.name}*")),
        float(np.percentile(tally.seconds, 99)) if tally.seconds else 0.0,
    )


async def soak(
    service: Service, watch: psutil.Process, seconds: float, rate: float, log: Path
) -> tuple[Tally, list[Sample]]:
    """Run the load; takes samples and prints lines in between."""
    tally, start = Tally(), time.monotonic()
    until, samples = start + seconds, []
    kinds = kinds_of(service.url, tally)
    load = [
        asyncio.create_task(connection_of(service.port, kinds, tally, CONNECTIONS / rate, until))
        for _ in range(CONNECTIONS)
    ]
    logged = 0.0
    async with httpx.AsyncClient(base_url=service.url, timeout=60) as client:
        while (now := time.monotonic()) < until:
            samples.append(sample_of(service, watch, tally, start, log))
            if now - start - logged >= LINE_SECONDS:
                logged = now - start
                (await client.get("/metrics")).raise_for_status()
                print(line_of(samples[-1], tally), flush=True)
            await asyncio.sleep(SAMPLE_SECONDS)
    await asyncio.gather(*load)
    return tally, samples


def line_of(sample: Sample, tally: Tally) -> str:
    """The line that is printed for a sample."""
    memory = " + ".join(f"{rss / MEBIBYTE:.1f}" for rss in sample.memory)
    return (
        f"{sample.seconds:5.0f} s  {sample.requests:8d} requests  {tally.wrong.total()} wrong  "
        f"{memory} MiB  {sample.descriptors} descriptors  {sample.threads} threads  "
        f"log {sample.log_bytes / MEBIBYTE:.1f} MiB  p99 {1000 * sample.p99:.1f} ms"
    )


def name_of(process: int) -> str:
    """The name of a process in a sample."""
    return f"worker {process}" if process < WORKERS else "watch"


@contextmanager
def watching(model: str, log: Path) -> Iterator[psutil.Process]:
    """`make watch`, with a check every few seconds, until the block ends."""
    command = ("watch", "--model", model, "--minutes", str(WATCH_SECONDS / 60))
    with psutil.Popen(
        (sys.executable, "-m", "infrastructure.cli", *command),
        env={**os.environ, "PREDICTION_LOG_URL": f"sqlite:///{log}"},
        stdout=subprocess.DEVNULL,
    ) as process:
        yield process
        process.terminate()


def slope(times: Sequence[float], values: Sequence[float]) -> float:
    """Change per second: the median of the slopes between all pairs (Theil and Sen)."""
    x, y = np.array(times), np.array(values, np.float64)
    first, second = np.triu_indices(len(x), 1)
    return float(np.median((y[second] - y[first]) / (x[second] - x[first])))


def faults_of(samples: Sequence[Sample], tally: Tally) -> Iterable[str]:
    """Growth in the second half of the run, when caches are full, and wrong responses."""
    if tally.wrong:
        yield f"unexpected responses: {dict(tally.wrong)}"
    if len({len(sample.memory) for sample in samples}) > 1:
        yield "a worker has exited"
        return
    half = samples[len(samples) // 2 :]
    times = [sample.seconds for sample in half]
    span = times[-1] - times[0]
    for worker in range(len(half[0].memory)):
        memory = [sample.memory[worker] for sample in half]
        grown = slope(times, memory)
        percent = 100 * 3600 * grown / memory[0]
        if grown * span > GROWN_BYTES and percent > GROWN_PERCENT_PER_HOUR:
            yield f"memory of {name_of(worker)} grows by {percent:.0f} % per hour"
    quarter = len(samples) // 4
    for name in ("descriptors", "threads"):
        counts = [getattr(sample, name) for sample in samples]
        before, after = np.median(counts[quarter : 2 * quarter]), np.median(counts[-quarter:])
        if after - before > GROWN_COUNT:
            yield f"{name} grow: {before:.0f}, then {after:.0f}"


def write_report(folder: Path, samples: Sequence[Sample], tally: Tally) -> str:
    """Write the results as JSON, Markdown and a plot; returns the Markdown."""
    folder.mkdir(parents=True, exist_ok=True)
    half, last = samples[len(samples) // 2 :], samples[-1]
    first = next(sample for sample in samples if sample.seconds >= last.seconds / 10)
    times = [sample.seconds for sample in half]
    rows = [
        ("", "after a tenth", "at the end"),
        ("requests", f"{first.requests:,}", f"{last.requests:,}"),
        *(
            (f"memory of {name_of(n)}, MiB", f"{before / MEBIBYTE:.1f}", f"{after / MEBIBYTE:.1f}")
            for n, (before, after) in enumerate(zip(first.memory, last.memory))
        ),
        ("descriptors", str(first.descriptors), str(last.descriptors)),
        ("threads", str(first.threads), str(last.threads)),
        ("prediction log, MiB", *(f"{s.log_bytes / MEBIBYTE:.1f}" for s in (first, last))),
        ("p99 of one row, ms", *(f"{1000 * sample.p99:.1f}" for sample in (first, last))),
    ]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    lines.insert(1, "|---|---:|---:|")
    trend = ", ".join(
        f"{3600 * slope(times, [s.memory[n] for s in half]) / MEBIBYTE:+.1f}"
        for n in range(len(last.memory))
    )
    by_status = ", ".join(f"{status}: {n:,}" for status, n in sorted(tally.statuses.items()))
    summary = (
        f"{last.seconds:.0f} seconds, {last.requests / last.seconds:.0f} requests per second, "
        f"{tally.wrong.total()} unexpected responses; by status {by_status}. "
        f"Trend of memory in the second half, MiB per hour: {trend}."
    )
    markdown = "\n".join([*lines, "", summary, ""])
    (folder / "soak.md").write_text(markdown, encoding="utf-8")
    figures = {
        "statuses": tally.statuses,
        "wrong": tally.wrong,
        "samples": [vars(sample) for sample in samples],
    }
    (folder / "soak.json").write_text(json.dumps(figures), encoding="utf-8")
    draw(folder / "soak.png", samples)
    return markdown


def draw(path: Path, samples: Sequence[Sample]) -> None:
    """Plot the memory of each worker and the latency over time."""
    matplotlib.use("Agg")
    from matplotlib import pyplot  # pylint: disable=import-outside-toplevel  # after the backend

    figure, (above, below) = pyplot.subplots(2, 1, sharex=True, figsize=(8, 5))
    minutes = np.array([sample.seconds for sample in samples]) / 60
    for worker in range(len(samples[0].memory)):
        memory = [sample.memory[worker] / MEBIBYTE for sample in samples]
        above.plot(minutes, memory, label=name_of(worker))
    above.set_ylim(0, 1.2 * max(max(sample.memory) for sample in samples) / MEBIBYTE)
    above.set_ylabel("resident memory, MiB")
    above.legend(loc="lower right")
    below.plot(minutes, [1000 * sample.p99 for sample in samples])
    below.set_ylim(bottom=0)
    below.set_ylabel("p99 of one row, ms")
    below.set_xlabel("minutes")
    figure.tight_layout()
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def main(arguments: list[str] | None = None) -> int:
    """Soak an exported Bento; returns 0 if nothing grew and no response was unexpected."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--bento", type=Path, required=True, help="folder of the exported Bento")
    parser.add_argument("--model", required=True, help="its name in domain/models")
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--rate", type=float, default=400.0, help="requests per second")
    parser.add_argument("--report", type=Path, required=True, help="folder of the report")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as home:
        with serve(options.bento.resolve(), Path(home), WORKERS) as url:
            service = service_at(url)
            assert service
            log = Path(home) / "predictions.db"
            with watching(options.model, log) as watch:
                load = soak(service, watch, options.seconds, options.rate, log)
                tally, samples = asyncio.run(load)
    print(write_report(options.report, samples, tally))
    show_step("report", str(options.report))
    faults = list(faults_of(samples, tally))
    return fail(MlopsError("; ".join(faults))) if faults else 0


if __name__ == "__main__":
    sys.exit(main())
