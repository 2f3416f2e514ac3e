"""Where a model comes from: commit, lock, libraries, machine."""

from __future__ import annotations

import hashlib
import platform
import subprocess
from contextlib import suppress
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

LIBRARIES = (
    *(
        "mlflow",
        "numpy",
        "onnx",
        "onnxruntime",
        "pandas",
        "scikit-learn",
        "scipy",
        "skl2onnx",
        "skops",
    ),
    *("keras", "openai-whisper", "skorch", "tensorflow", "torch"),
)

_SOURCES = ("domain", "application", "infrastructure", "shared")


def collect_provenance(root: Path) -> dict[str, Any]:
    """Commit of the clone at `root`, digest of poetry.lock, library versions, Python and time.

    The commit has ``-dirty`` behind it where files were changed, or added to the sources.
    """
    lock = root / "poetry.lock"
    return {
        "git_commit": _commit(root),
        "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else None,
        "python": platform.python_version(),
        "libraries": _versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _versions() -> dict[str, str]:
    """Versions of those libraries that are installed."""
    versions = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def _commit(root: Path) -> str:
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
    commit = done.stdout.strip()
    if commit.endswith("-dirty"):
        return commit
    new = ["git", "ls-files", "--others", "--exclude-standard", "--", *_SOURCES]
    added = subprocess.run(new, cwd=root, capture_output=True, text=True, check=False).stdout
    return f"{commit}-dirty" if added else commit
