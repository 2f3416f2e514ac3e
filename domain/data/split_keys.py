"""What rows have in common besides their inputs, and how a split follows it: time and group."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from sklearn.model_selection import GroupKFold, StratifiedGroupKFold, TimeSeriesSplit

from domain.errors import DataError
from shared.digests import unit_interval

_TOLERANCE = 0.05  # of a stratum's share, relative to the share that is held out

Fold = tuple[np.ndarray, np.ndarray]
"""Positions of the rows to fit on and of those to test on."""


@dataclass(frozen=True)
class SplitKeys:
    """The time of each row, the group that it belongs to, or both.

    Attributes:
        time: float array of shape (n_rows,), in days for dates; None if time does not matter.
        group: array of words of shape (n_rows,); None without groups.
        gap: rows so shortly before the rows that judge are not learned from, in the unit of `time`.
        start: time at which the hold-out starts; None for the last share of the rows.
    """

    time: np.ndarray | None = None
    group: np.ndarray | None = None
    gap: float = 0.0
    start: float | None = None

    def take(self, rows: np.ndarray) -> Self:
        """The keys of the rows at these positions, or where a mask is true."""
        time, group = (None if key is None else key[rows] for key in (self.time, self.group))
        return replace(self, time=time, group=group)

    def sides(
        self, strata: Sequence[object], share: float, seed: int, start: float | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Which rows to learn from and which to hold out; some may be neither.

        By time the last rows are held out; rows of the same time stay on one side. By group no
        group is on both sides. By both, the later rows of groups that are not learned from.

        Args:
            strata: of each row, its class; for groups only, where that of its first row counts.
            share: of the rows, and of the groups, that is held out.
            seed: of the hash that decides the side of a group.
            start: time from which rows are held out, in place of a share.

        Returns:
            Two masks of shape (n_rows,).
        """
        learned = np.ones(len(strata), bool)
        held = np.ones(len(strata), bool)
        if self.time is not None:
            if start is None:
                last = max(1, round(share * len(strata)))
                start = float(np.sort(self.time)[-last])
            held = self.time >= start
            learned = self.time < start - self.gap
        if self.group is not None:
            names, first, numbers = np.unique(self.group, return_index=True, return_inverse=True)
            order = np.argsort(first)  # groups as they first occur
            sides = np.empty(len(names), bool)
            sides[order] = stable_sides(
                names[order].tolist(), [strata[row] for row in first[order]], share, seed
            )
            learned &= ~sides[numbers]
            held &= np.bincount(numbers, learned)[numbers] == 0
        return learned, held

    def early_stopping(self, strata: Sequence[object], share: float, seed: int) -> Fold:
        """Positions of rows to learn from, and of rows that tell when to stop; see `sides`.

        Raises:
            DataError: one of them would be empty.
        """
        learned, held = map(np.flatnonzero, self.sides(strata, share, seed))
        if len(learned) == 0 or len(held) == 0:
            raise DataError(
                f"{len(strata)} training rows leave no rows for early stopping with data.split: "
                "use more times or groups, or a smaller gap"
            )
        return learned, held

    def folds(self, count: int, seed: int, classes: np.ndarray | None = None) -> list[Fold]:
        """Folds of a cross-validation.

        By time each fold is tested on rows after those that it learns from; by group no group is
        on both sides; by both, on the later rows of other groups. Folds that would learn from some
        of the classes only are left out.

        Args:
            classes: class number of each row, shape (n_rows,); None for a quantity.

        Raises:
            ValueError: there are too few times, groups or rows of a class.
        """
        if self.time is not None:
            folds = self._folds_in_time(self.time, count, seed)
        elif self.group is not None:
            kind = GroupKFold if classes is None else StratifiedGroupKFold
            splitter = kind(count, shuffle=True, random_state=seed)
            rows = np.zeros(len(self.group)) if classes is None else classes
            return list(splitter.split(rows, rows, self.group))
        else:
            raise ValueError("there is neither a time nor a group to follow")
        folds = [fold for fold in folds if len(fold[0]) and len(fold[1])]
        if classes is not None:
            every = len(np.unique(classes))
            folds = [fold for fold in folds if len(np.unique(classes[fold[0]])) == every]
        if len(folds) < 2:
            raise ValueError(
                "fewer than 2 folds have rows to test on and every class in the earlier rows"
            )
        return folds

    def _folds_in_time(self, time: np.ndarray, count: int, seed: int) -> list[Fold]:
        times = np.unique(time)
        others = np.full(len(time), -1)  # the fold that tests a group
        if self.group is not None:
            groups = GroupKFold(count, shuffle=True, random_state=seed)
            for number, (_, test) in enumerate(groups.split(self.group, groups=self.group)):
                others[test] = number
        folds = []
        for number, (_, block) in enumerate(TimeSeriesSplit(count).split(times)):
            start, end = times[block[0]], times[block[-1]]
            learned = (time < start - self.gap) & (others != number)
            tested = (time >= start) & (time <= end if self.group is None else others == number)
            folds.append((np.flatnonzero(learned), np.flatnonzero(tested)))
        return folds


def stable_sides(
    units: Sequence[str], strata: Sequence[object], share: float, seed: int
) -> np.ndarray:
    """Which rows are held out, bool of shape (n_rows,); no later row changes an earlier one.

    Args:
        units: of each row, what stays on one side: rows with the same unit do.
        strata: of each row, its class. Where a stratum has several units, both sides have one.
        share: of the rows of each stratum that is held out.
        seed: of the hash.
    """
    sides: dict[str, bool] = {}
    counts = dict.fromkeys(strata, (0, 0))  # rows, and those that are held out
    mask = []
    for unit, stratum in zip(units, strata, strict=True):
        rows, held = counts[stratum]
        side = sides.get(unit)
        if side is None:
            side = sides[unit] = _is_held(unit_interval(f"{seed} {unit}"), rows, held, share)
        mask.append(side)
        counts[stratum] = rows + 1, held + side
    return np.array(mask, bool)


def _is_held(chance: float, rows: int, held: int, share: float) -> bool:
    """The side of a new unit, after `rows` rows of its stratum of which `held` are held out."""
    if rows and held in (0, rows):
        return held == 0
    expected = share * (rows + 1)
    tolerance = max(1.0, _TOLERANCE * min(share, 1 - share) * rows)
    if held + 1 - expected >= tolerance:
        return False
    return expected - held >= tolerance or chance < share
