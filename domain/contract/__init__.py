"""The contract of a model: what goes in and what comes out.

Input checks, the MLflow signature, the service's schema, the drift monitors, the golden requests
and the card are derived from it. It depends on NumPy alone, because the serving image contains it.

The model's input is one array of shape (n_rows, width): float32, with categories as their position
in the contract, dates as their parts, tensors flattened in C order, hashed texts as counts of words
and missing values as NaN; or, for text alone, strings. Training data, batches and requests are all
encoded by `ModelSpec`, so they cannot differ.
"""

from domain.contract.datetimes import DATE_PARTS, FORWARD_PARTS, ISO_8601, DatePart, Datetime
from domain.contract.encoding import (
    MISSING_WORDS,
    NUMBER,
    RepeatedValues,
    as_word,
    format_names,
    format_shape,
    is_missing,
    join_names,
    json_unicode_fault,
    parse_formatted,
    parse_word,
    short_repr,
    symbol_of,
)
from domain.contract.faults import (
    SHOWN_ROWS,
    Faults,
    WholeRow,
    describe_faults,
    join_faults,
    length_fault,
    unknown_faults,
)
from domain.contract.features import (
    Audio,
    Category,
    HashedText,
    Input,
    Number,
    Tensor,
    Text,
    words_in,
)
from domain.contract.outputs import Classes, Output, Quantity, Transcript
from domain.contract.range_policy import RangePolicy
from domain.contract.row_ids import ID, LARGEST_ROW_ID, LONGEST_ROW_ID, ROW_ID_PATTERN, ROW_IDS
from domain.contract.spec import ModelSpec

__all__ = [
    "Audio",
    "Category",
    "Classes",
    "DATE_PARTS",
    "DatePart",
    "Datetime",
    "FORWARD_PARTS",
    "Faults",
    "HashedText",
    "ID",
    "ISO_8601",
    "Input",
    "LARGEST_ROW_ID",
    "LONGEST_ROW_ID",
    "MISSING_WORDS",
    "ModelSpec",
    "NUMBER",
    "Number",
    "Output",
    "Quantity",
    "RangePolicy",
    "ROW_IDS",
    "ROW_ID_PATTERN",
    "RepeatedValues",
    "SHOWN_ROWS",
    "Tensor",
    "Text",
    "Transcript",
    "WholeRow",
    "as_word",
    "describe_faults",
    "format_names",
    "format_shape",
    "is_missing",
    "join_faults",
    "join_names",
    "json_unicode_fault",
    "length_fault",
    "parse_formatted",
    "parse_word",
    "short_repr",
    "symbol_of",
    "unknown_faults",
    "words_in",
]
