"""Tracking of training runs and the registry of versions."""
