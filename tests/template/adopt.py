"""`make adopt`: turn a clone of the template into your project.

Removes what shows or tests the template, replaces its name everywhere else and writes a short
README.md. Nothing is committed: `git diff` shows what changed, and git can take it back.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infrastructure.cli._arguments import read_default
from shared.paths import ROOT

TEMPLATE = "mlops-template"
EXAMPLES = ("breast_cancer", "diabetes", "digits", "iris", "speech", "wine")

# files that only describe or test the template
TEMPLATE_FILES = (
    *("README.*.md", "CHANGELOG.md", "docs/benchmarks", "docs/data.md"),
    *("docs/models.md", "docs/mutation.md"),
    *("docs/strength.md", "make/template.mk", "tests/template"),
    ".github/workflows/template.yml",
)
MODEL_FILES = (
    *("domain/models/{}.py", "application/training/configs/{}_config.json", "docs/{}.md"),
    *("domain/experiments/notebooks/{}_*.ipynb", "tests/unit/domain/models/test_{}.py"),
    "tests/integration/test_{}.py",
)
TEMPLATE_SECTIONS = {
    "docs/README.md": ["What was measured"],
    "docs/commands.md": ["The template itself"],
    "docs/gates.md": ["The mutant zoo", "Equal challengers"],
}
EXTRA_USED = {  # in the source of a model that needs the extra
    "torch": r"\b(torch|skorch)",
    "tensorflow": r"\b(tensorflow|keras)",
    "whisper": r"\b(whisper|Transcript)\b",
}

LINK = re.compile(r"\[([^]]*)\]\(([^)#\s]*)[^)]*\)")
EXTRAS_TABLE = re.compile(r"^\[project\.optional-dependencies\]\n(?:(?!\[).*\n)*", re.MULTILINE)
EXTRA = re.compile(r"^(\w+) = \[\n((?:    .*\n)*)\]\n", re.MULTILINE)
LOCKED_EXTRAS = re.compile(r"^\[extras\]\n(?:.+\n)*", re.MULTILINE)
ITEM = re.compile(r"^(?:-|\d+\.) .*\n(?: +.*\n)*", re.MULTILINE)
README = """\
# {name}

```bash
make new-model NAME=churn DATA=churn.csv TARGET=churned   # write a model for a table
make quickstart MODEL=churn                               # train, validate, deploy, predict
make check                                                # lint and test, before a commit
```

Yours are `domain/models/`, `application/training/configs/`, `domain/experiments/notebooks/` and
`.env`. The rest is the engine, with its tests, which use a small model of their own. Set `MODEL`,
make's default model, at the top of the `Makefile`.

[Documentation](docs/README.md) · [Contributing](CONTRIBUTING.md) · made from mlops-template, Apache-2.0
"""


@dataclass(frozen=True)
class Plan:
    """What adopting removes.

    Attributes:
        files: files and folders, relative to the clone, sorted.
        extras: extras in pyproject.toml that no remaining model needs.
    """

    files: list[str]
    extras: list[str]


def plan(root: Path, keep: Iterable[str]) -> Plan:
    """What to remove from a clone if these example models are kept; nothing is changed."""
    removed = [name for name in EXAMPLES if name not in keep]
    patterns = [*TEMPLATE_FILES, *(file.format(name) for name in removed for file in MODEL_FILES)]
    files = {path for pattern in patterns for path in root.glob(pattern)}
    models = set((root / "domain/models").glob("*.py")) - files
    sources = "".join(path.read_text("utf-8") for path in models)
    if "domain.data.bundled" not in sources:
        files |= set(root.glob("domain/data/bundled.py"))
        files |= set(root.glob("tests/unit/domain/data/test_bundled.py"))
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    return Plan(
        sorted(path.relative_to(root).as_posix() for path in files),
        [
            extra
            for extra in project.get("optional-dependencies", {})
            if extra in EXTRA_USED and not re.search(EXTRA_USED[extra], sources)
        ],
    )


def adopt(root: Path, name: str, planned: Plan) -> None:
    """Remove what is planned, replace the template's name everywhere else, and write README.md."""
    for file in planned.files:
        if (root / file).is_dir():
            shutil.rmtree(root / file)
        else:
            (root / file).unlink()
    for page in [root / "CONTRIBUTING.md", *(root / "docs").rglob("*.md")]:
        page.write_text(without_template(root, page), encoding="utf-8")
    if planned.extras:
        remove_extras(root, planned.extras)
    models, makefile = model_names(root), root / "Makefile"
    if models and read_default("MODEL", makefile) not in models:
        text = makefile.read_text("utf-8")
        text = re.sub("^MODEL := .*", f"MODEL := {models[0]}", text, flags=re.MULTILINE)
        makefile.write_text(text, encoding="utf-8")
    for file in tracked_files(root):
        text = file.read_bytes()
        if file.name != "LICENSE" and TEMPLATE.encode() in text:
            file.write_bytes(text.replace(TEMPLATE.encode(), name.encode()))
    pyproject = (root / "pyproject.toml").read_text("utf-8")
    described = re.sub(r'^description = ".*"', 'description = ""', pyproject, flags=re.MULTILINE)
    (root / "pyproject.toml").write_text(described, encoding="utf-8")
    (root / "README.md").write_text(README.format(name=name), encoding="utf-8")


def model_names(root: Path) -> list[str]:
    """Names of the models in a clone, sorted."""
    return sorted(path.stem for path in (root / "domain/models").glob("[a-z]*.py"))


def tracked_files(root: Path) -> list[Path]:
    """Existing files that git tracks."""
    listed = run_git(root, "ls-files", "-z").split("\0")
    return [root / file for file in listed if file and (root / file).is_file()]


def without_template(root: Path, page: Path) -> str:
    """The text of a page without parts about the template and links to removed files."""
    text = page.read_text("utf-8").replace("Written by `make gates-report`. ", "")
    for title in TEMPLATE_SECTIONS.get(page.relative_to(root).as_posix(), ()):
        text = re.sub(rf"^## {title}\n(?:(?!## ).*\n)*", "", text, flags=re.MULTILINE)

    def is_gone(target: str) -> bool:
        return ":" not in target and not (page.parent / target).exists()

    def item(match: re.Match[str]) -> str:
        link = LINK.match(match[0].partition(" ")[2])
        return "" if "tests.template" in match[0] or link and is_gone(link[2]) else match[0]

    text = ITEM.sub(item, text)
    text = LINK.sub(lambda match: match[1] if is_gone(match[2]) else match[0], text)
    return text.rstrip() + "\n"


def remove_extras(root: Path, extras: Iterable[str]) -> None:
    """Remove extras from pyproject.toml and poetry.lock.

    Poetry would resolve every version anew. Here versions stay: packages that only these extras
    need remain in the lock, where nothing selects them any more.
    """
    pyproject, lock = root / "pyproject.toml", root / "poetry.lock"
    text, locked, times = pyproject.read_text("utf-8"), lock.read_text("utf-8"), lock.stat()
    blocks = dict(EXTRA.findall(EXTRAS_TABLE.search(text)[0]))  # type: ignore[index]
    kept = {extra: lines for extra, lines in blocks.items() if extra not in {*extras, "all"}}
    kept["all"] = "".join(kept.values())
    table = "".join(f"{extra} = [\n{lines}]\n" for extra, lines in kept.items())
    text = EXTRAS_TABLE.sub(lambda _: f"[project.optional-dependencies]\n{table}\n", text)

    for extra in extras:
        extra_marker, all_marker = (rf"extra == \"{name}\"" for name in (extra, "all"))
        locked = locked.replace(f"({extra_marker} or {all_marker})", extra_marker)
    locked_table = "[extras]\n"
    for extra in sorted(kept):
        names = sorted(re.findall(r'^    "([\w-]+)', kept[extra], re.MULTILINE))
        locked_table += f"{extra} = {json.dumps(names)}\n"
    locked = LOCKED_EXTRAS.sub(lambda _: locked_table, locked)
    digest = content_hash(tomllib.loads(text))
    locked = re.sub(
        r'^content-hash = ".*"', f'content-hash = "{digest}"', locked, flags=re.MULTILINE
    )
    pyproject.write_text(text, encoding="utf-8")
    lock.write_text(locked, encoding="utf-8")
    os.utime(lock, ns=(times.st_atime_ns, times.st_mtime_ns))  # nothing needs to be reinstalled


def content_hash(pyproject: Mapping[str, Any]) -> str:
    """The digest of pyproject.toml in poetry.lock, as Poetry 2 computes it."""
    keys = ("requires-python", "dependencies", "optional-dependencies")
    content = {
        "project": {key: pyproject["project"][key] for key in keys},
        "dependency-groups": pyproject["dependency-groups"],
        "tool": {"poetry": {"group": pyproject["tool"]["poetry"]["group"]}},
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def run_git(root: Path, *arguments: str) -> str:
    """Output of a git command."""
    done = subprocess.run(
        ["git", *arguments], cwd=root, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"error: git {arguments[0]}: {done.stderr.strip()}")
    return done.stdout


def main(arguments: list[str] | None = None, root: Path = ROOT) -> int:
    """Entry point of `make adopt`."""
    parser = argparse.ArgumentParser(
        prog="make adopt", usage='make adopt NAME=my-project [KEEP="iris wine"]'
    )
    parser.add_argument("--name")
    parser.add_argument("--keep", default="")
    args = parser.parse_args(arguments)
    keep = args.keep.replace(",", " ").split()
    if not args.name:
        parser.error("NAME is missing")
    if not re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", args.name):
        parser.error(
            f"NAME={args.name}: use at most 63 letters, digits, '.', '_' and '-', starting and "
            "ending with a letter or digit"
        )
    if unknown := sorted({*keep} - {*EXAMPLES}):
        parser.error(f"KEEP={' '.join(unknown)}: the examples are {', '.join(EXAMPLES)}")
    if run_git(root, "status", "--porcelain"):
        print("error: git has uncommitted changes; commit them first", file=sys.stderr)
        return 1
    planned = plan(root, keep)
    print(f"Renames {TEMPLATE} to {args.name}, writes a new README.md and removes:")
    for file in planned.files:
        print(f"  {file}")
    for extra in planned.extras:
        print(f"  the extra {extra}")
    adopt(root, args.name, planned)
    print("done; next: make check, then git add --all && git commit")
    if not model_names(root):
        print("no model is left: write one with make new-model, then set MODEL in the Makefile")
    return 0


if __name__ == "__main__":
    sys.exit(main())
