"""Prediction protocols over HTTP."""
