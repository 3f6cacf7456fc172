"""ONNX's transposed convolutions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.folding import registers
from sateen.frontends.onnx.importer import Importer, Operator
from sateen.frontends.onnx.layers import Layer, dequantized, weights_of
from sateen.frontends.onnx.real_layers import real_constant
from sateen.frontends.onnx.values import REAL, image_layout
from sateen.graph import LARGEST, Array, RealTransposeConv2D, Tensor, TransposeConv2D, require

__all__ = ["REAL_TRANSPOSED", "TRANSPOSED"]

TRANSPOSED: dict[str, Operator] = {}
REAL_TRANSPOSED: dict[str, Operator] = {}
"""The same operators on real numbers."""
handles = registers(TRANSPOSED)


@dataclass(frozen=True)
class _Axis:
    """A transposed convolution along one axis."""

    stride: int = 1
    dilation: int = 1
    crop: tuple[int, int] = (0, 0)
    """Results that are cut off before and after; negative ones are added."""


def _axes(node: Node, sizes: tuple[int, ...], kernel: tuple[int, ...]) -> list[_Axis]:
    """What the attributes say of each axis of an image of these sizes."""
    count = len(kernel)
    strides, dilations, more = (
        node.get(name, (default,) * count)
        for name, default in (("strides", 1), ("dilations", 1), ("output_padding", 0))
    )
    pads, wanted = node.get("pads", (0, 0) * count), node.get("output_shape", ())
    good = len(strides) == len(dilations) == len(more) == count and len(pads) == 2 * count
    good = good and min(strides) > 0 and min(dilations) > 0 and min(more) >= 0 and min(pads) >= 0
    require(
        good, node, f"its strides {strides}, dilations {dilations}, output_padding {more} or pads {pads} do not fit"
    )
    good = all(added < max(step, gap) for added, step, gap in zip(more, strides, dilations, strict=True))
    require(good, node, f"its output_padding {more} is not below its strides or dilations")
    auto = node.get("auto_pad")
    known = auto in ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")
    require(known, node, f"its auto_pad {auto!r} is not supported")
    alone = auto == "NOTSET" or not any(pads)
    require(alone, node, f"it states pads {pads} beside its auto_pad {auto!r}; export the model with one of them")
    require(len(wanted) in (0, count), node, f"its output_shape {wanted} does not fit {count} axes")
    same = not wanted and auto.startswith("SAME")
    found = []
    for axis, (size, length) in enumerate(zip(sizes, kernel, strict=True)):
        stride, dilation = strides[axis], dilations[axis]
        whole = (size - 1) * stride + dilation * (length - 1) + 1 + more[axis]
        crop = (pads[axis], pads[axis + count]) if auto == "NOTSET" else (0, 0)
        if wanted or same:
            # Nothing is added to a result that is smaller than asked, but by an output_shape.
            total = max(0, whole - size * stride) if same else whole - wanted[axis]
            half = max(total, 0) // 2
            crop = (half, total - half) if auto == "SAME_UPPER" or total < 0 else (total - half, half)
        require(0 < whole - sum(crop) <= LARGEST, node, "it cuts off all of its result, or makes one that is too large")
        found.append(_Axis(stride, dilation, (crop[0], crop[1] - more[axis])))
    return found


def _kernels(node: Node, weights: Array, groups: int) -> Array:
    """Weights [O, kernel height, kernel width, I / groups]."""
    shape = weights.shape
    fits = groups > 0 and shape[0] % groups == 0
    require(fits, node, f"its weights of {shape} cannot be in {groups} groups")
    parts = weights.reshape(groups, shape[0] // groups, *shape[1:])
    order = (0, 2, *range(3, parts.ndim), 1)
    weights = parts.transpose(order).reshape(groups * shape[1], *(shape[2:] if len(shape) == 4 else (1, shape[2])), -1)
    return np.ascontiguousarray(weights)


def _fields(node: Node, x: Tensor, shape: tuple[int, ...]) -> dict[str, Any]:
    """Stride, dilation, crop and groups of a transposed convolution of an image or rows, for weights of a shape."""
    rank = len(x.file_shape)
    require(len(shape) == rank in (3, 4), node, f"its weights of {shape} do not fit its input of {x.file_shape}")
    stated = node.get("kernel_shape", shape[2:])
    require(stated == shape[2:], node, f"its kernel_shape {stated} is not that of its weights {shape}")
    fits = shape[0] == x.file_shape[1]
    require(fits, node, f"its weights of {shape} do not fit {x.file_shape[1]} channels")
    axes = _axes(node, x.file_shape[2:], shape[2:])
    axes = axes if rank == 4 else [_Axis(), *axes]
    fields: dict[str, Any] = {
        name: tuple(getattr(axis, name) for axis in axes) for name in ("stride", "dilation", "crop")
    }
    return {**fields, "groups": node.get("group")}


@handles("ConvTranspose 1 11 22")
def conv_transpose(importer: Importer, node: Node) -> None:
    """A transposed convolution of dequantized values; weights are [I, O / groups, kernel height, kernel width]."""
    bias, x = importer.value(node, 2) if node.has(2) else None, importer.quantized_input(node)
    codes, rank = dequantized(importer, node, 1), len(x.file_shape)
    fields = _fields(node, x, codes.values.shape)
    groups = fields["groups"]
    weights = _kernels(node, weights_of(node, codes, 1), groups)
    scales = np.tile(codes.scales, groups) if len(codes.scales) > 1 else codes.scales
    x = importer.as_image(node, x)
    made = Layer(
        importer=importer, node=node, kind=TransposeConv2D, x=x, weights=weights, scales=scales, bias=bias,
        layout=image_layout(rank), channels=rank - 1, fields=fields,
    )  # fmt: skip
    importer.values[node.outputs[0]] = made.deferred()


@registers(REAL_TRANSPOSED)("ConvTranspose 1 11 22")
def real_conv_transpose(importer: Importer, node: Node) -> None:
    """The same of real values."""
    x, weights = importer.real(node), real_constant(importer, node, 1)
    rank, fields = len(x.file_shape), _fields(node, x, weights.shape)
    kernels = _kernels(node, weights, fields["groups"])
    bias = real_constant(importer, node, 2).reshape(-1) if node.has(2) else np.zeros(len(kernels), np.float32)
    require(len(bias) == len(kernels), node, f"its bias has {len(bias)} values for {len(kernels)} channels")
    x = importer.as_image(node, x)
    result = importer.add(
        RealTransposeConv2D, node, importer.real_name(node), REAL, image_layout(rank), dtype="float32", input=x.name,
        weights=kernels, bias=bias, **fields,
    )  # fmt: skip
    importer.set_real(node, result)
