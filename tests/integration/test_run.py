"""`make run` serves the champion from the source files."""

from __future__ import annotations

import os
import signal
import subprocess
from pathlib import Path

import httpx

from tests.served import Home, free_port, wait_until_ready


def test_make_run_serves_the_champion_and_ignores_files_that_are_not_source(
    home: Home, tmp_path: Path
) -> None:
    port, log = free_port(), tmp_path / "run.log"
    url = f"http://127.0.0.1:{port}"
    with log.open("wb") as log_file:
        process = subprocess.Popen(  # pylint: disable=consider-using-with
            ["make", "run", f"PORT={port}"],
            cwd=home.root,
            env=home.environment,
            stdout=log_file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    unwatched = home.root / ".bentoml/reload-test"
    unwatched.parent.mkdir(exist_ok=True)
    try:
        wait_until_ready(url, process, log)
        unwatched.write_text("not a source file", encoding="utf-8")
        for _ in range(20):
            response = httpx.post(f"{url}/classify", json=[5.1, 3.5, 1.4, 0.2])
            assert response.json()["predictions"][0]["prediction"] == "setosa"
    finally:
        unwatched.unlink(missing_ok=True)
        os.killpg(process.pid, signal.SIGTERM)  # make does not forward signals
        process.wait(30)
    output = log.read_text(encoding="utf-8", errors="replace")
    assert "Watching directories" in output
    assert "Detected changes" not in output
    assert "/classify" not in output, "predictions must not be logged"
