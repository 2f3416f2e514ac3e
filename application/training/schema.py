"""Training data are checked against the model's contract before anything is recorded."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, create_model

from domain.data.dataset import Dataset
from domain.errors import DataError
from domain.models.contract import ModelSpec

_SHOWN = 3


def check_data(dataset: Dataset, spec: ModelSpec) -> None:
    """Check columns, types, ranges and labels of every row.

    Raises:
        DataError: names the first rows and columns that are wrong.
    """
    columns = tuple(map(str, dataset.inputs.columns))
    if columns != spec.feature_names:
        raise DataError(
            f"{dataset.name} has the columns {', '.join(columns)}; "
            f"the contract of {spec.name} says {', '.join(spec.feature_names)}"
        )
    if len(dataset) == 0:
        raise DataError(f"{dataset.name} has no rows")
    records = dataset.inputs.assign(label=dataset.labels.to_numpy()).to_dict("records")
    rows: TypeAdapter[Any] = TypeAdapter(list[_row_schema(spec)])  # type: ignore[arg-type,misc]
    try:
        rows.validate_python(records)
    except ValidationError as error:
        problems = error.errors()
        shown = "; ".join(
            f"row {'.'.join(map(str, item['loc']))}: {item['msg']} (got {item['input']!r})"
            for item in problems[:_SHOWN]
        )
        more = f" and {len(problems) - _SHOWN} more" if len(problems) > _SHOWN else ""
        raise DataError(
            f"{dataset.name} breaks the contract of {spec.name}: {shown}{more}"
        ) from error


def _row_schema(spec: ModelSpec) -> type[BaseModel]:
    fields: dict[str, Any] = {
        feature.name: (
            float,
            Field(ge=feature.minimum, le=feature.maximum, allow_inf_nan=False, strict=True),
        )
        for feature in spec.features
    }
    fields["label"] = (Literal[spec.classes], ...)
    return create_model("Row", __config__=ConfigDict(extra="forbid"), **fields)
