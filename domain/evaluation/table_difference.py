"""What differs between two versions of a table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pandas as pd

from domain.contract import ModelSpec
from domain.data.dataset import Dataset
from domain.errors import InputError
from domain.monitoring.drift import population_stability_index
from domain.monitoring.profile import Profile

DRIFT = 0.1  # population stability index from which a variable is not stable


def table_differences(old: pd.DataFrame, new: pd.DataFrame) -> list[str]:
    """Lines on rows, columns, types and missing values; none if they are equal.

    Args:
        old: columns as `domain.data.tables.read_frame` returns them; `new` likewise.
    """
    lines = [] if len(old) == len(new) else [f"rows: {len(old):,}, now {len(new):,}"]
    lines += [f"column {name}: is gone" for name in old.columns if name not in new.columns]
    lines += [f"column {name}: is new" for name in new.columns if name not in old.columns]
    for name in (name for name in old.columns if name in new.columns):
        types = str(old[name].dtype), str(new[name].dtype)
        if types[0] != types[1]:
            lines.append(f"column {name}: its type was {types[0]}, now {types[1]}")
        missing = old[name].isna().mean(), new[name].isna().mean()
        if missing[0] != missing[1]:
            lines.append(f"column {name}: {missing[0]:.2%} missing, now {missing[1]:.2%}")
    return lines


def input_drift(profiles: Mapping[str, Any], spec: ModelSpec, new: Dataset) -> list[str]:
    """Lines on each input that is not stable, the strongest drift first; if all are, one line.

    Args:
        profiles: ``profile.json`` of the older version.
        spec: its contract.
        new: the data of the newer version; for an input that breaks that contract a line says how.
    """
    scores: dict[str, float] = {}
    lines = []
    for item in spec.inputs:
        alone = replace(spec, inputs=(item,))
        try:
            monitored = alone.monitored(alone.encode({item.name: new.inputs[item.name].array})).T
        except InputError as error:
            lines.append(f"drift of {item.name}: cannot be measured by the older contract: {error}")
            continue
        for name, values in zip(alone.monitored_names, monitored, strict=True):
            if name in profiles:
                profile = Profile.from_dict(profiles[name])
                scores[name] = population_stability_index(profile, values)
    ranked = sorted(scores, key=lambda name: -scores[name])
    index = "population stability index"
    lines += [f"drift of {n}: {index} {scores[n]:.3f}" for n in ranked if scores[n] >= DRIFT]
    if not lines and ranked:
        largest = scores[ranked[0]]
        lines = [f"drift: none; the largest {index} is {largest:.3f}, of {ranked[0]}"]
    return lines
