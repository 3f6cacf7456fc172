"""What can be compiled, by what its file holds."""

from __future__ import annotations

import os
from pathlib import Path

from sateen.archive import ArchiveError, KindError
from sateen.errors import CompileError
from sateen.frontends import onnx, tflite
from sateen.graph import Graph, Network

__all__ = ["load"]

LARGEST = 1 << 30
"""Bytes of a file."""


def load(path: str | os.PathLike[str]) -> Graph | Network:
    """A quantized graph or a float network from a file of Sateen's, or a graph from one of TensorFlow Lite's or an ONNX
    one.

    Raises
    ------
    CompileError
        If the file cannot be read, is damaged, or is none of these.
    GraphError
        If a model's file is damaged, not quantized, or has an operator that is not known here.
    """
    try:
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
    except OSError as error:
        raise CompileError(f"cannot read {path}: {error.strerror or error}") from error


def _load_own(path: str | os.PathLike[str]) -> Graph | Network:
    errors: list[ArchiveError] = []
    for kind in (Graph, Network):
        try:
            return kind.load(path)
        except ArchiveError as error:
            errors.append(error)
    if all(isinstance(error, KindError) for error in errors):
        raise CompileError(f"{errors[0]}; give the graph or model file that it was made from")
    # The kind that the file claims to hold knows what is wrong with it.
    raise CompileError(str(next(error for error in errors if not isinstance(error, KindError))))
