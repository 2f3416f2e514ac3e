"""Entry point of validation."""
