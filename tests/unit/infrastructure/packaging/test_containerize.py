"""Which container engine builds an image, and the error if there is none."""

from __future__ import annotations

import os
from collections.abc import Callable, Container
from pathlib import Path

import pytest

from domain.errors import BuildError
from infrastructure.cli.__main__ import main
from infrastructure.packaging.containerize import ENGINES, find_engine


def installed_engines(*engines: str) -> Callable[[str], bool]:
    """A machine on which these engines work."""
    installed: Container[str] = engines
    return lambda engine: engine in installed


@pytest.mark.parametrize(
    ("installed", "wanted", "found"),
    [
        (("docker", "podman"), None, "docker"),
        (("podman",), None, "podman"),
        (("docker", "podman"), "podman", "podman"),
        (("docker",), "docker", "docker"),
    ],
)
def test_the_requested_engine_is_used_or_else_the_first_that_works(
    installed: tuple[str, ...], wanted: str | None, found: str
) -> None:
    assert find_engine(wanted, installed_engines(*installed)) == found


def test_without_an_engine_the_error_explains_what_to_do() -> None:
    with pytest.raises(BuildError, match="install and start Docker or Podman.*make deploy"):
        find_engine(works=installed_engines())


def test_a_requested_engine_that_does_not_work_is_not_replaced() -> None:
    with pytest.raises(BuildError, match="podman does not work"):
        find_engine("podman", installed_engines("docker"))


def test_a_program_that_is_not_a_container_engine_is_never_run() -> None:
    checked: list[str] = []
    with pytest.raises(BuildError, match="choose one of: docker, podman"):
        find_engine("sh", lambda engine: not checked.append(engine))
    assert not checked


def test_engines_are_tried_in_order_until_one_works() -> None:
    checked: list[str] = []
    assert find_engine(works=lambda engine: not checked.append(engine)) == ENGINES[0]
    assert checked == [ENGINES[0]]


def test_the_entry_point_exits_with_3_and_leaves_no_receipt_if_no_engine_works(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    receipt = tmp_path / "containerize.json"
    built = tmp_path / "bento-build.json"
    status = main(
        ["containerize", "--bento", str(built), "--engine", "no-engine", "--receipt", str(receipt)]
    )
    assert status == 3
    assert "no-engine does not work" in capsys.readouterr().err
    assert not receipt.exists()


def test_a_missing_bento_is_reported_with_the_command_that_rebuilds_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = tmp_path / "bin/docker"
    engine.parent.mkdir()
    engine.write_text("#!/bin/sh\n")
    engine.chmod(0o755)
    monkeypatch.setenv("PATH", str(engine.parent), prepend=os.pathsep)
    monkeypatch.setenv("BENTOML_HOME", str(tmp_path / "bentoml"))
    built = tmp_path / "bento-build.json"
    assert main(["containerize", "--bento", str(built)]) == 1
    assert capsys.readouterr().err == f"error: {built} does not exist: run make bento-build\n"
    built.write_text('{"version": "1.0.0-a", "bento_tag": "iris_classifier_pipeline:1.0.0-a"}')
    assert main(["containerize", "--bento", str(built)]) == 1
    assert capsys.readouterr().err == (
        f"error: iris_classifier_pipeline:1.0.0-a is not in the Bento store {tmp_path}/bentoml: "
        f"remove {built}, then run make bento-build\n"
    )
