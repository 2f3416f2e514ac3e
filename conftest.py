"""Fixtures that tests in several places share."""

pytest_plugins = ["tests.served"]
