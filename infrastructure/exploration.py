"""A model and its data, for notebooks: as training sees them, with the hold-out set apart."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pandas as pd

from application.training.config import TrainingConfig, config_path
from application.training.train import make_estimator
from application.validation.validate import CrossValidation, cross_validate
from domain import catalog
from domain.contract import ModelSpec
from domain.data.dataset import Dataset
from domain.data.splitting import hold_out
from domain.estimators.fitting import default_folds
from domain.evaluation.measures import Measure, repeat
from infrastructure.storage.snapshots import open_snapshots
from shared.settings import Settings


@dataclass(frozen=True)
class Exploration:
    """A model and its data.

    Attributes:
        estimator: unfitted, as configured.
        dataset: all rows.
        training: the rows to look at and to learn from.
        holdout: the rows that validation judges by; look at them as rarely as possible.
    """

    spec: ModelSpec
    config: TrainingConfig
    estimator: Any
    dataset: Dataset
    training: Dataset
    holdout: Dataset

    def __str__(self) -> str:
        rows = f"{len(self.training):,} training rows, {len(self.holdout):,} hold-out rows"
        return f"{rows}; {self.dataset.source}"

    @property
    def table(self) -> pd.DataFrame:
        """Inputs and target of the training rows."""
        target = self.training.target.rename(self.spec.output.name)
        return pd.concat([self.training.inputs, target], axis=1)

    @property
    def measure(self) -> Measure:
        """How quality is measured: ``validation.measure``."""
        return self.config.validation.measure_of(self.spec)

    def baseline(self) -> float:
        """Score of the best constant prediction on the training rows."""
        target = self.training.encoded_target(self.spec)
        return self.measure.score(target, repeat(self.measure.constant(target), len(target)))

    def cross_validate(self, estimator: Any = None) -> CrossValidation:
        """Cross-validation on the training rows, by the model's split, folds and measure.

        Args:
            estimator: another one to compare with; None for the configured one.

        Raises:
            ValueError: the training rows are too few for these folds.
        """
        rules = self.config.validation
        return cross_validate(
            self.estimator if estimator is None else estimator,
            self.training,
            self.measure,
            rules.folds or default_folds(len(self.training)),
            self.config.data.share_and_seed[1],
            seconds=rules.seconds,
            holdout=len(self.holdout),
        )


def explore(name: str) -> Exploration:
    """Load a model's data through the catalog and its configuration, and split them, as training
    does.

    Raises:
        UnknownModelError: no model has this name.
        ConfigError: the configuration does not fit the model.
        DataError: the data cannot be read or split.
    """
    model, config = catalog.get(name), TrainingConfig.read(config_path(name))
    source = config.data.source
    file = None
    if source:
        file = open_snapshots(Settings.load()).fetch(source.address, source.query).file
    dataset = config.load_data(model, file)
    training, holdout = hold_out(dataset, model.SPEC, *config.data.share_and_seed)
    estimator = make_estimator(model, config)
    return Exploration(model.SPEC, config, estimator, dataset, training, holdout)
