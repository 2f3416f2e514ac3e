"""The minimal cost of training: import scikit-learn, fit, score, save."""

import sys

import joblib
from sklearn.datasets import load_iris
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import accuracy_score
from sklearn.model_selection import train_test_split

inputs, labels = load_iris(return_X_y=True)
fit_inputs, test_inputs, fit_labels, test_labels = train_test_split(
    inputs, labels, test_size=0.2, random_state=42, stratify=labels
)
model = RandomForestClassifier(n_estimators=100, max_depth=5, random_state=42)
model.fit(fit_inputs, fit_labels)
print(accuracy_score(test_labels, model.predict(test_inputs)))
joblib.dump(model, f"{sys.argv[1]}/model.joblib")
