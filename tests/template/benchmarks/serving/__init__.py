"""Serving against its alternatives: the same model, one server at a time, in turns."""
