"""Inspects the columns of a table: their types, and which of them a model may learn from."""

from __future__ import annotations

import math
import re
import shlex
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np
import pandas as pd

from application.scaffold.dates import (
    describe_dates,
    describe_merged_numbers,
    describe_numeric_dates,
    propose_datetime,
)
from application.scaffold.formatted_numbers import Format, decimal_mark
from domain.contract import (
    MISSING_WORDS,
    Category,
    Classes,
    Datetime,
    HashedText,
    Input,
    ModelSpec,
    Number,
    Quantity,
    Text,
    format_names,
    parse_formatted,
    short_repr,
    words_in,
)
from domain.data.tables import as_words
from domain.errors import DataError
from domain.evaluation.leakage import Leak, input_leak, names_rows, pair_leaks
from domain.evaluation.measures import Measure, default_measure, repeat
from shared.wording import inflected

Task = Literal["classification", "regression"]
Track = Callable[[list[str]], Iterable[str]]
"""Iterates over the columns and shows the progress."""

RARE = 0.2  # share of a class below which accuracy says little
HOLDOUT_SHARE = 0.2
_FEWEST_RARE = 100  # rows of a hold-out, for an average precision that is not mostly noise
MOST_CATEGORIES = 50
MOST_CLASSES = 20
_FEWEST_ROWS = 20
_FEWEST_IN_CLASS = 10
_NEARLY_ALL = 0.99
_KEY_WORDS = {"id", "ids", "uid", "uuid", "guid", "key", "index"}
_ROW_WORDS = {"row", "rows", "rowname", "rownames", "rownum", "rownumber"}
_LAST_WORDS = {"no", "nr", "num", "number"}  # of a name, as in invoice_no
_UNNAMED = re.compile(r"Unnamed: \d+")  # what pandas calls a column without a name
_WORD = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+")
_NUMBER = re.compile(r"-?\d{1,15}(\.\d+)?")
_FORMATTED_SHARE = 0.9
_FEWEST_COVERED = 0.2  # of the rows, by the categories that are kept
_HASHED_COLUMNS = (64, 256)  # of a text next to other columns: at least, at most
MOST_HASHED = 512  # columns of all texts together: 2 kB for each row
_COMPARED_TEXTS = 5_000  # to see whether they differ, which takes up to a second
_LONGEST_TEXT = 100_000  # characters
_UNCHECKED = "free text, not checked for leaks: see whether it gives the target away"
_TEXT_WORDS = 4
_TEXT_CHARACTERS = 8  # of a script without blanks between words
NO_BLANKS = (  # Thai and Lao, Burmese, Khmer, kana, Chinese characters
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
    "\U00020000-\U0003ffff]"
)
_MARGIN = 0.5
_TAIL = 4  # how many times as far as half the range of nine tenths of the values an extreme is
_CODES = (1e15, 1e20)  # whole numbers of so many digits count nothing
_LARGEST = 1e38  # float32 ends at 3.4e38
_IDENTIFIER = "an identifier"
_NARROWEST = 1e-300  # a tenth of less may be 0 in float64, and is below the float32 range


@dataclass(frozen=True)
class Finding:
    """Something about a column that an engineer should know.

    Attributes:
        column: name of the column.
        reason: what was found, as text.
        left_out: whether the model leaves the column out.
        item: the input that the column would be; None if it cannot be an input.
    """

    column: str
    reason: str
    left_out: bool = True
    item: Number | Category | Datetime | Text | None = None


@dataclass(frozen=True)
class Inspection:
    """The result of inspecting a table.

    Attributes:
        spec: the contract that the table suggests.
        findings: columns that are left out or need attention, in the order of the table.
        rows: number of rows.
        measure: name of the measure to judge the model by.
        baseline: score of the best constant prediction.
        frequent: share of the most frequent class; 0 for a regression.
        by_character: whether the input is text in a script without blanks, such as Chinese.
        skills: how well each column that could be an input predicts the target alone, from 0, like
            a constant, to 1; of dates their strongest part; without texts.
    """

    spec: ModelSpec
    findings: tuple[Finding, ...]
    rows: int
    measure: str
    baseline: float
    frequent: float
    by_character: bool = False
    skills: Mapping[str, float] = field(default_factory=dict)


def inspect_table(
    frame: pd.DataFrame,
    target: str,
    name: str,
    task: Task | None = None,
    track: Track = iter,
    formats: Mapping[str, Format] | None = None,
) -> Inspection:
    """Choose the inputs and their types, and the task.

    Args:
        frame: columns as `domain.data.tables.read_frame` returns them.
        target: the column to predict; every row has a value.
        name: name of the model.
        task: classification or regression; None to choose by the target.
        track: shows the progress over the columns.
        formats: how the numbers of some columns are written in the file.

    Raises:
        DataError: the target is missing, cannot be predicted or has only one class, a column has
            no value at all, there are too few rows, or no column is left to learn from.
    """
    columns = _columns_but(frame, target)
    formats = formats or {}
    output, actual, notes = _output(frame[target], task or _task_of(frame[target]))
    if isinstance(output, Quantity) and target in formats:
        output = replace(output, unit=formats[target].unit, decimal=formats[target].decimal)
    inputs: list[Number | Category | Datetime | Text] = []
    values: dict[str, np.ndarray] = {}
    findings, skills = notes, dict[str, float]()
    for column in track(columns):
        item, finding = inspect_column(frame[column])
        if finding:
            findings.append(_with_order(finding, frame[column], actual, output.task))
        if isinstance(item, Number) and column in formats:
            item = replace(item, unit=formats[column].unit, decimal=formats[column].decimal)
        if isinstance(item, Text):
            inputs.append(item)
        elif item is not None:
            leak, numbers, skills[column] = _judge_alone(item, frame[column], actual, output.task)
            if leak:
                findings.append(_leak_finding(leak, item))
            if leak is None or not leak.refused:
                inputs.append(item)
                if numbers is not None:
                    values[column] = numbers
    findings += _pair_findings(inputs, values, skills, actual, output.task)
    left_out = {finding.column for finding in findings if finding.left_out}
    inputs = [item for item in inputs if item.name not in left_out]
    selected, findings = select_inputs(inputs, findings)
    if not selected:
        reasons = [f"{item.column} is {item.reason}" for item in findings if item.left_out]
        why = "; ".join(reasons) or "the table has no other column"
        raise DataError(f"no column is left to predict {target} from: {why}")
    spec = ModelSpec(name, tuple(selected), output, f"Predicts {target}.")
    if isinstance(output, Classes):
        spec = replace(spec, output=_with_positive(output, actual))
    measure = Measure(spec, _measure_for(spec, actual))
    return Inspection(
        *(spec, tuple(findings), len(frame), measure.name),
        baseline=measure.score(actual, repeat(measure.constant(actual), len(actual))),
        frequent=float(_shares(actual).max()) if spec.classes else 0.0,
        by_character=isinstance(selected[0], Text) and _has_no_blanks(frame[selected[0].name]),
        skills=skills,
    )


def _judge_alone(
    item: Number | Category | Datetime, column: pd.Series, actual: np.ndarray, task: str
) -> tuple[Leak | None, np.ndarray | None, float]:
    """Whether an input gives the target away, its numbers (None of dates), and its skill."""
    if isinstance(item, Datetime):
        leak, skill = _date_leak(item, column, actual, task)
        return leak, None, skill
    numbers = _as_numbers(item, column)
    found, leak = input_leak(item.name, numbers, actual, task, words=isinstance(item, Category))
    return leak, numbers, found.value


def _columns_but(frame: pd.DataFrame, target: str) -> list[str]:
    """The columns to learn from.

    Raises:
        DataError: the target is missing, a column has no value at all, or there are too few rows.
    """
    if target not in frame.columns:
        raise DataError(f"unknown column {target!r}: the columns are {format_names(frame.columns)}")
    if len(frame) < _FEWEST_ROWS:
        raise DataError(
            f"{len(frame)} {inflected(len(frame), 'row is', 'rows are')} too few to learn from: at "
            f"least {_FEWEST_ROWS} are needed"
        )
    columns = [column for column in frame.columns if column != target]
    empty = [column for column in columns if frame[column].isna().all()]
    if empty:
        raise DataError(
            f"no row has a value of {format_names(empty)}: fix the file, or leave them out with "
            f"LEAVE_OUT={leave_out_value(empty)} (--leave-out)"
        )
    return columns


def leave_out_value(names: Sequence[str]) -> str:
    """The names of columns as the variable LEAVE_OUT takes them, for a shell."""
    quoted = (f'"{name}"' if "," in name else name for name in names)
    return shlex.quote(",".join(quoted))


def _shares(codes: np.ndarray) -> np.ndarray:
    return np.bincount(codes) / len(codes)


def _with_positive(output: Classes, actual: np.ndarray) -> Classes:
    """Of two classes, a rare one is the positive class."""
    shares = _shares(actual)
    if len(output.names) != 2 or shares.min() >= RARE:
        return output
    return replace(output, positive=output.names[int(shares.argmin())])


def _measure_for(spec: ModelSpec, actual: np.ndarray) -> str:
    """Accuracy or R²; if one class has nearly all rows, average precision, or the area under the
    ROC curve if the hold-out has too few rows of another class for that.

    Always predicting the frequent class would have a high accuracy.
    """
    if not spec.classes or _shares(actual).max() <= 1 - RARE:
        return default_measure(spec).name
    rare_rows = HOLDOUT_SHARE * np.bincount(actual).min()
    return "average_precision" if rare_rows >= _FEWEST_RARE else "roc_auc"


def _pair_findings(
    inputs: list[Number | Category | Datetime | Text],
    values: dict[str, np.ndarray],
    skills: dict[str, float],
    actual: np.ndarray,
    task: str,
) -> list[Finding]:
    """Findings about pairs of inputs that give the target away together, one for each input."""
    items = {item.name: item for item in inputs if isinstance(item, Number | Category)}
    _, leaks = pair_leaks(values, skills, actual, task)
    left_out: set[str] = set()
    findings: list[Finding] = []
    for leak in leaks:
        if left_out.isdisjoint(leak.inputs):  # otherwise one of the pair is gone already
            findings += [_leak_finding(leak, items[name]) for name in leak.inputs]
            left_out.update(leak.inputs if leak.refused else ())
    return findings


def select_inputs(
    inputs: list[Number | Category | Datetime | Text], findings: list[Finding]
) -> tuple[list[Input], list[Finding]]:
    """All inputs, texts as hashed words; a text alone as it is; without any input, the leaks.

    Texts share `MOST_HASHED` columns; those that do not fit are left out.
    """
    texts = [item for item in inputs if isinstance(item, Text)]
    if len(texts) == len(inputs) == 1:
        return [*inputs], [*findings, Finding(texts[0].name, _UNCHECKED, left_out=False)]
    leaks = [finding for finding in findings if finding.item]
    if not inputs:
        kept = [finding.item for finding in leaks if finding.item]
        return [*kept], [
            (
                Finding(f.column, f"{f.reason}; kept, since nothing else is left", False)
                if f in leaks
                else f
            )
            for f in findings
        ]
    fewest, most = _HASHED_COLUMNS
    columns = min(most, max(fewest, MOST_HASHED // max(1, len(texts))))
    fitting = texts[: MOST_HASHED // fewest]
    selected: list[Input] = [
        (
            HashedText(item.name, item.max_length, columns, nullable=item.nullable)
            if isinstance(item, Text)
            else item
        )
        for item in inputs
        if not isinstance(item, Text) or item in fitting
    ]
    return selected, findings + [_text_finding(item, item in fitting) for item in texts]


def _text_finding(item: Text, fits: bool) -> Finding:
    """What to know about a text next to other columns."""
    if fits:
        return Finding(item.name, _UNCHECKED, left_out=False)
    reason = (
        f"free text, and others have all {MOST_HASHED} columns of texts: leave one of them out "
        "with LEAVE_OUT (--leave-out)"
    )
    return Finding(item.name, reason)


def _task_of(target: pd.Series) -> Task:
    if not pd.api.types.is_numeric_dtype(target) or pd.api.types.is_bool_dtype(target):
        return "classification"
    distinct = target.nunique()
    whole = bool((target % 1 == 0).all())
    return "classification" if whole and distinct <= MOST_CLASSES else "regression"


def _output(target: pd.Series, task: Task) -> tuple[Classes | Quantity, np.ndarray, list[Finding]]:
    """The output, the target as numbers of shape (n_rows,), and findings about the target."""
    name = str(target.name)
    if task == "regression":
        if not pd.api.types.is_numeric_dtype(target) or pd.api.types.is_bool_dtype(target):
            raise DataError(f"{name} must be numeric for a regression, but is {_shown(target)}")
        if not (target.abs() < _LARGEST).all():
            raise DataError(
                f"{name} has infinite values, or values beyond {_LARGEST:g}, which exceed the "
                f"float32 range: remove those rows from the file, or choose a larger unit"
            )
        if target.nunique() < 2:
            raise DataError(f"{name} is {target.iloc[0]} in every row: nothing can be learned")
        return Quantity(name), target.to_numpy(np.float64), []
    counts = as_words(target).value_counts()
    if len(counts) < 2:
        raise DataError(f"{name} has only one class, {counts.index[0]}: nothing can be learned")
    if counts.max() < _FEWEST_IN_CLASS or len(counts) > len(target) / 2:
        if reason := _formatted_numbers(name, counts):
            raise DataError(f"{name} has {reason}")
        raise DataError(
            f"{name} has {len(counts)} different values in {len(target)} rows, such as "
            f"{short_repr(counts.index[0])}: too many to be classes"
        )
    alike, single = _look_alikes(counts), sorted(counts[counts < 2].index)
    if single:
        raise DataError(
            f"only one row has the {name} {format_names(single[:5])}: a class needs rows for "
            "training and for the hold-out; remove it or merge it with another class"
            + (f"; {alike}" if alike else "")
        )
    names = tuple(sorted(counts.index, key=_by_number))
    few = [f"{word} ({counts[word]})" for word in names if counts[word] < _FEWEST_IN_CLASS]
    remarks = [alike, f"few rows of {', '.join(few)}" if few else ""]
    notes = [Finding(name, remark, left_out=False) for remark in remarks if remark]
    codes = as_words(target).map({word: code for code, word in enumerate(names)})
    return Classes(names, name), codes.to_numpy(np.int64), notes


def inspect_column(
    column: pd.Series,
) -> tuple[Number | Category | Datetime | Text | None, Finding | None]:
    """The input that a column would be, None if it cannot be one, and what to know about it.

    Args:
        column: as `domain.data.tables.read_frame` returns it, with at least one value.
    """
    name, known = str(column.name), column.dropna()
    if dates := propose_datetime(column):
        return dates, None
    reason = _why_unusable(column, known)
    if reason:
        return None, Finding(name, reason)
    if _are(known, bool):
        return Category(name, ("false", "true"), nullable=bool(column.hasnans)), None
    if pd.api.types.is_numeric_dtype(column):
        return _inspect_numbers(name, column)
    return _inspect_words(name, as_words(column))


def describe_input(item: Input) -> str:
    """What an input takes, in a few words."""
    missing = ", may be missing" if item.nullable else ""
    if isinstance(item, Number):
        others = {"clip": ", others clipped", "accept": ", others accepted"}.get(item.outside, "")
        return f"number, {item.minimum:g} to {item.maximum:g}{others}{missing}"
    if isinstance(item, Category):
        words = ", ".join(item.categories[:5]) + (" …" if len(item.categories) > 5 else "")
        return f"category, {len(item.categories)}: {words}{missing}"
    if isinstance(item, Datetime):
        return f"{item.describe()}: {', '.join(item.parts)}{missing}"
    if isinstance(item, HashedText):
        length = f"at most {item.max_length:,} characters"
        return f"text, words counted in {item.features} columns, {length}{missing}"
    if isinstance(item, Text):
        return f"text, at most {item.max_length:,} characters{missing}"
    return f"{item.kind}{missing}"


def _why_unusable(column: pd.Series, known: pd.Series) -> str:
    """Why a column cannot be an input because of its type, or a constant; empty if it can."""
    if pd.api.types.is_timedelta64_dtype(column):
        return "a duration: write it as a number, such as hours"
    dates = pd.api.types.is_datetime64_any_dtype(column)
    if not dates and not _are(known, str, int, float):
        return f"not a plain value: it contains {type(known.iloc[0]).__name__}"
    if known.nunique() == 1:
        rows = "in every row with a value" if column.hasnans else "in every row"
        return f"constant: {str(known.iloc[0])[:40]} {rows}"
    return ""


def _inspect_numbers(name: str, column: pd.Series) -> tuple[Number | None, Finding | None]:
    known = column.dropna().to_numpy(np.float64)
    merged = describe_merged_numbers(column.dropna().to_numpy())
    if reason := _why_not_a_number(name, column, merged):
        return None, Finding(name, reason)
    distinct, whole = len(np.unique(known)), bool((known % 1 == 0).all())
    low, high = (0.0, 1.0) if set(np.unique(known)) == {0.0, 1.0} else _range(known)
    if whole:
        low, high = float(math.floor(low)), float(math.ceil(high))
    item = Number(name, "", low, high, nullable=bool(column.hasnans))
    if _is_heavy_tailed(known):
        item = replace(item, outside="clip")
    elif 1900 <= known.min() and known.max() <= 2100:  # years, which grow
        item = replace(item, outside="accept")
    if whole and _is_key(name):
        reason = f"named like a key, with {distinct} values: if they only identify something, make"
        return item, Finding(name, f"{reason} it a Category", left_out=False)
    reason = f"{merged}: subtract a constant in the file, or leave it out if it is a code"
    return item, Finding(name, reason, left_out=False) if merged else None


def _why_not_a_number(name: str, column: pd.Series, merged: str) -> str:
    """Why a column of numbers cannot be an input; empty if it can.

    Args:
        merged: the remark if float32 does not hold the values.
    """
    known = column.dropna().to_numpy(np.float64)
    if not (np.abs(known) < _LARGEST).all():
        return "beyond the float32 range, or infinite"
    if dates := describe_numeric_dates(known):
        return dates
    distinct, whole = len(np.unique(known)), bool((known % 1 == 0).all())
    if merged and whole and _CODES[0] <= np.abs(known).max() < _CODES[1]:
        return f"{_IDENTIFIER} of many digits: {merged}" if distinct > MOST_CATEGORIES else ""
    if whole and distinct >= _NEARLY_ALL * len(column):
        counts_up = distinct == len(column) and known.max() - known.min() + 1 == distinct
        if _is_key(name) or counts_up or _is_row_number(name) or names_rows(known):
            return _identifier(distinct, len(column))
    return ""


def _is_heavy_tailed(values: np.ndarray) -> bool:
    """Whether an extreme is so far out that new values will be still further, as in incomes."""
    low, below, middle, above, high = np.quantile(values, (0, 0.05, 0.5, 0.95, 1))
    several = len(np.unique(values)) > MOST_CLASSES
    return several and bool(max(high - middle, middle - low) > _TAIL * (above - below) / 2)


def _identifier(distinct: int, rows: int) -> str:
    return f"{_IDENTIFIER}: {distinct} different values in {rows} rows"


def _inspect_words(name: str, words: pd.Series) -> tuple[Category | Text | None, Finding | None]:
    counts = words.value_counts()
    known, distinct = int(counts.sum()), len(counts)
    if dates := describe_dates(counts.index):
        return None, Finding(name, dates)
    if formatted := _formatted_numbers(name, counts):
        return None, Finding(name, formatted)
    if distinct > MOST_CATEGORIES and distinct > known / 2 and _are_sentences(counts.index):
        return _inspect_texts(name, words)
    if distinct >= _NEARLY_ALL * len(words) or (_is_key(name) and distinct > known / 2):
        return None, Finding(name, _identifier(distinct, len(words)))
    covered = counts.iloc[:MOST_CATEGORIES].sum() / known
    if covered < _FEWEST_COVERED:
        return None, Finding(
            name,
            f"{distinct} different words, of which the {MOST_CATEGORIES} most frequent are in only "
            f"{covered:.0%} of the rows: group them in the file, such as postcodes into regions",
        )
    frequent = counts.index[:MOST_CATEGORIES]
    # Good and Turing: the share of unseen words is about the share of words seen once
    more_to_come = bool((counts == 1).any()) or distinct > MOST_CATEGORIES
    item = Category(
        name,
        tuple(sorted(frequent, key=_by_number)),
        nullable=bool(words.hasnans),
        unseen="missing" if more_to_come else "refuse",
    )
    reason = _category_remarks(counts)
    return item, Finding(name, reason, left_out=False) if reason else None


def _inspect_texts(name: str, texts: pd.Series) -> tuple[Text | None, Finding | None]:
    if _have_the_same_words(texts.dropna()):
        reason = "texts of the same words, except for words that occur once, such as numbers"
        return None, Finding(name, reason)
    longest = int(texts.str.len().max())
    if longest > _LONGEST_TEXT:
        reason = f"texts of up to {longest:,} characters, more than {_LONGEST_TEXT:,}: shorten them"
        return None, Finding(name, reason)
    most = min(_LONGEST_TEXT, max(10_000, 2 * longest))
    return Text(name, most, nullable=bool(texts.hasnans)), None


def _look_alikes(counts: pd.Series) -> str:
    """A remark about words that differ only in case or blanks; may be empty."""
    alike: dict[str, list[str]] = {}
    for word in counts.index:
        alike.setdefault(" ".join(word.casefold().split()), []).append(word)
    groups = [
        " and ".join(map(short_repr, sorted(words))) for words in alike.values() if len(words) > 1
    ]
    if not groups:
        return ""
    more = f", and {len(groups) - 3} more" if len(groups) > 3 else ""
    return (
        f"{', '.join(groups[:3])}{more} look alike but count as different words: write them in one "
        "way in the file"
    )


def _are_sentences(texts: pd.Index) -> bool:
    """Whether texts have several words on average, or as many characters as several words have."""
    if texts.str.split().str.len().to_series().mean() >= _TEXT_WORDS:
        return True
    long = texts.str.len().to_series().mean() >= _TEXT_CHARACTERS
    return bool(long) and _has_no_blanks(texts.to_series())


def _have_the_same_words(texts: pd.Series) -> bool:
    """Whether nearly all of the texts have the same words, apart from those of a single text."""
    step = -(-len(texts) // _COMPARED_TEXTS)
    found = [frozenset(words_in(text)) for text in texts.iloc[::step]]
    counts = Counter(word for words in found for word in words)
    repeated = Counter(frozenset(word for word in words if counts[word] > 1) for words in found)
    return max(repeated.values()) >= _NEARLY_ALL * len(found)


def _has_no_blanks(texts: pd.Series) -> bool:
    """Whether most characters belong to a script without blanks between words."""
    letters = texts.str.count(NO_BLANKS).sum()
    return bool(letters > 0.5 * texts.str.count(r"\w").sum())


def _category_remarks(counts: pd.Series) -> str:
    """What an engineer should check in a Category with these word counts; may be empty."""
    numbers = _are_numbers(counts.index)
    padded = counts.index[counts.index.str.fullmatch(r"0\d+")]
    no_value = sorted(MISSING_WORDS & set(counts.index))
    reasons = []
    if len(padded):
        reasons.append(
            f"has leading zeros, such as {short_repr(padded[0])}, so it is treated as words: if it "
            f"is a number, write it without them"
        )
    elif len(counts) > MOST_CATEGORIES / 2 and numbers.all():
        reasons.append(
            "numbers stored as words, or with too many digits, such as "
            f"{short_repr(counts.index[0])}: fix these to make it a Number"
        )
    elif len(counts) > MOST_CATEGORIES / 2 and numbers.mean() > 0.5:
        odd = counts.index[~numbers][:3]
        reasons.append(
            f"numbers, except for {', '.join(map(short_repr, odd))}: fix these to make it a Number"
        )
    if len(counts) > MOST_CATEGORIES:
        share = counts.iloc[:MOST_CATEGORIES].sum() / counts.sum()
        reasons.append(
            f"{len(counts)} categories: the {MOST_CATEGORIES} most frequent are kept, "
            f"{share:.0%} of the rows; the others count as missing"
        )
    if alike := _look_alikes(counts):
        reasons.append(alike)
    if no_value:
        reasons.append(
            f"{', '.join(map(repr, no_value))} count as words: if they mean a missing value, leave "
            f"the field empty"
        )
    return "; ".join(reasons)


def _formatted_numbers(name: str, counts: pd.Series) -> str:
    """A remark if nearly all words are numbers with formatting, such as ``$1,234``; else empty."""
    mark = decimal_mark(counts.index.tolist())
    read = np.array([isinstance(parse_formatted(word, mark), float) for word in counts.index])
    formatted = counts.index[read & ~_are_numbers(counts.index)]
    if formatted.empty or counts[read].sum() < _FORMATTED_SHARE * counts.sum():
        return ""
    return (
        f"numbers written as text, such as {short_repr(formatted[0])}: read them with "
        f"READ_AS_NUMBERS={shlex.quote(name)} (--read-as-numbers)"
    )


def _are_numbers(words: pd.Index) -> np.ndarray:
    """Which words parse as numbers, bool of shape (n_words,)."""
    return pd.to_numeric(words.to_series(), errors="coerce").notna().to_numpy()


def _as_numbers(item: Number | Category, column: pd.Series) -> np.ndarray:
    """The values, or the codes of the categories, NaN where missing, shape (n_rows,)."""
    if isinstance(item, Number):
        return column.to_numpy(np.float64)
    codes = {word: float(code) for code, word in enumerate(item.categories)}
    return as_words(column).map(codes).to_numpy(np.float64)


def _date_leak(
    item: Datetime, column: pd.Series, actual: np.ndarray, task: str
) -> tuple[Leak | None, float]:
    """The leak of a date's strongest part, None if it does not predict too well, and its skill."""
    parts = zip(item.parts, item.encode(column.to_numpy()).T.astype(np.float64))
    found = [input_leak(f"{item.name} {part}", values, actual, task) for part, values in parts]
    skill, leak = max(found, key=lambda each: each[0].value)
    return leak, skill.value


def _leak_finding(leak: Leak, item: Number | Category | Datetime) -> Finding:
    """The finding about an input, which is left out if it must not be one."""
    if leak.refused:
        return Finding(item.name, f"a LEAK: {leak.reason}", item=item)
    return Finding(item.name, leak.reason, left_out=False)


def _with_order(finding: Finding, column: pd.Series, actual: np.ndarray, task: str) -> Finding:
    """The finding; about an identifier also whether its order or ranges predict the target."""
    if not finding.reason.startswith(_IDENTIFIER):
        return finding
    numbers = pd.api.types.is_numeric_dtype(column)
    values = column if numbers else column.rank(method="dense")
    _, leak = input_leak(finding.column, values.to_numpy(np.float64), actual, task, not numbers)
    return replace(finding, reason=f"{finding.reason}; {leak.reason}") if leak else finding


def _range(values: np.ndarray) -> tuple[float, float]:
    """Round limits, half a span beyond the values; limits do not cross zero if no value does."""
    low, high = float(values.min()), float(values.max())
    span = high - low
    if span < _NARROWEST:
        return low, high
    step = 10.0 ** (math.floor(math.log10(span)) - 1)
    digits = max(0, -math.floor(math.log10(step)))
    bottom = round(math.floor((low - _MARGIN * span) / step) * step, digits)
    top = round(math.ceil((high + _MARGIN * span) / step) * step, digits)
    return (max(bottom, 0.0) if low >= 0 else bottom), (min(top, 0.0) if high <= 0 else top)


def words_of(name: str) -> list[str]:
    """The words of a name such as customer_id or CustomerID, in lower case."""
    return [word.lower() for word in _WORD.findall(name)]


def _is_key(name: str) -> bool:
    return bool(_KEY_WORDS.intersection(words_of(name))) or bool(_UNNAMED.fullmatch(name))


def _is_row_number(name: str) -> bool:
    words = words_of(name)
    return bool(_ROW_WORDS & set(words) or _LAST_WORDS & set(words[-1:]))


def _by_number(word: str) -> tuple[float, str]:
    """Sort key: numbers by value, then words alphabetically."""
    return (float(word), word) if _NUMBER.fullmatch(word) else (math.inf, word)


def _are(values: pd.Series, *kinds: type) -> bool:
    return len(values) > 0 and all(isinstance(value, kinds) for value in values.tolist())


def _shown(target: pd.Series) -> str:
    return f"{target.dtype}, such as {short_repr(target.iloc[0])}"
