"""What differs between two versions of a table."""

from __future__ import annotations

from collections.abc import Mapping
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
    """Lines on each input that is not stable, the strongest drift first.

    Args:
        profiles: ``profile.json`` of the older version.
        spec: its contract.
        new: the data of the newer version, which may break that contract; then a line says how.
    """
    try:
        monitored = spec.monitored(new.encoded(spec)).T
    except InputError as error:
        return [f"drift: cannot be measured by the older contract: {error}"]
    scores = {
        name: population_stability_index(Profile.from_dict(profiles[name]), values)
        for name, values in zip(spec.monitored_names, monitored, strict=True)
        if name in profiles
    }
    drifted = sorted((name for name in scores if scores[name] >= DRIFT), key=lambda n: -scores[n])
    return [f"drift of {name}: population stability index {scores[name]:.3f}" for name in drifted]
