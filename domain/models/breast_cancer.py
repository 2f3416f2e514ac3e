"""Breast cancer: whether a tumour is malignant, by its cell nuclei (Street et al., 1993)."""

from __future__ import annotations

from lightgbm import LGBMClassifier
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline

from domain.contract import Classes, ModelSpec, Number
from domain.data.bundled import read_classification
from domain.data.dataset import Dataset

_MEASURES = (  # name, unit, largest possible value, meaning
    ("radius", "px", 100.0, "distance from the centre to the outline"),
    ("texture", "", 150.0, "spread of the grey values"),
    ("perimeter", "px", 1000.0, "length of the outline"),
    ("area", "px²", 10000.0, "area inside the outline"),
    ("smoothness", "", 1.0, "local variation of the radius"),
    ("compactness", "", 5.0, "perimeter² ÷ area − 1"),
    ("concavity", "", 5.0, "how deep the outline is dented"),
    ("concave_points", "", 1.0, "how many dents the outline has"),
    ("symmetry", "", 1.0, "difference between the halves"),
    ("fractal_dimension", "", 1.0, "coastline approximation − 1"),
)
_STATISTICS = (
    ("mean", "mean over the nuclei"),
    ("error", "standard error"),
    ("worst", "mean of the three largest"),
)

SPEC = ModelSpec(
    name="breast_cancer",
    description="Whether a breast tumour is malignant, by measures of its cell nuclei.",
    inputs=tuple(
        Number(f"{statistic}_{name}", unit, 0.0, largest, f"{meaning}; {how}", nullable=True)
        for statistic, how in _STATISTICS
        for name, unit, largest, meaning in _MEASURES
    ),
    output=Classes(("malignant", "benign"), "diagnosis"),
)


def load() -> Dataset:
    """The 569 tumours that come with scikit-learn."""
    author = "Street, Wolberg and Mangasarian, 1993"
    return read_classification(SPEC, author, "breast_cancer.csv")


def build(
    learning_rate: float,
    n_estimators: int,
    num_leaves: int,
    reg_lambda: float,
    share_of_rows: float,
    share_of_columns: float,
    random_state: int,
) -> Pipeline:
    """Gradient boosting of LightGBM; missing measures are replaced by medians, since the training
    rows have none to learn from.

    Trees need no scaling. Without it, native and exported model split on the same float32 values.

    Args:
        share_of_rows: of the training rows that each tree sees.
        share_of_columns: of the measures that each tree sees.
    """
    return make_pipeline(
        SimpleImputer(strategy="median"),
        LGBMClassifier(
            learning_rate=learning_rate,
            n_estimators=n_estimators,
            num_leaves=num_leaves,
            reg_lambda=reg_lambda,
            subsample=share_of_rows,
            subsample_freq=1,
            colsample_bytree=share_of_columns,
            random_state=random_state,
            n_jobs=1,  # threads only wait for each other on so few rows
            verbose=-1,
        ),
    )
