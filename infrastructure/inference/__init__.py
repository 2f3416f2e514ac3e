"""Engines that answer predictions."""
