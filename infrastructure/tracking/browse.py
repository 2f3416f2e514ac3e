"""Runs and versions in the browser: `python -m infrastructure.tracking.browse --help`."""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import threading
import time
import urllib.request
import webbrowser
from typing import Any

from domain.errors import ConfigError, MlopsError
from infrastructure.tracking.database import prepare_database
from shared.arguments import valid_port
from shared.commands import entry_point
from shared.console import show_step
from shared.endings import end_as_interrupted
from shared.ports import holder_of, listens
from shared.settings import Settings

# Without it, MLflow 3 shows its pages for language models, which list no runs. Links within MLflow
# drop it, so each experiment has a link here.
_VIEW = "?workflowType=machine_learning"


@entry_point(MlopsError)
def main(arguments: list[str] | None = None) -> int:
    """Serve MLflow's pages until interrupted, and open them in a browser if there is one."""
    parser = argparse.ArgumentParser(description="Browse runs and versions.")
    parser.add_argument("--port", type=valid_port, default=5000, help="%(default)s")
    options = parser.parse_args(arguments)
    uri = Settings().tracking_uri
    if uri.startswith("http"):
        _open(uri.rstrip("/"))
        return 0
    if listens(options.port):
        raise ConfigError(
            f"port {options.port} is taken by {holder_of(options.port)}: stop that, or choose "
            f"another port: make mlflow-ui PORT={options.port + 1}"
        )
    prepare_database(uri)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", uri, "--workers", "1"]
    # seven processes for jobs of language models would wait beside it
    environment = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", **os.environ}
    end_as_interrupted()
    show_step("mlflow", "starting, which takes about ten seconds")
    with subprocess.Popen([*command, "--port", str(options.port)], env=environment) as server:
        threading.Thread(target=_open_when_ready, args=(server, options.port), daemon=True).start()
        try:
            return server.wait()
        except KeyboardInterrupt:
            server.terminate()
    return 0


def _open_when_ready(server: subprocess.Popen[bytes], port: int) -> None:
    while server.poll() is None:
        if listens(port):
            _open(f"http://127.0.0.1:{port}")
            show_step("end", "with Ctrl-C")
            return
        time.sleep(0.2)


def _open(server: str) -> None:
    """Show a link to each experiment, and open that of the newest."""
    links = {
        found["name"]: f"{server}/#/experiments/{found['experiment_id']}/runs{_VIEW}"
        for found in _experiments(server)
        if found["experiment_id"] != "0"  # MLflow's own
    } or {"browse": f"{server}/#/experiments{_VIEW}"}
    for name, link in links.items():
        show_step(name, link)
    # without a desktop, it could be a browser that takes over the terminal
    if sys.platform == "darwin" or os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"):
        webbrowser.open(next(iter(links.values())))


def _experiments(server: str) -> list[dict[str, Any]]:
    """Newest first; none where the server wants to know who asks."""
    query = {"max_results": 100, "order_by": ["last_update_time DESC"]}
    request = urllib.request.Request(
        f"{server}/api/2.0/mlflow/experiments/search",
        json.dumps(query).encode(),
        {"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=30) as response:  # nosec B310  # from settings
            found: list[dict[str, Any]] = json.load(response).get("experiments", [])
            return found
    except (OSError, ValueError):
        return []


if __name__ == "__main__":
    sys.exit(main())
