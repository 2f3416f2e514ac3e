"""Inference: check requests, predict, and serve over HTTP."""
