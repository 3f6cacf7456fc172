"""ONNX's layers on real numbers: those whose inputs or weights a model does not quantize."""

from __future__ import annotations

from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.folding import registers
from sateen.frontends.onnx.importer import Importer, Operator
from sateen.frontends.onnx.values import REAL, QuantizedConstant, image_layout, real_values
from sateen.frontends.onnx.windows import Window
from sateen.graph import Array, RealConv2D, RealPool2D, RealProduct, RealReduce, Tensor, require

__all__ = ["REAL_LAYERS", "real_constant", "real_gemm"]

REAL_LAYERS: dict[str, Operator] = {}
handles = registers(REAL_LAYERS)


def real_constant(importer: Importer, node: Node, place: int) -> Array:
    """A constant input's real values."""
    value = importer.value(node, place)
    if isinstance(value, QuantizedConstant):
        return real_values(value)
    good = isinstance(value, np.ndarray) and value.dtype == np.float32
    require(good, node, f"its input {node.inputs[place]!r} must be a constant of float32 here")
    assert isinstance(value, np.ndarray)
    return value


def _bias(importer: Importer, node: Node, outputs: int) -> Array:
    if not node.has(2):
        return np.zeros(outputs, np.float32)
    bias = real_constant(importer, node, 2)
    # A Gemm's may be one value for all.
    one = bias.size == 1 and node.kind == "Gemm"
    fits = one or bias.size == outputs and bias.shape[-1:] == (outputs,)
    require(fits, node, f"its bias of {bias.shape} does not fit {outputs} channels")
    return np.broadcast_to(bias.reshape(-1), outputs)


@handles("Conv 1 11 22")
def conv(importer: Importer, node: Node) -> None:
    """A convolution of real images."""
    x, weights = importer.real(node), real_constant(importer, node, 1)
    rank, size = len(x.file_shape), weights.shape[2:]
    good = weights.ndim == rank in (3, 4)
    require(good, node, f"its weights of {weights.shape} do not fit its input of {x.file_shape}")
    x, weights = importer.as_image(node, x), weights[:, :, None] if rank == 3 else weights
    stated = node.get("kernel_shape", size)
    require(stated == size, node, f"its kernel_shape {stated} is not that of its weights, {size}")
    result = importer.add(
        RealConv2D, node, importer.real_name(node), REAL, image_layout(rank), dtype="float32", input=x.name,
        weights=np.ascontiguousarray(weights.transpose(0, 2, 3, 1)), bias=_bias(importer, node, len(weights)),
        groups=node.get("group"), **Window.read(node, size).fields(x),
    )  # fmt: skip
    importer.set_real(node, result)


def real_gemm(importer: Importer, node: Node) -> None:
    """A matrix product of real values with constants."""
    x, weights = importer.in_file_layout(node, importer.real(node)), real_constant(importer, node, 1)
    require(weights.ndim == 2, node, f"its weights must have 2 axes, not {weights.shape}")
    require(not node.get("transA", 0), node, "its transA is not supported; export the model without it")
    weights = weights if node.get("transB", 0) else weights.T
    weights = weights * np.float32(node.get("alpha", 1.0))
    bias = _bias(importer, node, len(weights)) * np.float32(node.get("beta", 1.0))
    fields: dict[str, Any] = {"input": x.name, "weights": np.ascontiguousarray(weights), "bias": bias}
    result = importer.add(RealProduct, node, importer.real_name(node), REAL, dtype="float32", **fields)
    importer.set_real(node, result)


@handles("GlobalAveragePool 1 22", "GlobalMaxPool 1 22")
def global_pool(importer: Importer, node: Node) -> None:
    """The mean over rows and columns, or the largest value."""
    x = importer.as_image(node, importer.real(node))
    layout = image_layout(len(x.file_shape))
    function = "mean" if node.kind == "GlobalAveragePool" else "maximum"
    fields: dict[str, Any] = {"input": x.name, "function": function, "axes": (1, 2), "keep_dims": True}
    result = importer.add(RealReduce, node, importer.real_name(node), REAL, layout, dtype="float32", **fields)
    importer.set_real(node, result)


@handles("AveragePool 7 10 11 19 22", "MaxPool 1 8 10 11 12 22")
def pool(importer: Importer, node: Node) -> None:
    """The mean of each window, or the largest value."""
    size, mean = node.get("kernel_shape", ()), node.kind == "AveragePool"
    window = Window.read(node, size)
    counted = mean and bool(node.get("count_include_pad", 0))
    good = window.dilation == (1, 1)
    require(good, node, f"its dilations {window.dilation} are not supported on real numbers; export the model without")
    node.ignore("storage_order")  # The order of the places that it also gives, which nothing may read.
    x: Tensor = importer.as_image(node, importer.real(node))
    fields = window.fields(x)
    del fields["dilation"]
    result = importer.add(
        RealPool2D, node, importer.real_name(node), REAL, image_layout(len(x.file_shape)), dtype="float32",
        input=x.name,
        function="mean" if mean else "maximum", size=window.size, counted=counted,
        beyond=window.beyond(x) if counted else (0, 0), **fields,
    )  # fmt: skip
    importer.set_real(node, result)
