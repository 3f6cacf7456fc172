"""ONNX's quantized operators, one by one: what each becomes in a graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from weft.frontends.onnx import IMAGE, Codes, Importer, Numbers, Pending, Real, Value, clamp, numbers_of, scaling
from weft.frontends.onnx_file import Node
from weft.frontends.onnx_fold import compute, fold
from weft.frontends.onnx_moves import MOVES
from weft.hw.spec.descriptor import Rounding
from weft.ops import (
    Add,
    ArgMax,
    Array,
    Concatenate,
    Constant,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Mean,
    Multiply,
    Op,
    Own,
    Softmax,
    Subtract,
    Table,
    Tensor,
    require,
)
from weft.sim import golden

__all__ = ["HANDLERS"]

Handler = Callable[[Importer, Node], None]
Limits = tuple[float, float]
Make = Callable[[str, Numbers, Limits], Tensor]
FREE: Limits = (-math.inf, math.inf)

HANDLERS: dict[str, Handler] = {**MOVES, **dict.fromkeys(("Constant", "Shape", "Gather", "Div"), compute)}
"""What makes each kind of operator."""


def handles(*kinds: str) -> Callable[[Handler], Handler]:
    """Registers a function for kinds of operators; of constants alone they are computed."""

    def register(function: Handler) -> Handler:
        def handle(m: Importer, node: Node) -> None:
            if not fold(m, node):
                function(m, node)

        HANDLERS.update(dict.fromkeys(kinds, handle))
        return function

    return register


def channels_first(shape: tuple[int, ...]) -> Own | None:
    """The file's layout of an image."""
    return Own(shape, IMAGE, tuple(shape[axis] for axis in IMAGE)) if len(shape) == 4 else None


@handles("QuantizeLinear")
def quantize_linear(m: Importer, node: Node) -> None:
    """Real numbers become codes: here a layer's result has its name."""
    value = m.value(node)
    require(not isinstance(value, np.ndarray), node, "it quantizes a constant; export the model with constants quantized")
    m.values[node.outputs[0]] = m.quantize(node, value, m.numbers(node, 1), node.outputs[0])


@handles("DequantizeLinear")
def dequantize_linear(m: Importer, node: Node) -> None:
    """Codes become real numbers, which is only remembered."""
    value = m.value(node)
    if isinstance(value, np.ndarray):
        m.values[node.outputs[0]] = _codes(m, node, 0, node.get("axis", 1))
        return
    require(isinstance(value, Tensor) and value.dtype == "int8", node, f"its input {node.inputs[0]!r} are no codes; quantize to 8 bits")
    assert isinstance(value, Tensor)
    numbers = m.numbers(node, 1)
    require(numbers == numbers_of(value), node, f"its scale and zero point are not those of its input {node.inputs[0]!r}")
    m.values[node.outputs[0]] = Real(value)


def _codes(m: Importer, node: Node, place: int, axis: int) -> Codes:
    """Constant codes with the scale and zero point behind them."""
    values, scales = m.constant(node, place), m.constant(node, place + 1).reshape(-1).astype(np.float32)
    points = m.constant(node, place + 2, np.zeros(1, values.dtype)).reshape(-1)
    require(values.dtype in (np.int8, np.uint8, np.int32), node, f"its constant {node.inputs[place]!r} is {values.dtype}; quantize to 8 bits")
    require(len(scales) > 0 and len(points) in (1, len(scales)), node, f"its scales and zero points of {node.inputs[place]!r} do not match")
    good = bool(np.isfinite(scales).all() and (scales >= 0).all())
    require(good, node, f"its scales {node.inputs[place + 1]!r} must be finite and above 0")
    return Codes(values, scales, points, axis)


def _weights(node: Node, codes: Codes, axis: int) -> Array:
    """Weights without their zero points; int8 if they fit, else int16. Scales are along ``axis``, or one."""
    count = codes.values.shape[axis]
    require(codes.values.dtype != np.int32, node, "its weights are int32; quantize to 8 bits")
    require(len(codes.scales) in (1, count), node, f"its weights have {len(codes.scales)} scales for {count} channels")
    require(len(codes.scales) == 1 or codes.axis % codes.values.ndim == axis, node, f"its weights' scales are along axis {codes.axis}")
    points = codes.zero_points.astype(np.int64).reshape([-1 if place == axis else 1 for place in range(codes.values.ndim)])
    values = codes.values.astype(np.int64) - points
    require(values.size > 0, node, "its weights are empty")
    return values.astype(np.int8 if values.min() >= -128 and values.max() <= 127 else np.int16)


def _layer(
    m: Importer, node: Node, kind: type[Op], x: Tensor, weights: Array, scales: Array, bias: Value | None, name: str, numbers: Numbers,
    limits: Limits, own: Callable[[tuple[int, ...]], Own | None] = lambda _: None, **fields: Any,
) -> Tensor:  # fmt: skip
    """A layer with weights [O, …]; its bias is int32, or real."""
    products = (np.float32(x.scale) * scales).astype(np.float32)
    scalings = [scaling(node, float(product / np.float32(numbers.scale))) for product in np.broadcast_to(products, len(weights))]
    low, high = clamp(numbers, limits)
    return m.add(
        kind, node, name, numbers, own, input=x.name, weights=np.ascontiguousarray(weights),
        bias=_bias(node, bias, products, len(weights)), multiplier=np.array([factor for factor, _ in scalings], np.int32),
        shift=np.array([shift for _, shift in scalings], np.int8), low=low, high=high, rounding=Rounding.SINGLE, **fields,
    )  # fmt: skip


def _bias(node: Node, bias: Value | None, products: Array, outputs: int) -> Array:
    if bias is None:
        return np.zeros(outputs, np.int32)
    values = bias.values if isinstance(bias, Codes) else bias
    require(isinstance(values, np.ndarray), node, "its bias must be a constant; it is computed at run time")
    assert isinstance(values, np.ndarray)
    if not np.issubdtype(values.dtype, np.integer):
        with np.errstate(divide="ignore", invalid="ignore"):
            values = np.rint(values.astype(np.float64).reshape(-1) / products)
        require(bool(np.isfinite(values).all()), node, "its bias or its scales are not finite")
    require(values.size == outputs, node, f"its bias has {values.size} values for {outputs} channels")
    return np.clip(values.reshape(-1).astype(np.int64), -(2**31), 2**31 - 1).astype(np.int32)


def _pads(node: Node, sizes: tuple[int, ...], extents: tuple[int, ...], stride: tuple[int, ...]) -> Any:
    """((top, bottom), (left, right)) by ``pads`` or ``auto_pad``; with ``ceil_mode`` the last window may reach over the end."""
    auto = node.get("auto_pad", "NOTSET")
    require(min(stride) > 0, node, f"its strides must be 1 or more, not {stride}")
    if auto in ("SAME_UPPER", "SAME_LOWER"):
        totals = [max((-(-size // step) - 1) * step + extent - size, 0) for size, extent, step in zip(sizes, extents, stride, strict=True)]
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


def _window(node: Node, x: Tensor, size: tuple[int, ...]) -> dict[str, Any]:
    """Stride, dilation and padding of a window over an image."""
    require(len(size) == 2 and min(size) > 0, node, f"its kernel must have two axes, not {size}; only images are supported")
    stride, dilation = node.get("strides", (1, 1)), node.get("dilations", (1, 1))
    require(len(stride) == len(dilation) == 2 and min(dilation) > 0, node, f"its strides {stride} or dilations {dilation} are not pairs")
    extents = tuple(d * (k - 1) + 1 for d, k in zip(dilation, size, strict=True))
    return {"stride": stride, "dilation": dilation, "padding": _pads(node, x.shape[1:3], extents, stride)}


def _conv(m: Importer, node: Node, x: Tensor, codes: Codes, bias: Value | None) -> Make:
    """What makes a convolution; weights are [O, I / groups, kernel height, kernel width]."""
    require(codes.values.ndim == 4, node, f"its weights must have 4 axes, not {codes.values.shape}; only images are supported")
    x = m.image(node, x)
    weights = _weights(node, codes, 0).transpose(0, 2, 3, 1)
    groups, outputs, channels = node.get("group", 1), len(weights), x.shape[3]
    fits = groups > 0 and channels == groups * weights.shape[3] and outputs % groups == 0
    require(fits, node, f"its weights {codes.values.shape} in {groups} groups do not fit {channels} channels")
    kind: type[Op] = DepthwiseConv2D if groups > 1 and groups == channels else Conv2D
    if 1 < groups < channels:
        dense = np.zeros((*weights.shape[:3], channels), weights.dtype)
        for group, part in enumerate(np.split(weights, groups)):
            rows, depth = slice(group * len(part), (group + 1) * len(part)), weights.shape[3]
            dense[rows, :, :, group * depth : (group + 1) * depth] = part
        weights = dense
    fields = _window(node, x, weights.shape[1:3])
    return lambda name, numbers, limits: _layer(
        m, node, kind, x, weights, codes.scales, bias, name, numbers, limits, channels_first, **fields
    )


@handles("QLinearConv")
def qlinear_conv(m: Importer, node: Node) -> None:
    """A convolution of codes."""
    bias = m.value(node, 8) if len(node.inputs) > 8 and node.inputs[8] else None
    make = _conv(m, node, m.codes(node), _codes(m, node, 3, 0), bias)
    m.values[node.outputs[0]] = make(node.outputs[0], m.numbers(node, 6), FREE)


@handles("Conv")
def conv(m: Importer, node: Node) -> None:
    """A convolution of real numbers that codes stand for."""
    bias = m.value(node, 2) if len(node.inputs) > 2 and node.inputs[2] else None
    m.values[node.outputs[0]] = Pending(_conv(m, node, m.codes(node), _constant_codes(m, node, 1), bias))


def _constant_codes(m: Importer, node: Node, place: int) -> Codes:
    value = m.value(node, place)
    require(isinstance(value, Codes), node, f"its weights {node.inputs[place]!r} are not constant codes; quantize the whole model to int8")
    assert isinstance(value, Codes)
    return value


def _product(m: Importer, node: Node, x: Tensor, codes: Codes, bias: Value | None, *, transposed: bool) -> Make:
    """What makes a matrix product over the last axis; weights are [I, O], or [O, I]."""
    require(codes.values.ndim == 2, node, f"its weights must have 2 axes, not {codes.values.shape}")
    axis = 0 if transposed else 1
    weights = _weights(node, codes, axis)
    weights = weights if transposed else weights.T
    if x.own is not None and len(x.shape) == 2 and x.own_shape[1:] == weights.shape[1:]:
        # Where each value of the file's layout stands here.
        places = x.own.to(np.arange(weights.shape[1])[None])[0]
        order = np.empty_like(places)
        order[places] = np.arange(len(places))
        weights = weights[:, order]
    else:
        x = m.plain(node, x)
    fits = len(x.shape) >= 2 and x.shape[-1] == weights.shape[1]
    require(fits, node, f"its weights take {weights.shape[1]} values, but {x.name!r} is {x.own_shape}")
    return lambda name, numbers, limits: _layer(m, node, FullyConnected, x, weights, codes.scales, bias, name, numbers, limits)


@handles("QLinearMatMul")
def qlinear_matmul(m: Importer, node: Node) -> None:
    """A matrix product of codes."""
    make = _product(m, node, m.codes(node), _codes(m, node, 3, 1), None, transposed=False)
    m.values[node.outputs[0]] = make(node.outputs[0], m.numbers(node, 6), FREE)


@handles("com.microsoft.QGemm")
def qgemm(m: Importer, node: Node) -> None:
    """A matrix product of codes with a bias."""
    _check_gemm(node)
    transposed = bool(node.get("transB", 0))
    bias = m.value(node, 6) if node.inputs[6] else None
    make = _product(m, node, m.codes(node), _codes(m, node, 3, 0 if transposed else 1), bias, transposed=transposed)
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


def _operand(m: Importer, node: Node, value: Value, name: str, rank: int, scale: Array | None = None, point: Array | None = None) -> Tensor:
    """A tensor, or a constant made one."""
    if isinstance(value, np.ndarray) and scale is not None and point is not None:
        value = Codes(value, scale.reshape(-1), point.reshape(-1), 0)
    if not isinstance(value, Codes):
        require(isinstance(value, Real | Tensor), node, f"its input {name!r} is computed in float; quantize the whole model to int8")
        assert isinstance(value, Real | Tensor)
        return value.tensor if isinstance(value, Real) else value
    if name in m.tensors:
        return m.tensors[name]
    require(len(value.scales) == 1 and value.values.dtype != np.int32, node, f"its constant {name!r} must be of 8 bits with one scale")
    unsigned = value.values.dtype == np.uint8
    numbers = Numbers(float(value.scales[0]), int(value.zero_points[0]) - (128 if unsigned else 0), unsigned)
    codes = (value.values.astype(np.int16) - (128 if unsigned else 0)).astype(np.int8)
    codes = codes.reshape((1,) * (rank - codes.ndim) + codes.shape)
    require(codes.shape[0] == 1, node, f"its constant {name!r} of {value.values.shape} does not broadcast over the batch")
    codes = codes.transpose(0, 2, 3, 1) if codes.ndim == 4 else codes
    tensor = m.put(name, codes.shape, numbers, channels_first(codes.shape))
    m.ops.append(Constant(name=f"{name}.constant", output=name, values=np.ascontiguousarray(codes)))
    return tensor


def _arithmetic(m: Importer, node: Node, kind: type[Op], a: Tensor, b: Tensor) -> Make:
    rank = max(len(a.own_shape), len(b.own_shape))
    if rank == 4 and len(a.own_shape) == len(b.own_shape):
        a, b = m.image(node, a), m.image(node, b)
    elif a.own != b.own:
        a, b = m.plain(node, a), m.plain(node, b)
    own = channels_first if rank == 4 else (lambda _: a.own)

    def make(name: str, numbers: Numbers, limits: Limits) -> Tensor:
        low, high = clamp(numbers, limits)
        return m.add(kind, node, name, numbers, own, a=a.name, b=b.name, low=low, high=high, rounding=Rounding.SINGLE)

    return make


@handles("com.microsoft.QLinearAdd", "com.microsoft.QLinearMul")
def qlinear_arithmetic(m: Importer, node: Node) -> None:
    """A sum or product of codes."""
    kind = Add if node.kind.endswith("Add") else Multiply
    values = [m.value(node, place) for place in (0, 3)]
    rank = max(_rank(value) for value in values)
    a, b = (
        _operand(m, node, value, node.inputs[place], rank, m.constant(node, place + 1), m.constant(node, place + 2))
        for value, place in zip(values, (0, 3), strict=True)
    )
    m.values[node.outputs[0]] = _arithmetic(m, node, kind, a, b)(node.outputs[0], m.numbers(node, 6), FREE)


def _rank(value: Value) -> int:
    value = value.tensor if isinstance(value, Real) else value.values if isinstance(value, Codes) else value
    return len(value.own_shape) if isinstance(value, Tensor) else value.ndim if isinstance(value, np.ndarray) else 0


@handles("Add", "Mul", "Sub")
def arithmetic(m: Importer, node: Node) -> None:
    """A sum, product or difference of real numbers that codes stand for."""
    kind = {"Add": Add, "Mul": Multiply, "Sub": Subtract}[node.kind]
    values = [m.value(node, place) if isinstance(m.value(node, place), Codes) else m.codes(node, place) for place in (0, 1)]
    rank = max(_rank(value) for value in values)
    a, b = (_operand(m, node, value, node.inputs[place], rank) for place, value in enumerate(values))
    m.values[node.outputs[0]] = Pending(_arithmetic(m, node, kind, a, b))


@handles("Relu", "Clip")
def clip(m: Importer, node: Node) -> None:
    """A clamp, which the layer before it takes over."""
    limits = (0.0, math.inf)
    if node.kind == "Clip":
        bounds = [node.get(name, default) for name, default in (("min", -math.inf), ("max", math.inf))]
        given = [m.constant(node, place, np.array(bound)) for place, bound in ((1, bounds[0]), (2, bounds[1]))]
        require(all(value.size == 1 for value in given), node, "its limits must be single numbers")
        limits = (float(given[0].reshape(-1)[0]), float(given[1].reshape(-1)[0]))
    value = m.value(node)
    if isinstance(value, Pending):
        limits = (max(limits[0], value.limits[0]), min(limits[1], value.limits[1]))
        m.values[node.outputs[0]] = Pending(value.make, value.natural, limits)
        return
    x = m.codes(node)
    numbers = numbers_of(x)
    m.values[node.outputs[0]] = Pending(
        lambda name, numbers, limits: m.requantized(node, x, name, numbers, limits), numbers, limits
    )


@handles("com.microsoft.QLinearGlobalAveragePool", "GlobalAveragePool")
def global_average_pool(m: Importer, node: Node) -> None:
    """The mean over rows and columns."""
    require(not node.get("channels_last", 0), node, "channels_last is not supported; export the model with channels first")
    x = m.image(node, m.codes(node))

    def make(name: str, numbers: Numbers, limits: Limits) -> Tensor:
        require(clamp(numbers, limits) == (-128, 127), node, "a clamp behind a mean is not supported")
        return m.add(Mean, node, name, numbers, channels_first, input=x.name, axes=(1, 2), keep=True, rounding=Rounding.SINGLE)

    m.values[node.outputs[0]] = make(node.outputs[0], m.numbers(node, 3), FREE) if node.kind.startswith("com") else Pending(make)


@handles("com.microsoft.QLinearAveragePool", "AveragePool")
def average_pool(m: Importer, node: Node) -> None:
    """The mean of windows: a depthwise convolution with weights of 1."""
    x, size = m.image(node, m.codes(node)), node.get("kernel_shape", ())
    fields = _window(node, x, size)
    padded = any(any(pair) for pair in fields["padding"])
    require(not padded or node.get("count_include_pad", 0), node, "means of windows with padding are not supported, unless it counts")
    count, ones = np.float32(math.prod(size)), np.ones((x.shape[3], *size, 1), np.int8)

    def make(name: str, numbers: Numbers, limits: Limits) -> Tensor:
        scales = np.ones(1, np.float32) / count
        return _layer(m, node, DepthwiseConv2D, x, ones, scales, None, name, numbers, limits, channels_first, **fields)

    m.values[node.outputs[0]] = make(node.outputs[0], m.numbers(node, 3), FREE) if node.kind.startswith("com") else Pending(make)


@handles("com.microsoft.QLinearLeakyRelu", "LeakyRelu", "com.microsoft.QLinearSigmoid", "Sigmoid", "Tanh", "HardSwish", "HardSigmoid")
def table(m: Importer, node: Node) -> None:
    """A function of one value."""
    x = m.codes(node)
    kind = node.kind.removeprefix("com.microsoft.QLinear")
    alpha = np.float32(node.get("alpha", 0.01 if kind == "LeakyRelu" else 0.2))
    functions: dict[str, Callable[[Array], Array]] = {
        "LeakyRelu": lambda real: np.where(real >= 0, real, alpha * real),
        "Sigmoid": golden.sigmoid,
        "Tanh": lambda real: np.tanh(real.astype(np.float64)).astype(np.float32),
        "HardSwish": lambda real: real * np.clip(real / np.float32(6) + np.float32(0.5), 0, 1).astype(np.float32),
        "HardSigmoid": lambda real: np.clip(alpha * real + np.float32(node.get("beta", 0.5)), 0, 1).astype(np.float32),
    }

    def make(name: str, numbers: Numbers, limits: Limits) -> Tensor:
        values = golden.real_table((x.scale, x.zero_point), (numbers.scale, numbers.zero_point), functions[kind])
        values = np.clip(values, *clamp(numbers, limits)).astype(np.int8)
        return m.add(Table, node, name, numbers, lambda _: x.own, input=x.name, table=values, function=kind.lower())

    m.values[node.outputs[0]] = make(node.outputs[0], m.numbers(node, 3), FREE) if node.kind.startswith("com") else Pending(make)


@handles("com.microsoft.QLinearSoftmax", "Softmax")
def softmax(m: Importer, node: Node) -> None:
    """Softmax over the last axis."""
    x = m.plain(node, m.codes(node))
    last = node.get("axis", -1) % len(x.shape) == len(x.shape) - 1
    require(last, node, f"its axis {node.get('axis', -1)} is not the last; export the model with a transposition before it")

    def make(name: str, numbers: Numbers, limits: Limits) -> Tensor:
        return m.add(Softmax, node, name, numbers, input=x.name, rounding=Rounding.SINGLE)

    m.values[node.outputs[0]] = make(node.outputs[0], m.numbers(node, 3), FREE) if node.kind.startswith("com") else Pending(make)


@handles("ArgMax")
def arg_max(m: Importer, node: Node) -> None:
    """The position of the largest."""
    x = m.plain(node, m.codes(node))
    require(not node.get("select_last_index", 0), node, "select_last_index is not supported")
    rank = len(x.shape)
    axis = node.get("axis", 0)
    require(-rank <= axis < rank, node, f"its axis {axis} is none of {rank}")
    m.values[node.outputs[0]] = m.add(
        ArgMax, node, node.outputs[0], Numbers(1.0, 0, False), dtype="int32", input=x.name, axis=axis % rank,
        keep=bool(node.get("keepdims", 1)),
    )  # fmt: skip


@handles("com.microsoft.QLinearConcat", "Concat")
def concat(m: Importer, node: Node) -> None:
    """Tensors one behind the other, each in the result's numbers."""
    coded = node.kind.startswith("com")
    places = range(2, len(node.inputs), 3) if coded else range(len(node.inputs))
    sources = [m.codes(node, place) for place in places]
    require(len(sources) > 0, node, "it joins nothing")
    rank = len(sources[0].own_shape)
    require(all(len(x.own_shape) == rank for x in sources), node, "its inputs have different numbers of axes")
    axis = node.get("axis", 1) % rank
    sources = [m.image(node, x) if rank == 4 else m.plain(node, x) for x in sources]
    here = (0, 3, 1, 2)[axis] if rank == 4 else axis

    def make(name: str, numbers: Numbers, limits: Limits) -> Tensor:
        require(clamp(numbers, limits) == (-128, 127), node, "a clamp behind a concatenation is not supported")
        joined = [x if numbers_of(x) == numbers else _moved(m, node, x, numbers, f"{name}.{place}") for place, x in enumerate(sources)]
        own = channels_first if rank == 4 else (lambda _: None)
        return m.add(Concatenate, node, name, numbers, own, sources=tuple(x.name for x in joined), axis=here)

    m.values[node.outputs[0]] = make(node.outputs[0], m.numbers(node, 0), FREE) if coded else Pending(make)


def _moved(m: Importer, node: Node, x: Tensor, numbers: Numbers, name: str) -> Tensor:
    values = golden.real_table((x.scale, x.zero_point), (numbers.scale, numbers.zero_point), lambda real: real)
    return m.add(Table, node, name, numbers, lambda _: x.own, input=x.name, table=values, function="requantize")
