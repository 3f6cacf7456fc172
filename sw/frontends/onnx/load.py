"""The front end's entry: a quantized ONNX model as a graph."""

from __future__ import annotations

import os
from pathlib import Path

from sateen.files import read_source
from sateen.frontends.onnx.file import read
from sateen.frontends.onnx.importer import Importer
from sateen.frontends.onnx.operators import HANDLERS
from sateen.graph import Graph

__all__ = ["load", "recognizes"]

ZIP = b"PK"
"""The first bytes of a ZIP archive, such as Sateen's own files, whatever their names."""


def recognizes(head: bytes, suffix: str) -> bool:
    """Whether a file with these first bytes and this suffix is an ONNX model, or claims to be one."""
    return suffix == ".onnx" and not head.startswith(ZIP)


def load(source: bytes | str | os.PathLike[str], *, name: str = "") -> Graph:
    """A quantized ONNX model as a graph.

    Parameters
    ----------
    source
        A file's bytes or path. Values in other files are found by its path.
    name
        The graph's; that of the file, if left out.

    Raises
    ------
    OSError
        If the file cannot be read.
    CompileError
        If the ``onnx`` package is missing.
    GraphError
        If it is damaged, or not quantized to 8 bits, or has an operator that is not known here.
    """
    data, name = read_source(source, name)
    folder = None if isinstance(source, bytes) else Path(source).parent
    return Importer(read(data, folder), name or "model").graph(HANDLERS)
