"""A package as `mlflow.pyfunc.load_model` gives it: a model that keeps its contract."""

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
    """Answers data frames, or an array where the only input is a tensor."""

    def __init__(self, spec: ModelSpec, model: Model) -> None:
        self._spec = spec
        self._model = model

    def predict(self, data: Any, params: Mapping[str, Any] | None = None) -> pd.DataFrame:
        """Answers of shape (n_rows, …): ``prediction``, and probabilities or the interval.

        Args:
            data: frame with a column for each input that must be there, or array of shape
                (n_rows, …tensor).
            params: none are known.

        Raises:
            InputError: the data break the contract.
        """
        del params
        spec = self._spec
        if isinstance(data, np.ndarray) and isinstance(spec.inputs[0], Tensor):
            data = {spec.inputs[0].name: data}
        if isinstance(data, pd.DataFrame):  # the signature lets what may be missing be left out
            absent = [i.name for i in spec.inputs if i.nullable and i.name not in data]
            data = data.copy(deep=False)
            for name in absent:
                data[name] = None
        answers = self._model(spec.encode(data))
        frame = pd.DataFrame(answers, columns=list(spec.output_columns))
        if spec.classes:
            labels = np.array(spec.classes)[answers.argmax(axis=1)]
            frame.insert(0, "prediction", labels)
        return frame


def _load_pyfunc(path: str) -> ServedModel:
    """What MLflow calls with the path of the served file."""
    file = Path(path)
    contract = json.loads(file.with_name("contract.json").read_text(encoding="utf-8"))
    spec = ModelSpec.from_dict(contract)
    return ServedModel(spec, load_served(file, spec))
