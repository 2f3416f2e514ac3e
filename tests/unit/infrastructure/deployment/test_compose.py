"""A deployment with compose writes its files, checks golden predictions, and is undone.

`docker` is a small executable stand-in, which keeps what it has been called with.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from application.inference.api_keys import ApiKeys
from domain.errors import DeploymentError
from infrastructure.deployment.compose import FILES, Compose, Deployed
from infrastructure.monitoring.stack.configuration import Addresses
from tests.golden_service import GOLDEN, golden_service
from tests.served import free_port

OLD, NEW = Deployed("iris:1", "1.0.0-a"), Deployed("iris:2", "1.0.0-b", workers=2)
PROGRAM = f"""#!{sys.executable} -IS
import json, pathlib, sys, time
args, folder = sys.argv[1:], pathlib.Path(__file__).parent
image = ""
if args[1:2] != ["version"]:
    lines = dict(line.split("=", 1) for line in open(".env").read().splitlines())
    image = lines["SERVICE_IMAGE"]
with (folder / "calls").open("a") as calls:
    print(json.dumps([image, *args]), file=calls)
if "logs" in args:
    print("the last line")
if "ps" in args:
    print("one", "two", sep="\\n")
if "up" in args and (folder / "awaited").exists():
    (folder / "awaited").unlink()
    (folder / "started").touch()
    for _ in range(1000):
        if (folder / "started").exists():
            time.sleep(0.01)  # until the service of the test listens
if "up" in args and (folder / "broken").exists() and image in (folder / "broken").read_text():
    sys.exit("container service is unhealthy")
"""


class Docker:
    """The stand-in, and what it has been called with."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        program = folder / "docker"
        program.write_text(PROGRAM, encoding="utf-8")
        program.chmod(0o755)

    def break_(self, image: str) -> None:
        """Let this image never become healthy."""
        (self._folder / "broken").write_text(image, encoding="utf-8")

    def calls(self, command: str) -> list[list[str]]:
        """The calls of a command of compose, each after the service's image."""
        lines = (self._folder / "calls").read_text(encoding="utf-8").splitlines()
        return [call for call in map(json.loads, lines) if command in call]


@pytest.fixture(name="docker")
def _docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Docker:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}{os.pathsep}{os.environ['PATH']}")
    return Docker(folder)


@pytest.fixture(name="folder")
def _folder(tmp_path: Path) -> Path:
    return tmp_path / "compose"


def stack(folder: Path, service: int, engine: str = "docker") -> Compose:
    """The stack, with the service on a port."""
    prometheus, alertmanager, grafana, mlflow = (free_port() for _ in range(4))
    addresses = Addresses("staging", service, prometheus, alertmanager, grafana)
    return Compose(folder, engine, addresses, mlflow, 90)


def deploy(folder: Path, wanted: Deployed, keys: str = "", setosa: float = 0.9) -> Compose:
    """Deploy; the service answers when the stand-in is to start it."""
    compose = stack(folder, 0)
    started = folder.parent / "bin/started"
    started.unlink(missing_ok=True)
    (folder.parent / "bin/awaited").touch()
    with golden_service(wanted.version, setosa, free=not keys, start=started) as port:
        compose = stack(folder, port)
        compose.deploy(wanted, GOLDEN, keys)
    return compose


def test_everything_is_started_and_waited_for(docker: Docker, folder: Path) -> None:
    deploy(folder, NEW)
    ((image, *call),) = docker.calls("up")
    assert image == "iris:2"
    assert call == [
        *("compose", "--project-name", "mlops-staging"),
        *("--file", "compose.yml", "--file", "stack.yml"),
        *("up", "--detach", "--wait", "--wait-timeout", "90"),
    ]
    assert "WORKERS=2\n" in (folder / ".env").read_text(encoding="utf-8")


def test_a_port_in_use_is_refused_before_anything_starts(docker: Docker, folder: Path) -> None:
    with golden_service("1.0.0-a") as port:
        with pytest.raises(DeploymentError, match=f"port {port} is in use"):
            stack(folder, port).deploy(OLD, GOLDEN)
    assert not (folder / ".env").exists()
    assert docker


def test_secrets_are_made_once_in_a_folder_of_this_user(docker: Docker, folder: Path) -> None:
    assert docker
    deploy(folder, OLD)
    names = ("postgres_password", "s3_secret_key", "prediction_log_url", "mlflow_database_url")
    before = {name: (folder / "secrets" / name).read_text(encoding="utf-8") for name in names}
    deploy(folder, NEW)
    after = {name: (folder / "secrets" / name).read_text(encoding="utf-8") for name in names}
    assert before == after
    assert len(set(before.values())) == 4
    assert before["postgres_password"] in before["prediction_log_url"]
    assert (folder / "secrets").stat().st_mode & 0o077 == 0
    declared = yaml.safe_load((folder / "stack.yml").read_text(encoding="utf-8"))["secrets"]
    assert all((folder / each["file"]).is_file() for each in declared.values())
    assert before["postgres_password"] not in (folder / ".env").read_text(encoding="utf-8")


def test_with_keys_the_deployment_has_one_of_its_own(docker: Docker, folder: Path) -> None:
    assert docker
    deploy(folder, OLD, keys=f"shop:{'0' * 64}")
    written = (folder / "secrets/serving_api_keys").read_text(encoding="utf-8")
    assert written.startswith("shop:") and " deployment:" in written
    ApiKeys.parse(written)  # is valid
    deploy(folder, OLD)
    assert (folder / "secrets/serving_api_keys").read_text(encoding="utf-8") == ""


def test_an_image_that_does_not_become_healthy_is_undone_and_its_last_line_shown(
    docker: Docker, folder: Path
) -> None:
    deploy(folder, OLD)
    docker.break_("iris:2")
    with pytest.raises(DeploymentError) as raised:
        deploy(folder, NEW)
    lines = str(raised.value).splitlines()
    assert lines == [
        "compose up failed: container service is unhealthy",
        "the last line",
        "1.0.0-a was started again",
    ]
    assert [image for image, *_ in docker.calls("up")] == ["iris:1", "iris:2", "iris:1"]
    assert stack(folder, 3000).status().startswith("iris:1, version 1.0.0-a, 2 containers")


def test_wrong_golden_predictions_are_undone(docker: Docker, folder: Path) -> None:
    deploy(folder, OLD)
    with pytest.raises(DeploymentError, match="(?s)golden requests differ.*was started again"):
        deploy(folder, NEW, setosa=0.5)
    assert docker.calls("up")[-1][0] == "iris:1"


def test_a_failed_first_deployment_is_stopped(docker: Docker, folder: Path) -> None:
    with pytest.raises(DeploymentError, match="(?s)differ.*so everything was stopped"):
        deploy(folder, NEW, setosa=0.5)
    assert docker.calls("down")


def test_rollback_starts_the_previous_image(docker: Docker, folder: Path) -> None:
    deploy(folder, OLD)
    with pytest.raises(DeploymentError, match="no previous image"):
        stack(folder, 3000).rollback()
    deploy(folder, NEW)
    deploy(folder, NEW)  # the same again is no other release
    assert stack(folder, 3000).rollback() == OLD
    assert docker.calls("up")[-1][0] == "iris:1"
    assert stack(folder, 3000).rollback() == NEW


def test_stop_keeps_files_and_secrets(docker: Docker, folder: Path) -> None:
    assert not stack(folder, 3000).stop()
    deploy(folder, OLD)
    assert stack(folder, 3000).stop()
    assert stack(folder, 3000).status() == ""
    assert (folder / "secrets/postgres_password").exists()
    (down,) = docker.calls("down")
    assert "--volumes" not in down


def test_logs_are_those_of_the_service(docker: Docker, folder: Path) -> None:
    deploy(folder, OLD)
    assert stack(folder, 3000).logs(20) == "the last line\n"
    assert docker.calls("logs")[-1][-3:] == ["logs", "--tail=20", "service"]


def test_an_engine_without_compose_is_reported(folder: Path) -> None:
    with pytest.raises(DeploymentError, match="false has no compose"):
        stack(folder, free_port(), "false").deploy(OLD, GOLDEN)


def services() -> dict[str, Any]:
    """The services of the stack."""
    content = yaml.safe_load((FILES / "stack.yml").read_text(encoding="utf-8"))
    found: dict[str, Any] = content["services"]
    return found


def test_images_have_a_version_and_where_it_is_known_a_digest() -> None:
    images = {name: each["image"] for name, each in services().items() if name != "service"}
    without = [name for name, image in images.items() if "@sha256:" not in image]
    assert all(re.search(r":v?\d+\.\d+", image) for image in images.values())
    assert without == ["mlflow"]


def test_every_service_is_checked_and_reachable_from_this_machine_only() -> None:
    for name, each in services().items():
        assert each["healthcheck"]["test"], name
        assert all(port.startswith("127.0.0.1:") for port in each.get("ports", ())), name
        assert not any("PASSWORD" in key and "FILE" not in key for key in each["environment"])


@pytest.mark.skipif(not shutil.which("podman-compose"), reason="podman-compose is not on PATH")
def test_podman_compose_reads_both_files(docker: Docker, folder: Path) -> None:
    assert docker
    deploy(folder, OLD)
    command = ["podman-compose", "--file", "compose.yml", "--file", "stack.yml", "config"]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
    found = yaml.safe_load(done.stdout)["services"]
    assert set(found) == {*services(), "prometheus", "alertmanager", "grafana"}
    assert found["service"]["image"] == "iris:1"
