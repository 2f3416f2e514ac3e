"""Reads data from databases, object stores, the web and files of other formats."""
