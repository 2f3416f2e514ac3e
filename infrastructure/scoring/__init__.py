"""Batch scoring of table files."""
