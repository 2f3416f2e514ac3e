"""The commit, the environment and the process in which a recorded version is trained again."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from application.ports.progress import Progress
from application.training.reproduction import DIRTY
from domain.errors import BuildError
from infrastructure.provenance import run_git
from shared.digests import sha256_of

_PIPELINE = "application/training/pipelines/iris_training_pipeline.py"
_OUTER_VARIABLES = re.compile("(MAKE|MFLAGS|GIT_)")  # set by an outer make or git


def commit_of(provenance: Mapping[str, Any], root: Path) -> str:
    """The commit that a package was trained from, without uncommitted changes.

    Raises:
        BuildError: the commit is not recorded, or not in the clone at `root`.
    """
    commit = str(provenance["git_commit"]).removesuffix(DIRTY)
    if not re.fullmatch("[0-9a-f]{40}", commit):
        raise BuildError(f"cannot train this version again: its commit is recorded as {commit!r}")
    if run_git(root, "cat-file", "-e", f"{commit}^{{commit}}").returncode:
        raise BuildError(f"commit {commit} is not in this clone: run git fetch")
    return commit


@contextmanager
def open_worktree(commit: str, root: Path) -> Iterator[Worktree]:
    """A worktree of a commit in a temporary folder, which is removed at the end.

    Raises:
        BuildError: git cannot create it.
    """
    folder = Path(tempfile.mkdtemp(prefix="reproduce-")).resolve()
    clone = folder / "clone"
    try:
        done = run_git(root, "worktree", "add", "--quiet", "--detach", str(clone), commit)
        if done.returncode:
            raise BuildError(f"git cannot create a worktree of {commit}: {done.stderr.strip()}")
        yield Worktree(clone, folder / "home", root)
    finally:
        run_git(root, "worktree", "remove", "--force", str(clone))
        shutil.rmtree(folder, ignore_errors=True)
        run_git(root, "worktree", "prune")


@dataclass(frozen=True)
class Worktree:
    """A checked-out commit in which training can run.

    Attributes:
        clone: the folder of the worktree.
        home: folder for everything that training writes.
        root: the clone that the worktree belongs to.
    """

    clone: Path
    home: Path
    root: Path

    def link_data(
        self,
        config: Mapping[str, Any],
        files: Iterable[str],
        snapshots: Mapping[str, Path],
    ) -> list[str]:
        """Link the clone's data files that git does not track, and return their names.

        Args:
            config: a configuration, whose values may be paths.
            files: further files; those outside the clone need no link.
            snapshots: files to link in place of the clone's, by their paths in the clone.
        """
        linked = []
        for path_in_clone, snapshot in snapshots.items():
            link = self.clone / path_in_clone
            if self.clone in link.parents and "://" not in path_in_clone and not link.exists():
                link.parent.mkdir(parents=True, exist_ok=True)
                link.symlink_to(snapshot)
        for value in {*_texts(config), *files}:
            path = Path(os.path.abspath(self.root / value))
            if not os.path.exists(path) or self.root not in path.parents:
                continue
            name = path.relative_to(self.root)
            if not (self.clone / name).exists():
                (self.clone / name).parent.mkdir(parents=True, exist_ok=True)
                (self.clone / name).symlink_to(path)
                linked.append(name.as_posix())
        return sorted(linked)

    def train(
        self, model: str, config: Mapping[str, Any], lock: str | None, progress: Progress
    ) -> Path:
        """Run the training of the commit, and return the folder of the package.

        Args:
            lock: SHA-256 of the poetry.lock that the recorded version was trained with.

        Raises:
            BuildError: the environment could not be installed, or training failed.
        """
        self.home.mkdir()
        (self.home / "config.json").write_text(json.dumps(config), encoding="utf-8")
        if _is_installed(self.root, lock) and sha256_of(self.clone / "poetry.lock") == lock:
            progress("libraries", "this clone's environment, which matches the lock of that commit")
            self._run_training(model, self.root / ".venv/bin/python")
        else:
            self._install(progress, "core")
            python = self.clone / ".venv/bin/python"
            missing = self._run_training(model, python, may_lack_extra=True)
            if missing:
                self._install(progress, "all", missing)
                self._run_training(model, python)
        receipt = json.loads((self.home / "train.json").read_text(encoding="utf-8"))
        return Path(receipt["package"])

    def _install(self, progress: Progress, what: str, extras: str = "") -> None:
        with_extra = f" and the extra {extras}" if extras else ""
        progress("libraries", f"installing the lock of that commit{with_extra}: some minutes ...")
        script = ["bash", "scripts/setup/install.sh", what]
        if subprocess.run(
            script, cwd=self.clone, env={**_environment(), "EXTRAS": extras}, check=False
        ).returncode:
            raise BuildError("the environment could not be installed: see above")

    def _run_training(self, model: str, python: Path, may_lack_extra: bool = False) -> str | None:
        """Train, and return None.

        If `may_lack_extra` and training needs an extra that is not installed, return its name.
        """
        done = subprocess.run(
            [
                *(str(python), _PIPELINE, "--model", model),
                *("--config", str(self.home / "config.json")),
                *("--receipt", str(self.home / "train.json")),
            ],
            cwd=self.clone,
            env={
                **_environment(),
                "PYTHONPATH": str(self.clone),  # else the packages of the clone are imported
                "MLFLOW_TRACKING_URI": f"sqlite:///{self.home / 'mlflow.db'}",
                "MODEL_REGISTRY_DIR": str(self.home / "packages"),
                "BENTOML_HOME": str(self.home / "bentoml"),
                "RECEIPTS_DIR": str(self.home / "build"),
                "RELEASES_DIR": str(self.home / "releases"),
                "LEDGER": str(self.home / "ledger.jsonl"),
                "DATA_SNAPSHOTS": str(self.home / "snapshots"),
            },
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
        missing = re.search(r"make install EXTRAS=(\w+)", done.stderr)
        if done.returncode and may_lack_extra and missing:
            return missing[1]
        print(done.stderr, end="", file=sys.stderr)
        if done.returncode:
            raise BuildError(f"training {model} at that commit failed: see above")
        return None


def _is_installed(root: Path, lock: str | None) -> bool:
    """Whether the clone's environment was installed from a lock, by the rules of the Makefile."""
    mark, sources = root / ".venv/.core", (root / "poetry.lock", root / "pyproject.toml")
    return (
        sha256_of(root / "poetry.lock") == lock
        and mark.exists()
        and all(mark.stat().st_mtime_ns > source.stat().st_mtime_ns for source in sources)
    )


def _texts(values: Any) -> Iterator[str]:
    """Every string in nested data."""
    if isinstance(values, str):
        yield values
    elif isinstance(values, Mapping | list):
        for value in values.values() if isinstance(values, Mapping) else values:
            yield from _texts(value)


def _environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not _OUTER_VARIABLES.match(name)}
