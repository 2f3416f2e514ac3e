"""What ours is compared with: one server a file, each run by an environment of its own.

All read the model from the folder that MODEL_PACKAGE names, and answer with objects of the same
form where they are free to.
"""
