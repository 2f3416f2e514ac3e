"""The two files of a new model: its module and its configuration."""

from __future__ import annotations

import json
import keyword
import math
import re
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from application.scaffold.table_inspection import Finding, Inspection
from domain.contract import Category, Classes, Input, ModelSpec, Number, Output, Text
from domain.errors import ConfigError
from shared.files import write_atomically

LONGEST_NAME = 52  # BentoML allows 63 characters, including what `render_config` appends
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_WIDTH = 100
_SEED = 42
_TEST_SIZE = 0.2
_TREES = {
    "n_estimators": 200,
    "learning_rate": 0.1,
    "max_depth": 3,
    "min_samples_leaf": 5,
    "subsample": 0.7,
    "max_features": 0.5,
    "random_state": _SEED,
}
_WORDS = {
    "classification": {"min_df": 2, "inverse_strength": 10.0},
    "regression": {"min_df": 2, "strength": 1.0},
}

_HEAD = '''"""{title}

{origin}
"""

{lint}

from __future__ import annotations

{imports}

{spec}


def load(path: str) -> Dataset:
    """The rows of the file or URL."""
    return read_table(path, SPEC)


'''
_ORIGIN = (
    "`make new-model` wrote this from {source} ({rows:,} rows) as a starting point: give the "
    "inputs units, descriptions and plausible ranges, then try other estimators."
)
_LINT = "# pylint: disable={rules}  # models that start like this one look alike"

_TREES_IMPORTS = """import numpy as np
from sklearn.compose import make_column_transformer
from sklearn.ensemble import {estimator}
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder

from domain.contract import {contract}
from domain.data.dataset import Dataset
from domain.data.tables import read_table

_MISSING = -1e30  # below every number, so that a tree can tell missing from small"""

_TREES_BUILD = '''def build(
    n_estimators: int,
    learning_rate: float,
    max_depth: int,
    min_samples_leaf: int,
    subsample: float,
    max_features: float,
    random_state: int,
) -> Pipeline:
    """Gradient boosting over unscaled numbers and one column for each category.

    Trees need no scaling; without it, native and exported model compare the same float32 values.
    """
    categories = make_pipeline(
        SimpleImputer(strategy="constant", fill_value=-1.0, keep_empty_features=True),
        OneHotEncoder(handle_unknown="ignore", sparse_output=False, dtype=np.float32),
    )
    numbers = SimpleImputer(strategy="constant", fill_value=_MISSING, keep_empty_features=True)
    return make_pipeline(
        make_column_transformer(
            (categories, SPEC.columns_of(Category)),
            (numbers, SPEC.columns_of(Number)),
        ),
        {estimator}(
            n_estimators=n_estimators,
            learning_rate=learning_rate,
            max_depth=max_depth,
            min_samples_leaf=min_samples_leaf,
            subsample=subsample,
            max_features=max_features,
            random_state=random_state,
        ),
    )
'''

_WORDS_IMPORTS = """from sklearn.compose import make_column_transformer
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import {estimator}
from sklearn.pipeline import Pipeline, make_pipeline

from domain.contract import {contract}
from domain.data.dataset import Dataset
from domain.data.tables import read_table

# Between white space and ASCII punctuation. The exported model splits text in the same way; with
# lowercase=True it would need a locale of the machine that serves it.
_TOKEN = r"[^\\t\\n\\f\\r !-/:-@\\[-`{{-~]+\""""

_WORDS_BUILD = '''def build(min_df: int, {parameter}: float) -> Pipeline:
    """Words weighted by how rare they are, in a linear model."""
    return make_pipeline(
        make_column_transformer(
            (TfidfVectorizer(lowercase=False, token_pattern=_TOKEN, min_df=min_df), 0),
        ),
        {call},
    )
'''


def check_name(name: str, root: Path) -> None:
    """Check that a model can have this name.

    Raises:
        ConfigError: the name is not a lower-case identifier, or is already in use.
    """
    if len(name) > LONGEST_NAME:
        raise ConfigError(
            f"the name {name[:20]}… of {len(name)} characters is too long for a model: at most "
            f"{LONGEST_NAME}"
        )
    if not _NAME.fullmatch(name) or keyword.iskeyword(name):
        raise ConfigError(
            f"{name!r} cannot name a model: use lower-case letters, digits and underscores, a "
            f"letter first, and no Python keyword, such as churn or price_2"
        )
    module, config = model_paths(name, root)
    for path in (module, module.with_suffix(""), config):
        if path.exists():
            raise ConfigError(
                f"the name {name} is taken: {path.relative_to(root)} exists; choose another name"
            )


def model_paths(name: str, root: Path) -> tuple[Path, Path]:
    """Paths of the module and the configuration of a model."""
    configs = root / "application" / "training" / "configs"
    return root / "domain" / "models" / f"{name}.py", configs / f"{name}_config.json"


def data_path(data: str, root: Path) -> str:
    """A path for the configuration: relative to the clone if it is inside, else absolute."""
    if "://" in data:
        return data
    path = Path(data).expanduser().resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)


def render_config(inspection: Inspection, path: str) -> dict[str, Any]:
    """The configuration; its threshold is just above the score of a constant prediction."""
    spec, baseline = inspection.spec, inspection.baseline
    kind = "classifier" if spec.classes else "regressor"
    model = _WORDS[spec.task] if isinstance(spec.inputs[0], Text) else _TREES
    above_baseline = math.floor(round(baseline * 1000, 6) + 1) / 1000
    return {
        "model": model,
        "data": {"path": path, "test_size": _TEST_SIZE, "random_state": _SEED},
        "experiment_name": f"{spec.name}_pipeline",
        "model_name": f"{spec.name}_{kind}",
        "version": "1.0.0",
        "validation": {
            "threshold": min(0.999, above_baseline) if spec.classes else 0.0,
            "margin": _margin(round(_TEST_SIZE * inspection.rows)),
        },
    }


def _margin(rows: int) -> float:
    """A margin that so many hold-out rows can detect: docs/decisions/0011."""
    return 0.05 if rows >= 150 else 0.1 if rows >= 60 else 0.15


def render_module(inspection: Inspection, source: str) -> str:
    """The model's module, formatted as black does.

    Args:
        source: name of the inspected file, for the docstring.
    """
    spec = inspection.spec
    text = isinstance(spec.inputs[0], Text)
    kinds = {type(spec.output).__name__, "ModelSpec"}
    kinds |= {"Text"} if text else {"Category", "Number"}
    if text:
        estimator = "LogisticRegression" if spec.classes else "Ridge"
        imports, build = _WORDS_IMPORTS, _WORDS_BUILD
    else:
        estimator = f"GradientBoosting{'Classifier' if spec.classes else 'Regressor'}"
        imports, build = _TREES_IMPORTS, _TREES_BUILD
    parameter, call = (
        ("inverse_strength", "LogisticRegression(C=inverse_strength, max_iter=1000)")
        if spec.classes
        else ("strength", "Ridge(alpha=strength)")
    )
    contract = "\n".join(_spec(spec, inspection.findings))
    long = any(len(line) > _WIDTH for line in contract.splitlines())  # a word too long to wrap
    title = f"{spec.name.replace('_', ' ').capitalize()}: {_comment_text(spec.description).lower()}"
    origin = _ORIGIN.format(source=_comment_text(source), rows=inspection.rows)
    head = _HEAD.format(
        title=textwrap.shorten(title, _WIDTH - 4),
        origin=textwrap.fill(origin, _WIDTH),
        lint=_LINT.format(rules="duplicate-code,line-too-long" if long else "duplicate-code"),
        imports=imports.format(estimator=estimator, contract=", ".join(sorted(kinds))),
        spec=contract,
    )
    return head + build.format(estimator=estimator, parameter=parameter, call=call)


def write_files(files: dict[Path, str]) -> None:
    """Write all of these files, or none.

    Raises:
        OSError: a file cannot be written.
    """
    written: list[Path] = []
    try:
        for path, text in files.items():
            write_atomically(path, text)
            written.append(path)
    except BaseException:
        for path in written:
            path.unlink()
        raise


def to_json(config: dict[str, Any]) -> str:
    """The text of a configuration file."""
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


@dataclass(frozen=True)
class _Call:
    """A call in the written file: its name, and pairs of a keyword, maybe empty, and a value."""

    name: str
    arguments: tuple[tuple[str, Any], ...]


def _spec(spec: ModelSpec, findings: Sequence[Finding]) -> list[str]:
    notes = [f"{f.column}: {f.reason}" for f in findings if f.column == spec.output.name]
    inputs = [line for item in spec.inputs for line in _input(item, findings)]
    inputs += [line for finding in findings if finding.left_out for line in _left_out(finding)]
    single = f"    inputs=({inputs[0].strip()}),"  # as black writes a tuple of one
    fits = len(inputs) == 1 and len(single) <= _WIDTH
    return [
        "SPEC = ModelSpec(",
        *_code(spec.name, 4, "name="),
        *_code(spec.description, 4, "description="),
        *([single] if fits else ["    inputs=(", *inputs, "    ),"]),
        *(line for note in notes for line in _comment(note, 4)),
        *_code(_output(spec.output), 4, "output="),
        ")",
    ]


def _input(item: Input, findings: Sequence[Finding]) -> list[str]:
    notes = [f.reason for f in findings if f.column == item.name and not f.left_out]
    return [line for note in notes for line in _comment(note, 8)] + _code(_item(item), 8)


def _left_out(finding: Finding) -> list[str]:
    lines = _comment(f"left out: {finding.column}, {finding.reason}", 8)
    if finding.item:
        lines += _comment("put it back if its value is known when predicting:", 8)
        lines += [f"        # {line}" for line in _code(_item(finding.item), 0)]
    return lines


def _item(item: Input) -> _Call:
    """An input as a call, without arguments that have their default."""
    names = [field.name for field in fields(item)]
    first = {Number: 4, Category: 2}.get(type(item), 1)
    arguments = [("", getattr(item, name)) for name in names[:first]]
    arguments += [
        (f"{field.name}=", getattr(item, field.name))
        for field in fields(item)[first:]
        if getattr(item, field.name) != field.default
    ]
    return _Call(type(item).__name__, tuple(arguments))


def _output(output: Output) -> _Call:
    if isinstance(output, Classes):
        return _Call("Classes", (("", output.names), ("", output.name)))
    return _Call("Quantity", (("", output.name), ("unit=", "")))


def _code(value: Any, indent: int, before: str = "") -> list[str]:
    """Lines of a value with a comma after it, wrapped as black does."""
    margin = " " * indent
    line = f"{margin}{before}{_one_line(value)},"
    if len(line) <= _WIDTH or not isinstance(value, _Call | tuple):
        return [line]
    if isinstance(value, _Call):
        opening, parts = f"{value.name}(", value.arguments
    else:
        opening, parts = "(", tuple(("", part) for part in value)
    inner = [line for key, part in parts for line in _code(part, indent + 4, key)]
    return [f"{margin}{before}{opening}", *inner, f"{margin}),"]


def _one_line(value: Any) -> str:
    if isinstance(value, _Call):
        return f"{value.name}({', '.join(key + _one_line(part) for key, part in value.arguments)})"
    if isinstance(value, tuple):
        return f"({', '.join(map(_one_line, value))}{',' if len(value) == 1 else ''})"
    if isinstance(value, float):
        return repr(value).replace("e+", "e")
    return _quoted(value) if isinstance(value, str) else repr(value)


def _quoted(text: str) -> str:
    """A string literal, in double quotes unless single ones save escapes."""
    body = "".join(
        each if each in "'\"" or (each.isprintable() and each != "\\") else repr(each)[1:-1]
        for each in text
    )
    double, single = body.replace('"', '\\"'), body.replace("'", "\\'")
    return f"'{single}'" if len(single) < len(double) else f'"{double}"'


def _comment(text: str, indent: int) -> list[str]:
    start = " " * indent + "# "
    return textwrap.wrap(_comment_text(text), _WIDTH, initial_indent=start, subsequent_indent=start)


def _comment_text(text: str) -> str:
    """Text without the characters that would break a comment or a docstring."""
    return "".join(each if each.isprintable() else " " for each in text).translate(
        {ord('"'): "'", ord("\\"): "/"}
    )
