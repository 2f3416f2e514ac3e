"""Executes notebooks."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode


def parse(source: bytes) -> NotebookNode:
    """A notebook from the bytes of its file."""
    notebook: NotebookNode = nbformat.reads(  # type: ignore[no-untyped-call]
        source.decode(), as_version=4
    )
    return notebook


def execute(source: bytes, folder: Path, variables: Mapping[str, str]) -> NotebookNode:
    """The executed notebook.

    Args:
        folder: an empty one, the working directory.
        variables: of the environment, in addition to those of this process.

    Raises:
        CellExecutionError: a cell fails.
    """
    notebook = parse(source)
    work = folder / "work"
    work.mkdir()
    client = NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(work)}},
    )
    own = {"IPYTHONDIR": str(folder / "ipython"), "MLFLOW_DISABLE_TELEMETRY": "true"}
    client.execute(env={**os.environ, **own, **variables})
    return notebook


def code_cells(notebook: NotebookNode) -> list[NotebookNode]:
    """The cells with code."""
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def output_of(notebook: NotebookNode, cell_id: str) -> str:
    """What a cell printed and showed, as text and HTML."""
    (cell,) = (each for each in notebook.cells if each.id == cell_id)
    texts = []
    for output in cell.outputs:
        data = output.get("data", {})
        texts.append(output.get("text") or data.get("text/html") or data.get("text/plain", ""))
    return "\n".join(texts)
