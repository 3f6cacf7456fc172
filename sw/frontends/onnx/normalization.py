"""ONNX's batch normalization of quantized values, where no layer has taken it up."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.folding import registers
from sateen.frontends.onnx.importer import Importer, Operator
from sateen.frontends.onnx.lines import lines_of
from sateen.frontends.onnx.real_layers import real_constant
from sateen.frontends.onnx.values import (
    REAL,
    Deferred,
    Limits,
    Quantization,
    clamp,
    image_layout,
    quantization_of,
    to_float32,
)
from sateen.graph import Array, DepthwiseConv2D, Dequantize, FileLayout, RealBinary, Reshape, Tensor, require
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

__all__ = ["NORMALIZATIONS", "REAL_NORMALIZATIONS"]

NORMALIZATIONS: dict[str, Operator] = {}
REAL_NORMALIZATIONS: dict[str, Operator] = {}
Layout = Callable[[tuple[int, ...]], FileLayout | None]


def factors(importer: Importer, node: Node, channels: int) -> tuple[Array, Array]:
    """What a batch normalization multiplies each channel by, and what it adds then, in onnxruntime's float32."""
    require(not node.get("training_mode", 0), node, "its training_mode is set; export the model for inference")
    require(node.get("spatial", 1) == 1, node, "its spatial must be 1; export the model with a later opset")
    node.ignore("momentum")  # Of training.
    scale, bias, mean, variance = (real_constant(importer, node, place) for place in range(1, 5))
    good = all(value.shape == (channels,) for value in (scale, bias, mean, variance))
    require(good, node, f"its scale, B, mean and var must be {channels} constants each")
    with np.errstate(all="ignore"):
        slopes = to_float32(np.float32(1) / np.sqrt(variance + np.float32(node.get("epsilon")))) * scale
        starts = bias - mean * slopes
    finite = bool(np.isfinite([slopes, starts]).all())
    require(finite, node, "its constants and its epsilon give no finite numbers")
    return slopes, starts


def add_lines(
    importer: Importer, node: Node, x: Tensor, slopes: Array, starts: Array, layout: Layout, name: str
) -> Tensor:
    """Appends a product and a sum with one constant for each channel, the last axis; of real numbers."""
    for function, values, wanted in (
        ("multiply", slopes, importer.name_of(f"{name}.scaled")),
        ("add", starts, name),
    ):
        values = values.reshape(*[1] * (len(x.shape) - 1), -1)
        constant = importer.add_constant(importer.name_of(f"{wanted}.values"), values, REAL, None)
        fields = {"a": x.name, "b": constant.name, "function": function}
        x = importer.add(RealBinary, node, wanted, REAL, layout, dtype="float32", **fields)
    return x


def _pixels(importer: Importer, node: Node, x: Tensor) -> tuple[Tensor, Layout]:
    """A tensor as (N, H, W, C), with the file's layout of that."""
    rank = len(x.file_shape)
    require(2 <= rank <= 4, node, f"its input of {x.file_shape} must have 2 to 4 axes")
    if rank > 2:
        return importer.as_image(node, x), image_layout(rank)
    x = importer.in_file_layout(node, x)
    shape, name = (x.shape[0], 1, 1, x.shape[1]), importer.name_of(f"{x.name}.pixel")
    return importer.add(Reshape, node, name, quantization_of(x), _pixel, shape=shape, input=x.name), _pixel


def _pixel(shape: tuple[int, ...]) -> FileLayout:
    """The file's layout (N, C) of (N, 1, 1, C)."""
    return FileLayout(shape, (0, 1, 2, 3), (shape[0], shape[3]))


@registers(REAL_NORMALIZATIONS)("BatchNormalization 7 9 14 15")
def real_normalization(importer: Importer, node: Node) -> None:
    """A batch normalization of real numbers."""
    x = importer.real(node)
    require(len(x.file_shape) > 1, node, f"its input of {x.file_shape} has no channels")
    slopes, starts = factors(importer, node, x.file_shape[1])
    x, layout = _pixels(importer, node, x)
    importer.set_real(node, add_lines(importer, node, x, slopes, starts, layout, importer.real_name(node)))


@registers(NORMALIZATIONS)("BatchNormalization 7 9 14 15")
def batch_normalization(importer: Importer, node: Node) -> None:
    """A line for each channel: a layer of the device if one gives each code's result, else two operators of the
    host."""
    x = importer.quantized_input(node)
    require(len(x.file_shape) > 1, node, f"its input of {x.file_shape} has no channels")
    slopes, starts = factors(importer, node, x.file_shape[1])
    x, layout = _pixels(importer, node, x)

    def real(name: str) -> Tensor:
        made = importer.name_of(f"{name}.real")
        dequantized = importer.add(Dequantize, node, made, REAL, layout, dtype="float32", input=x.name)
        return add_lines(importer, node, dequantized, slopes, starts, layout, name)

    def make(name: str, quantization: Quantization, limits: Limits) -> Tensor:
        found = _layer(importer, node, x, slopes, starts, layout, name, quantization, limits)
        if found is not None:
            return found
        values = real(importer.name_of(f"{name}.sums"))
        quantize = importer.with_clamp(node, lambda name, kind, _: importer.quantize(node, values, kind, name))
        return quantize(name, quantization, limits)

    importer.values[node.outputs[0]] = Deferred(make, real=real)


def _layer(
    importer: Importer, node: Node, x: Tensor, slopes: Array, starts: Array,
    layout: Layout, name: str, quantization: Quantization, limits: Limits,
) -> Tensor | None:  # fmt: skip
    """The layer that gives each code's result, if there is one."""
    codes = (np.arange(-128, 128) - x.zero_point).astype(np.float32) * np.float32(x.scale)
    output = (quantization.scale, quantization.zero_point)
    with np.errstate(over="ignore"):
        values = codes * slopes[:, None] + starts[:, None]
        ratio = float(np.float32(x.scale) / np.float32(quantization.scale))
    if not np.isfinite(values).all() or not np.isfinite(ratio):
        return None
    tables = golden.quantize(values, output, rounding=Rounding.FLOAT32)
    steps = slopes.astype(np.float64) * ratio, starts.astype(np.float64) / quantization.scale
    found = lines_of(x.zero_point, *steps, tables, quantization.zero_point)
    if found is None:
        return None
    low, high = clamp(quantization, limits)
    return importer.add(
        DepthwiseConv2D, node, name, quantization, layout, input=x.name, weights=found.weights[:, None, None, None],
        bias=found.bias, multiplier=found.multiplier, shift=found.shift, low=low, high=high,
        rounding=Rounding.FLOAT32,
    )  # fmt: skip
