"""Writes the scikit-learn model into a folder for `mlflow models serve`."""

import sys

import joblib
import mlflow.sklearn

from tests.template.benchmarks.serving.peers.common import package_file

mlflow.sklearn.save_model(
    joblib.load(package_file("model.joblib")), sys.argv[1], serialization_format="cloudpickle"
)
