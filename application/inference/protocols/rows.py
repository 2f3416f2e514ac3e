"""Rows of a request, as lists, objects or single values in JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import repeat
from operator import contains
from typing import Any

from domain.contract import ID, ModelSpec, Tensor, is_missing
from domain.errors import InputError


class RowReader:
    """Puts rows into the contract's order.

    A row is a list in that order, an object with named inputs, or the bare value if the model has
    a single input. An object may leave out nullable inputs, and have an ``id``.

    Args:
        ignore_unknown: whether to ignore unknown names in an object instead of refusing it.
    """

    def __init__(self, spec: ModelSpec, ignore_unknown: bool = False) -> None:
        self._names = spec.input_names
        self._takes_ids = spec.takes_ids
        self._known = {*spec.input_names, *([ID] if spec.takes_ids else [])}
        self._ignore_unknown = ignore_unknown
        first = spec.inputs[0]
        self._single_input = len(spec.inputs) == 1
        self._length = 0 if self._single_input else len(spec.inputs)  # of a list that is a row
        self._value_depth = len(first.shape) if isinstance(first, Tensor) else 0

    def read(self, items: Sequence[Any]) -> list[list[Any]]:
        """Rows of one value for each input.

        Raises:
            InputError: an item is not a row; the message has its position.
        """
        rows = []
        for index, item in enumerate(items):
            if isinstance(item, list) and len(item) == self._length:  # as usual: this is fast
                rows.append(item)
                continue
            try:
                rows.append(self.row(item))
            except InputError as error:
                raise InputError(f"row {index} {error}") from None
        return rows

    def row(self, item: Any) -> list[Any]:
        """One row; an input that was left out is None.

        Raises:
            InputError: the item is not a row.
        """
        if isinstance(item, dict):
            return self._named(item)
        if self._single_input and self.is_value(item):
            return [item]
        if not isinstance(item, list):
            raise InputError(f"is not a list or object of inputs, expected {self._expected}")
        if len(item) != len(self._names):
            raise InputError(f"has {len(item)} values, expected {self._expected}")
        return item

    def ids(self, items: Sequence[Any]) -> list[Any] | None:
        """The IDs of rows, None for a row without; None if no row has one."""
        if not self._takes_ids or dict not in map(type, items):
            return None
        if set(map(type, items)) == {dict} and not any(map(contains, items, repeat(ID))):
            return None
        return known_ids([item.get(ID) if isinstance(item, dict) else None for item in items])

    def is_value(self, item: Any) -> bool:
        """Whether an item is a value of the first input rather than a row."""
        depth = 0
        while isinstance(item, list):
            depth, item = depth + 1, item[0] if item else None
        return depth <= self._value_depth

    def _named(self, item: Mapping[str, Any]) -> list[Any]:
        if not self._ignore_unknown and not item.keys() <= self._known:
            unknown = next(name for name in item if name not in self._known)
            raise InputError(f"has an unknown input {unknown[:60]!r}, expected {self._expected}")
        return list(map(item.get, self._names))

    @property
    def _expected(self) -> str:
        names = ", ".join(self._names[:20]) + (" …" if len(self._names) > 20 else "")
        return f"{len(self._names)}: {names}"


def known_ids(ids: Sequence[Any]) -> list[Any] | None:
    """IDs with None for a missing one; None if all are missing."""
    found = [None if is_missing(item) else item for item in ids]
    return None if found.count(None) == len(found) else found
