"""The packages of an image, each with the hashes of the lock."""

from __future__ import annotations

from pathlib import Path

import pytest

from domain.errors import BuildError
from infrastructure.packaging.lock_file import lock_requirements
from infrastructure.packaging.requirements import serving_requirements
from shared.paths import ROOT

LOCK = """
[[package]]
name = "six"
version = "1.17.0"
files = [{file = "six-1.17.0.tar.gz", hash = "sha256:b"}, {file = "six.whl", hash = "sha256:a"}]

[[package]]
name = "openai-whisper"
version = "2"
files = [{file = "whisper.tar.gz", hash = "sha256:c"}]

[[package]]
name = "setuptools"
version = "84"
files = [{file = "setuptools.whl", hash = "sha256:d"}]

[[package]]
name = "wheel"
version = "1"
files = [{file = "wheel.whl", hash = "sha256:e"}]

[[package]]
name = "torch"
version = "2.13.0"
files = [{file = "torch.whl", hash = "sha256:f"}]

[[package]]
name = "nvidia-cudnn-cu13"
version = "9"
files = [{file = "cudnn.whl", hash = "sha256:0"}]

[[package]]
name = "nvidia-ml-py"
version = "13"
files = [{file = "nvml.whl", hash = "sha256:1"}]
"""


@pytest.fixture(name="lock")
def _lock(tmp_path: Path) -> Path:
    lock = tmp_path / "poetry.lock"
    lock.write_text(LOCK, encoding="utf-8")
    return lock


def test_a_package_has_all_its_hashes_once(lock: Path) -> None:
    locked = lock_requirements(["six==1.17.0", "six==1.17.0"], lock)
    assert locked.wheels == ["six==1.17.0 --hash=sha256:a --hash=sha256:b"]
    assert (locked.sdists, locked.tools, locked.torch) == ([], [], "")
    assert locked.pins == ["six==1.17.0"]


def test_what_is_published_as_source_is_built_with_locked_tools(lock: Path) -> None:
    locked = lock_requirements(["openai-whisper==2", "six==1.17.0"], lock)
    assert locked.sdists == ["openai-whisper==2 --hash=sha256:c"]
    assert locked.tools == ["setuptools==84 --hash=sha256:d", "wheel==1 --hash=sha256:e"]


def test_pytorch_comes_without_hash_and_without_cuda(lock: Path) -> None:
    pins = ["torch==2.13.0", "nvidia-cudnn-cu13==9", "nvidia-ml-py==13"]
    locked = lock_requirements(pins, lock)
    assert locked.torch == "2.13.0"
    assert locked.wheels == ["nvidia-ml-py==13 --hash=sha256:1"]
    assert locked.pins == ["nvidia-ml-py==13", "torch==2.13.0"]


def test_a_package_that_is_not_locked_is_an_error(lock: Path) -> None:
    with pytest.raises(BuildError, match="^six==1.16.0: not in poetry.lock in this version"):
        lock_requirements(["six==1.16.0"], lock)


def test_every_served_package_is_locked() -> None:
    pins = serving_requirements({"task": "regression", "inputs": []})
    locked = lock_requirements(pins, ROOT / "poetry.lock")
    assert locked.pins == pins
    assert not locked.sdists
    assert all(" --hash=sha256:" in line for line in locked.wheels)
