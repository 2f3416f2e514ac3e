"""A running service keeps what its OpenAPI document says, whatever is sent to it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

# What stands at which place of a row cannot be said in OpenAPI 3.0, so rows that the document
# allows may be refused.
CONFIG = """
[phases.stateful]
enabled = false

[[operations]]
include-path-regex = "^/(predict|classify)$"
checks.positive_data_acceptance.enabled = false
"""


def test_the_service_keeps_its_openapi_document(service_url: str, tmp_path: Path) -> None:
    """No 5xx; answers have the documented status, type and form; what it forbids is refused."""
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG, encoding="utf-8")
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"), "--config-file", config),
            *("run", f"{service_url}/docs.json", "--mode", "all", "--workers", "4"),
            *("--seed", "1", "--max-examples", "50", "--generation-database", "none", "--no-color"),
            *("--suppress-health-check", "all"),
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "Test cases:" in done.stdout
