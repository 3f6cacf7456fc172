"""The front end's entry: a TensorFlow Lite model as a graph."""

from __future__ import annotations

import contextlib
import os

import numpy as np

from sateen.files import read_source
from sateen.frontends.tflite.dilation import fuse_dilations
from sateen.frontends.tflite.file import IDENTIFIER, read
from sateen.frontends.tflite.folding import FOLDING
from sateen.frontends.tflite.handlers import BY_TYPE
from sateen.frontends.tflite.importer import Importer
from sateen.graph import Graph, GraphError, tell

__all__ = ["load", "recognizes"]


def recognizes(head: bytes, suffix: str) -> bool:
    """Whether a file with these first bytes and this suffix is a TensorFlow Lite model, or claims to be one."""
    return head[4:8] == IDENTIFIER or suffix == ".tflite"


# Quotients of scales beyond float32 are infinite, and refused by name.
@np.errstate(over="ignore")
def load(source: bytes | str | os.PathLike[str], *, name: str = "") -> Graph:
    """A TensorFlow Lite model as a graph, with a :class:`~sateen.errors.SateenWarning` for each of its notes.

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
        If it is damaged or not quantized, or has an operator, an option or a version that is not known here.
    """
    data, name = read_source(source, name)
    graph = _graph(data, name)
    tell(graph, stacklevel=3)
    return graph


def _graph(data: bytes, name: str) -> Graph:
    """The graph of a file's bytes."""

    def imported(batch: int) -> Graph:
        # Read anew each time: the records remember what was used of them.
        return Importer(fuse_dilations(read(data)), name or "model", batch).graph(BY_TYPE, FOLDING)

    batch = read(data).batch
    try:
        return imported(batch)
    except GraphError:
        if batch == 1:
            raise
        # Perhaps the axis that inputs and outputs begin with is no batch.
        with contextlib.suppress(GraphError):
            return imported(1)
        raise
