"""Runs the notebooks of ``examples/notebooks`` and keeps what they print.

    python -m making.run_notebooks        (in docs)
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

from making.notebooks import FOLDER

__all__ = ["execute"]


def execute(path: Path) -> nbformat.NotebookNode:
    """A notebook after all its cells were run in a temporary folder; an error in a cell is one here."""
    notebook = nbformat.read(path, as_version=4)
    with tempfile.TemporaryDirectory() as folder:
        NotebookClient(notebook, timeout=600, resources={"metadata": {"path": folder}}).execute()
    return notebook


def main() -> None:
    for path in sorted(FOLDER.glob("*.ipynb")):
        notebook = execute(path)
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
        notebook.metadata["language_info"] = {"name": "python"}
        nbformat.write(notebook, path)
        print(f"{path.name}: run")


if __name__ == "__main__":
    main()
