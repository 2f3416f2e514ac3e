"""The commands of the project, one module each: `mlops --help` lists them.

A module is imported when its command is called. It has `add_arguments(parser)` and `run(args)`,
which returns an exit code or None for 0; the first line of its docstring is its help. A module
whose name begins with an underscore is not a command.
"""
