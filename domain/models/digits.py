"""Digits: which digit was written, by an image of 8 × 8 pixels (Alpaydin and Kaynak, 1998)."""

from __future__ import annotations

import pandas as pd
import torch
from skorch.callbacks import EarlyStopping
from skorch.dataset import ValidSplit
from torch import nn

from domain.contract import Classes, ModelSpec, Tensor
from domain.data.bundled import make_dataset, read_csv
from domain.data.dataset import Dataset
from domain.estimators.torch_network import (
    TorchClassifier,
    found_device,
    gains_from_mixed_precision,
)

_SIDE, _BLACK = 8, 16.0
_VALID_SHARE = 0.15  # of the training rows, for early stopping

SPEC = ModelSpec(
    name="digits",
    description="Digit from 0 to 9 by an image of its handwriting.",
    inputs=(
        Tensor(
            "image",
            (_SIDE, _SIDE),
            0.0,
            _BLACK,
            description="rows of pixels from the top, 0 (white) to 16 (black)",
        ),
    ),
    output=Classes(tuple("0123456789"), "digit"),
)


def load() -> Dataset:
    """The 1,797 images that come with scikit-learn."""
    table = read_csv("digits.csv.gz")
    target = table.pop(64).astype(int).map(dict(enumerate(SPEC.classes)))
    images = pd.DataFrame({"image": list(table.to_numpy("float32").reshape(-1, _SIDE, _SIDE))})
    return make_dataset(SPEC, "Alpaydin and Kaynak, 1998", images, target)


class DigitNetwork(nn.Module):
    """Two convolutions and a hidden layer.

    Args:
        channels: filters of the first convolution; the second has twice as many.
        hidden: units of the hidden layer.
        dropout: share of the units that are dropped in a training step.
    """

    def __init__(self, channels: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(1, channels, 3, padding=1),
            nn.BatchNorm2d(channels),
            nn.ReLU(),
            nn.Conv2d(channels, 2 * channels, 3, padding=1),
            nn.BatchNorm2d(2 * channels),
            nn.ReLU(),
            nn.MaxPool2d(2),  # (n, 2 · channels, 4, 4)
            nn.Flatten(),
            nn.Dropout(dropout),
            nn.Linear(2 * channels * (_SIDE // 2) ** 2, hidden),
            nn.ReLU(),
            nn.Dropout(dropout),
            nn.Linear(hidden, len(SPEC.classes)),
        )

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        """Logits of shape (n, 10) from pixels of shape (n, 64)."""
        images = inputs.reshape(-1, 1, _SIDE, _SIDE) / _BLACK
        logits: torch.Tensor = self.layers(images)
        return logits


def build(
    channels: int,
    hidden: int,
    dropout: float,
    learning_rate: float,
    batch_size: int,
    max_epochs: int,
    patience: int,
    random_state: int,
) -> TorchClassifier:
    """An unfitted network, on a GPU if there is one.

    Training stops when the validation loss has not improved for `patience` epochs; the weights of
    the best epoch are kept.
    """
    device = found_device()
    return TorchClassifier(
        DigitNetwork,
        module__channels=channels,
        module__hidden=hidden,
        module__dropout=dropout,
        criterion=nn.CrossEntropyLoss,
        optimizer=torch.optim.AdamW,
        lr=learning_rate,
        batch_size=batch_size,
        max_epochs=max_epochs,
        iterator_train__shuffle=True,
        train_split=ValidSplit(_VALID_SHARE, stratified=True, random_state=random_state),
        callbacks=[("early_stopping", EarlyStopping(patience=patience, load_best=True))],
        device=device,
        mixed_precision=gains_from_mixed_precision(device),
        random_state=random_state,
        verbose=0,
    )
