"""The front end's entry: a quantized ONNX model as a graph."""

from __future__ import annotations

import os
from pathlib import Path

from sateen.frontends.onnx.file import read
from sateen.frontends.onnx.importer import Importer
from sateen.frontends.onnx.operators import HANDLERS
from sateen.graph import Graph

__all__ = ["load"]


def load(source: bytes | str | os.PathLike[str], *, name: str = "") -> Graph:
    """A quantized ONNX model as a graph.

    Parameters
    ----------
    source
        A file's bytes or path.
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
    if not isinstance(source, bytes):
        name = name or Path(source).stem
        source = Path(source).read_bytes()
    return Importer(read(source), name or "model").graph(HANDLERS)
