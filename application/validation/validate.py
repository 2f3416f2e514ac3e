"""Judge a candidate on rows that it has never seen, and promote it when every gate accepts it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import StratifiedKFold

from application.ports import Classifier, Registry
from domain.data.dataset import Dataset
from domain.errors import GateRefusal
from domain.evaluation import gates
from domain.evaluation.metrics import ClassificationReport
from domain.evaluation.parity import Parity
from domain.models.contract import ModelSpec

FOLDS = 10


class JudgedPackage(Protocol):
    """What validation reads of a package."""

    @property
    def version(self) -> str:
        """The package's version."""

    def read_json(self, name: str) -> Any:
        """A JSON file of the package."""

    def load_native(self) -> Any:
        """The native model."""


@dataclass(frozen=True)
class CrossValidation:
    """Accuracy of the same recipe trained on other parts of the data.

    Attributes:
        scores: accuracy of each fold, shape (n_folds,).
    """

    scores: np.ndarray

    def __str__(self) -> str:
        return (
            f"{self.scores.mean():.3f} ± {self.scores.std(ddof=1):.3f} ({len(self.scores)} folds)"
        )


def cross_validate(
    estimator: Any,
    dataset: Dataset,
    spec: ModelSpec,
    seed: int,
    watch: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> CrossValidation:
    """Stratified cross-validation; `watch` wraps the folds, to show progress."""
    rows = dataset.inputs[list(spec.feature_names)].to_numpy(np.float32)
    labels = dataset.codes(spec.classes)
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    scores = [
        (clone(estimator).fit(rows[fit], labels[fit]).predict(rows[test]) == labels[test]).mean()
        for fit, test in watch(list(folds.split(rows, labels)))
    ]
    return CrossValidation(np.array(scores))


def judge(
    package: JudgedPackage,
    served: Classifier,
    dataset: Dataset,
    threshold: float,
) -> list[gates.Verdict]:
    """Ask every gate.

    Args:
        served: the exported model of the package.
        dataset: all data; the package says which rows are its hold-out.
        threshold: smallest accuracy on the hold-out that is accepted.

    Returns:
        Each gate's verdict; those that need the hold-out are missing where none of it was found.
    """
    spec = ModelSpec.from_dict(package.read_json("contract.json"))
    record = package.read_json("holdout.json")
    recorded = np.array(record["holdout"])
    holdout = dataset.take(np.isin(dataset.row_hashes, recorded))
    verdicts = [
        gates.holdout_is_unseen(recorded, np.array(record["training"])),
        gates.holdout_is_whole(recorded, holdout.row_hashes),
    ]
    if len(holdout) == 0:
        return verdicts
    names = list(spec.feature_names)
    answers = served(holdout.inputs[names].to_numpy(np.float32)).argmax(axis=1)
    report = ClassificationReport.of(holdout.codes(spec.classes), answers, len(spec.classes))
    everything = dataset.inputs[names].to_numpy(np.float32)
    native = package.load_native().predict_proba(everything)
    verdicts += [
        gates.quality(report, threshold),
        gates.parity(Parity.of(native, served(everything))),
    ]
    return verdicts


def promote(
    package: JudgedPackage,
    verdicts: Sequence[gates.Verdict],
    add_to_store: Callable[[], str],
    registry: Registry,
    model_name: str,
) -> tuple[str, str]:
    """Put an accepted package into the model store and make it the champion.

    The store comes first: a champion that is not in the store could not be built.

    Returns:
        Its tag in the store and its version in the registry.

    Raises:
        GateRefusal: a gate refuses; nothing has been moved.
    """
    refused = [verdict for verdict in verdicts if not verdict.accepted]
    if refused or not verdicts:
        reasons = "; ".join(f"{verdict.gate}: {verdict.reason}" for verdict in refused)
        reasons = reasons or "no gate has judged it"
        raise GateRefusal(f"{model_name} {package.version} is refused: {reasons}")
    tag = add_to_store()
    return tag, registry.promote(model_name, package.version).version
