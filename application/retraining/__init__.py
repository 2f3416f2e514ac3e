"""Watching deployed models, and retraining them on what the prediction log has."""
