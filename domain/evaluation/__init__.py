"""Measurements of how good a model is."""
