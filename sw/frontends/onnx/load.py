"""The front end's entry: a quantized ONNX model as a graph."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType

import numpy as np

from sateen.files import read_source
from sateen.frontends.onnx.batchless import with_batch, without_axis
from sateen.frontends.onnx.differences import differences
from sateen.frontends.onnx.file import OnnxModel, read
from sateen.frontends.onnx.importer import Importer, Operator
from sateen.frontends.onnx.moves import REAL_MOVES
from sateen.frontends.onnx.operators import HANDLERS
from sateen.frontends.onnx.reals import REALS
from sateen.graph import Graph, GraphError, tell

__all__ = ["graph", "imported", "load", "recognizes"]

ZIP = b"PK"
"""The first bytes of a ZIP archive, such as Sateen's own files, whatever their names."""


def recognizes(head: bytes, suffix: str) -> bool:
    """Whether a file with these first bytes and this suffix is an ONNX model, or claims to be one."""
    return suffix == ".onnx" and not head.startswith(ZIP)


# Quotients of scales beyond float32 are infinite, and refused by name.
@np.errstate(over="ignore")
def load(source: bytes | str | os.PathLike[str], *, name: str = "") -> Graph:
    """A quantized ONNX model as a graph. A :class:`~sateen.errors.SateenWarning` names operators that onnxruntime
    computes otherwise than the file says, or in an order of its own.

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
    model = read(data, folder)
    made, importer = imported(model, name or "model")
    made = replace(made, notes=(*made.notes, *differences(model, made, importer)))
    tell(made, stacklevel=3)
    return made


def graph(model: OnnxModel, name: str, *, others: Mapping[str, Operator] = MappingProxyType({})) -> Graph:
    """The graph of a quantized model's records. ``others`` are operators that ONNX lacks."""
    made = imported(model, name, others=others)[0]
    tell(made, stacklevel=3)
    return made


def imported(
    model: OnnxModel, name: str, *, others: Mapping[str, Operator] = MappingProxyType({})
) -> tuple[Graph, Importer]:
    """The graph, and the importer with what it has noted."""

    def attempt(model: OnnxModel) -> tuple[Graph, Importer]:
        alike = set[str]()
        while True:
            importer = Importer(model, name, alike)
            made = importer.graph({**HANDLERS, **others}, {**REAL_MOVES, **REALS})
            if importer.alike == alike:
                return made, importer
            alike = importer.alike

    try:
        return attempt(model)
    except GraphError as error:
        if model.free:
            raise
        # Perhaps the axis that its tensors begin with is no batch, or some have none.
        try:
            made, importer = attempt(with_batch(model))
        except GraphError:
            raise error from None
        tensors = {
            name: tensor if name in made.inputs else without_axis(tensor) for name, tensor in made.tensors.items()
        }
        return replace(made, tensors=tensors), importer
