"""Metrics of a served model."""
