"""Where predictions are kept."""
