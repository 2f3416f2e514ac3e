"""The tutorial's script for training, an alias of `mlops train`."""
