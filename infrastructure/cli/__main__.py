"""Run a command: `mlops <command>`, or `python -m infrastructure.cli <command>`."""

from __future__ import annotations

import argparse
import ast
import difflib
import gc
import os
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import NoReturn

from infrastructure.cli._exit import exit_code_of, interrupt_on_termination
from shared.console import prepare_streams

USAGE_ERROR = 2


class _Parser(argparse.ArgumentParser):
    """Reports an error in one line; `--help` has the usage."""

    def error(self, message: str) -> NoReturn:
        if "MAKELEVEL" in os.environ:  # the user has typed OUTPUT=x.csv, and make --output x.csv
            message = re.sub(r"(?<![\w'-])--([a-z-]+)", _as_variable, message)
        example = re.search("^Example: (.*)$", self.description or "", re.MULTILINE)
        hint = f": {example[1]}" if example else f" ({self.prog} --help lists the arguments)"
        self.exit(USAGE_ERROR, f"error: {message}{hint}\n")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, and return its exit code.

    Args:
        arguments: None means those of this process.
    """
    prepare_streams()
    if arguments is not None:
        return exit_code_of(partial(_main, arguments))
    gc.disable()  # imports leave no garbage, and looking for it takes a fifth of a run
    code = exit_code_of(partial(_main, sys.argv[1:], before_run=_resume_collection))
    gc.freeze()  # nor does Python need to look for garbage when it exits
    return code


def _as_variable(option: re.Match[str]) -> str:
    """The variable of make that becomes an option."""
    return option[1].replace("-", "_").upper()


def _resume_collection() -> None:
    gc.freeze()
    gc.enable()


def command_names() -> list[str]:
    """Every command, sorted."""
    paths = Path(__file__).parent.glob("[!_]*.py")
    return sorted(path.stem.replace("_", "-") for path in paths)


def _main(arguments: Sequence[str], before_run: Callable[[], None] = lambda: None) -> int:
    interrupt_on_termination()
    name, *rest = arguments or ["--help"]
    if name in ("-h", "--help"):
        print("usage: mlops <command> [arguments]; mlops <command> --help lists them\n")
        for command in command_names():
            print(f"  {command:<18}{_summary(command)}")
        return 0
    if name not in command_names():
        similar = difflib.get_close_matches(name, command_names(), 1)
        hint = f": did you mean {similar[0]}?" if similar else ": mlops --help lists the commands"
        print(f"error: unknown command {name!r}{hint}", file=sys.stderr)
        return USAGE_ERROR
    module = import_module(f"infrastructure.cli.{name.replace('-', '_')}")
    parser = _Parser(
        prog=f"mlops {name}",
        description=module.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    module.add_arguments(parser)
    args = parser.parse_args(rest)
    before_run()
    return exit_code_of(partial(module.run, args), getattr(module, "EXIT_CODES", None))


def _summary(command: str) -> str:
    """The first line of a module's docstring, without importing the module."""
    path = Path(__file__).with_name(f"{command.replace('-', '_')}.py")
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return docstring.partition("\n")[0]


if __name__ == "__main__":
    sys.exit(main())
