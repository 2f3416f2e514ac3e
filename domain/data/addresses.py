"""Addresses of data, such as postgresql://${PGUSER}:${PGPASSWORD}@host/shop, and their secrets."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

from domain.errors import ConfigError

_VARIABLE = re.compile(r"\$\{(\w+)\}")
_PASSWORD = re.compile(r"://[^/?#@:]*:([^@]+)@")
_WEB_USER = re.compile(r"^https?://([^/?#@]+)@")  # a user alone may be a token
_SECRET_KEY = re.compile("pass|pwd|token|secret|signature|credential|api_?key|^sig$|^key$", re.I)


def is_address(data: str) -> bool:
    """Whether this is an address, not a path: it has ``://`` or a variable."""
    return "://" in data or bool(_VARIABLE.search(data))


def is_source(data: str, root: Path) -> bool:
    """Whether this is anything else than one local CSV or Parquet file, which is read as it is.

    Args:
        root: the clone, at which relative paths start.
    """
    path = root / data
    return (
        is_address(data)
        or path.is_dir()
        or (not path.is_file() and is_pattern(data))
        or (
            re.search(r"\.(xls[xmb]?(#.+)?|ods|zip|(jsonl?|ndjson)(\.(gz|bz2|xz))?)$", data, re.I)
            is not None
        )
    )


def is_pattern(path: str) -> bool:
    """Whether a path is a pattern for several files, such as ``orders/*.parquet``."""
    return any(character in path for character in "*?[")


def check_address(address: str) -> None:
    """Check that the secrets of an address are variables, so that it can be recorded and shown.

    Raises:
        ConfigError: the address has a password, a token or a signature; the message has not.

    >>> check_address("postgresql://${PGUSER}:${PGPASSWORD}@db.example.com/shop")
    """
    for secret in _secrets(address):
        if _VARIABLE.sub("", secret):
            raise ConfigError(
                "the address of the data contains a password, token or signature, which would be "
                "recorded with every model: write ${NAME} in its place (in single quotes on the "
                "command line) and set NAME in the environment or in .env"
            )


def expand(address: str, environ: Mapping[str, str]) -> str:
    """The address with the values of its variables.

    In front of ``@``, characters that would end a user or a password are escaped.

    Raises:
        ConfigError: a variable is not set.

    >>> expand("postgresql://ann:${WORD}@${HOST}/shop", {"WORD": "p@ss", "HOST": "db:5433"})
    'postgresql://ann:p%40ss@db:5433/shop'
    """
    missing = [name for name in _VARIABLE.findall(address) if not environ.get(name)]
    if missing:
        raise ConfigError(
            f"{address}: set {', '.join(missing)} in the environment or in .env, or correct the "
            "address"
        )
    user, at, rest = address.rpartition("@")
    user = _VARIABLE.sub(lambda found: quote(environ[found[1]], safe=":"), user)
    return user + at + _VARIABLE.sub(lambda found: environ[found[1]], rest)


def mask(text: str, address: str, environ: Mapping[str, str]) -> str:
    """A text, such as a driver's message, without the values that the address gets.

    >>> mask("no route to db:5433", "postgresql://${HOST}/shop", {"HOST": "db:5433"})
    'no route to ${HOST}'
    """
    values = {environ.get(name, ""): f"${{{name}}}" for name in _VARIABLE.findall(address)}
    values |= {environ.get("PGPASSWORD", ""): "${PGPASSWORD}"}
    values |= {quote(value, safe=":"): shown for value, shown in values.items()}
    values |= {secret: "***" for value in list(values) for secret in _secrets(value)}
    for value in sorted(filter(None, values), key=len, reverse=True):
        text = text.replace(value, values[value])
    return text


def _secrets(address: str) -> list[str]:
    """The parts of an address that must not be recorded."""
    try:
        keys = parse_qsl(urlsplit(address).query)
    except ValueError:  # not a URL
        keys = []
    return [
        *_PASSWORD.findall(address),
        *_WEB_USER.findall(address),
        *(value for key, value in keys if _SECRET_KEY.search(key)),
    ]
