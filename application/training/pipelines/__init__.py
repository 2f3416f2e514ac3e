"""Entry points of training."""
