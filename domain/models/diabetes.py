"""Diabetes: progression of the disease within a year, by ten measures (Efron et al., 2004)."""

from __future__ import annotations

from sklearn.compose import make_column_transformer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from domain.contract import Category, ModelSpec, Number, Quantity
from domain.data.bundled import make_dataset, read_csv
from domain.data.dataset import Dataset

SPEC = ModelSpec(
    name="diabetes",
    description="Progression of diabetes one year after the measures were taken.",
    inputs=(
        Number("age", "years", 0.0, 120.0),
        Category("sex", ("1", "2"), "as coded in the source, which does not say which is which"),
        Number("body_mass_index", "kg/m²", 10.0, 80.0),
        Number("blood_pressure", "mmHg", 30.0, 250.0, "mean arterial pressure"),
        Number("total_cholesterol", "mg/dl", 30.0, 800.0),
        Number("ldl_cholesterol", "mg/dl", 5.0, 600.0),
        Number("hdl_cholesterol", "mg/dl", 5.0, 200.0),
        Number("cholesterol_ratio", "", 1.0, 30.0, "total ÷ HDL cholesterol"),
        Number("log_triglycerides", "", 2.0, 9.0, "logarithm of the triglycerides, probably"),
        Number("blood_sugar", "mg/dl", 30.0, 600.0),
    ),
    output=Quantity("progression", coverage=0.9),
)


def load() -> Dataset:
    """The 442 patients that come with scikit-learn."""
    table = read_csv("diabetes_data_raw.csv.gz", sep=r"\s+")
    target = read_csv("diabetes_target.csv.gz")[0]
    return make_dataset(SPEC, "Efron et al., 2004", table, target)


def build(alpha: float) -> Pipeline:
    """A ridge regression; training wraps it so that predictions have an interval."""
    return make_pipeline(
        make_column_transformer(
            (OneHotEncoder(drop="if_binary"), SPEC.columns_of(Category)),
            (StandardScaler(), SPEC.columns_of(Number)),
        ),
        Ridge(alpha=alpha),
    )
