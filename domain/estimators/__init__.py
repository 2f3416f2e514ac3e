"""Estimators that scikit-learn does not provide."""
