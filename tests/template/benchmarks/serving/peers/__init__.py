"""The peers: one server per file, each run in its own environment.

All read the model from the folder in MODEL_PACKAGE, and respond with objects of the same form if
their framework permits.
"""
