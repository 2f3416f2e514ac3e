"""The mutant zoo: packages with one fault each, and the gate that must refuse it.

Each package is written by `train` with the real frameworks, and judged as in validation: opened
with its recorded digest, its served file loaded, every gate run. The data are generated here: loans
with a known rule, of which about 6 % are noise.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import onnx
import pandas as pd
from onnx import helper
from sklearn.ensemble import (
    GradientBoostingClassifier,
    GradientBoostingRegressor,
    RandomForestClassifier,
)
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from application.ports.framework import CurveReport
from application.ports.tracker import Tracker
from application.training.config import TrainingConfig, ValidationConfig
from application.training.train import train
from application.validation.validate import Case, Champion, judge
from domain.catalog import CatalogModel
from domain.contract import Category, Classes, ModelSpec, Number, Quantity
from domain.data.dataset import Dataset
from domain.data.split_keys import SplitKeys
from domain.data.splitting import hold_out
from domain.errors import PackageError
from domain.gates import Verdict
from infrastructure.frameworks.dispatch import Frameworks
from infrastructure.inference.loading import load_served
from infrastructure.packaging.bento_store import BENTOFILE
from infrastructure.packaging.model_package import MANIFEST, ModelPackage, PackageDraft
from infrastructure.serving.serving_check import included_files, start_serving_check
from shared.digests import sha256_of
from shared.paths import ROOT
from tests.fakes import FakeDrawFigures, FakeSnapshots, FakeTracker
from tests.leaky_tables import group_rates

SERVICE = "application.inference.services.model_service:ModelService"
_ROWS = 2500
_PURPOSES = ("business", "car", "house", "travel")
_BRANCHES = 200
_INCOME = Number("income", "kEUR", 0, 500, "income in a year")

SPEC = ModelSpec(
    "loans",
    (
        _INCOME,
        Number("amount", "kEUR", 0, 200, "what is lent"),
        Number("age", "years", 18, 100),
        Category("purpose", _PURPOSES),
    ),
    Classes(("default", "repaid"), "outcome"),
    "Whether a loan is paid back.",
)
_RATES = ModelSpec("rates", SPEC.inputs, Quantity("rate", "%"), "Interest of a loan.")


# data


def _sample(seed: int) -> tuple[pd.DataFrame, np.random.Generator]:
    rng = np.random.default_rng(seed)
    inputs = pd.DataFrame(
        {
            "income": rng.uniform(20, 200, _ROWS),
            "amount": rng.uniform(2, 100, _ROWS),
            "age": rng.uniform(18, 80, _ROWS),
            "purpose": rng.choice(_PURPOSES, _ROWS, p=(0.35, 0.3, 0.2, 0.15)),
        }
    )
    return inputs, rng


def _score(inputs: pd.DataFrame) -> np.ndarray:
    """Credit score of a loan; its sign is the most likely class."""
    burden = (inputs["amount"] / 50 - inputs["income"] / 100).to_numpy()
    middle = 1 - np.square((inputs["age"] - 49).to_numpy() / 16)
    purpose = inputs["purpose"].map(dict(zip(_PURPOSES, (0.3, 0.0, 0.2, -0.2)))).to_numpy(float)
    return 0.1 - 1.2 * burden + 0.33 * middle + purpose


def _outcomes(score: np.ndarray, rng: np.random.Generator, certainty: float = 14) -> pd.Series:
    repaid = rng.random(len(score)) < 1 / (1 + np.exp(-certainty * score))
    return pd.Series(np.where(repaid, "repaid", "default"), name="outcome")


def load() -> Dataset:
    """Loans with their outcomes."""
    inputs, rng = _sample(0)
    return Dataset("loans", "made here", inputs, _outcomes(_score(inputs), rng))


def _load_uncertain() -> Dataset:
    """Loans with noisier outcomes."""
    inputs, rng = _sample(0)
    return Dataset("loans", "made here", inputs, _outcomes(_score(inputs), rng, certainty=4))


def _load_rates() -> Dataset:
    inputs, rng = _sample(1)
    rate = 6 - _score(inputs) + rng.normal(0, 0.3, _ROWS)
    return Dataset("rates", "made here", inputs, pd.Series(rate, name="rate"))


def _load_repaid() -> Dataset:
    """Loans with the share that was paid back, which is known only at the end."""
    dataset = load()
    share = np.random.default_rng(2).uniform(0, 99, _ROWS).round(1)
    paid = np.where(dataset.target == "repaid", 100.0, share)
    return replace(dataset, inputs=dataset.inputs.assign(paid=paid))


def _assigned(dataset: Dataset, **columns: Any) -> Dataset:
    """The data with more inputs."""
    return replace(dataset, inputs=dataset.inputs.assign(**columns))


def _repaid(dataset: Dataset, rng: np.random.Generator, errors: float) -> np.ndarray:
    """Whether loans were paid back, wrong for a share of them."""
    return (dataset.target == "repaid").to_numpy() ^ (rng.random(_ROWS) < errors)


def _load_closed() -> Dataset:
    """Loans with a word that is written when they end, and wrong for 1 %."""
    dataset = load()
    repaid = _repaid(dataset, np.random.default_rng(4), 0.01)
    return _assigned(dataset, letter=np.where(repaid, "thanks", "warning"))


def _load_flags(errors: float = 0.0) -> Dataset:
    """Loans with two flags that are equal if the loan was paid back."""
    dataset, rng = load(), np.random.default_rng(5)
    first = rng.random(_ROWS) < 0.5
    second = ~(first ^ _repaid(dataset, rng, errors))
    return _assigned(dataset, first=first.astype(int), second=second.astype(int))


def _load_numbered() -> Dataset:
    """Loans whose numbers were given by outcome, with 6 % of exceptions."""
    dataset, rng = load(), np.random.default_rng(6)
    start = np.where(_repaid(dataset, rng, 0.06), 700_000, 100_000)
    return _assigned(dataset, number=start + 7 * rng.permutation(_ROWS))


def _load_encoded() -> Dataset:
    """Loans with the share that was paid back in groups of three that do not matter."""
    dataset, rng = load(), np.random.default_rng(7)
    return _assigned(dataset, group_rate=group_rates(_repaid(dataset, rng, 0.0), rng, 3, folds=1))


def _load_copies() -> Dataset:
    """Loans that are in the data twice, the second time with another income."""
    dataset, rng = load(), np.random.default_rng(8)
    twice = dataset.take(np.repeat(np.arange(_ROWS // 2), 2))
    return _assigned(twice, income=twice.inputs["income"] * rng.normal(1, 0.002, _ROWS))


def _load_honest() -> Dataset:
    """Loans with inputs like those of the leaks, but honest ones."""
    dataset, rng = _load_flags(errors=0.15), np.random.default_rng(9)
    return _assigned(
        dataset,
        letter=np.where(_repaid(dataset, rng, 0.08), "thanks", "warning"),
        number=100_000 + 7 * rng.permutation(_ROWS),
        group_rate=group_rates(_repaid(dataset, rng, 0.0), rng, 3, folds=5),
    )


def _load_branches() -> Dataset:
    """Loans whose outcome depends on a randomly numbered branch."""
    inputs, rng = _sample(3)
    inputs["branch"] = rng.integers(_BRANCHES, size=_ROWS)
    effect = rng.choice([-1.0, 1.0], _BRANCHES)[inputs["branch"]]
    return Dataset("branches", "made here", inputs, _outcomes(effect + 0.5 * _score(inputs), rng))


def _load_renamed() -> Dataset:
    dataset = load()
    return replace(dataset, inputs=dataset.inputs.rename(columns={"income": "salary"}))


class _ByPosition(Dataset):
    """Data that encode columns by position and ignore their names."""

    def encoded(self, spec: ModelSpec) -> np.ndarray:
        """The inputs in their own order, which should be that of the contract."""
        codes = {word: code for code, word in enumerate(_PURPOSES)}
        plain = self.inputs.assign(purpose=self.inputs["purpose"].map(codes))
        return np.ascontiguousarray(plain, dtype=np.float32)


def _load_by_position() -> Dataset:
    dataset = load()
    return _ByPosition(dataset.name, dataset.source, dataset.inputs, dataset.target)


# models


def build(n_estimators: int = 120, learning_rate: float = 0.2, random_state: int = 0) -> Any:
    """Boosted trees."""
    return GradientBoostingClassifier(
        n_estimators=n_estimators,
        learning_rate=learning_rate,
        subsample=0.7,
        random_state=random_state,
    )


def _build_rates(random_state: int = 0) -> Any:
    return GradientBoostingRegressor(
        n_estimators=50, learning_rate=0.2, subsample=0.7, random_state=random_state
    )


def _with_input(*inputs: Any) -> ModelSpec:
    return replace(SPEC, inputs=(*SPEC.inputs, *inputs))


def _renamed(**changes: Any) -> ModelSpec:
    return replace(SPEC, inputs=(replace(_INCOME, **changes), *SPEC.inputs[1:]))


_LETTER = Category("letter", ("thanks", "warning"))
_FLAGS = (Number("first", "", 0, 1), Number("second", "", 0, 1))
_NUMBER = Number("number", "", 0, 1_000_000)
_GROUP_RATE = Number("group_rate", "", 0, 1)
_LOANS = SimpleNamespace(SPEC=SPEC, load=load, build=build)
_INTEREST = SimpleNamespace(SPEC=_RATES, load=_load_rates, build=_build_rates)


def _other(**parts: Any) -> CatalogModel:
    return SimpleNamespace(**{**vars(_LOANS), **parts})


# recipes


def _same(rows: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rows, target


def _unchanged(_: Any) -> None:
    """Change nothing."""


@dataclass(frozen=True, eq=False)
class Recipe:
    """How a package is made; one with no changes is sound.

    Attributes:
        parameters: of the model's `build`.
        version: version in the configuration.
        split: seed of the split.
        learned: changes the training rows and their target.
        fitted: changes the fitted estimator.
        exported: changes the ONNX model.
        written: changes the files of the package before its manifest is written.
    """

    model: CatalogModel = field(default_factory=lambda: _LOANS)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    version: str = "1.0.0"
    split: int = 0
    form: str = "onnx"
    learned: Callable[[np.ndarray, np.ndarray], tuple[np.ndarray, np.ndarray]] = _same
    fitted: Callable[[Any], None] = _unchanged
    exported: Callable[[onnx.ModelProto], None] = _unchanged
    written: Callable[[Path], None] = _unchanged

    @property
    def config(self) -> TrainingConfig:
        """The configuration, with default validation rules."""
        name = self.model.SPEC.name
        return TrainingConfig.model_validate(
            {
                "model": dict(self.parameters),
                "data": {"test_size": 0.2, "random_state": self.split},
                "experiment_name": name,
                "model_name": name,
                "version": self.version,
                "validation": {"folds": 0},
                "serving": {"format": self.form},
            }
        )


def _leaky(load_leaks: Callable[[], Dataset], *inputs: Any) -> Recipe:
    """A model with more inputs, which needs a new major version."""
    return Recipe(_other(SPEC=_with_input(*inputs), load=load_leaks), version="2.0.0")


_SEED = {"random_state": 1}
SOUND = Recipe()
ANOTHER = Recipe(parameters=_SEED)
_UNCERTAIN = SimpleNamespace(SPEC=SPEC, load=_load_uncertain, build=build)
_SOUND_UNCERTAIN = Recipe(_UNCERTAIN, {"n_estimators": 60, "learning_rate": 0.1})
SOUND_RATES = Recipe(_INTEREST)
ANOTHER_RATES = Recipe(_INTEREST, _SEED)


@dataclass(frozen=True)
class _Frameworks(Frameworks):
    """The real frameworks, with the changes of a recipe."""

    recipe: Recipe

    def fit(
        self,
        estimator: Any,
        rows: np.ndarray,
        target: np.ndarray,
        report: CurveReport,
        keys: SplitKeys | None = None,
    ) -> None:
        """Fit on the training rows of the recipe."""
        super().fit(estimator, *self.recipe.learned(rows, target), report, keys)
        self.recipe.fitted(estimator)

    def export(self, estimator: Any, spec: ModelSpec, path: Path) -> None:
        """Export with the changes of the recipe."""
        super().export(estimator, spec, path)
        model = onnx.load(path)
        self.recipe.exported(model)
        onnx.save(model, path)


class _Draft(PackageDraft):
    """A draft whose files are changed by the recipe before they are sealed."""

    def __init__(self, packages_dir: Path, recipe: Recipe, version: str) -> None:
        super().__init__(packages_dir, recipe.model.SPEC.name, version)
        self._recipe = recipe

    def seal(self) -> Path:
        """Apply the changes, then seal."""
        self._recipe.written(self.folder)
        return super().seal()


def make(recipe: Recipe, packages_dir: Path, version: str, tracker: Tracker | None = None) -> Path:
    """Train a package by a recipe, and return its folder."""
    with ThreadPoolExecutor(1) as background, _Draft(packages_dir, recipe, version) as draft:
        return train(
            recipe.model,
            recipe.config,
            draft,
            framework=_Frameworks(recipe),
            load_served=load_served,
            keep=FakeSnapshots().keep,
            draw=FakeDrawFigures(),
            tracker=tracker or FakeTracker(),
            background=background,
            provenance={"git_commit": "0123abc", "python": "3.11"},
            progress=lambda step, result: None,
        ).package


# faults


def _shuffled(rows: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rows, np.random.default_rng(0).permutation(target)


def _swapped(rows: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return rows, 1 - target


def _collapsed(rows: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every travel loan is labelled as paid back."""
    return rows, np.where(rows[:, 3] == _PURPOSES.index("travel"), 1, target)


def _collapsed_rates(rows: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Every travel loan has the same interest."""
    return rows, np.where(rows[:, 3] == _PURPOSES.index("travel"), 9.0, target)


def _ageless(rows: np.ndarray, target: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Age is constant."""
    return np.where(np.arange(4) == 2, np.float32(49), rows), target


def _overconfident(estimator: Any) -> None:
    estimator.learning_rate *= 6


def _narrow(estimator: Any) -> None:
    estimator.half_width_ /= 2


def _append_nodes(model: onnx.ModelProto, *nodes: onnx.NodeProto, **constants: Any) -> None:
    """Append nodes that compute new ``probabilities``; the old ones are named ``before``."""
    for node in model.graph.node:
        node.output[:] = ["before" if name == "probabilities" else name for name in node.output]
    for name, value in constants.items():
        model.graph.initializer.append(onnx.numpy_helper.from_array(np.asarray(value), name))
    model.graph.node.extend(nodes)


def _swapped_columns(model: onnx.ModelProto) -> None:
    swap = helper.make_node("Gather", ["before", "order"], ["probabilities"], axis=1)
    _append_nodes(model, swap, order=np.array([1, 0]))


def _nan_for_large_amounts(model: onnx.ModelProto) -> None:
    """NaN for the largest amounts."""
    _append_nodes(
        model,
        helper.make_node("Gather", ["inputs", "second"], ["amount"], axis=1),
        helper.make_node("Greater", ["amount", "limit"], ["large"]),
        helper.make_node("Where", ["large", "nothing", "before"], ["probabilities"]),
        second=np.array([1]),
        limit=np.float32(98),
        nothing=np.float32("nan"),
    )


def _constant_for_travel(model: onnx.ModelProto) -> None:
    """The same probabilities for every travel loan."""
    _append_nodes(
        model,
        helper.make_node("Gather", ["inputs", "fourth"], ["purpose"], axis=1),
        helper.make_node("Equal", ["purpose", "travel"], ["travels"]),
        helper.make_node("Where", ["travels", "same", "before"], ["probabilities"]),
        fourth=np.array([3]),
        travel=np.float32(_PURPOSES.index("travel")),
        same=np.array([[0.05, 0.95]], np.float32),
    )


def _random(model: onnx.ModelProto) -> None:
    """Noise of up to 0.000004 in every prediction, within the tolerance of parity."""
    _append_nodes(
        model,
        helper.make_node("RandomUniformLike", ["before"], ["drawn"], high=4e-6, seed=1.0),
        helper.make_node("Gather", ["drawn", "first"], ["chance"], axis=1),
        helper.make_node("Mul", ["chance", "signs"], ["moved"]),
        helper.make_node("Add", ["before", "moved"], ["added"]),
        helper.make_node("Max", ["added", "least"], ["raised"]),
        helper.make_node("Min", ["raised", "most"], ["probabilities"]),
        first=np.array([0]),
        signs=np.array([[1, -1]], np.float32),
    )


def _slow(model: onnx.ModelProto) -> None:
    """Unused products of large matrices."""
    _append_nodes(
        model,
        helper.make_node("ReduceSum", ["inputs"], ["sum"], keepdims=0),
        helper.make_node("Mul", ["sum", "zero"], ["none"]),
        helper.make_node("Expand", ["none", "shape"], ["matrix"]),
        helper.make_node("MatMul", ["matrix", "matrix"], ["product"]),
        helper.make_node("ReduceMax", ["product"], ["nothing"], keepdims=0),
        helper.make_node("Add", ["before", "nothing"], ["probabilities"]),
        zero=np.float32(0),
        shape=np.array([160, 160]),
    )


def _large(model: onnx.ModelProto) -> None:
    """Two million unused letters."""
    model.metadata_props.add(key="notes", value="a" * 2_000_000)


def _moved_splits(model: onnx.ModelProto) -> None:
    """Split points moved up by one float32 step."""
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "nodes_values":
                values = np.array(attribute.floats, np.float32)
                attribute.floats[:] = np.nextafter(values, np.float32(np.inf)).tolist()


def _foreign(model: onnx.ModelProto) -> None:
    """An operator that no serving requirement provides."""
    _append_nodes(
        model, helper.make_node("Secret", ["before"], ["probabilities"], domain="foreign")
    )
    model.opset_import.append(helper.make_opsetid("foreign", 1))


def _edit_onnx(folder: Path, change: Callable[[onnx.ModelProto], None]) -> None:
    """Change the served file after training has measured it."""
    model = onnx.load(folder / "model.onnx")
    change(model)
    onnx.save(model, folder / "model.onnx")


def _leaked_rows(folder: Path) -> None:
    """Ten rows are on both sides of the split."""
    path = folder / "holdout.json"
    record = json.loads(path.read_text(encoding="utf-8"))
    record["training"] += record["holdout"][:10]
    path.write_text(json.dumps(record), encoding="utf-8")


def _flipped(package: Path) -> None:
    """Flip one bit of the served file."""
    flip(package / "model.onnx")


def flip(path: Path) -> None:
    """Flip the lowest bit of the middle byte of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.chmod(0o644)
    path.write_bytes(content)


def _forged(package: Path) -> None:
    """Replace the card, and update the manifest."""
    card, manifest = package / "card.md", package / MANIFEST
    before = sha256_of(card)
    card.chmod(0o644)
    card.write_text("Every loan is paid back.", encoding="utf-8")
    manifest.chmod(0o644)
    forged = manifest.read_text(encoding="utf-8").replace(before, sha256_of(card))
    manifest.write_text(forged, encoding="utf-8")


def _load_champion_training_rows() -> Dataset:
    dataset = load()
    training, _ = hold_out(dataset, SPEC, *SOUND.config.data.share_and_seed)
    return training


def _import_pandas(clone: Path) -> None:
    """Make the service import a library that is not in its requirements."""
    module = clone / "infrastructure/serving/model_service.py"
    source = module.read_text(encoding="utf-8")
    module.write_text(
        source.replace("\nimport os\n", "\nimport os\nimport pandas\n", 1), encoding="utf-8"
    )


# the zoo


@dataclass(frozen=True)
class Mutant:
    """A package with a fault, or with none.

    Attributes:
        fault: description of the fault.
        gate: the gate that must refuse it; empty for a sound model.
        champion: the model to compare with; None for a first model.
        tampered: changes the package after its digest was recorded.
        later: changes the data between training and validation.
        service: changes the source of the service.
    """

    name: str
    fault: str
    gate: str
    recipe: Recipe = ANOTHER
    champion: Recipe | None = SOUND
    tampered: Callable[[Path], None] = _unchanged
    later: Callable[[Dataset], Dataset] | None = None
    service: Callable[[Path], None] = _unchanged

    @property
    def alone(self) -> bool:
        """Whether to serve it in a clean process, too, which takes seconds."""
        return self.gate in ("", "serves_alone")


SOUND_MODELS = (
    Mutant("the first model", "there is no champion", "", SOUND, champion=None),
    Mutant("a challenger", "trained with another seed", "", ANOTHER),
    Mutant(
        "honest inputs",
        "strong ones, numbers at random, and shares computed from other rows",
        "",
        _leaky(_load_honest, *_FLAGS, _LETTER, _NUMBER, _GROUP_RATE),
    ),
    Mutant("a regression", "trained with another seed", "", ANOTHER_RATES, SOUND_RATES),
)
MUTANTS = (
    Mutant(
        "shuffled labels",
        "trained on shuffled labels",
        "beats_baseline",
        Recipe(learned=_shuffled),
    ),
    Mutant(
        "constant prediction",
        "the same probabilities for every row",
        "beats_baseline",
        Recipe(_other(build=lambda: DecisionTreeClassifier(min_samples_leaf=_ROWS))),
    ),
    Mutant(
        "below the threshold",
        "a tree with one split",
        "quality",
        Recipe(_other(build=lambda: DecisionTreeClassifier(max_depth=1, random_state=0))),
        champion=None,
    ),
    Mutant(
        "classes swapped in training",
        "the labels are swapped",
        "quality",
        Recipe(learned=_swapped),
    ),
    Mutant(
        "worse than the champion",
        "age was constant in training",
        "not_worse_than_champion",
        Recipe(learned=_ageless),
    ),
    Mutant(
        "champion has learned the hold-out",
        "the data contain only rows that the champion was trained on",
        "not_worse_than_champion",
        Recipe(_other(load=_load_champion_training_rows), _SEED),
    ),
    Mutant(
        "collapsed slice",
        "predicts that every travel loan is paid back",
        "worst_slice",
        Recipe(learned=_collapsed),
    ),
    Mutant(
        "overconfident",
        "probabilities near 0 and 1, with an accurate class",
        "calibration",
        Recipe(_UNCERTAIN, _SOUND_UNCERTAIN.parameters, fitted=_overconfident),
        champion=_SOUND_UNCERTAIN,
    ),
    Mutant(
        "narrow intervals",
        "intervals of half the width",
        "interval_coverage",
        Recipe(_INTEREST, _SEED, fitted=_narrow),
        champion=SOUND_RATES,
    ),
    Mutant(
        "leaked target",
        "an input that is known only after the loan has ended",
        "no_target_leakage",
        Recipe(
            _other(SPEC=_with_input(Number("paid", "%", 0, 100)), load=_load_repaid),
            version="2.0.0",
        ),
    ),
    Mutant(
        "nearly leaked target",
        "an input that is known only afterwards, and wrong for 1 %",
        "no_target_leakage",
        _leaky(_load_closed, _LETTER),
    ),
    Mutant(
        "leaked by a pair",
        "two flags that are equal if the loan is paid back",
        "no_target_leakage",
        _leaky(_load_flags, *_FLAGS),
    ),
    Mutant(
        "numbered by outcome",
        "the number of a loan is from a range for each outcome",
        "no_target_leakage",
        _leaky(_load_numbered, _NUMBER),
    ),
    Mutant(
        "encoded target",
        "the share of loans paid back in groups of three, the own one included",
        "no_target_leakage",
        _leaky(_load_encoded, _GROUP_RATE),
    ),
    Mutant(
        "copies on both sides",
        "every loan is in the data twice, with another income",
        "holdout_is_unseen",
        Recipe(_other(load=_load_copies)),
        champion=None,
    ),
    Mutant(
        "brittle",
        "a branch number is used as a quantity",
        "robustness",
        Recipe(
            _other(
                SPEC=_with_input(Number("branch", "", 0, _BRANCHES)),
                load=_load_branches,
                build=lambda: GradientBoostingClassifier(
                    n_estimators=200, learning_rate=0.2, max_depth=5, random_state=0
                ),
            )
        ),
        champion=None,
    ),
    Mutant(
        "columns by position",
        "columns are encoded by position",
        "column_order",
        Recipe(_other(load=_load_by_position), _SEED),
    ),
    Mutant(
        "not a number",
        "NaN for large amounts",
        "predictions_are_valid",
        Recipe(written=lambda folder: _edit_onnx(folder, _nan_for_large_amounts)),
    ),
    Mutant(
        "non-deterministic",
        "adds noise of 0.000004 to every prediction",
        "deterministic",
        Recipe(exported=_random),
    ),
    Mutant(
        "classes swapped in the export",
        "the probability columns are swapped",
        "parity",
        Recipe(exported=_swapped_columns),
    ),
    Mutant(
        "split points moved in the export",
        "by one step of float32",
        "parity_at_edges",
        Recipe(exported=_moved_splits),
    ),
    Mutant(
        "input narrowed",
        "accepts smaller incomes only, under a patch version",
        "contract_is_versioned",
        Recipe(_other(SPEC=_renamed(maximum=250)), _SEED),
    ),
    Mutant(
        "input renamed",
        "income is renamed to salary, under a patch version",
        "contract_is_versioned",
        Recipe(_other(SPEC=_renamed(name="salary"), load=_load_renamed), _SEED),
    ),
    Mutant(
        "hold-out in training",
        "ten rows are in both parts of the split",
        "holdout_is_unseen",
        Recipe(parameters=_SEED, written=_leaked_rows),
    ),
    Mutant(
        "hold-out rows deleted",
        "the last tenth of the rows was deleted after training",
        "holdout_is_complete",
        later=lambda dataset: dataset.take(np.arange(_ROWS * 9 // 10)),
    ),
    Mutant("10× slower", "computes unused values", "latency", Recipe(exported=_slow)),
    Mutant(
        "many times larger",
        "the served file contains unused data",
        "size",
        Recipe(exported=_large),
    ),
    Mutant(
        "tampered file",
        "one bit of the served file is flipped",
        "digests_are_intact",
        tampered=_flipped,
    ),
    Mutant(
        "tampered file and manifest",
        "both were changed consistently",
        "digests_are_intact",
        tampered=_forged,
    ),
    Mutant(
        "model needs a library",
        "a scaler returns pandas, which is not a serving requirement",
        "serves_alone",
        Recipe(
            _other(
                build=lambda: make_pipeline(
                    StandardScaler().set_output(transform="pandas"),
                    RandomForestClassifier(20, min_samples_leaf=3, random_state=0),
                )
            ),
            form="native",
        ),
        champion=None,
    ),
    Mutant(
        "model needs an operator",
        "the served file uses an operator of another domain",
        "serves_alone",
        Recipe(written=lambda folder: _edit_onnx(folder, _foreign)),
    ),
    Mutant(
        "service needs a library",
        "the service imports pandas, which its requirements do not name",
        "serves_alone",
        service=_import_pandas,
    ),
)

_OF_RATES = SimpleNamespace(
    **{**vars(_INTEREST), "build": lambda: DecisionTreeRegressor(min_samples_leaf=_ROWS)}
)
MUTANTS_OF_RATES = (
    Mutant(
        "shuffled values",
        "trained on shuffled values",
        "beats_baseline",
        Recipe(_INTEREST, learned=_shuffled),
        champion=SOUND_RATES,
    ),
    Mutant(
        "constant value",
        "the same value for every row",
        "beats_baseline",
        Recipe(_OF_RATES),
        champion=SOUND_RATES,
    ),
    Mutant(
        "collapsed slice of values",
        "predicts 9 % for every travel loan",
        "worst_slice",
        Recipe(_INTEREST, learned=_collapsed_rates),
        champion=SOUND_RATES,
    ),
)
_CONSTANT_SLICE = Mutant(
    "constant slice",
    "the same probabilities for every travel loan",
    "worst_slice",
    Recipe(exported=_constant_for_travel),
)
_NAMED = {model.name: model for model in (*MUTANTS, *SOUND_MODELS)}
BY_MEASURE = {  # shuffled, constant, collapsed and sound models, to be judged by each measure
    SPEC: (
        *(_NAMED["shuffled labels"], _NAMED["constant prediction"], _CONSTANT_SLICE),
        _NAMED["a challenger"],
    ),
    _RATES: (*MUTANTS_OF_RATES, _NAMED["a regression"]),
}
_COSTS = {"default": {"repaid": 5.0}, "repaid": {"default": 1.0}}


def rules_of(measure: str) -> ValidationConfig:
    """Default rules with this measure, without a threshold that could refuse."""
    costs = _COSTS if measure == "neg_expected_cost" else {}
    return ValidationConfig.model_validate(
        {"measure": {"name": measure, "costs": costs}, "threshold": -1e9, "folds": 0}
    )


class Zoo:
    """Packages, trained once each, and the verdicts of the gates on them.

    Args:
        folder: where the packages are written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._packages: dict[Recipe, Path] = {}
        self._verdicts: dict[Mutant, list[Verdict]] = {}

    def package(self, recipe: Recipe) -> Path:
        """Folder of the package of a recipe."""
        if recipe not in self._packages:
            version = f"{recipe.version}-{len(self._packages)}"
            self._packages[recipe] = make(recipe, self.folder / "packages", version)
        return self._packages[recipe]

    def verdicts(self, mutant: Mutant) -> list[Verdict]:
        """Every verdict on a mutant, in the order of the validation."""
        if mutant not in self._verdicts:
            self._verdicts[mutant] = self._judge_mutant(mutant)
        return self._verdicts[mutant]

    def verdicts_by(self, measure: str, mutant: Mutant) -> list[Verdict]:
        """The verdicts on the package of a mutant under the rules of another measure."""
        folder = self.package(mutant.recipe)
        package = ModelPackage(folder, recorded=sha256_of(folder / MANIFEST))
        return self._verdicts_on(mutant, package, rules_of(measure))

    def _judge_mutant(self, mutant: Mutant) -> list[Verdict]:
        folder = self.package(mutant.recipe)
        recorded = sha256_of(folder / MANIFEST)
        if mutant.tampered is not _unchanged:
            copy = self.folder / "tampered" / mutant.name / folder.name
            folder = shutil.copytree(folder, copy)
            mutant.tampered(folder)
        try:
            package = ModelPackage(folder, recorded=recorded)
        except PackageError as error:
            return [Verdict("digests_are_intact", False, str(error))]
        verdicts = self._verdicts_on(mutant, package, mutant.recipe.config.validation)
        if mutant.alone:
            verdicts.append(self._served(mutant, folder))
        return verdicts

    def _verdicts_on(
        self, mutant: Mutant, package: ModelPackage, rules: ValidationConfig
    ) -> list[Verdict]:
        recipe = mutant.recipe
        try:
            served = load_served(package.served, recipe.model.SPEC)
        except PackageError as error:
            return [Verdict("loads", False, str(error))]
        dataset = (mutant.later or (lambda data: data))(recipe.model.load())
        rival = self._rival(mutant.champion) if mutant.champion else None
        size = package.served.stat().st_size
        case = Case(package, served, dataset, rules, rival, bytes=size)
        return list(judge(case).verdicts)

    def _rival(self, recipe: Recipe) -> Champion:
        folder = self.package(recipe)
        package = ModelPackage(folder, recorded=sha256_of(folder / MANIFEST))
        served = load_served(package.served, recipe.model.SPEC)
        return Champion(package, served, package.served.stat().st_size)

    def _served(self, mutant: Mutant, package: Path) -> Verdict:
        root = ROOT
        if mutant.service is not _unchanged:
            root = self.folder / "clone"
            bentofile = BENTOFILE.relative_to(ROOT).as_posix()
            for name in (".bentoignore", bentofile, *included_files()):
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(ROOT / name, root / name)
            mutant.service(root)
        with start_serving_check(package, SERVICE, root) as check:
            return check.verdict()
