"""Training: from a configuration to a candidate package."""
