"""ONNX's quantized operators, one by one: what each becomes in a graph."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.folding import Handler, compute, registers
from sateen.frontends.onnx.importer import (
    Codes,
    Importer,
    Numbers,
    Pending,
    Real,
    Value,
    channels_first,
    clamp,
    numbers_of,
)
from sateen.frontends.onnx.layers import FREE, LAYERS, Limits, Make, codes_at, layer, window
from sateen.frontends.onnx.moves import MOVES
from sateen.graph import (
    LARGEST,
    Add,
    ArgMax,
    Array,
    Concatenate,
    DepthwiseConv2D,
    GraphError,
    Mean,
    Multiply,
    Op,
    Softmax,
    Subtract,
    Table,
    Tensor,
    require,
)
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

__all__ = ["HANDLERS"]

HANDLERS: dict[str, Handler] = {**MOVES, **LAYERS, **dict.fromkeys(("Constant", "Shape", "Gather", "Div"), compute)}
"""What makes each kind of operator."""
handles = registers(HANDLERS)


@handles("QuantizeLinear")
def quantize_linear(m: Importer, node: Node) -> None:
    """Real numbers become codes: here a layer's result has its name."""
    value = m.value(node)
    require(
        not isinstance(value, np.ndarray), node, "it quantizes a constant; export the model with constants quantized"
    )
    m.values[node.outputs[0]] = m.quantize(node, value, m.numbers(node, 1), node.outputs[0])


@handles("DequantizeLinear")
def dequantize_linear(m: Importer, node: Node) -> None:
    """Codes become real numbers, which is only remembered."""
    value = m.value(node)
    if isinstance(value, np.ndarray):
        m.values[node.outputs[0]] = codes_at(m, node, 0, node.get("axis", 1))
        return
    require(
        isinstance(value, Tensor) and value.dtype == "int8",
        node,
        f"its input {node.inputs[0]!r} are no codes; quantize to 8 bits",
    )
    assert isinstance(value, Tensor)
    numbers = m.numbers(node, 1)
    require(
        numbers == numbers_of(value), node, f"its scale and zero point are not those of its input {node.inputs[0]!r}"
    )
    m.values[node.outputs[0]] = Real(value)


def _operand(m: Importer, node: Node, value: Value, name: str, rank: int) -> Tensor:
    """A tensor, or constant codes made one."""
    if not isinstance(value, Codes):
        require(
            isinstance(value, Real | Tensor),
            node,
            f"its input {name!r} is computed in float; quantize the whole model to int8",
        )
        assert isinstance(value, Real | Tensor)
        return value.tensor if isinstance(value, Real) else value
    require(
        len(value.scales) == 1 and value.values.dtype != np.int32,
        node,
        f"its constant {name!r} must be of 8 bits with one scale",
    )
    unsigned = value.values.dtype == np.uint8
    numbers = Numbers(float(value.scales[0]), int(value.zero_points[0]) - (128 if unsigned else 0), unsigned)
    codes = (value.values.astype(np.int16) - (128 if unsigned else 0)).astype(np.int8)
    codes = codes.reshape((1,) * (rank - codes.ndim) + codes.shape)
    require(
        codes.shape[:1] == (1,),
        node,
        f"its constant {name!r} of {value.values.shape} does not broadcast over the batch",
    )
    codes = codes.transpose(0, 2, 3, 1) if codes.ndim == 4 else codes
    return m.add_constant(name, np.ascontiguousarray(codes), numbers, channels_first(codes.shape))


def _arithmetic(m: Importer, node: Node, kind: type[Op], a: Tensor, b: Tensor) -> Make:
    rank = max(len(a.file_shape), len(b.file_shape))
    a, b = m.of_rank(node, a, rank), m.of_rank(node, b, rank)
    if rank == 4:
        a, b = m.image(node, a), m.image(node, b)
    elif a.file_layout != b.file_layout:
        a, b = m.plain(node, a), m.plain(node, b)
    layout = channels_first if rank == 4 else (lambda _: a.file_layout)

    def make(name: str, numbers: Numbers, limits: Limits) -> Tensor:
        low, high = clamp(numbers, limits)
        return m.add(
            kind, node, name, numbers, layout, a=a.name, b=b.name, low=low, high=high, rounding=Rounding.SINGLE
        )

    return make


@handles("com.microsoft.QLinearAdd", "com.microsoft.QLinearMul")
def qlinear_arithmetic(m: Importer, node: Node) -> None:
    """A sum or product of codes."""
    kind = Add if node.kind.endswith("Add") else Multiply
    values = [
        codes_at(m, node, place, 0) if isinstance(m.value(node, place), np.ndarray) else m.value(node, place)
        for place in (0, 3)
    ]
    rank = max(_rank(value) for value in values)
    a, b = (_operand(m, node, value, node.inputs[place], rank) for value, place in zip(values, (0, 3), strict=True))
    m.values[node.outputs[0]] = _arithmetic(m, node, kind, a, b)(node.outputs[0], m.numbers(node, 6), FREE)


def _rank(value: Value) -> int:
    value = value.tensor if isinstance(value, Real) else value.values if isinstance(value, Codes) else value
    return len(value.file_shape) if isinstance(value, Tensor) else value.ndim if isinstance(value, np.ndarray) else 0


@handles("Add", "Mul", "Sub")
def arithmetic(m: Importer, node: Node) -> None:
    """A sum, product or difference of real numbers that codes stand for."""
    kind = {"Add": Add, "Mul": Multiply, "Sub": Subtract}[node.kind]
    values = [
        m.value(node, place) if isinstance(m.value(node, place), Codes) else m.codes(node, place) for place in (0, 1)
    ]
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
        good = all(value.size == 1 and not np.isnan(value).any() for value in given)
        require(good, node, "its limits must be single numbers")
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
    require(
        not node.get("channels_last", 0), node, "channels_last is not supported; export the model with channels first"
    )
    x = m.image(node, m.codes(node))

    def make(name: str, numbers: Numbers, limits: Limits) -> Tensor:
        require(clamp(numbers, limits) == (-128, 127), node, "a clamp behind a mean is not supported")
        return m.add(
            Mean,
            node,
            name,
            numbers,
            channels_first,
            input=x.name,
            axes=(1, 2),
            keep_dims=True,
            rounding=Rounding.SINGLE,
        )

    m.values[node.outputs[0]] = (
        make(node.outputs[0], m.numbers(node, 3), FREE) if node.kind.startswith("com") else Pending(make)
    )


@handles("com.microsoft.QLinearAveragePool", "AveragePool")
def average_pool(m: Importer, node: Node) -> None:
    """The mean of windows: a depthwise convolution with weights of 1."""
    x, size = m.image(node, m.codes(node)), node.get("kernel_shape", ())
    fields = window(node, x, size)
    padded = any(any(pair) for pair in fields["padding"])
    require(
        not padded or node.get("count_include_pad", 0),
        node,
        "means of windows with padding are not supported, unless it counts",
    )
    require(math.prod(size) * x.shape[3] <= LARGEST, node, f"its window of {size} is too large")
    count, ones = np.float32(math.prod(size)), np.ones((x.shape[3], *size, 1), np.int8)

    def make(name: str, numbers: Numbers, limits: Limits) -> Tensor:
        scales = np.ones(1, np.float32) / count
        return layer(m, node, DepthwiseConv2D, x, ones, scales, None, name, numbers, limits, channels_first, **fields)

    m.values[node.outputs[0]] = (
        make(node.outputs[0], m.numbers(node, 3), FREE) if node.kind.startswith("com") else Pending(make)
    )


@handles(
    "com.microsoft.QLinearLeakyRelu",
    "LeakyRelu",
    "com.microsoft.QLinearSigmoid",
    "Sigmoid",
    "Tanh",
    "HardSwish",
    "HardSigmoid",
)
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
        values = _table(node, x, numbers, functions[kind])
        values = np.clip(values, *clamp(numbers, limits)).astype(np.int8)
        return m.add(
            Table, node, name, numbers, lambda _: x.file_layout, input=x.name, table=values, function=kind.lower()
        )

    m.values[node.outputs[0]] = (
        make(node.outputs[0], m.numbers(node, 3), FREE) if node.kind.startswith("com") else Pending(make)
    )


@handles("com.microsoft.QLinearSoftmax", "Softmax")
def softmax(m: Importer, node: Node) -> None:
    """Softmax over the last axis."""
    x = m.plain(node, m.codes(node))
    last = node.get("axis", -1) % len(x.shape) == len(x.shape) - 1
    require(
        last, node, f"its axis {node.get('axis', -1)} is not the last; export the model with a transposition before it"
    )

    def make(name: str, numbers: Numbers, limits: Limits) -> Tensor:
        return m.add(Softmax, node, name, numbers, input=x.name, rounding=Rounding.SINGLE)

    m.values[node.outputs[0]] = (
        make(node.outputs[0], m.numbers(node, 3), FREE) if node.kind.startswith("com") else Pending(make)
    )


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
        keep_dims=bool(node.get("keepdims", 1)),
    )  # fmt: skip


@handles("com.microsoft.QLinearConcat", "Concat")
def concat(m: Importer, node: Node) -> None:
    """Tensors one behind the other, each in the result's numbers."""
    coded = node.kind.startswith("com")
    places = range(2, len(node.inputs), 3) if coded else range(len(node.inputs))
    sources = [m.codes(node, place) for place in places]
    require(len(sources) > 0, node, "it joins nothing")
    rank = len(sources[0].file_shape)
    require(all(len(x.file_shape) == rank for x in sources), node, "its inputs have different numbers of axes")
    axis = node.get("axis", 1)
    require(-rank <= axis < rank, node, f"its axis {axis} is none of {rank}")
    axis %= rank
    sources = [m.image(node, x) if rank == 4 else m.plain(node, x) for x in sources]
    here = (0, 3, 1, 2)[axis] if rank == 4 else axis

    def make(name: str, numbers: Numbers, limits: Limits) -> Tensor:
        require(clamp(numbers, limits) == (-128, 127), node, "a clamp behind a concatenation is not supported")
        joined = [
            x if numbers_of(x) == numbers else _moved(m, node, x, numbers, f"{name}.{place}")
            for place, x in enumerate(sources)
        ]
        layout = channels_first if rank == 4 else (lambda _: None)
        return m.add(Concatenate, node, name, numbers, layout, sources=tuple(x.name for x in joined), axis=here)

    m.values[node.outputs[0]] = make(node.outputs[0], m.numbers(node, 0), FREE) if coded else Pending(make)


def _moved(m: Importer, node: Node, x: Tensor, numbers: Numbers, name: str) -> Tensor:
    values = _table(node, x, numbers, lambda real: real)
    fields: dict[str, Any] = {"input": x.name, "table": values, "function": "requantize"}
    return m.add(Table, node, m.name_of(name), numbers, lambda _: x.file_layout, **fields)


def _table(node: Node, x: Tensor, numbers: Numbers, function: Callable[[Array], Array]) -> Array:
    try:
        return golden.real_table((x.scale, x.zero_point), (numbers.scale, numbers.zero_point), function)
    except ValueError as error:
        raise GraphError(f"{node}: its scales do not fit together ({error}); quantize the model anew") from None
