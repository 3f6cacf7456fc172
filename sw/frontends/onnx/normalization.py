"""ONNX's normalizations, of codes and of real numbers. A batch normalization that no layer has taken up is a line for
each channel between codes, see :mod:`~sateen.frontends.onnx.lines`."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.folding import registers
from sateen.frontends.onnx.importer import Importer, Operator
from sateen.frontends.onnx.real_layers import real_constant
from sateen.frontends.onnx.values import (
    REAL,
    Deferred,
    Dequantized,
    Limits,
    Quantization,
    image_layout,
    quantization_of,
    stored,
    to_float32,
)
from sateen.graph import Array, Dequantize, FileLayout, LayerNorm, RealBinary, RealNormalize, Reshape, Tensor, require
from sateen.sim import golden

__all__ = ["NORMALIZATIONS", "REAL_NORMALIZATIONS"]

NORMALIZATIONS: dict[str, Operator] = {}
"""How they are imported on codes."""
handles_codes = registers(NORMALIZATIONS)

REAL_NORMALIZATIONS: dict[str, Operator] = {}
handles = registers(REAL_NORMALIZATIONS)
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
        fields: dict[str, Any] = {"a": x.name, "b": constant.name, "function": function}
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


@handles("BatchNormalization 7 9 14 15")
def real_normalization(importer: Importer, node: Node) -> None:
    """A product and a sum with constants of each channel."""
    value = importer.value(node)
    x = value.tensor if isinstance(value, Dequantized) else importer.real(node)
    require(len(x.file_shape) > 1, node, f"its input of {x.file_shape} has no channels")
    slopes, starts = factors(importer, node, x.file_shape[1])
    x, layout = _pixels(importer, node, x)
    if x.dtype == "int8":
        # Behind the change of layout, so that a line's layer can take the codes.
        name = importer.name_of(f"{x.name}.real")
        x = importer.add(Dequantize, node, name, REAL, layout, dtype="float32", input=x.name)
    importer.set_real(node, add_lines(importer, node, x, slopes, starts, layout, importer.real_name(node)))


@handles("InstanceNormalization 6 22")
def instance_normalization(importer: Importer, node: Node) -> None:
    """Each channel of an image, less its mean and divided by its deviation."""
    x = importer.as_image(node, importer.real(node))
    constants = [real_constant(importer, node, place) for place in (1, 2)]
    good = len(x.shape) == 4 and all(value.shape == x.shape[3:] for value in constants)
    require(good, node, f"its input of {x.file_shape} is no image or rows, or its scale or B does not fit its channels")
    scale, bias = (value.reshape(1, 1, 1, -1) for value in constants)
    result = importer.add(
        RealNormalize, node, importer.real_name(node), REAL, image_layout(len(x.file_shape)), dtype="float32",
        input=x.name, axes=(1, 2), scale=scale, bias=bias, epsilon=float(node.get("epsilon")),
    )  # fmt: skip
    importer.set_real(node, result)


LAYER_NORMALIZATIONS = "LayerNormalization 17", "RMSNormalization 23", "SimplifiedLayerNormalization 1"


@handles_codes(*LAYER_NORMALIZATIONS)
def coded_layer_normalization(importer: Importer, node: Node) -> None:
    """The same of codes, as onnxruntime's kernel computes it; by real numbers where it has another, for short rows."""
    value = importer.value(node)
    if not (isinstance(value, Dequantized) or isinstance(value, Deferred) and value.has_codes):
        importer.import_real(node)
        return
    # float32, which sums are in at least. Outputs behind the first are refused where something reads them.
    node.ignore("stash_type")
    x, axis, epsilon = importer.quantized_input(node), node.get("axis"), np.float32(node.get("epsilon"))
    shape, centred = x.file_shape, node.kind == "LayerNormalization"
    good = -len(shape) <= axis < len(shape) and axis % len(shape) > 0
    length = math.prod(shape[axis % len(shape) :]) if good else 0
    scale = real_constant(importer, node, 1)
    bias = real_constant(importer, node, 2) if node.has(2) else np.zeros(length, np.float32)
    finite = bool(np.isfinite(scale).all() and np.isfinite(bias).all() and np.isfinite(epsilon))
    fits = scale.size == bias.size == length >= golden.SHORTEST_ROW[centred]
    if not (fits and finite and epsilon > 0):
        importer.import_real(node)
        return
    x = importer.in_file_layout(node, x)
    rows = (*shape[: axis % len(shape)], length)
    fields: dict[str, Any] = {
        "scale": scale.ravel(),
        "bias": bias.ravel(),
        "epsilon": float(epsilon),
        "centred": centred,
    }

    def make(name: str, quantization: Quantization, limits: Limits) -> Tensor:
        if rows == shape:
            return importer.add(LayerNorm, node, name, quantization, input=x.name, **fields)
        names = [importer.name_of(f"{name}.{part}") for part in ("rows", "normal")]
        importer.add(Reshape, node, names[0], quantization_of(x), shape=rows, input=x.name)
        importer.add(LayerNorm, node, names[1], quantization, input=names[0], **fields)
        return importer.add(Reshape, node, name, quantization, shape=shape, input=names[1])

    importer.set_result(node, importer.with_clamp(node, make), stored=stored(x))


@handles(*LAYER_NORMALIZATIONS)
def layer_normalization(importer: Importer, node: Node) -> None:
    """Values over an axis and all behind it, divided by the root of their mean square; less their mean, unless it is
    RMSNormalization."""
    # float32, which sums are in at least. Outputs behind the first are refused where something reads them.
    node.ignore("stash_type")
    x, name = importer.in_file_layout(node, importer.real(node)), importer.real_name(node)
    rank, axis = len(x.shape), node.get("axis")
    good = -rank <= axis < rank and axis % rank > 0
    require(good, node, f"its axis {axis} must be one of 1 to {rank - 1}; the first axis is the batch")
    constants = [real_constant(importer, node, 1)]
    constants.append(real_constant(importer, node, 2) if node.has(2) else np.zeros(1, np.float32))
    fits = all(value.ndim <= rank - axis % rank or value.size == 1 for value in constants)
    require(fits, node, f"its scale of {constants[0].shape} or its bias does not fit the axes from {axis} on")
    scale, bias = (value.reshape((1,) * (rank - value.ndim) + value.shape) for value in constants)
    result = importer.add(
        RealNormalize, node, name, REAL, dtype="float32", input=x.name, axes=tuple(range(axis % rank, rank)),
        scale=scale, bias=bias, epsilon=float(node.get("epsilon")), centred=node.kind == "LayerNormalization",
    )  # fmt: skip
    importer.set_real(node, result)
