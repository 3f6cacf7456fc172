"""What can be compiled, by what its file holds."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from sateen.archive import ArchiveError
from sateen.errors import CompileError
from sateen.frontends.onnx import importer as onnx
from sateen.frontends.tflite import importer as tflite
from sateen.graph.graph import Graph, GraphError
from sateen.graph.network import Network
from sateen.quantize import onnx_float
from sateen.quantize.calibration import quantize

__all__ = ["load", "quantized"]

LARGEST = 1 << 30
"""Bytes of a file."""


@contextmanager
def _named(path: str | os.PathLike[str]) -> Iterator[None]:
    """Errors name the file."""
    try:
        yield
    except OSError as error:
        raise CompileError(f"cannot read {path}: {error.strerror or error}") from error
    except GraphError as error:
        raise GraphError(f"{path}: {str(error).removeprefix('file: ')}") from error


def load(path: str | os.PathLike[str]) -> Graph | Network:
    """A quantized graph or a float network from a file of Sateen's, or a graph from one of TensorFlow Lite's or an ONNX
    one.

    Raises
    ------
    CompileError
        If the file cannot be read, is damaged, or is none of these.
    GraphError
        If a model's file is damaged, not quantized, or has an operator that is not known here; it names the file, too.
    """
    with _named(path):
        size = os.path.getsize(path)
        with open(path, "rb") as file:
            head = file.read(8)
        if size > LARGEST:
            raise CompileError(f"{path} has {size:,} bytes, more than {LARGEST:,}; no device holds such a model")
        if tflite.is_tflite(head) or Path(path).suffix == ".tflite":
            return tflite.load(path)
        if head[:2] == b"PK":
            return _load_own(path)
        if Path(path).suffix == ".onnx":
            return onnx.load(path)
        return _load_own(path)


def quantized(path: str | os.PathLike[str], calibration: ArrayLike) -> Graph:
    """A float network or float ONNX model from a file, quantized by a batch of its inputs; a quantized graph as it is.

    Raises what :func:`load` does, and ``ValueError`` for calibration data that does not fit.
    """
    if Path(path).suffix == ".onnx":
        with _named(path):
            return onnx_float.quantize(path, calibration)
    source = load(path)
    return source if isinstance(source, Graph) else quantize(source, np.asarray(calibration))


def _load_own(path: str | os.PathLike[str]) -> Graph | Network:
    reasons = []
    for kind in (Graph, Network):
        try:
            return kind.load(path)
        except ArchiveError as error:
            reasons.append(str(error))
    raise CompileError(reasons[0])
