"""The files of a new model: its module, its configuration and its notebook."""

from __future__ import annotations

import difflib
import json
import keyword
import math
import re
from dataclasses import MISSING, fields
from pathlib import Path
from typing import Any

import black
from jinja2 import StrictUndefined, Template

from application.scaffold.estimators import Estimator
from application.scaffold.table_inspection import HOLDOUT_SHARE, Inspection
from domain.contract import Input
from domain.errors import ConfigError
from domain.evaluation.measures import default_measure
from shared.files import write_atomically

LONGEST_NAME = 52  # BentoML allows 63 characters, including what `render_config` appends
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_WIDTH = 100
_LINT = "# pylint: disable=duplicate-code"
_SEED = 42


def check_name(name: str, root: Path) -> None:
    """Check that a model can have this name.

    Raises:
        ConfigError: the name is not a lower-case identifier, or a folder has it.
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
    folder = model_paths(name, root)[0].with_suffix("")
    if folder.exists():
        raise ConfigError(
            f"the name {name} is taken: {folder.relative_to(root)} exists; choose another name"
        )


def model_paths(name: str, root: Path) -> tuple[Path, Path, Path]:
    """Paths of the module, the configuration and the notebook of a model."""
    return (
        root / "domain" / "models" / f"{name}.py",
        root / "application" / "training" / "configs" / f"{name}_config.json",
        root / "domain" / "experiments" / "notebooks" / f"{name}.ipynb",
    )


def render_config(
    inspection: Inspection, keys: dict[str, Any], estimator: Estimator
) -> dict[str, Any]:
    """The configuration; its threshold is just above the score of a constant prediction.

    Args:
        keys: of ``data``, where the table is: ``path`` or ``source``.
    """
    spec, baseline, measure = inspection.spec, inspection.baseline, inspection.measure
    named = {} if measure == default_measure(spec).name else {"measure": measure}
    kind = "classifier" if spec.classes else "regressor"
    above_baseline = math.floor(round(baseline * 1000, 6) + 1) / 1000
    return {
        "model": dict(estimator.parameters),
        "data": {**keys, "test_size": HOLDOUT_SHARE, "random_state": _SEED},
        "experiment_name": f"{spec.name}_pipeline",
        "model_name": f"{spec.name}_{kind}",
        "version": "1.0.0",
        "validation": {
            **named,
            "threshold": min(0.999, above_baseline) if spec.classes else 0.0,
        },
    }


def render_module(inspection: Inspection, source: str, estimator: Estimator) -> str:
    """The model's module.

    Args:
        source: name of the inspected file, for the docstring.
    """
    module = _format(
        _template("model.py.j2").render(
            spec=inspection.spec,
            estimator=estimator,
            class_name=estimator.class_of(inspection.spec),
            by_character=inspection.by_character,
            findings=inspection.findings,
            rows=inspection.rows,
            source=source,
            code=_code,
            format=_format,
            plain=_plain,
            repr=repr,
        )
    )
    if any(len(line) > _WIDTH for line in module.splitlines()):  # a word too long to wrap
        module = module.replace(_LINT, f"{_LINT},line-too-long", 1)
    return module


def render_notebook(name: str) -> str:
    """The model's notebook, without outputs."""
    return _template("notebook.ipynb.j2").render(name=name) + "\n"


def _template(file: str) -> Template:
    text = Path(__file__).with_name(file).read_text(encoding="utf-8")
    return Template(text, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)


def current_text(path: Path) -> str:
    """The text of an existing file; of a notebook without outputs and what editors add to it."""
    text = path.read_text(encoding="utf-8", errors="replace")
    if path.suffix != ".ipynb":
        return text
    try:
        notebook = json.loads(text)
        for cell in notebook["cells"]:
            cell.update(metadata={}, source="".join(cell["source"]).splitlines(keepends=True))
            if cell["cell_type"] == "code":
                cell.update(execution_count=None, outputs=[])
        plain = {**json.loads(render_notebook("")), "cells": notebook["cells"]}
        return json.dumps(plain, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    except (ValueError, KeyError, TypeError, AttributeError):  # not a notebook
        return text


def difference_of(old: str, new: str, name: str) -> list[str]:
    """What changes from one text of a file to another, as lines of a unified diff."""
    pair = old.splitlines(), new.splitlines()
    return list(difflib.unified_diff(*pair, name, f"{name} (new)", n=1, lineterm=""))


def write_files(files: dict[Path, str]) -> None:
    """Write all of these files, or leave them all as they were.

    Raises:
        OSError: a file cannot be written.
    """
    previous = {path: path.read_bytes() for path in files if path.exists()}
    written: list[Path] = []
    try:
        for path, text in files.items():
            write_atomically(path, text)
            written.append(path)
    except BaseException:
        for path in written:
            if path in previous:
                write_atomically(path, previous[path])
            else:
                path.unlink()
        raise


def to_json(config: dict[str, Any]) -> str:
    """The text of a configuration file."""
    return json.dumps(config, indent=2, ensure_ascii=False) + "\n"


def _format(code: str, width: int = _WIDTH) -> str:
    return black.format_str(code, mode=black.Mode(line_length=width))


def _code(item: Input) -> str:
    """An input as Python code, without arguments that have their default."""
    arguments = []
    for field in fields(item):
        value = getattr(item, field.name)
        if field.default is MISSING:
            arguments.append(repr(value))
        elif value != field.default:
            arguments.append(f"{field.name}={value!r}")
    return f"{type(item).__name__}({', '.join(arguments)})"


def _plain(text: str) -> str:
    """Text without the characters that would break a comment or a docstring."""
    return "".join(each if each.isprintable() else " " for each in text).translate(
        {ord('"'): "'", ord("\\"): "/"}
    )
