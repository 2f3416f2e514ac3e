"""The command that writes the page about drift."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from infrastructure.cli.__main__ import main
from infrastructure.storage.prediction_log import SqlPredictionLog
from tests.fakes import SETOSA, batch_of, logged_prediction

pytestmark = pytest.mark.usefixtures("petals_in_catalog")
NAME = "petals_pipeline"


@pytest.fixture(name="place")
def _place(tracking: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a champion, and predictions of it and of an older version in staging."""
    own = type(tracking)(tmp_path, tracking.make_package)
    own.record(NAME, "1.0.0-a")
    own.make_champion(NAME, "1.0.0-a")
    own.use(monkeypatch)
    url = f"sqlite:///{tmp_path}/releases/staging/predictions.db"
    with closing(SqlPredictionLog(url, NAME)) as log:
        for number, version in enumerate(("0.9.0-old", "1.0.0-a", "1.0.0-a")):
            entry = logged_prediction(f"r{number}", SETOSA, at=time.time() - 3600 * (3 - number))
            log.add(replace(batch_of(entry), version=version))
    return tmp_path


def run(place: Path, *arguments: str) -> int:
    """Write the page about petals."""
    page = str(place / "page.html")
    return main(["drift-report", "--model", "petals", "--output", page, *arguments])


def test_the_page_is_about_the_champion_s_predictions(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place) == 0
    shown = capsys.readouterr().out
    assert "rows      2\n" in shown and "page.html" in shown
    assert "version   1.0.0-a: 20" in shown and "drift     no drift\n" in shown
    page = (place / "page.html").read_text(encoding="utf-8")
    assert "Drift of petals_pipeline 1.0.0-a" in page and "Predictions in staging from" in page


def test_a_period_without_predictions_is_an_error(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place, "--since", "30m") == 1
    assert (
        "no prediction of petals_pipeline 1.0.0-a in the log of staging" in capsys.readouterr().err
    )
    assert not (place / "page.html").exists()


def test_the_page_must_be_an_html_file(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["drift-report", "--model", "petals", "--output", str(place / "d.pdf")]) == 1
    assert "d.pdf must end in .html" in capsys.readouterr().err
    assert not (place / "d.pdf").exists()


def test_an_environment_without_a_log_is_an_error(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(place, "--env", "nowhere") == 1
    error = capsys.readouterr().err
    assert "there is no prediction log" in error and "(nothing is deployed here; " in error
    for environment in ("staging", "production"):
        folder = place / "releases" / environment
        folder.mkdir(exist_ok=True)
        (folder / "current.json").touch()
    assert run(place, "--env", "nowhere") == 1
    assert "another ENV (deployed here: production, staging; see make" in capsys.readouterr().err
