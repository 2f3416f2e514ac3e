"""Judge a candidate on rows that it has never seen, and promote it when every gate accepts it."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol

import numpy as np
from sklearn.base import clone
from sklearn.model_selection import KFold, StratifiedKFold

from application.ports import Model, Registry
from domain.data.dataset import Dataset
from domain.errors import GateRefusal, reason_of
from domain.evaluation import gates
from domain.evaluation.answers import answers_of
from domain.evaluation.metrics import RegressionReport, evaluate
from domain.evaluation.parity import Parity, edge_rows
from domain.models.contract import ModelSpec


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
    """Quality of the same recipe trained on other parts of the data.

    Attributes:
        measure: what the scores are, ``accuracy`` or ``r2``.
        scores: score of each fold, shape (n_folds,).
    """

    measure: str
    scores: np.ndarray

    def __str__(self) -> str:
        return (
            f"{self.measure} {self.scores.mean():.3f} ± {self.scores.std(ddof=1):.3f} "
            f"({len(self.scores)} folds)"
        )


def cross_validate(
    estimator: Any,
    dataset: Dataset,
    spec: ModelSpec,
    folds: int,
    seed: int,
    watch: Callable[[Iterable[Any]], Iterable[Any]] = iter,
) -> CrossValidation:
    """Cross-validation, stratified for classes; `watch` wraps the folds, to show progress."""
    rows, target = dataset.encoded(spec), dataset.answers(spec)
    splitter = (StratifiedKFold if spec.classes else KFold)(folds, shuffle=True, random_state=seed)
    reports = [
        evaluate(
            spec,
            answers_of(clone(estimator).fit(rows[fit], target[fit]), spec)(rows[test]),
            target[test],
        )
        for fit, test in watch(list(splitter.split(rows, target)))
    ]
    return CrossValidation(reports[0].measure, np.array([report.score for report in reports]))


def judge(
    package: JudgedPackage,
    served: Model,
    dataset: Dataset,
    threshold: float,
) -> list[gates.Verdict]:
    """Ask every gate.

    Args:
        served: the model as the package serves it.
        dataset: all data; the package says which rows are its hold-out.
        threshold: smallest accuracy, or R², on the hold-out that is accepted.

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
    answers, actual = served(holdout.encoded(spec)), holdout.answers(spec)
    training = dataset.take(np.isin(dataset.row_hashes, np.array(record["training"])))
    report = evaluate(spec, answers, actual)
    verdicts += [
        gates.quality(report, threshold),
        gates.better_than_trivial(report, answers, actual, training.answers(spec)),
    ]
    if isinstance(report, RegressionReport):
        verdicts.append(gates.interval_coverage(report))
    native, everything = answers_of(package.load_native(), spec), dataset.encoded(spec)
    answered = served(everything)
    verdicts += [
        gates.answers_are_valid(spec, answered),
        gates.deterministic(answered, served(everything)),
        gates.no_input_is_the_target(spec, everything, dataset.answers(spec)),
        gates.parity("parity", Parity.of(native(everything), answered, spec)),
    ]
    return [*verdicts, _parity_at_edges(native, served, everything, spec)]


def _parity_at_edges(
    native: Model, served: Model, encoded: np.ndarray, spec: ModelSpec
) -> gates.Verdict:
    try:
        edges = edge_rows(native, encoded, spec, random_state=0)
        measured = Parity.of(native(edges), served(edges), spec)
    except Exception as error:  # pylint: disable=broad-exception-caught  # whatever a model raises
        told = f"a row that the contract takes is not answered: {reason_of(error)}"
        return gates.Verdict("parity_at_edges", False, told)
    return gates.parity("parity_at_edges", measured)


def skip(verdicts: Iterable[gates.Verdict], names: Collection[str]) -> list[gates.Verdict]:
    """The verdicts with those of these gates accepted; what they said stays to be read."""

    def skipped(verdict: gates.Verdict) -> gates.Verdict:
        reason = f"skipped by the configuration; {verdict.word}: {verdict.reason}"
        return replace(verdict, accepted=True, reason=reason)

    return [skipped(verdict) if verdict.gate in names else verdict for verdict in verdicts]


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
