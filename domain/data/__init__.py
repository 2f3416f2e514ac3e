"""Data sets: their identity, how they are split, and those that are bundled."""
