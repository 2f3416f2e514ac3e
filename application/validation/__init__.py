"""Validation: whether a candidate may become the champion."""
