"""Adapters: one for each vendor, named after it."""
