"""`make adopt` leaves a working project, and removing a part by hand breaks nothing."""

from __future__ import annotations

import shutil
import subprocess
import tomllib
from collections.abc import Callable
from itertools import chain
from pathlib import Path

import pytest

from domain import catalog
from shared.paths import ROOT
from tests.served import Home
from tests.template.adopt import (
    EXAMPLES,
    EXTRA_USED,
    MODEL_FILES,
    TEMPLATE,
    content_hash,
    main,
    plan,
    remove_extras,
)
from tests.template.test_docs import links, make_targets

POETRY = ROOT / ".poetry/bin/poetry"
KEPT = [
    *("LICENSE", "CONTRIBUTING.md", "Makefile", "make/chain.mk", "docs/README.md", "docs/gates.md"),
    *("application/inference/services/iris_service.py", "tests/petals.py"),
    "application/inference/services/speech_service.py",
]
GONE = [
    *("CHANGELOG.md", "README.zh-TW.md", "docs/benchmarks", "docs/models.md", "docs/speech.md"),
    *("make/template.mk", "tests/template", "domain/data/bundled.py"),
    *(f"domain/models/{name}.py" for name in EXAMPLES),
    *(f"application/training/configs/{name}_config.json" for name in EXAMPLES),
    *(f"tests/unit/domain/models/test_{name}.py" for name in EXAMPLES),
    *(f"tests/integration/test_{name}.py" for name in ("iris", "speech")),
    "domain/experiments/notebooks/iris_experiment.ipynb",
]
AFFECTED_TESTS = [  # tests that look at models, documents, extras or makefiles
    *("template/test_adopt.py", "template/test_docs.py", "template/test_makefile.py"),
    *("template/test_scripts.py", "unit/application/training", "unit/test_import_contracts.py"),
    *("unit/domain/test_catalog.py", "unit/application/scaffold", "unit/application/inference"),
]


def optional_requirements(root: Path) -> str:
    """Packages that `make install` would add to the core, from Poetry's export of every extra."""
    exports = []
    for options in ([], ["-E", "all"]):
        done = subprocess.run(
            [POETRY, "export", "--without-hashes", *options],
            cwd=root,
            capture_output=True,
            text=True,
            check=True,
        )
        exports.append({line.partition("==")[0] for line in done.stdout.splitlines()})
    return " ".join(sorted(exports[1] - exports[0]))


def extras(root: Path) -> dict[str, list[str]]:
    """The extras in pyproject.toml."""
    project = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]
    found: dict[str, list[str]] = project.get("optional-dependencies", {})
    return found


OTHER_EXTRAS = {  # no model needs them
    name: lines for name, lines in extras(ROOT).items() if name not in (*EXTRA_USED, "all")
}
NEEDS = [  # example, its extra, a package of it, and a package of another extra
    ("digits", "torch", " torch", "tensorflow"),
    ("wine", "tensorflow", " tensorflow", "torch"),
    ("speech", "whisper", " openai-whisper", "tensorflow"),
]


def test_template_only_files_are_removed_and_the_rest_is_renamed(
    copy: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    assert [name for name in KEPT if not (copy.root / name).exists()] == []
    assert main(["--name", "my-project"], copy.root) == 0
    assert [name for name in KEPT if not (copy.root / name).exists()] == []
    assert [name for name in GONE if (copy.root / name).exists()] == []
    named = copy.run("git", "grep", "--files-with-matches", TEMPLATE).stdout.split()
    assert named == ["README.md"]  # names its origin
    assert (
        tomllib.loads((copy.root / "pyproject.toml").read_text())["project"]["name"] == "my-project"
    )
    assert (copy.root / "README.md").read_text("utf-8").startswith("# my-project\n")
    assert "no model is left: write one with make new-model" in capsys.readouterr().out


def test_links_and_targets_in_the_remaining_documents_exist(copy: Home) -> None:
    assert main(["--name", "my-project"], copy.root) == 0
    listed = copy.run("make", "help").stdout
    pages = [*copy.root.glob("*.md"), *(copy.root / "docs").rglob("*.md")]
    assert len(pages) > 10
    for page in pages:
        text = page.read_text("utf-8")
        assert [link for link in links(text) if not (page.parent / link).exists()] == [], page
        assert [name for name in make_targets(text) if f"  {name} " not in listed] == [], page


def test_no_package_is_reinstalled_and_the_lock_matches_pyproject(copy: Home) -> None:
    lock = copy.root / "poetry.lock"
    before, changed = tomllib.loads(lock.read_text("utf-8")), lock.stat().st_mtime_ns
    assert main(["--name", "my-project"], copy.root) == 0
    after = tomllib.loads(lock.read_text("utf-8"))
    assert lock.stat().st_mtime_ns == changed
    assert {each["name"]: each["version"] for each in before["package"]} == {
        each["name"]: each["version"] for each in after["package"]
    }
    assert set(extras(copy.root)) == set(after["extras"]) == {*OTHER_EXTRAS, "all"}
    pyproject = tomllib.loads((copy.root / "pyproject.toml").read_text("utf-8"))
    assert after["metadata"]["content-hash"] == content_hash(pyproject)


def test_the_digest_in_the_lock_is_computed_like_in_poetry() -> None:
    lock, pyproject = (
        tomllib.loads((ROOT / name).read_text("utf-8"))
        for name in ("poetry.lock", "pyproject.toml")
    )
    assert content_hash(pyproject) == lock["metadata"]["content-hash"]


@pytest.mark.parametrize(
    ("keep", "extra", "installed", "left_out"),
    [row for row in NEEDS if row[0] in catalog.names() and row[1] in extras(ROOT)],
)
def test_a_kept_example_keeps_its_files_and_its_extra(
    copy: Home, keep: str, extra: str, installed: str, left_out: str
) -> None:
    assert main(["--name", "my-project", "--keep", keep], copy.root) == 0
    for pattern in MODEL_FILES:
        before, after = (sorted(root.glob(pattern.format(keep))) for root in (ROOT, copy.root))
        assert [path.name for path in before] == [path.name for path in after]
    assert f"\nMODEL := {keep}\n" in (copy.root / "Makefile").read_text("utf-8")
    kept = {name: extras(ROOT)[name] for name in (extra, *OTHER_EXTRAS)}
    everything = extras(copy.root).pop("all")
    assert extras(copy.root) == {**kept, "all": everything}
    assert sorted(everything) == sorted(chain(*kept.values()))
    if not POETRY.exists():
        pytest.skip("Poetry is not in .poetry: scripts/setup/setup_poetry.sh puts it there")
    requirements = " " + optional_requirements(copy.root)
    assert installed in requirements and left_out not in requirements


def test_a_user_model_is_kept_with_the_extra_that_it_needs(copy: Home) -> None:
    mine = copy.root / "domain/models/churn.py"
    mine.write_text("import torch\n", encoding="utf-8")
    planned = plan(copy.root, [])
    assert planned.extras == [
        name for name in extras(ROOT) if name not in ("torch", "all", *OTHER_EXTRAS)
    ]
    assert "domain/models/churn.py" not in planned.files


def test_uncommitted_changes_are_refused_and_nothing_is_removed(
    copy: Home, capsys: pytest.CaptureFixture[str]
) -> None:
    (copy.root / "notes.txt").touch()
    assert main(["--name", "my-project"], copy.root) == 1
    assert "uncommitted changes; commit them first" in capsys.readouterr().err
    assert (copy.root / "tests/template").exists()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "NAME is missing"),
        (["--name", "my project"], "NAME=my project: use at most 63 letters"),
        (["--name", "x", "--keep", "tulip"], "KEEP=tulip: the examples are breast_cancer"),
    ],
)
def test_a_wrong_call_shows_the_usage(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(arguments, tmp_path)
    assert ended.value.code == 2
    message = capsys.readouterr().err
    assert message.startswith("usage: make adopt NAME=my-project") and words in message


@pytest.mark.nightly
@pytest.mark.parametrize("keep", ["", "diabetes digits"])
def test_an_adopted_project_passes_its_checks_at_once(copy: Home, keep: str) -> None:
    for command in (("adopt", "NAME=my-project", f"KEEP={keep}"), ("lint-check",), ("test-unit",)):
        done = copy.run("make", *command)
        assert done.returncode == 0, done.stdout + done.stderr
    assert copy.run("git", "log", "--oneline").stdout.count("\n") == 1


def remove_model(name: str) -> Callable[[Path], None]:
    """Remove an example model by hand, with the files that have its name."""

    def remove(root: Path) -> None:
        for pattern in MODEL_FILES:
            for path in root.glob(pattern.format(name)):
                path.unlink()

    return remove


@pytest.mark.nightly
@pytest.mark.parametrize(
    "remove",
    [
        *(pytest.param(remove_model(name), id=name) for name in EXAMPLES),
        pytest.param(lambda root: remove_extras(root, ["torch"]), id="extra torch"),
        pytest.param(
            lambda root: (root / "README.zh-TW.md").unlink(missing_ok=True), id="README.zh-TW.md"
        ),
        pytest.param(lambda root: shutil.rmtree(root / "tests/template"), id="tests/template"),
    ],
)
def test_removing_a_part_by_hand_breaks_no_test(copy: Home, remove: Callable[[Path], None]) -> None:
    remove(copy.root)
    done = copy.python("-m", "pytest", "-q", "--collect-only")
    assert done.returncode == 0, done.stdout + done.stderr
    tests = [f"tests/{file}" for file in AFFECTED_TESTS if (copy.root / "tests" / file).exists()]
    done = copy.python("-m", "pytest", "-q", "--numprocesses=2", *tests)
    assert done.returncode == 0, done.stdout + done.stderr
