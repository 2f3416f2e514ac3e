"""What another version would have predicted for the rows of the prediction log."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from application.inference.scoring import score
from application.monitoring.drift_report import bins_of
from application.monitoring.export import Columns, Contracts, export_predictions, input_columns
from application.ports.model import Model
from application.ports.prediction_log import PredictionReader
from domain.contract import ModelSpec
from domain.monitoring.drift import watched_profiles

_FEWEST = 50  # rows of a bin that is shown
SHADOW = "shadow_prediction"


@dataclass(frozen=True)
class Place:
    """Rows of one bin of an input.

    Attributes:
        what: input and bin, such as ``age: 20 to 30``.
        rows: number of rows in it.
        difference: share of them with another class, or the mean absolute difference.
    """

    what: str
    rows: int
    difference: float


@dataclass
class ShadowReport:
    """How the predictions of another version differ from those on record.

    Attributes:
        rows: number of rows that both have predicted.
        rejected: rows that the other version's contract refuses.
        changes: how often each class became another one; empty for a regression.
        total: number of changes, or the sum of the absolute differences.
        largest: the largest absolute difference of a value.
        errors: of the labelled rows that the other version was not trained on, the error of both on
            each: 1 for a wrong class, or the absolute error; arrays of shape (n, 2).
        places: where they differ most, by input.
    """

    rows: int = 0
    rejected: int = 0
    changes: Counter[tuple[str, str]] = field(default_factory=Counter)
    total: float = 0.0
    largest: float = 0.0
    errors: list[np.ndarray] = field(default_factory=list)
    places: Sequence[Place] = ()

    @property
    def difference(self) -> float:
        """Share of changed classes, or the mean absolute difference."""
        return self.total / self.rows if self.rows else float("nan")


# pylint: disable-next=too-many-arguments  # the period, the two versions and two functions
def replay(
    log: PredictionReader,
    contracts: Contracts,
    spec: ModelSpec,
    model: Model,
    profiles: Mapping[str, Any],
    period: tuple[float, float, str | None],
    *,
    trained_on: Collection[tuple[str, int]] = frozenset(),
    keep: Callable[[Columns], object] = lambda columns: None,
    on_rows: Callable[[int], object] = lambda rows: None,
) -> ShadowReport:
    """Predict the logged rows with another version.

    Args:
        contracts: of the versions in the log.
        spec, model, profiles: of the other version.
        period: seconds since the epoch, the end being excluded, and the version that served; None
            for all versions.
        trained_on: request IDs and rows of the labels that the other version knows.
        keep: gets the columns of the rows with another class, or another value, and ``SHADOW``.
        on_rows: called with the number of rows that were read.
    """
    report, spots = ShadowReport(), _Spots(spec, profiles)
    source = dict(zip(contracts.champion.input_names, input_columns(contracts.champion)))

    monitored: list[np.ndarray] = []  # of the rows that the model has just seen

    def see(encoded: np.ndarray) -> np.ndarray:
        monitored[:] = [spec.monitored(encoded)]
        return model(encoded)

    def predict(columns: Columns) -> None:
        rows = len(columns["row"])
        inputs = {name: columns[column] for name, column in source.items() if column in columns}
        scored = score(spec, see, inputs, rows)
        on_rows(rows)
        report.rejected += rows - len(scored.kept)
        report.rows += len(scored.kept)
        if not scored.kept.size:
            return
        chosen = {name: np.asarray(values)[scored.kept] for name, values in columns.items()}
        before, actual = chosen["prediction"], chosen["actual"]
        decided = spec.decide(scored.predictions)
        if spec.classes:
            after: np.ndarray = np.array(spec.classes, object)[decided]
            difference = (before != after).astype(np.float64)
            report.changes.update(zip(before[before != after], after[before != after]))
            known = np.array([word is not None for word in actual])
            errors = np.stack([before != actual, after != actual], axis=1)
        else:
            after = decided
            difference = np.abs(after - before.astype(np.float64))
            known = np.isfinite(actual)
            errors = np.abs(np.stack([before, after], axis=1) - actual[:, None])
        if trained_on:
            rows_of_log = zip(chosen["request_id"].tolist(), chosen["row"].tolist())
            known &= np.array([row not in trained_on for row in rows_of_log])
        report.total += float(difference.sum())
        report.largest = max(report.largest, float(difference.max()))
        report.errors.append(errors[known].astype(np.float64))
        spots.add(monitored[0], difference)
        changed = difference > 0
        if changed.any():
            keep({**{name: v[changed] for name, v in chosen.items()}, SHADOW: after[changed]})

    export_predictions(log, contracts, predict, *period)
    report.places = spots.places()
    return report


class _Spots:
    """Sums of the differences in the bins of each input."""

    def __init__(self, spec: ModelSpec, profiles: Mapping[str, Any]) -> None:
        watched = watched_profiles(spec, profiles)
        names = [name for name in spec.monitored_names if name in watched]
        self._profiles = {name: watched[name] for name in names}
        self._bins = {name: bins_of(name, self._profiles[name][1], spec) for name in names}
        self._sums = {name: np.zeros((2, len(bins))) for name, bins in self._bins.items()}

    def add(self, monitored: np.ndarray, difference: np.ndarray) -> None:
        """Add rows, shape (n_rows, n_monitored), and their differences, shape (n_rows,)."""
        for name, (column, profile) in self._profiles.items():
            values = monitored[:, column]
            self._sums[name] += [profile.count(values), profile.sums(values, difference)]

    def places(self) -> list[Place]:
        """Of each input the bin with the largest difference, the largest first."""
        found = []
        for name, (rows, sums) in self._sums.items():
            mean = np.divide(sums, rows, out=np.zeros_like(sums), where=rows >= _FEWEST)
            worst = int(mean.argmax())
            if mean[worst] > 0:
                what = f"{name}: {self._bins[name][worst]}"
                found.append(Place(what, int(rows[worst]), float(mean[worst])))
        return sorted(found, key=lambda place: -place.difference)
