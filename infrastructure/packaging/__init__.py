"""Packages, exports, Bentos and images."""
