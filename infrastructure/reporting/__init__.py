"""Figures and the validation report."""
