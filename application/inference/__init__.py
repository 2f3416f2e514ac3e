"""Inference: checking, predicting and accounting."""
