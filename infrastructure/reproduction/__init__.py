"""Training a recorded version again."""
