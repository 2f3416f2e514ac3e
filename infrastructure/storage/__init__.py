"""Storage of predictions and their feedback."""
