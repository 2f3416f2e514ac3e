"""The root of the clone."""

from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def path_in_clone(path: Path, root: Path = ROOT) -> str:
    """A path for configurations and records: relative to the clone if inside, else absolute."""
    path = Path(root, path).resolve()
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else str(path)
