"""The front end's entry: a TensorFlow Lite model as a graph."""

from __future__ import annotations

import os
from pathlib import Path

from sateen.frontends.tflite.file import read
from sateen.frontends.tflite.importer import Importer
from sateen.frontends.tflite.operators import FOLDING, HANDLERS
from sateen.graph import Graph

__all__ = ["load"]


def load(source: bytes | str | os.PathLike[str], *, name: str = "") -> Graph:
    """A TensorFlow Lite model as a graph.

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
    GraphError
        If it is damaged, or not quantized to 8 bits, or has an operator that is not known here.
    """
    if not isinstance(source, bytes):
        name = name or Path(source).stem
        source = Path(source).read_bytes()
    return Importer(read(source), name or "model").graph(HANDLERS, FOLDING)
