"""Wine: which of three growers made a wine, by a chemical analysis (Forina et al., 1988)."""

from __future__ import annotations

import numpy as np

from domain.contract import Classes, ModelSpec, Number
from domain.data.bundled import read_classification
from domain.data.dataset import Dataset
from domain.estimators.keras_network import KerasClassifier, keras

# The source has no units: these are the customary ones, or none where several are in use.
SPEC = ModelSpec(
    name="wine",
    description="Grower of an Italian wine by its chemical analysis; all three are of one region.",
    inputs=(
        Number("alcohol", "% vol", 5.0, 25.0),
        Number("malic_acid", "g/l", 0.0, 20.0),
        Number("ash", "g/l", 0.0, 10.0),
        Number("alcalinity_of_ash", "mmol/l", 0.0, 100.0),
        Number("magnesium", "mg/l", 0.0, 500.0),
        Number("total_phenols", "", 0.0, 20.0),
        Number("flavanoids", "", 0.0, 20.0),
        Number("nonflavanoid_phenols", "", 0.0, 5.0),
        Number("proanthocyanins", "", 0.0, 20.0),
        Number("color_intensity", "", 0.0, 50.0),
        Number("hue", "", 0.0, 5.0),
        Number("od280_od315", "", 0.0, 10.0, "absorbance at 280 nm ÷ at 315 nm, diluted wine"),
        Number("proline", "mg/l", 0.0, 5000.0),
    ),
    output=Classes(("grower_1", "grower_2", "grower_3"), "grower"),
)


def load() -> Dataset:
    """The 178 wines that come with scikit-learn."""
    return read_classification(SPEC, "Forina et al., 1988", "wine_data.csv")


def network(  # pylint: disable=invalid-name  # Keras's names
    X: np.ndarray, y: np.ndarray, hidden: int, dropout: float, learning_rate: float
) -> keras.Model:
    """A network with one hidden layer, which standardizes its inputs by the mean and spread of `X`.

    Args:
        X: training rows, shape (n_rows, 13).
        y: their classes, one-hot, shape (n_rows, 3).
    """
    scaling = keras.layers.Normalization()
    scaling.adapt(X)
    model = keras.Sequential(
        [
            keras.Input((X.shape[1],)),
            scaling,
            keras.layers.Dense(hidden, activation="relu"),
            keras.layers.Dropout(dropout),
            keras.layers.Dense(y.shape[1], activation="softmax"),
        ]
    )
    model.compile(
        optimizer=keras.optimizers.Adam(learning_rate),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


def build(
    hidden: int,
    dropout: float,
    learning_rate: float,
    batch_size: int,
    max_epochs: int,
    patience: int,
    random_state: int,
) -> KerasClassifier:
    """An unfitted network.

    Training stops when the validation loss has not improved for `patience` epochs; the weights of
    the best epoch are kept.
    """
    return KerasClassifier(
        network,
        model_kwargs={"hidden": hidden, "dropout": dropout, "learning_rate": learning_rate},
        fit_kwargs={"batch_size": batch_size, "epochs": max_epochs},
        patience=patience,
        random_state=random_state,
    )
