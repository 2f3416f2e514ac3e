"""The hierarchy of errors."""

from __future__ import annotations

import inspect
import re

import pytest

from domain import errors

ALL = [item for _, item in inspect.getmembers(errors, inspect.isclass)]


@pytest.mark.parametrize("error", ALL)
def test_every_deliberate_error_has_one_base_class(error: type[Exception]) -> None:
    assert issubclass(error, errors.MlopsError)


@pytest.mark.parametrize("error", ALL)
def test_every_error_is_in_the_tree_and_has_a_docstring(error: type[Exception]) -> None:
    assert errors.__doc__ is not None
    assert error.__name__ in errors.__doc__.replace("─", " ").split()
    assert error.__doc__


def test_the_tree_has_no_error_that_does_not_exist() -> None:
    assert errors.__doc__ is not None
    drawn = re.findall(r"[├└]── (\w+)", errors.__doc__)
    assert sorted(drawn) == sorted(e.__name__ for e in ALL if e is not errors.MlopsError)


def test_an_error_is_not_a_built_in_programming_error() -> None:
    assert not issubclass(errors.MlopsError, (ValueError, TypeError, KeyError, OSError))
