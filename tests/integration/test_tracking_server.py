"""Two machines share one registry: MLflow's server with accounts, on PostgreSQL and S3."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.postgresql import postgresql
from tests.s3 import s3_server
from tests.served import Home
from tests.tracking_server import PASSWORD, USER, tracking_server

pytestmark = pytest.mark.nightly


@pytest.fixture(scope="module", name="address")
def _address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server."""
    folder = tmp_path_factory.mktemp("tracking")
    with (
        postgresql() as database,
        s3_server(),
        tracking_server(folder, database.url, "s3://shop/mlflow") as address,
    ):
        yield address


class Machine:
    """A machine whose tracking and registry are on a server."""

    def __init__(self, home: Home, address: str, password: str = PASSWORD) -> None:
        self.home = home
        self.access = {
            "MLFLOW_TRACKING_URI": address,
            "MLFLOW_TRACKING_USERNAME": USER,
            "MLFLOW_TRACKING_PASSWORD": password,
        }

    def make(self, *arguments: str) -> str:
        """What a make target prints."""
        done = self.home.run(
            "make", f"PY={self.home.interpreter}", "MODEL=petals", *arguments, **self.access
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def receipt(self, step: str) -> dict[str, str]:
        """The receipt of a step."""
        content = json.loads((self.home.receipts / f"{step}.json").read_text(encoding="utf-8"))
        return dict(content)


def test_what_one_machine_trains_another_one_judges_against_builds_and_promotes(
    home: Home, address: str, tmp_path: Path
) -> None:
    first = Machine(Home(tmp_path / "first", home.root, home.warm), address)
    second = Machine(Home(tmp_path / "second", home.root, home.warm), address)
    first.make("validate")
    one = first.receipt("validate")["version"]
    shown = second.make("validate")
    two = second.receipt("validate")["version"]
    assert f"fetched   petals_pipeline/{one}" in shown  # the champion, to compare with
    assert "accepted  not_worse_than_champion" in shown and one != two
    shown = first.make("promote", "VERSION=2")
    assert f"fetched   petals_pipeline/{two}" in shown
    first.make("bento-build")
    assert first.receipt("bento-build")["version"] == two
    shown = second.make("rollback", "bento-build")
    assert second.receipt("bento-build")["version"] == one
    registry = second.make("registry")
    assert one in registry and two in registry
    assert not list(tmp_path.rglob("mlflow.db"))


def test_a_wrong_password_is_an_error_that_does_not_show_it(
    home: Home, address: str, tmp_path: Path
) -> None:
    machine = Machine(Home(tmp_path / "own", home.root, home.warm), address, "wrong password")
    done = machine.home.run(
        *(machine.home.interpreter, "-m", "infrastructure.cli", "registry"), **machine.access
    )
    assert done.returncode == 1
    assert address in done.stderr and "wrong password" not in done.stdout + done.stderr
