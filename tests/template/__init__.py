"""Tests and benchmarks of the template itself. A project that grew from it can remove this folder."""
