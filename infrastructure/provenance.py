"""Where a model comes from: commit, lock file, library versions and Python."""

from __future__ import annotations

import hashlib
import os
import platform
import subprocess
from collections.abc import Iterable
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
    *(
        "catboost",
        "keras",
        "lightgbm",
        "openai-whisper",
        "skorch",
        "tensorflow",
        "torch",
        "xgboost",
    ),
)

_REPOSITORY_VARIABLES = {
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"),
    *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_NAMESPACE"),
}
SOURCES = ("domain", "application", "infrastructure", "shared")


def collect_provenance(root: Path) -> dict[str, Any]:
    """Commit of the clone at `root`, digest of poetry.lock, library versions, Python and time.

    The commit ends in ``-dirty`` if files were changed, or added to the source packages.
    """
    lock = root / "poetry.lock"
    return {
        "git_commit": _commit(root),
        "lock_sha256": hashlib.sha256(lock.read_bytes()).hexdigest() if lock.exists() else None,
        "python": platform.python_version(),
        "libraries": _versions(),
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def uncommitted(root: Path, files: Iterable[Path]) -> list[str]:
    """Which of these files of the clone at `root` have changes that no commit has, or are new.

    Files outside the clone are left out, and so is every file if there is no repository.
    """
    inside = [path.relative_to(root).as_posix() for path in files if path.is_relative_to(root)]
    try:
        done = run_git(root, "status", "--porcelain", "-z", "--no-renames", "--", *inside)
    except OSError:
        return []
    return [line[3:] for line in done.stdout.split("\0") if line]


def _versions() -> dict[str, str]:
    """Versions of those `LIBRARIES` that are installed."""
    versions = {}
    for name in LIBRARIES:
        with suppress(PackageNotFoundError):
            versions[name] = version(name)
    return versions


def run_git(root: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run git on the repository at `root`, even inside a hook of another repository.

    Raises:
        OSError: git is not installed.
    """
    return subprocess.run(  # nosec B607  # the git that the user has on PATH
        ["git", *arguments],
        cwd=root,
        env={n: value for n, value in os.environ.items() if n not in _REPOSITORY_VARIABLES},
        capture_output=True,
        text=True,
        check=False,
    )


def _commit(root: Path) -> str:
    try:
        done = run_git(root, "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    except OSError:
        return "unknown"
    commit = done.stdout.strip()
    if done.returncode or not run_git(root, "ls-files", "--", "poetry.lock", *SOURCES).stdout:
        return "unknown"  # no commit yet, or `root` is inside a different repository
    if commit.endswith("-dirty"):
        return commit
    new = run_git(root, "ls-files", "--others", "--exclude-standard", "--", *SOURCES)
    return f"{commit}-dirty" if new.stdout else commit
