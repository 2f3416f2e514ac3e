"""The catalog, and the contract of every model in it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest

from domain import catalog
from domain.contract import Category, Classes, Number, Quantity, Tensor
from domain.errors import UnknownModelError
from shared.paths import ROOT
from tests.model_checks import model_of

ALL = catalog.names()
WITH_ROWS = [name for name in ALL if name != "speech"]

GetModel = Callable[..., list[str]]

# gets the model tulip while a library cannot be imported, and prints what happens
HIDDEN = """
import sys

class Hidden:
    @staticmethod
    def find_spec(name, path=None, target=None):
        if f"{name}.".startswith(f"{sys.argv[1]}."):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Hidden)
from domain import catalog
try:
    catalog.get("tulip")
except Exception as error:
    print(type(error).__name__, error)
print(catalog.get("petals").SPEC.name)
"""


@pytest.fixture(scope="module", name="get_tulip")
def _get_tulip(tmp_path_factory: pytest.TempPathFactory) -> GetModel:
    """The lines printed when a model with this source is loaded, and then petals."""
    clone = tmp_path_factory.mktemp("clone")
    shutil.copytree(ROOT / "domain", clone / "domain", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "tests/petals.py", clone / "domain/models")

    def get(source: str, without: str = "no_library") -> list[str]:
        (clone / "domain/models/tulip.py").write_text(source, encoding="utf-8")
        done = subprocess.run(
            [sys.executable, "-B", "-c", HIDDEN, without],
            cwd=clone,
            env={**os.environ, "PYTHONPATH": f"{clone}{os.pathsep}{ROOT}"},
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout.splitlines()

    return get


def test_the_catalog_lists_models_sorted_and_nothing_else() -> None:
    files = {path.stem for path in (ROOT / "domain/models").glob("*.py")}
    assert ALL == sorted(files - {"__init__"})


def test_a_model_is_found_by_its_name() -> None:
    for name in ALL:
        assert model_of(name) is sys.modules[f"domain.models.{name}"]


@pytest.mark.parametrize(
    "name", ["rose", "", "Rose", "catalog", "contract", "rose.SPEC", "../catalog"]
)
def test_an_unknown_model_is_refused_with_the_known_ones(name: str) -> None:
    with pytest.raises(UnknownModelError) as refused:
        catalog.get(name)
    assert str(refused.value) == (
        f"unknown model {name!r}; the models in domain/models are: {catalog.list_names()}"
    )


@pytest.mark.parametrize(
    ("library", "network", "extra"),
    [
        ("torch", "torch_network", "torch"),
        ("keras", "keras_network", "tensorflow"),
        *((library, "", library) for library in ("catboost", "lightgbm", "xgboost")),
    ],
)
def test_a_missing_library_is_reported_with_the_install_command_and_other_models_work(
    get_tulip: GetModel, library: str, network: str, extra: str
) -> None:
    source = f"from domain.estimators import {network}" if network else f"import {library}"
    message = (
        f"MissingExtraError the model tulip needs {library}, which is not installed: "
        f"make install EXTRAS={extra}"
    )
    assert get_tulip(source, without=library) == [message, "petals"]


def test_a_missing_module_of_the_project_is_not_reported_as_a_missing_extra(
    get_tulip: GetModel,
) -> None:
    message = "ModuleNotFoundError No module named 'domain.estimators'"
    source = "from domain.estimators import keras_network"
    assert get_tulip(source, without="domain.estimators") == [message, "petals"]


@pytest.mark.parametrize("name", ALL)
def test_a_model_has_the_name_of_its_file_and_a_description(name: str) -> None:
    spec = model_of(name).SPEC
    assert spec.name == name
    assert spec.description.endswith(".")


@pytest.mark.parametrize("name", WITH_ROWS)
def test_every_range_is_valid_and_categories_and_classes_are_unique(name: str) -> None:
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


def test_a_contract_with_the_name_of_another_model_is_refused(get_tulip: GetModel) -> None:
    message, other = get_tulip((ROOT / "tests/petals.py").read_text("utf-8"))
    assert "tulip.py: SPEC has the name 'petals'; it must be 'tulip'" in message
    assert other == "petals"
