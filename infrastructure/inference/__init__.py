"""Engines that compute predictions."""
