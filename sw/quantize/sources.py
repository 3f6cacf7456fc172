"""Quantization of float networks from files."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from sateen.frontends import errors_name, load
from sateen.graph import Graph, GraphError
from sateen.quantize import onnx_float
from sateen.quantize.calibration import quantize

__all__ = ["quantize_file"]


def quantize_file(path: str | os.PathLike[str], calibration: ArrayLike) -> Graph:
    """A float network or float ONNX model from a file, quantized with a batch of its inputs.

    Raises what :func:`load` does, :class:`GraphError` for a model that is quantized already, and ``ValueError`` for
    calibration data that does not fit.
    """
    if Path(path).suffix == ".onnx":
        with errors_name(path):
            return onnx_float.quantize(path, calibration)
    source = load(path)
    if isinstance(source, Graph):
        raise GraphError(f"{path}: the model is quantized already; compile it as it is, without calibration data")
    return quantize(source, np.asarray(calibration))
