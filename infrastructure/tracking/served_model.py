"""The model that `mlflow.pyfunc.load_model` returns; it checks its contract."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from application.ports.model import Model
from domain.contract import ModelSpec, Tensor
from infrastructure.inference.loading import load_served


class ServedModel:
    """Predicts for data frames, or for an array if the only input is a tensor."""

    def __init__(self, spec: ModelSpec, model: Model) -> None:
        self._spec = spec
        self._model = model

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """A frame with a row per input row: ``prediction``, and probabilities or the interval.

        Args:
            data: frame with a column for each required input, or array of shape
                (n_rows, …tensor).
            params: ignored.

        Raises:
            InputError: the data break the contract.
        """
        del params
        spec = self._spec
        if isinstance(data, np.ndarray) and isinstance(spec.inputs[0], Tensor):
            data = {spec.inputs[0].name: data}
        if isinstance(data, pd.DataFrame):  # the signature allows optional inputs to be left out
            missing = [i.name for i in spec.inputs if i.nullable and i.name not in data]
            data = data.copy(deep=False)
            for name in missing:
                data[name] = None
        predictions = self._model(spec.encode(data))
        frame = pd.DataFrame(predictions, columns=list(spec.output_columns))
        if spec.classes:
            labels = np.array(spec.classes)[spec.decide(predictions)]
            frame.insert(0, "prediction", labels)
        return frame


def _load_pyfunc(path: str) -> ServedModel:
    """Called by MLflow with the path of the served file."""
    file = Path(path)
    contract = json.loads(file.with_name("contract.json").read_text(encoding="utf-8"))
    spec = ModelSpec.from_dict(contract)
    return ServedModel(spec, load_served(file, spec))
