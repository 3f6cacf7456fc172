"""Quantization of float networks from files."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from sateen.frontends import errors_name, load
from sateen.frontends import torch as torch_frontend
from sateen.graph import Graph, GraphError, Network
from sateen.quantize import onnx_float
from sateen.quantize.calibration import prepared, quantize
from sateen.quantize.float_model import Progress, Quantized, ignore
from sateen.quantize.ranges import Calibration
from sateen.quantize.torch_float import quantize_torch

__all__ = ["quantize_file", "quantize_network", "quantize_source"]

DEFAULT = Calibration()


def quantize_file(path: str | os.PathLike[str], calibration: ArrayLike) -> Graph:
    """A float network, ONNX model or PyTorch program from a file, quantized with a batch of its inputs.

    Raises what :func:`load` does, :class:`GraphError` for a model that is quantized already, and ``ValueError`` for
    calibration data that does not fit.
    """
    return quantize_source(path, calibration).graph


def quantize_source(
    path: str | os.PathLike[str], calibration: ArrayLike, ranges: Calibration = DEFAULT, *, progress: Progress = ignore
) -> Quantized:
    """As :func:`quantize_file`, with the float model that the graph stands for.

    Parameters
    ----------
    ranges
        How the ranges of activations are found.
    progress
        Called with (items done, items) whenever an ONNX model or a PyTorch program runs on the data.
    """
    if Path(path).suffix == ".onnx":
        with errors_name(path):
            return onnx_float.float_model(path, calibration, progress=progress).quantize(ranges)
    if Path(path).suffix == torch_frontend.SUFFIX:
        with errors_name(path):
            program = torch_frontend.open_program(path)
            quantized = quantize_torch(program, calibration, ranges=ranges, name=Path(path).stem, progress=progress)
            # A program that is quantized already was refused.
            assert isinstance(quantized, Quantized)
            return quantized
    source = load(path)
    if isinstance(source, Graph):
        raise GraphError(f"{path}: the model is quantized already; compile it as it is, without calibration data")
    return quantize_network(source, calibration, ranges)


def quantize_network(network: Network, calibration: ArrayLike, ranges: Calibration = DEFAULT) -> Quantized:
    """A network as a graph. Tensors have the names of the layers that make them."""
    folded = prepared(network, calibration, ranges)
    graph = quantize(folded, np.asarray(calibration), ranges=replace(ranges, equalize=False))
    names = {tensor.name: tensor.name for tensor in graph.tensors.values() if tensor.dtype == "int8"}
    end = folded.layers[-1].name
    return Quantized(
        graph=graph, trace=lambda: [folded.trace(calibration)], names=names, input="input", output=end,
        scalable=frozenset() if ranges.equalize else frozenset(names) - {"input"},
    )  # fmt: skip
