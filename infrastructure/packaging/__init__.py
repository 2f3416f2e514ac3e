"""Model packages, Bentos and container images."""
