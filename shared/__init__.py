"""Shared basics: settings, paths, files, console output, logs and the GPU check."""
