"""The model of all contestants: 150 trees on iris, from the real chain."""

from __future__ import annotations

import json
from dataclasses import dataclass
from itertools import cycle, islice
from pathlib import Path

import joblib
from sklearn.datasets import load_iris

from shared.paths import ROOT
from tests.served import Home
from tests.template.benchmarks.serving.errors import BenchmarkError

TREES = 150


@dataclass(frozen=True)
class Served:
    """The model that contestants serve.

    Attributes:
        package: folder with model.joblib and model.onnx.
        bento: the exported Bento of the same package.
        rows: rows of all classes.
        codes: their classes, as predicted by the native model.
    """

    package: Path
    bento: Path
    rows: list[list[float]]
    codes: list[int]

    def request(self, number: int) -> list[list[float]]:
        """A number of rows."""
        return list(islice(cycle(self.rows), number))

    def expected(self, number: int) -> list[int]:
        """Their classes."""
        return list(islice(cycle(self.codes), number))


def make_model(folder: Path) -> Served:
    """Train, validate and build in a separate home.

    Raises:
        BenchmarkError: the chain fails.
    """
    config = json.loads(
        (ROOT / "application/training/configs/iris_config.json").read_text(encoding="utf-8")
    )
    config["model"]["n_estimators"] = TREES
    path = folder / "config.json"
    path.write_text(json.dumps(config), encoding="utf-8")
    home = Home(folder)
    done = home.make("bento-build", f"CONFIG={path}")
    if done.returncode:
        raise BenchmarkError(f"the model cannot be built:\n{(done.stdout + done.stderr)[-3000:]}")
    receipt = json.loads((home.receipts_of("iris") / "train.json").read_text(encoding="utf-8"))
    package = Path(receipt["package"])
    rows = load_iris().data[::10].tolist()
    codes = joblib.load(package / "model.joblib").predict(rows).tolist()
    return Served(package, home.receipts_of("iris") / "bento", rows, codes)
