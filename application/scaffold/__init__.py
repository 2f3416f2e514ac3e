"""A new model from a table: inspects the columns and writes the two files of the model."""
