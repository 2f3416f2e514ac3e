"""A running service conforms to its OpenAPI document, whatever is sent to it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.strength import examples

# OpenAPI 3.0 cannot describe the value at each position of a row, or the size of a tensor's data:
# rows and tensors that the document allows may be refused.
CONFIG = """
[phases.stateful]
enabled = false

[[operations]]
include-path-regex = "^/(predict|classify|invocations|vertex/predict|v2/.*/infer)$"
checks.positive_data_acceptance.enabled = false

[[operations]]
include-path = "/predict_lines"  # the status is 200 even if lines are invalid
checks.negative_data_rejection.enabled = false
"""
HOOKS = """
import schemathesis

schemathesis.serializer.alias("application/x-ndjson", "text/plain")
"""


def test_the_service_conforms_to_its_openapi_document(service_url: str, tmp_path: Path) -> None:
    """No 5xx; documented statuses, types and formats; forbidden requests are refused."""
    config = tmp_path / "schemathesis.toml"
    config.write_text(CONFIG, encoding="utf-8")
    (tmp_path / "hooks.py").write_text(HOOKS, encoding="utf-8")
    done = subprocess.run(
        [
            *(Path(sys.executable).with_name("schemathesis"), "--config-file", config),
            *("run", f"{service_url}/docs.json", "--mode", "all", "--workers", "4"),
            *(
                "--seed",
                "1",
                "--max-examples",
                str(examples(50)),
                "--generation-database",
                "none",
                "--no-color",
            ),
            *("--suppress-health-check", "all"),
        ],
        cwd=tmp_path,
        env=os.environ | {"SCHEMATHESIS_HOOKS": "hooks"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    assert "Test cases:" in done.stdout
