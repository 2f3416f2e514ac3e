"""Secrets stay where they belong, and each check of the supply chain can refuse."""

from __future__ import annotations

import json
import os
import shutil
import stat
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest
import yaml

from application.inference.api_keys import entry_of, new_key
from infrastructure.deployment.golden import golden_of
from shared.paths import ROOT
from tests.served import Home, MakeHome, free_port

AUDIT = ROOT / "scripts/audit.sh"
HISTORY = "gitleaks-history"
AWS_KEY = "AKIA" + "Z7VKQ3LM5NDXW2PB"  # in two parts, or it would be found here
OWNER_ONLY = ("current.json", "previous.json", "starting.json")  # settings of a release


@pytest.mark.nightly
def test_planted_secrets_are_in_no_log_image_run_ledger_or_report(
    make_home: MakeHome, tmp_path: Path
) -> None:
    """The chain to a deployed service that predicts, fails to reach its database, and alerts."""
    own, port, key = make_home(tmp_path / "home"), free_port(), new_key()
    own.folder.mkdir()
    closed = free_port()
    planted = {
        "SERVING_API_KEYS": entry_of("client", key),
        "PREDICTION_LOG_URL": f"postgresql+psycopg://me:planted-database@127.0.0.1:{closed}/log",
        "MLFLOW_TRACKING_USERNAME": "planted-user",
        "MLFLOW_TRACKING_PASSWORD": "planted-mlflow",
        "AWS_SECRET_ACCESS_KEY": "planted-aws",
        "GITHUB_TOKEN": "planted-github",
        "ALERT_WEBHOOK_URL": f"http://127.0.0.1:{closed}/planted-webhook",
        "SMTP_URL": f"smtp://me:planted-smtp@127.0.0.1:{closed}",
    }
    shown = ""
    try:
        for goals in (("train", "validate", "bento-build", "deploy", "smoke"), ("status", "where")):
            done = own.make(*goals, f"PORT={port}", **planted)
            assert done.returncode == 0, done.stdout + done.stderr
            shown += done.stdout + done.stderr
        rows, address = golden_of(own.receipts / "bento").rows, f"http://127.0.0.1:{port}/predict"
        for sent, status in ((key, 200), (f"{key}x", 401)):
            response = httpx.post(address, json=rows, headers={"X-API-Key": sent})
            assert response.status_code == status
            shown += response.text
        watched = own.make("watch", "ONCE=1", **planted)
        assert watched.returncode != 0  # its log cannot be reached
        shown += watched.stdout + watched.stderr
    finally:
        stopped = own.make("stop", **planted)
    shown += stopped.stdout + stopped.stderr

    (kept,) = own.folder.glob("releases/*/previous.json")
    assert planted["PREDICTION_LOG_URL"] in kept.read_text("utf-8")  # the service had it
    secrets = [key, *(value for name, value in planted.items() if "planted" in value)]
    words = [key] + [word for text in secrets for word in _words(text)]
    assert [word for word in words if word in shown] == []
    assert not _found(own.folder, words)


def _words(text: str) -> list[str]:
    return [
        part for part in text.replace("@", "/").replace(":", "/").split("/") if "planted" in part
    ]


def _found(folder: Path, words: list[str]) -> dict[str, list[str]]:
    """The words in each file below a folder, except in files that only their owner can read and
    that keep the settings of a release."""
    found = {}
    for path in folder.rglob("*"):
        if path.is_symlink() or not path.is_file():
            continue
        if path.name in OWNER_ONLY:
            assert stat.S_IMODE(path.stat().st_mode) == 0o600, path
            continue
        content = path.read_bytes()
        if hits := [word for word in words if word.encode() in content]:
            found[str(path.relative_to(folder))] = hits
    return found


@contextmanager
def _advisories(vulnerable: str = "") -> Iterator[str]:
    """The address of a database of vulnerabilities in which one package has one."""

    class Handler(BaseHTTPRequestHandler):
        """Answers as https://api.osv.dev/v1/query does."""

        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:  # pylint: disable=invalid-name  # of the base class
            """Look a package up."""
            query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            name = query["package"]["name"]
            found = {"id": "PYSEC-2099-1", "summary": "planted", "affected": []}
            body = json.dumps({"vulns": [found]} if name == vulnerable else {}).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:  # pylint: disable=arguments-differ
            """Print nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1/query"
        finally:
            server.shutdown()
            thread.join()


def _audit(address: str, **environment: str) -> subprocess.CompletedProcess[str]:
    service = {"PIP_AUDIT_VULNERABILITY_SERVICE": "osv", "PIP_AUDIT_OSV_URL": address}
    return subprocess.run(
        ["bash", str(AUDIT)],
        env={**os.environ, **service, **environment},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.nightly
def test_an_audit_distinguishes_vulnerabilities_from_a_missing_network() -> None:
    with _advisories() as address:
        clean = _audit(address)
    assert clean.returncode == 0, clean.stdout + clean.stderr
    with _advisories("jinja2") as address:
        refused = _audit(address)
        accepted = _audit(address, IGNORE="PYSEC-2099-1")
    assert refused.returncode == 1
    assert "jinja2" in refused.stdout and "PYSEC-2099-1" in refused.stdout
    assert accepted.returncode == 0, accepted.stdout + accepted.stderr
    unreachable = _audit(f"http://127.0.0.1:{free_port()}")
    assert unreachable.returncode == 3
    assert "error: no result" in unreachable.stderr


@pytest.mark.nightly
@pytest.mark.parametrize(
    "secret", [f"aws = '{AWS_KEY}'", f"key = '{new_key()}'"], ids=["aws", "service"]
)
def test_a_committed_secret_is_found(tmp_path: Path, secret: str) -> None:
    """With the gitleaks on PATH; pre-commit would have to build it from GitHub."""
    gitleaks = shutil.which("gitleaks")
    if not gitleaks:
        pytest.skip("gitleaks is not installed")
    hooks = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text("utf-8"))["repos"]
    (entry,) = (h["entry"] for r in hooks for h in r["hooks"] if h.get("alias") == HISTORY)
    shutil.copy(ROOT / ".gitleaks.toml", tmp_path)
    (tmp_path / "settings.py").write_text("port = 3000\n", encoding="utf-8")
    assert _scan(tmp_path, entry) == 0
    (tmp_path / "settings.py").write_text(f"{secret}\n", encoding="utf-8")
    assert _scan(tmp_path, entry) == 1
    (tmp_path / "settings.py").unlink()
    assert _scan(tmp_path, entry) == 1  # it is still in the history


def _scan(folder: Path, entry: str) -> int:
    user = ("-c", "user.name=t", "-c", "user.email=t@localhost")
    for command in (("init", "-q"), ("add", "-A"), (*user, "commit", "-qm", "change")):
        subprocess.run(("git", *command), cwd=folder, check=True)
    return subprocess.run(entry.split(), cwd=folder, capture_output=True, check=False).returncode


def test_bandit_refuses_a_shell_of_strangers(tmp_path: Path) -> None:
    source = tmp_path / "planted.py"
    source.write_text("import os\nos.system(input())\n", encoding="utf-8")
    line = next(
        line.split("-m ", 1)[1]
        for line in (ROOT / "Makefile").read_text("utf-8").splitlines()
        if "bandit" in line and "@$(PY)" in line
    )
    home = Home(tmp_path)
    arguments = [word for word in line.split() if word != "$(PACKAGES)"]
    assert home.python("-m", *arguments, str(source)).returncode == 1
