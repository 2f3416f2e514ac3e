"""A new model from a table: what the columns are, and the two files that are written for it."""
