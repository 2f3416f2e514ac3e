"""Names and numbers on a command line, checked before they are part of a path or an address."""

from __future__ import annotations

import argparse
import re


def valid_model_name(text: str) -> str:
    """The name of a model, which is that of its files."""
    if not re.fullmatch(r"[a-z][a-z0-9_]{0,63}", text):
        raise argparse.ArgumentTypeError(
            f"{text[:80]!r} is not the name of a model: use up to 64 lower-case letters, digits "
            "and '_', a letter first, such as iris"
        )
    return text


def valid_port(text: str) -> int:
    """A TCP port."""
    if not (re.fullmatch("[0-9]{1,5}", text) and 0 < int(text) < 2**16):
        raise argparse.ArgumentTypeError(
            f"{text[:80]!r} is not a port: use a number from 1 to 65535, such as 3001"
        )
    return int(text)


def valid_environment(text: str) -> str:
    """The name of an environment, which is that of its folder."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", text):
        raise argparse.ArgumentTypeError(
            f"{text[:80]!r} is not a name: use up to 64 letters, digits, '.', '_' and '-', such as "
            "staging"
        )
    return text
