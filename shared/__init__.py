"""Where the project runs: settings, paths and the check of the GPU."""
