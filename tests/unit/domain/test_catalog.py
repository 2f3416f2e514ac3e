"""The catalog, and the contract of every model in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from domain import catalog
from domain.contract import Category, Classes, Number, Quantity, Tensor
from domain.errors import UnknownModelError
from domain.models import iris
from shared.paths import ROOT
from tests.model_checks import model_of

ALL = catalog.names()
WITH_ROWS = [name for name in ALL if name != "speech"]

# gets a model while a library cannot be imported, and prints what happens
HIDDEN = """
import sys

class Hidden:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if f"{name}.".startswith(f"{sys.argv[1]}."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden)
from domain import catalog
assert sys.argv[2] in catalog.names()
try:
    catalog.get(sys.argv[2])
except Exception as error:
    print(type(error).__name__, error)
print(catalog.get("iris").SPEC.name)
"""


def get_without(library: str, name: str) -> list[str]:
    """The lines printed when a model is loaded without a library, and then iris."""
    command = [sys.executable, "-c", HIDDEN, library, name]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


def test_the_catalog_lists_models_sorted_and_nothing_else() -> None:
    assert {"iris", "breast_cancer", "diabetes", "digits", "wine", "speech"} <= set(ALL)
    files = {path.stem for path in (ROOT / "domain/models").glob("*.py")}
    assert ALL == sorted(files - {"__init__"})


def test_a_model_is_found_by_its_name() -> None:
    assert catalog.get("iris") is iris


@pytest.mark.parametrize(
    "name", ["rose", "", "Iris", "catalog", "contract", "iris.SPEC", "../iris"]
)
def test_an_unknown_model_is_refused_with_those_there_are(name: str) -> None:
    with pytest.raises(UnknownModelError) as refused:
        catalog.get(name)
    assert str(refused.value) == (
        f"unknown model {name!r}; the models in domain/models are: {', '.join(ALL)}"
    )


@pytest.mark.parametrize(
    ("library", "name", "extra"),
    [("torch", "digits", "torch"), ("keras", "wine", "tensorflow")],
)
def test_a_model_whose_library_is_not_installed_says_the_command_and_others_work(
    library: str, name: str, extra: str
) -> None:
    message = (
        f"MissingExtraError the model {name} needs {library}, which is not installed: "
        f"make install EXTRAS={extra}"
    )
    assert get_without(library, name) == [message, "iris"]


def test_a_module_that_is_missing_for_another_reason_is_no_question_of_extras() -> None:
    message = "ModuleNotFoundError No module named 'domain.estimators'"
    assert get_without("domain.estimators", "wine") == [message, "iris"]


@pytest.mark.parametrize("name", ALL)
def test_a_model_has_the_name_of_its_file_and_says_what_it_predicts(name: str) -> None:
    spec = model_of(name).SPEC
    assert spec.name == name
    assert spec.description.endswith(".")


@pytest.mark.parametrize("name", WITH_ROWS)
def test_every_range_is_one_and_every_category_and_class_is_another(name: str) -> None:
    spec = model_of(name).SPEC
    for item in spec.inputs:
        if isinstance(item, Number | Tensor):
            assert item.minimum < item.maximum, item.name
        if isinstance(item, Category):
            assert len(set(item.categories)) == len(item.categories) > 1, item.name
    if isinstance(spec.output, Classes):
        assert len(set(spec.classes)) == len(spec.classes) > 1
    if isinstance(spec.output, Quantity):
        assert 0 < spec.output.coverage < 1


def test_a_contract_with_the_name_of_another_model_is_refused(tmp_path: Path) -> None:
    copied = tmp_path / "domain"
    shutil.copytree(ROOT / "domain", copied, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(copied / "models/iris.py", copied / "models/tulip.py")
    code = "from domain import catalog\ncatalog.get('tulip')"
    environment = {**os.environ, "PYTHONPATH": f"{tmp_path}{os.pathsep}{ROOT}"}
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "tulip.py: SPEC has the name 'iris'; it must be 'tulip'" in done.stderr
