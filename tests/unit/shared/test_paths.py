"""The root is that of the clone."""

from shared.paths import ROOT


def test_the_root_holds_the_four_packages_and_the_makefile() -> None:
    for package in ("domain", "application", "infrastructure", "shared"):
        assert (ROOT / package / "__init__.py").is_file()
    assert (ROOT / "Makefile").is_file()


def test_the_root_does_not_depend_on_the_working_directory() -> None:
    assert ROOT.is_absolute()
