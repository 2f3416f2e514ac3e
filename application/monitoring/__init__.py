"""Feedback, summaries and drift of a served model."""
