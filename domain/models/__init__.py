"""The models of this repository, one file each."""
