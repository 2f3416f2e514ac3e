"""Deployment of Bentos."""
