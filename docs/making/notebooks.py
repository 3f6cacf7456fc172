"""Notebooks as pages: their texts, code, and what the code printed when the notebook was last run."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import nbformat

FOLDER = Path(__file__).parents[2] / "examples" / "notebooks"


def page(name: str) -> str:
    """A notebook of ``examples/notebooks`` as Markdown."""
    notebook = nbformat.read(FOLDER / f"{name}.ipynb", as_version=4)
    return "\n\n".join(part for cell in notebook.cells for part in _cell(cell))


def _cell(cell: Any) -> list[str]:
    if cell.cell_type == "markdown":
        return [cell.source]
    return [f"```python\n{cell.source}\n```", *(text for output in cell.outputs if (text := _output(output)))]


def _output(output: Any) -> str:
    """A stream, a picture or a value; what a terminal would show of it."""
    if output.output_type == "stream":
        return f"```text\n{output.text.rstrip()}\n```" if output.name == "stdout" else ""
    data = output.get("data", {})
    if "image/svg+xml" in data:
        encoded = base64.b64encode(data["image/svg+xml"].encode()).decode()
        return f"![output](data:image/svg+xml;base64,{encoded})"
    if "image/png" in data:
        return f"![output](data:image/png;base64,{data['image/png'].strip()})"
    return f"```text\n{data['text/plain']}\n```" if "text/plain" in data else ""
