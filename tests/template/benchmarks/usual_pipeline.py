"""Training with MLflow as in tutorials: the fluent API, value by value, inferred requirements."""

import os
import sys
from pathlib import Path

import joblib
import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # pylint: disable=wrong-import-position
import mlflow  # pylint: disable=wrong-import-position
import mlflow.sklearn  # pylint: disable=wrong-import-position
import pandas as pd  # pylint: disable=wrong-import-position
from sklearn.datasets import load_iris  # pylint: disable=wrong-import-position
from sklearn.ensemble import RandomForestClassifier  # pylint: disable=wrong-import-position
from sklearn.metrics import (  # pylint: disable=wrong-import-position
    ConfusionMatrixDisplay,
    accuracy_score,
    f1_score,
    precision_score,
    recall_score,
)
from sklearn.model_selection import train_test_split  # pylint: disable=wrong-import-position

folder = Path(sys.argv[1])
os.chdir(folder)
mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
mlflow.set_experiment("iris_production_pipeline")
data = load_iris(as_frame=True)
frame: pd.DataFrame = data.frame
train_inputs, test_inputs, train_labels, test_labels = train_test_split(
    frame[data.feature_names],
    frame["target"],
    test_size=0.2,
    random_state=42,
    stratify=frame["target"],
)
parameters = {"n_estimators": 100, "max_depth": 5, "random_state": 42}
with mlflow.start_run():
    model = RandomForestClassifier(**parameters).fit(train_inputs, train_labels)
    predicted = model.predict(test_inputs)
    for name, value in parameters.items():
        mlflow.log_param(name, value)
    mlflow.log_metric("accuracy", accuracy_score(test_labels, predicted))
    mlflow.log_metric("precision", precision_score(test_labels, predicted, average="macro"))
    mlflow.log_metric("recall", recall_score(test_labels, predicted, average="macro"))
    mlflow.log_metric("f1", f1_score(test_labels, predicted, average="macro"))
    ConfusionMatrixDisplay.from_predictions(test_labels, predicted)
    plt.savefig(folder / "confusion_matrix.png")
    mlflow.log_artifact(str(folder / "confusion_matrix.png"))
    mlflow.sklearn.log_model(
        model,
        name="model",
        signature=mlflow.models.infer_signature(test_inputs, predicted),
        input_example=test_inputs[:2],
        registered_model_name="iris_classifier_pipeline",
        skops_trusted_types=["sklearn.tree._tree.Tree"],
    )
joblib.dump(model, folder / "model.joblib")
