"""Which container engine is used, and what it is asked to do."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from domain.errors import BuildError
from infrastructure.packaging.container_engine import (
    BUILDERS,
    ENGINES,
    BuiltImage,
    ContainerEngine,
    find_engine,
    run_command,
)

TARGET = "127.0.0.1:5000/shop/petals:1.0.0"
DIGEST = f"sha256:{'d' * 64}"
ID = "a" * 64


@dataclass
class FakeRun:
    """An engine whose commands print what is given, by their first word after the engine."""

    prints: Mapping[str, str] = field(default_factory=dict)
    commands: list[Sequence[str]] = field(default_factory=list)

    def __call__(self, command: Sequence[str], show: bool = False) -> str:
        self.commands.append(command)
        for argument in command:
            if argument.startswith("--digestfile="):
                Path(argument.partition("=")[2]).write_text(f"{DIGEST}\n", encoding="ascii")
        return self.prints.get(command[1], "")


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


def test_buildah_can_build_but_not_run() -> None:
    works = installed_engines("buildah")
    assert find_engine(works=works, supported=BUILDERS) == "buildah"
    with pytest.raises(BuildError, match="no container engine works"):
        find_engine(works=works)


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


@pytest.mark.parametrize(("name", "options"), [("docker", 0), ("podman", 2), ("buildah", 2)])
def test_a_build_passes_arguments_and_labels_and_keeps_health_checks(
    name: str, options: int
) -> None:
    run = FakeRun()
    ContainerEngine(name, run).build(
        Path("context"), Path("Dockerfile"), "petals:1", {"BASE": "python@x"}, {"title": "petals"}
    )
    (command,) = run.commands
    assert command[:4] == [name, "build", "--file=Dockerfile", "--tag=petals:1"]
    assert command[4 + options :] == [
        "--build-arg=BASE=python@x",
        "--label=title=petals",
        "context",
    ]
    assert ("--format=docker" in command) is (name != "docker")


def test_a_failed_build_names_the_image() -> None:
    engine = ContainerEngine("false", run_command)
    with pytest.raises(BuildError, match="^false could not build the image of petals:1: see its"):
        engine.build(Path("context"), Path("Dockerfile"), "petals:1", {}, {})


@pytest.mark.parametrize(
    ("name", "known"),
    [
        ("docker", f"sha256:{ID}"),
        ("podman", ID),
    ],
)
def test_the_id_of_an_image_is_a_digest(name: str, known: str) -> None:
    found = [{"Id": known, "Size": 5, "RootFS": {"Layers": ["sha256:1"]}, "RepoDigests": None}]
    engine = ContainerEngine(name, FakeRun({"image": json.dumps(found)}))
    assert engine.inspect("petals:1") == BuiltImage(f"sha256:{ID}", 5, ["sha256:1"], [])


def test_what_buildah_says_about_an_image_is_the_same() -> None:
    found = {
        "FromImage": "localhost/petals:1",
        "FromImageID": ID,
        "FromImageDigest": DIGEST,
        "Manifest": json.dumps({"layers": [{"size": 2}, {"size": 3}]}),
        "Docker": {"rootfs": {"diff_ids": ["sha256:1", "sha256:2"]}},
    }
    engine = ContainerEngine("buildah", FakeRun({"inspect": json.dumps(found)}))
    assert engine.inspect("petals:1") == BuiltImage(
        f"sha256:{ID}", 5, ["sha256:1", "sha256:2"], [f"localhost/petals@{DIGEST}"]
    )


@pytest.mark.parametrize("name", ["podman", "buildah"])
def test_a_push_returns_the_digest_in_the_registry(name: str) -> None:
    run = FakeRun()
    assert ContainerEngine(name, run).push("petals:1.0.0", TARGET) == DIGEST
    assert run.commands[0] == [name, "tag", "petals:1.0.0", TARGET]
    assert run.commands[1][-1] == TARGET


def test_docker_may_know_an_image_by_digests_of_several_registries() -> None:
    known = [f"ghcr.io/shop/petals@sha256:{'0' * 64}", f"127.0.0.1:5000/shop/petals@{DIGEST}"]
    found = [{"Id": ID, "Size": 5, "RootFS": {"Layers": []}, "RepoDigests": known}]
    engine = ContainerEngine("docker", FakeRun({"image": json.dumps(found)}))
    assert engine.push("petals:1.0.0", TARGET) == DIGEST
    found[0]["RepoDigests"] = known[:1]
    engine = ContainerEngine("docker", FakeRun({"image": json.dumps(found)}))
    with pytest.raises(BuildError, match="did not say which digest"):
        engine.push("petals:1.0.0", TARGET)


def test_an_error_of_a_command_is_its_last_line() -> None:
    script = "import sys; sys.exit('first\\ndenied: log in')"
    with pytest.raises(BuildError, match="failed: denied: log in$"):
        run_command([sys.executable, "-c", script])
    assert run_command([sys.executable, "-c", "print(1)"]) == "1\n"
