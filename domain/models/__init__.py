"""Model contracts, and one file per model."""
