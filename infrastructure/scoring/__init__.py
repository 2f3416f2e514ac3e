"""Scoring whole tables in files."""
