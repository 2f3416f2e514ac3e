"""Rows of a request, as lists, objects or single values in JSON."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import repeat
from operator import contains
from typing import Any

import msgspec

from domain.contract import (
    ID,
    SHOWN_ROWS,
    Faults,
    ModelSpec,
    Tensor,
    WholeRow,
    describe_faults,
    is_missing,
    join_faults,
    length_fault,
    unknown_faults,
)
from domain.errors import InputError

decode_untyped = msgspec.json.Decoder(float_hook=float).decode
"""Decodes JSON of any form. 1e999 becomes infinite, which the contract refuses by its place."""


class RowReader:
    """Puts rows into the contract's order.

    A row is a list in that order, an object with named inputs, or the bare value if the model has
    a single input. An object may leave out nullable inputs, and have an ``id``.

    Args:
        ignore_unknown: whether to ignore unknown names in an object instead of refusing it.
        lists, objects: whether a row may be a list or an object. If only one of them is allowed,
            a bare value is refused.
        hint: what to do with rows of the other form.
    """

    def __init__(
        self,
        spec: ModelSpec,
        ignore_unknown: bool = False,
        lists: bool = True,
        objects: bool = True,
        hint: str = "",
    ) -> None:
        self._spec = spec
        self._names = spec.input_names
        self._takes_ids = spec.takes_ids
        self._known = {*spec.input_names, *([ID] if spec.takes_ids else [])}
        self._ignore_unknown = ignore_unknown
        self._lists, self._objects, self._hint = lists, objects, hint
        first = spec.inputs[0]
        self._takes_bare = len(spec.inputs) == 1 and lists and objects
        # of a list that is a row without further checks; -1: no list is
        self._length = len(spec.inputs) if lists and not self._takes_bare else -1
        self._value_depth = len(first.shape) if isinstance(first, Tensor) else 0

    def read(self, items: Sequence[Any]) -> list[list[Any]]:
        """Rows of one value for each input.

        Raises:
            InputError: an item is not a row; the message has what is wrong, values included, with
                the first ten rows that are refused.
        """
        rows = []
        for item in items:
            if isinstance(item, list) and len(item) == self._length:  # as usual: this is fast
                rows.append(item)
                continue
            row = self._row(item)
            if row is None:
                raise InputError(self._describe(items))
            rows.append(row)
        return rows

    def row(self, item: Any) -> list[Any]:
        """One row; an input that was left out is None.

        Raises:
            InputError: the item is not a row; the message has everything that is wrong with it.
        """
        row = self._row(item)
        if row is None:
            raise InputError(join_faults(self._faults([item])[0]))
        return row

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

    def _row(self, item: Any) -> list[Any] | None:
        """One row; None if the item is not one."""
        if isinstance(item, dict):
            if not self._objects or not (self._ignore_unknown or item.keys() <= self._known):
                return None
            return list(map(item.get, self._names))
        if self._takes_bare and self.is_value(item):
            return [item]
        if not isinstance(item, list) or not self._lists or len(item) != len(self._names):
            return None
        return item

    def _form_fault(self, item: Any) -> WholeRow:
        """Why an item has not the form of a row, whatever its values are."""
        if isinstance(item, list) and self._lists:
            return length_fault(len(item), self._names)
        form = "a list or object" if self._objects else "a list of values"
        if not self._lists:
            form = "an object"
        return WholeRow(f"is {kind_of(item)}, expected {form}")

    def _describe(self, items: Sequence[Any]) -> str:
        """What is wrong with the first items that are refused, and where to send them instead."""
        refused = [kind for kind, fits in ((list, self._lists), (dict, self._objects)) if not fits]
        hint = f"; {self._hint}" if not set(refused).isdisjoint(map(type, items)) else ""
        return describe_faults(self._faults(items)) + hint

    def _faults(self, items: Sequence[Any]) -> Faults:
        """What is wrong with the first items that are refused."""
        found: Faults = {}
        rows, positions = [], []
        for index, item in enumerate(items):
            row = self._row(item)
            if row is None and isinstance(item, dict) and self._objects:
                unknown = (name for name in item if name not in self._known)
                found[index] = unknown_faults(unknown, self._names, self._takes_ids)
                row = list(map(item.get, self._names))
            if row is None:
                found[index] = [self._form_fault(item)]
            else:
                rows.append(row)
                positions.append(index)
            if len(found) > SHOWN_ROWS:
                break
        ids = self.ids([items[index] for index in positions])
        for position, reasons in self._spec.faults(rows, ids).items():
            found.setdefault(positions[position], []).extend(reasons)
        return found


def kind_of(value: Any) -> str:
    """What JSON calls a value, with its article."""
    if value is None:
        return "null"
    kinds = {bool: "a boolean", str: "a text", list: "a list", dict: "an object"}
    return kinds.get(type(value), "a number")


def known_ids(ids: Sequence[Any]) -> list[Any] | None:
    """IDs with None for a missing one; None if all are missing."""
    found = [None if is_missing(item) else item for item in ids]
    return None if found.count(None) == len(found) else found
