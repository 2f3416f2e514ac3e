"""The root is that of the clone."""

from pathlib import Path

from shared.paths import ROOT, path_in_clone


def test_the_root_holds_the_four_packages_and_the_makefile() -> None:
    for package in ("domain", "application", "infrastructure", "shared"):
        assert (ROOT / package / "__init__.py").is_file()
    assert (ROOT / "Makefile").is_file()


def test_the_root_does_not_depend_on_the_working_directory() -> None:
    assert ROOT.is_absolute()


def test_a_path_in_the_clone_is_relative_to_it_and_any_other_is_absolute(tmp_path: Path) -> None:
    assert path_in_clone(Path("data/t.csv"), tmp_path) == "data/t.csv"
    assert path_in_clone(tmp_path / "data/../t.csv", tmp_path) == "t.csv"
    assert path_in_clone(Path("/elsewhere/t.csv"), tmp_path) == "/elsewhere/t.csv"
