"""Quantization of float networks from files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from sateen.frontends import errors_name, load
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
        with errors_name(path):
            return onnx_float.quantize(path, calibration)
    source = load(path)
    return source if isinstance(source, Graph) else quantize(source, np.asarray(calibration))
