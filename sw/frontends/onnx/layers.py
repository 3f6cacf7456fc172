"""ONNX's layers with weights, and windows over images."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.folding import Handler, registers
from sateen.frontends.onnx.importer import (
    Codes,
    Importer,
    Numbers,
    Pending,
    Value,
    channels_first,
    clamp,
    scaling,
    single,
)
from sateen.graph import LARGEST, Array, Conv2D, DepthwiseConv2D, FileLayout, FullyConnected, Op, Tensor, require
from sateen.hw.spec.descriptor import Rounding

__all__ = ["FREE", "LAYERS", "Limits", "Make", "codes_at", "layer", "window"]

Limits = tuple[float, float]
Make = Callable[[str, Numbers, Limits], Tensor]
"""Makes a result, of a name, numbers and real limits."""
FREE: Limits = (-np.inf, np.inf)

LAYERS: dict[str, Handler] = {}
handles = registers(LAYERS)


def codes_at(m: Importer, node: Node, place: int, axis: int) -> Codes:
    """Constant codes with the scale and zero point behind them."""
    values, scales = m.constant(node, place), single(m.constant(node, place + 1).reshape(-1))
    points = m.constant(node, place + 2, np.zeros(1, values.dtype)).reshape(-1)
    known = values.dtype in (np.int8, np.uint8, np.int32)
    require(known, node, f"its constant {node.inputs[place]!r} is {values.dtype}; quantize to 8 bits")
    require(
        len(scales) > 0 and len(points) in (1, len(scales)),
        node,
        f"its scales and zero points of {node.inputs[place]!r} do not match",
    )
    require(
        points.dtype == values.dtype,
        node,
        f"its zero points of {node.inputs[place]!r} are {points.dtype}, not {values.dtype}",
    )
    good = bool(np.isfinite(scales).all() and (scales >= 0).all())
    require(good, node, f"its scales {node.inputs[place + 1]!r} must be finite and above 0")
    return Codes(values, scales, points, axis)


def _weights(node: Node, codes: Codes, axis: int) -> Array:
    """Weights without their zero points; int8 if they fit, else int16. Scales are along ``axis``, or one."""
    count = codes.values.shape[axis]
    require(codes.values.dtype != np.int32, node, "its weights are int32; quantize to 8 bits")
    require(len(codes.scales) in (1, count), node, f"its weights have {len(codes.scales)} scales for {count} channels")
    require(
        len(codes.scales) == 1 or codes.axis % codes.values.ndim == axis,
        node,
        f"its weights' scales are along axis {codes.axis}",
    )
    points = codes.zero_points.astype(np.int64).reshape(
        [-1 if place == axis else 1 for place in range(codes.values.ndim)]
    )
    values = codes.values.astype(np.int64) - points
    require(values.size > 0, node, "its weights are empty")
    return values.astype(np.int8 if values.min() >= -128 and values.max() <= 127 else np.int16)


def layer(
    m: Importer,
    node: Node,
    kind: type[Op],
    x: Tensor,
    weights: Array,
    scales: Array,
    bias: Value | None,
    name: str,
    numbers: Numbers,
    limits: Limits,
    layout: Callable[[tuple[int, ...]], FileLayout | None] = lambda _: None,
    **fields: Any,
) -> Tensor:
    """A layer with weights [O, …]; its bias is int32, or real."""
    with np.errstate(over="ignore"):
        products = (np.float32(x.scale) * scales).astype(np.float32)
        ratios = products / np.float32(numbers.scale)
    scalings = [scaling(node, float(ratio)) for ratio in np.broadcast_to(ratios, len(weights))]
    low, high = clamp(numbers, limits)
    return m.add(
        kind,
        node,
        name,
        numbers,
        layout,
        input=x.name,
        weights=np.ascontiguousarray(weights),
        bias=_bias(node, bias, products, len(weights)),
        multiplier=np.array([factor for factor, _ in scalings], np.int32),
        shift=np.array([shift for _, shift in scalings], np.int8),
        low=low,
        high=high,
        rounding=Rounding.SINGLE,
        **fields,
    )


def _bias(node: Node, bias: Value | None, products: Array, outputs: int) -> Array:
    if bias is None:
        return np.zeros(outputs, np.int32)
    values = bias.values if isinstance(bias, Codes) else bias
    require(isinstance(values, np.ndarray), node, "its bias must be a constant; it is computed at run time")
    assert isinstance(values, np.ndarray)
    require(values.size == outputs, node, f"its bias has {values.size} values for {outputs} channels")
    if np.issubdtype(values.dtype, np.integer):
        values = values.astype(np.int64)
    else:
        with np.errstate(divide="ignore", over="ignore", invalid="ignore"):
            values = np.rint(values.astype(np.float64).reshape(-1) / products)
        require(bool(np.isfinite(values).all()), node, "its bias or its scales are not finite")
    return np.clip(values.reshape(-1), -(2**31), 2**31 - 1).astype(np.int32)


def _pads(node: Node, sizes: tuple[int, ...], extents: tuple[int, ...], stride: tuple[int, ...]) -> Any:
    """((top, bottom), (left, right)) by ``pads`` or ``auto_pad``; with ``ceil_mode`` the last window may reach over the
    end."""
    auto = node.get("auto_pad", "NOTSET")
    require(min(stride) > 0, node, f"its strides must be 1 or more, not {stride}")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        totals = [
            max((-(-size // step) - 1) * step + extent - size, 0)
            for size, extent, step in zip(sizes, extents, stride, strict=True)
        ]
        return tuple((t // 2, t - t // 2) if auto == "SAME_UPPER" else (t - t // 2, t // 2) for t in totals)
    require(auto in ("NOTSET", "VALID"), node, f"its auto_pad {auto!r} is not supported")
    pads = node.get("pads", (0, 0, 0, 0)) if auto == "NOTSET" else (0, 0, 0, 0)
    require(len(pads) == 4 and min(pads) >= 0, node, f"its pads must be 4 numbers of 0 or more, not {pads}")
    pairs = [(pads[0], pads[2]), (pads[1], pads[3])]
    if node.get("ceil_mode", 0):
        for axis, (size, extent, step) in enumerate(zip(sizes, extents, stride, strict=True)):
            before, after = pairs[axis]
            count = -(-(size + before + after - extent) // step) + 1
            # A window that begins behind the image is none.
            count -= (count - 1) * step >= size + before
            pairs[axis] = (before, max(after, (count - 1) * step + extent - size - before))
    return tuple(pairs)


def window(node: Node, x: Tensor, size: tuple[int, ...]) -> dict[str, Any]:
    """Stride, dilation and padding of a window over an image."""
    require(
        len(size) == 2 and min(size) > 0, node, f"its kernel must have two axes, not {size}; only images are supported"
    )
    stride, dilation = node.get("strides", (1, 1)), node.get("dilations", (1, 1))
    require(
        len(stride) == len(dilation) == 2 and min(dilation) > 0,
        node,
        f"its strides {stride} or dilations {dilation} are not pairs",
    )
    extents = tuple(d * (k - 1) + 1 for d, k in zip(dilation, size, strict=True))
    return {"stride": stride, "dilation": dilation, "padding": _pads(node, x.shape[1:3], extents, stride)}


def _conv(m: Importer, node: Node, x: Tensor, codes: Codes, bias: Value | None) -> Make:
    """What makes a convolution; weights are [O, I / groups, kernel height, kernel width]."""
    require(
        codes.values.ndim == 4,
        node,
        f"its weights must have 4 axes, not {codes.values.shape}; only images are supported",
    )
    x = m.image(node, x)
    weights = _weights(node, codes, 0).transpose(0, 2, 3, 1)
    groups, outputs, channels = node.get("group", 1), len(weights), x.shape[3]
    fits = groups > 0 and channels == groups * weights.shape[3] and outputs % groups == 0
    require(fits, node, f"its weights {codes.values.shape} in {groups} groups do not fit {channels} channels")
    kind: type[Op] = DepthwiseConv2D if groups > 1 and groups == channels else Conv2D
    if 1 < groups < channels:
        require(
            weights.size * groups <= LARGEST, node, f"its weights {codes.values.shape} in {groups} groups are too large"
        )
        dense = np.zeros((*weights.shape[:3], channels), weights.dtype)
        for group, part in enumerate(np.split(weights, groups)):
            rows, depth = slice(group * len(part), (group + 1) * len(part)), weights.shape[3]
            dense[rows, :, :, group * depth : (group + 1) * depth] = part
        weights = dense
    fields = window(node, x, weights.shape[1:3])
    return lambda name, numbers, limits: layer(
        m, node, kind, x, weights, codes.scales, bias, name, numbers, limits, channels_first, **fields
    )


@handles("QLinearConv")
def qlinear_conv(m: Importer, node: Node) -> None:
    """A convolution of codes."""
    bias = m.value(node, 8) if len(node.inputs) > 8 and node.inputs[8] else None
    make = _conv(m, node, m.codes(node), codes_at(m, node, 3, 0), bias)
    m.values[node.outputs[0]] = make(node.outputs[0], m.numbers(node, 6), FREE)


@handles("Conv")
def conv(m: Importer, node: Node) -> None:
    """A convolution of real numbers that codes stand for."""
    bias = m.value(node, 2) if len(node.inputs) > 2 and node.inputs[2] else None
    m.values[node.outputs[0]] = Pending(_conv(m, node, m.codes(node), _constant_codes(m, node, 1), bias))


def _constant_codes(m: Importer, node: Node, place: int) -> Codes:
    value = m.value(node, place)
    require(
        isinstance(value, Codes),
        node,
        f"its weights {node.inputs[place]!r} are not constant codes; quantize the whole model to int8",
    )
    assert isinstance(value, Codes)
    return value


def _product(m: Importer, node: Node, x: Tensor, codes: Codes, bias: Value | None, *, transposed: bool) -> Make:
    """What makes a matrix product over the last axis; weights are [I, O], or [O, I]."""
    require(codes.values.ndim == 2, node, f"its weights must have 2 axes, not {codes.values.shape}")
    axis = 0 if transposed else 1
    weights = _weights(node, codes, axis)
    weights = weights if transposed else weights.T
    if x.file_layout is not None and len(x.shape) == 2 and x.file_shape[1:] == weights.shape[1:]:
        # Where each value of the file's layout stands here.
        places = x.file_layout.to_file(np.arange(weights.shape[1])[None])[0]
        order = np.empty_like(places)
        order[places] = np.arange(len(places))
        weights = weights[:, order]
    else:
        x = m.plain(node, x)
    fits = len(x.shape) >= 2 and x.shape[-1] == weights.shape[1]
    require(fits, node, f"its weights take {weights.shape[1]} values, but {x.name!r} is {x.file_shape}")
    return lambda name, numbers, limits: layer(
        m, node, FullyConnected, x, weights, codes.scales, bias, name, numbers, limits
    )


@handles("QLinearMatMul")
def qlinear_matmul(m: Importer, node: Node) -> None:
    """A matrix product of codes."""
    make = _product(m, node, m.codes(node), codes_at(m, node, 3, 1), None, transposed=False)
    m.values[node.outputs[0]] = make(node.outputs[0], m.numbers(node, 6), FREE)


@handles("com.microsoft.QGemm")
def qgemm(m: Importer, node: Node) -> None:
    """A matrix product of codes with a bias."""
    _check_gemm(node)
    transposed = bool(node.get("transB", 0))
    bias = m.value(node, 6) if len(node.inputs) > 6 and node.inputs[6] else None
    make = _product(m, node, m.codes(node), codes_at(m, node, 3, 0 if transposed else 1), bias, transposed=transposed)
    m.values[node.outputs[0]] = make(node.outputs[0], m.numbers(node, 7), FREE)


@handles("Gemm", "MatMul")
def gemm(m: Importer, node: Node) -> None:
    """A matrix product of real numbers that codes stand for."""
    _check_gemm(node)
    bias = m.value(node, 2) if len(node.inputs) > 2 and node.inputs[2] else None
    make = _product(m, node, m.codes(node), _constant_codes(m, node, 1), bias, transposed=bool(node.get("transB", 0)))
    m.values[node.outputs[0]] = Pending(make)


def _check_gemm(node: Node) -> None:
    factors = (node.get("alpha", 1.0), node.get("beta", 1.0), node.get("transA", 0))
    require(factors == (1.0, 1.0, 0), node, f"alpha, beta and transA must be 1, 1 and 0, not {factors}")
