"""Rows of a request, in the forms that JSON has for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from domain.contract import ModelSpec, Tensor
from domain.errors import InputError


class RowReader:
    """Puts rows into the contract's order.

    A row is a list in that order, an object by the inputs' names, or, where there is one input
    only, its value alone. What may be missing may be left out of an object.

    Args:
        others: whether an object may have names that the contract does not know.
    """

    def __init__(self, spec: ModelSpec, others: bool = False) -> None:
        self._names = spec.input_names
        self._others = others
        first = spec.inputs[0]
        self._alone = len(spec.inputs) == 1
        self._value_depth = len(first.shape) if isinstance(first, Tensor) else 0

    def read(self, items: Iterable[Any]) -> list[list[Any]]:
        """Rows of one value for each input.

        Raises:
            InputError: an item is no row; its position is told.
        """
        rows = []
        for index, item in enumerate(items):
            try:
                rows.append(self.row(item))
            except InputError as error:
                raise InputError(f"row {index} {error}") from None
        return rows

    def row(self, item: Any) -> list[Any]:
        """One row; None stands for what was left out.

        Raises:
            InputError: it is no row.
        """
        if isinstance(item, dict):
            return self._named(item)
        if self._alone and _depth(item) <= self._value_depth:
            return [item]
        if not isinstance(item, list):
            raise InputError(f"is no list or object of {self._expected}")
        if len(item) != len(self._names):
            raise InputError(f"has {len(item)} values, expected {self._expected}")
        return item

    def _named(self, item: Mapping[str, Any]) -> list[Any]:
        if not self._others and not item.keys() <= set(self._names):
            other = next(name for name in item if name not in self._names)
            raise InputError(f"has {other[:60]!r}, which is no input: expected {self._expected}")
        return [item.get(name) for name in self._names]

    @property
    def _expected(self) -> str:
        names = ", ".join(self._names[:20]) + (" …" if len(self._names) > 20 else "")
        return f"{len(self._names)}: {names}"


def _depth(value: Any) -> int:
    """How many lists stand around the first value in it."""
    depth = 0
    while isinstance(value, list):
        depth, value = depth + 1, value[0] if value else None
    return depth
