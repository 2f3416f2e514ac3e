"""Use cases: train, validate, answer, watch. Vendors are reached only through ports."""
