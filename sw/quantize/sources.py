"""Quantization of float networks from files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from sateen.errors import CompileError
from sateen.frontends import load
from sateen.graph import Graph
from sateen.quantize import onnx_float
from sateen.quantize.calibration import quantize

__all__ = ["quantize_file"]


def quantize_file(path: str | os.PathLike[str], calibration: ArrayLike) -> Graph:
    """A float network or float ONNX model from a file, quantized with a batch of its inputs; a quantized graph
    unchanged.

    Raises what :func:`load` does, and ``ValueError`` for calibration data that does not fit.
    """
    if Path(path).suffix == ".onnx":
        try:
            return onnx_float.quantize(path, calibration)
        except OSError as error:
            raise CompileError(f"cannot read {path}: {error.strerror or error}") from error
    source = load(path)
    return source if isinstance(source, Graph) else quantize(source, np.asarray(calibration))
