"""ONNX's QuantizeLinear and DequantizeLinear."""

from __future__ import annotations

import numpy as np

from sateen.frontends.onnx.file import Node, widened
from sateen.frontends.onnx.folding import quantized, registers
from sateen.frontends.onnx.importer import Importer, Operator
from sateen.frontends.onnx.layers import quantized_constant
from sateen.frontends.onnx.moves import FLOAT, INT8, UINT8
from sateen.frontends.onnx.values import Dequantized, QuantizedConstant, stored, to_float32
from sateen.graph import Array, Tensor, require

__all__ = ["QUANTIZING"]

QUANTIZING: dict[str, Operator] = {}
handles, fuses = registers(QUANTIZING), registers(QUANTIZING, fused=True)


@fuses("QuantizeLinear 10 13 19 21 23 24 25 28", "com.microsoft.QuantizeLinear 1")
def quantize_linear(importer: Importer, node: Node) -> None:
    """Quantizes real values; a deferred result is made now."""
    value = importer.value(node)
    node.ignore("saturate")  # Only codes of type float8 saturate in two ways.
    require(node.get("precision", 0) in (0, FLOAT), node, "its precision is not float32; export the model in float32")
    _check_block(node)
    kind = node.get("output_dtype", 0)
    require(kind in (0, INT8, UINT8), node, f"its output_dtype {kind} is not int8 or uint8; quantize to 8 bits")
    if isinstance(value, QuantizedConstant | np.ndarray):
        importer.values[node.outputs[0]] = quantized(importer, node, "int8" if kind == INT8 else "uint8")
        return
    node.ignore("axis")  # There is one scale, whatever the axis.
    quantization = importer.quantization(node, 1, "int8" if kind == INT8 else "uint8")
    same = kind == 0 or quantization.unsigned == (kind == UINT8)
    require(same, node, f"its output_dtype {kind} is not the type of its zero point")
    importer.values[node.outputs[0]] = importer.quantize(node, value, quantization, node.outputs[0])


@handles("DequantizeLinear 10 13 19 21 23 24 25 28", "com.microsoft.DequantizeLinear 1")
def dequantize_linear(importer: Importer, node: Node) -> None:
    """Real values of a tensor's integers; no operator of the graph is needed."""
    value = importer.value(node)
    require(node.get("output_dtype", 0) in (0, FLOAT), node, "its output_dtype is not float32; export it in float32")
    axis, size = node.get("axis", 1), node.get("block_size", 0)
    if isinstance(value, np.ndarray):
        found = _blocked(importer, node, axis, size) if size else quantized_constant(importer, node, 0, axis)
        importer.values[node.outputs[0]] = found
        return
    _check_block(node)
    require(
        isinstance(value, Tensor) and value.dtype == "int8",
        node,
        f"its input {node.inputs[0]!r} is no int8 or uint8 tensor; quantize to 8 bits",
    )
    assert isinstance(value, Tensor)
    quantization = importer.quantization(node, 1, stored(value))
    importer.values[node.outputs[0]] = Dequantized(importer.restated(node, value, quantization))


def _check_block(node: Node) -> None:
    """Raises :class:`GraphError` if scales are of blocks within channels."""
    size = node.get("block_size", 0)
    require(not size, node, f"its block_size {size} is not supported; quantize by channel")


def _blocked(importer: Importer, node: Node, axis: int, size: int) -> Array:
    """Real values of a constant whose scales are of blocks along an axis; the host computes with them."""
    values, scales = widened(importer.constant(node, 0)), importer.constant(node, 1)
    points = widened(importer.constant(node, 2, np.zeros(scales.shape, values.dtype)))
    good = values.dtype in (np.int8, np.uint8) and points.dtype == values.dtype and scales.dtype == np.float32
    require(good, node, f"its constant {node.inputs[0]!r} in blocks must be of 8 or 4 bits, with scales of float32")
    good = size > 0 and -values.ndim <= axis < values.ndim
    require(good, node, f"its block_size {size} or its axis {axis} does not fit {values.shape}")
    axis %= values.ndim
    shape = tuple(-(-n // size) if place == axis else n for place, n in enumerate(values.shape))
    good = scales.shape == points.shape == shape
    require(good, node, f"its scales of {scales.shape} must be {shape}, in blocks of {size} along axis {axis}")
    whole = np.arange(values.shape[axis]) // size
    offsets = values.astype(np.float32) - np.take(points, whole, axis=axis).astype(np.float32)
    return to_float32(offsets * np.take(scales, whole, axis=axis))
