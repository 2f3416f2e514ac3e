"""The caller's own key of a row: it travels with the row as ``id`` and is not an input."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

from domain.contract.encoding import as_word, is_missing, short_repr, unicode_fault
from domain.errors import InputError

ID = "id"
LONGEST_ROW_ID = 200
LARGEST_ROW_ID = 2**63 - 1
_EXACT = 2**53  # from here on, a float may stand for several whole numbers
ROW_ID_PATTERN = r"^[^\u0000-\u001f\u007f-\u009f]+$"
_TEXT = re.compile(rf"[^\u0000-\u001f\u007f-\u009f\ud800-\udfff]{{1,{LONGEST_ROW_ID}}}")


class RowIds:
    """The IDs of rows, checked as an input is: 1 to 200 characters, of which none controls, or a
    whole number of at most 63 bits; as a float, below 2⁵³."""

    name = ID

    def encode(self, values: Sequence[Any] | np.ndarray) -> list[str | None]:
        """The texts by which labels find the rows: of a number, its digits; None without an ID.

        Raises:
            InputError: a value is not an ID.
        """
        texts = []
        for row, value in enumerate(values):
            try:
                texts.append(self.text(value))
            except InputError as error:
                raise InputError(f"row {row}, {error}") from None
        return texts

    def text(self, value: Any) -> str | None:
        """The text of one ID; None if it is missing.

        Raises:
            InputError: it is not an ID.
        """
        if is_missing(value):
            return None
        if isinstance(value, str) and _TEXT.fullmatch(value):
            return value
        if isinstance(value, str) and (fault := unicode_fault(value)):
            raise InputError(f"{ID}: {fault}")
        if isinstance(value, int | float) and not isinstance(value, bool):
            if abs(value) <= LARGEST_ROW_ID and value == int(value):
                if isinstance(value, float) and abs(value) >= _EXACT:
                    raise InputError(
                        f"{ID}: {short_repr(value)} is a float, which may have lost the last "
                        "digits of an ID of 2^53 or more: send it as text or as a whole number "
                        "without a decimal point"
                    )
                return as_word(value)
        raise InputError(
            f"{ID}: {short_repr(value)} is not an ID: send 1 to {LONGEST_ROW_ID} characters "
            "without control characters, or a whole number of at most 63 bits"
        )


ROW_IDS = RowIds()
