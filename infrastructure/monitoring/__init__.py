"""Monitoring of a served model."""
