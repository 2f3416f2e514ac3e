"""Writes the scikit-learn model into a folder as `mlflow models serve` takes it."""

import sys

import joblib
import mlflow.sklearn

from tests.template.benchmarks.serving.peers.answers import package_file

mlflow.sklearn.save_model(
    joblib.load(package_file("model.joblib")), sys.argv[1], serialization_format="cloudpickle"
)
