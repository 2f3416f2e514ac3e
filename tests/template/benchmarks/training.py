"""`make benchmark`: cost of training and of recording predictions, against the usual ways.

Writes its part of docs/benchmarks/README.md. Figures are ratios of measurements in one run.
"""

from __future__ import annotations

import argparse
import gc
import logging
import os
import platform
import subprocess
import sys
import tempfile
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

from infrastructure.monitoring.metrics.service_metrics import ServiceMetrics
from shared.paths import ROOT
from tests.served import Home
from tests.template.benchmarks.measure import Measured, interleave
from tests.template.benchmarks.parts import write_part

FOLDER = Path(__file__).parent
CLASSES = ("setosa", "versicolor", "virginica")
PREDICTIONS = 20_000


class UsualCollector:
    """Metrics as in a tutorial: label lookups, a history in a list, a log line."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        names = ["model_name", "version"]
        self._count = Counter("ml_predictions", "", [*names, "class_"], registry=registry)
        self._duration = Histogram("ml_duration", "", names, registry=registry)
        self._confidence = Gauge("ml_confidence", "", [*names, "class_"], registry=registry)
        self._history: list[dict[str, object]] = []
        self._logger = logging.getLogger("usual")
        self._logger.addHandler(logging.FileHandler(os.devnull))
        self._logger.setLevel(logging.INFO)
        self._logger.propagate = False

    def record(self, name: str, confidence: float, latency: float) -> None:
        """Count one prediction."""
        labels = {"model_name": "iris", "version": "1"}
        self._count.labels(**labels, class_=name).inc()
        self._duration.labels(**labels).observe(latency)
        self._confidence.labels(**labels, class_=name).set(confidence)
        self._history.append(
            {"time": time.time(), "class": name, "confidence": confidence, "latency": latency}
        )
        self._logger.info("prediction %s, confidence %.3f, %.4f s", name, confidence, latency)


def seconds(command: list[str], environment: dict[str, str]) -> float:
    """Wall time of a cold process."""
    start = time.perf_counter()
    subprocess.run(command, cwd=ROOT, env=environment, check=True, capture_output=True)
    return time.perf_counter() - start


def measure_training(rounds: int) -> dict[str, Measured]:
    """Wall seconds of a cold process, by contestant."""
    with tempfile.TemporaryDirectory() as folder:
        home = Home(Path(folder))
        environment = {**home.environment, "MLFLOW_DISABLE_TELEMETRY": "true"}

        def script(name: str) -> Callable[[], float]:
            place = Path(folder) / name
            place.mkdir()
            command = [sys.executable, str(FOLDER / f"{name}.py"), str(place)]
            return lambda: seconds(command, environment)

        train = ["make", "train"]
        receipt = home.receipts_of("iris") / "train.json"

        def ours() -> float:
            receipt.unlink(missing_ok=True)
            return seconds(train, environment)

        contestants = {
            "bare script": script("bare_script"),
            "usual MLflow pipeline": script("usual_pipeline"),
            "make train": ours,
        }
        return interleave(contestants, rounds)


def measure_recording(rounds: int) -> dict[str, Measured]:
    """Microseconds per prediction, by contestant."""
    rng = np.random.default_rng(0)
    codes = rng.integers(len(CLASSES), size=PREDICTIONS)
    confidences = rng.uniform(0.3, 1, PREDICTIONS)
    latencies = np.full(PREDICTIONS, 0.001)
    predictions = [(CLASSES[code], each) for code, each in zip(codes, confidences.tolist())]
    usual = UsualCollector()
    collector = ServiceMetrics("iris", "1", CLASSES, CollectorRegistry())

    def timed(work: Callable[[], None]) -> Callable[[], float]:
        def run() -> float:
            gc.collect()
            start = time.perf_counter()
            work()
            return (time.perf_counter() - start) / PREDICTIONS * 1e6

        return run

    def one_by_one() -> None:
        for name, confidence in predictions:
            usual.record(name, confidence, 0.001)

    def batches(size: int) -> Callable[[], None]:
        def work() -> None:
            for at in range(0, PREDICTIONS, size):
                part = slice(at, at + size)
                collector.record_predictions(codes[part], confidences[part], latencies[part])

        return work

    return interleave(
        {
            "usual collector, single rows": timed(one_by_one),
            "ServiceMetrics, batches of 1": timed(batches(1)),
            "ServiceMetrics, batches of 100": timed(batches(100)),
        },
        rounds,
    )


def measure_memory() -> tuple[float, float]:
    """Bytes that stay allocated per prediction: usual collector, ours."""

    def growth(record: Callable[[int], None]) -> float:
        record(100)
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        record(PREDICTIONS)
        after = tracemalloc.get_traced_memory()[0]
        tracemalloc.stop()
        return (after - before) / PREDICTIONS

    usual = UsualCollector()
    ours = ServiceMetrics("iris", "1", CLASSES, CollectorRegistry())

    def record_usual(number: int) -> None:
        for index in range(number):
            usual.record(CLASSES[index % 3], index / number, 0.001)

    latency = np.array([0.001])

    def record_ours(number: int) -> None:
        for index in range(number):
            code, confidence = np.array([index % 3]), np.array([index / number])
            ours.record_predictions(code, confidence, latency)

    return growth(record_usual), growth(record_ours)


def table(measured: dict[str, Measured], base: str, unit: str, digits: int) -> str:
    """A Markdown table with medians and ratios to the base."""
    lines = [f"| | median, {unit} | times {base} |", "|---|---|---|"]
    for name, figures in measured.items():
        ratio = figures.ratio(measured[base])
        lines.append(f"| {name} | {figures.median:.{digits}f} | {ratio} |")
    return "\n".join(lines)


def main() -> None:
    """Measure and write the report."""
    parser = argparse.ArgumentParser(description="Compare training and recording; write a report.")
    parser.add_argument("--rounds", type=int, default=9, help="rounds (%(default)s)")
    rounds = parser.parse_args().rounds
    training = table(measure_training(rounds), "bare script", "s", 2)
    recording = table(measure_recording(rounds), "usual collector, single rows", "µs", 2)
    usual, ours = measure_memory()
    report = f"""## Training, cold process

{rounds} rounds, on {os.cpu_count()} cores, Python {platform.python_version()}. Ratios are medians
over the rounds, with the interquartile range in brackets.

{training}

The bare script imports scikit-learn, fits 100 trees, scores and saves. The usual pipeline logs
value by value through MLflow's fluent API and lets it infer the requirements. `make train` checks
the data, exports and compares ONNX, writes the package with its manifest, draws three figures, and
records run, lineage, model and version. MLflow's database exists in all rounds: creating it takes
the very first run about a second more.

## Recording, per prediction

{recording}

A service records the predictions of 0.1 s in one batch. The usual collector keeps {usual:.0f} bytes
of memory per prediction, since its history is a list; ours keeps {ours:.1f} bytes.
"""
    write_part("training", report)
    print(report)


if __name__ == "__main__":
    main()
