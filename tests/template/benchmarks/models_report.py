"""`make models-report`: run the chain of every model and write the table in docs/models.md.

Each model is trained, validated, built and served in a temporary home, so that only the table in
this clone changes. Speech is measured if WHISPER_MODEL names weights, and is not served.
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
from tqdm import tqdm

from domain import catalog
from domain.contract import ModelSpec
from domain.errors import MissingExtraError
from shared.paths import ROOT
from shared.settings import Settings
from tests.served import Home, serve

PAGE = ROOT / "docs/models.md"
REQUESTS = 500
_HEAD = (
    "| model | kind | learns with | hold-out quality (95 % interval) | package | training | row |\n"
    "|---|---|---|---|---|---|---|\n"
)
UNMEASURED = (
    "| speech | audio → transcription | published weights | not measured: name weights with "
    "`WHISPER_MODEL` | — | — | — |"
)


@dataclass(frozen=True)
class Row:
    """The row of one model.

    Attributes:
        seconds: wall time of training in a cold process, including tracking.
        latency: median seconds of a request with one row over HTTP; None for recordings.
    """

    name: str
    spec: ModelSpec
    trainer: str
    quality: str
    package_bytes: int
    seconds: float
    latency: float | None

    def __str__(self) -> str:
        kinds = ", ".join(dict.fromkeys(item.kind for item in self.spec.inputs))
        latency = f"{self.latency * 1000:.1f} ms" if self.latency else "—"
        return (
            f"| {self.name} | {kinds} → {self.spec.task} | {self.trainer} | {self.quality} "
            f"| {self.package_bytes / 1024:,.0f} KiB | {self.seconds:.1f} s | {latency} |"
        )


def measure(name: str, home: Home) -> Row:
    """Run the chain of a model and serve it; speech is only measured and packaged.

    Raises:
        RuntimeError: a step failed; the message has its output.
    """
    start = time.perf_counter()
    trained = _make(home, "train", name)
    seconds = time.perf_counter() - start
    receipts = home.receipts_of(name)
    package = Path(json.loads((receipts / "train.json").read_text(encoding="utf-8"))["package"])
    figures = json.loads((package / "metrics.json").read_text(encoding="utf-8"))
    spec = ModelSpec.from_dict(json.loads((package / "contract.json").read_text(encoding="utf-8")))
    found = re.search(r"^  fit +(\w+) ", trained, re.MULTILINE)
    latency = None
    if spec.task != "transcription":
        _make(home, "bento-build", name)
        golden = json.loads((package / "golden.json").read_text(encoding="utf-8"))
        with serve(receipts / "bento", home.folder / f"{name}-service", workers=1) as url:
            latency = _latency(url, golden["rows"][0])
    return Row(
        name,
        spec,
        found[1] if found else "published weights",
        _quality(figures),
        sum(path.stat().st_size for path in package.rglob("*") if path.is_file()),
        seconds,
        latency,
    )


def _make(home: Home, target: str, model: str) -> str:
    done = home.make(target, f"MODEL={model}")
    if done.returncode:
        raise RuntimeError(f"make {target} MODEL={model}:\n{done.stdout}{done.stderr}")
    return done.stdout


def _quality(figures: dict[str, Any]) -> str:
    if "measure" not in figures:
        return f"word error rate {figures.get('word_error_rate', 'not measured')}"
    measure_name = figures["measure"]
    score = figures[f"holdout_{measure_name}"]
    low, high = figures[f"holdout_{measure_name}_interval"]
    shown = "R²" if measure_name == "r2" else measure_name.replace("_", " ")
    text = f"{shown} {score:.3f} ({low:.3f} to {high:.3f})"
    if "holdout_interval_coverage" in figures:
        text += f", intervals hold {figures['holdout_interval_coverage']:.2f}"
    return text


def _latency(url: str, row: list[Any]) -> float:
    seconds = []
    with httpx.Client(base_url=url) as client:
        for _ in range(REQUESTS):
            start = time.perf_counter()
            client.post("/predict", json=[row]).raise_for_status()
            seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)


def write_table(path: Path, table: str, marker: str = "models-report") -> None:
    """Replace the table between the markers of a page."""
    text = path.read_text(encoding="utf-8")
    marked = re.compile(rf"(<!-- {marker} -->\n).*?(<!-- /{marker} -->)", re.DOTALL)
    path.write_text(marked.sub(lambda m: f"{m[1]}{table}{m[2]}", text), encoding="utf-8")


def main(arguments: list[str] | None = None) -> int:
    """Measure and write the table; returns 1 if a model failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", nargs="*", default=catalog.names(), help="names (default: all)")
    parser.add_argument("--dry-run", action="store_true", help="print the table, change no file")
    options = parser.parse_args(arguments)
    rows, problems = [], []
    with tempfile.TemporaryDirectory() as folder:
        for name in tqdm(options.models, "models", disable=None):
            try:
                spec = catalog.get(name).SPEC
                if spec.task == "transcription" and not Settings().whisper_model:
                    rows.append(UNMEASURED)
                    continue
                rows.append(str(measure(name, Home(Path(folder)))))
            except (MissingExtraError, RuntimeError) as error:
                problems.append(f"{name}: {error}")
    table = _HEAD + "\n".join(rows) + "\n"
    print(table)
    if not options.dry_run and not problems:
        write_table(PAGE, table)
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
