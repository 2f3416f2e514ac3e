"""Benchmarks: each compares with the obvious alternatives side by side in one run."""
