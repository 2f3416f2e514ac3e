"""Tests and benchmarks of the template itself; a project made from it can remove this folder."""
