"""Entry points of serving."""
