"""The handlers of ONNX's operators, except those with weights and those that move values."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sateen.frontends.onnx.arranging import ARRANGES
from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.folding import FOLDED, clip_limits, registers
from sateen.frontends.onnx.importer import Importer, Operator
from sateen.frontends.onnx.layers import LAYERS, quantized_constant
from sateen.frontends.onnx.moves import MOVES
from sateen.frontends.onnx.normalization import NORMALIZATIONS
from sateen.frontends.onnx.pools import POOLS, kept
from sateen.frontends.onnx.products import PRODUCTS
from sateen.frontends.onnx.qonnx import QUANTS
from sateen.frontends.onnx.quantizing import QUANTIZING
from sateen.frontends.onnx.replacement import Kernel
from sateen.frontends.onnx.resizing import RESIZES
from sateen.frontends.onnx.transposed import TRANSPOSED
from sateen.frontends.onnx.values import (
    UNLIMITED,
    Deferred,
    Dequantized,
    Limits,
    MakeResult,
    Quantization,
    QuantizedConstant,
    Value,
    channels_first,
    clamp,
    quantization_of,
    stored,
)
from sateen.graph import (
    Add,
    ArgMax,
    Array,
    Concatenate,
    Constant,
    FileLayout,
    GraphError,
    Multiply,
    Op,
    Reshape,
    Softmax,
    Subtract,
    Table,
    Tensor,
    require,
)
from sateen.hw.spec.descriptor import Rounding
from sateen.sim import golden

__all__ = ["HANDLERS"]

HANDLERS: dict[str, Operator] = {
    **FOLDED,
    **MOVES,
    **ARRANGES,
    **RESIZES,
    **LAYERS,
    **NORMALIZATIONS,
    **POOLS,
    **PRODUCTS,
    **TRANSPOSED,
    **QUANTS,
    **QUANTIZING,
}
"""How each kind of operator is imported."""
handles, fuses = registers(HANDLERS), registers(HANDLERS, fused=True)


def _operand(importer: Importer, node: Node, value: Value, name: str, rank: int) -> Tensor:
    """An operand as a tensor of the graph; a quantized constant is added to it."""
    if not isinstance(value, QuantizedConstant):
        require(
            isinstance(value, Dequantized | Tensor),
            node,
            f"its input {name!r} is not quantized; place QuantizeLinear and DequantizeLinear before it",
        )
        assert isinstance(value, Dequantized | Tensor)
        return value.tensor if isinstance(value, Dequantized) else value
    require(
        len(value.scales) == 1 and value.values.dtype != np.int32,
        node,
        f"its constant {name!r} must be of 8 bits with one scale",
    )
    unsigned = value.values.dtype == np.uint8
    offset = 128 if unsigned else 0
    quantization = Quantization(float(value.scales[0]), int(value.zero_points[0]) - offset, unsigned)
    codes = (value.values.astype(np.int16) - offset).astype(np.int8)
    codes = codes.reshape((1,) * (rank - codes.ndim) + codes.shape)
    require(
        codes.shape[:1] == (1,),
        node,
        f"its constant {name!r} of {value.values.shape} does not broadcast over the batch",
    )
    codes = codes.transpose(0, 2, 3, 1) if codes.ndim == 4 else codes
    return importer.add_constant(name, np.ascontiguousarray(codes), quantization, channels_first(codes.shape))


def _arithmetic(importer: Importer, node: Node, kind: type[Op], a: Tensor, b: Tensor, *, exchanged: bool) -> MakeResult:
    rank = max(len(a.file_shape), len(b.file_shape))
    a, b = importer.with_rank(node, a, rank), importer.with_rank(node, b, rank)
    if rank == 4:
        a, b = importer.as_image(node, a), importer.as_image(node, b)
    elif a.file_layout != b.file_layout:
        a, b = importer.in_file_layout(node, a), importer.in_file_layout(node, b)
    layout, kernel = channels_first if rank == 4 else (lambda _: a.file_layout), importer.kernel(node)
    if kind is Add and exchanged:
        a, b = b, a

    def make(name: str, quantization: Quantization, limits: Limits) -> Tensor:
        low, high = clamp(quantization, limits)
        # Kernels of codes have no clamp.
        fused = kernel is not Kernel.REAL and (low, high) == (-128, 127) and kind is not Subtract
        fields: dict[str, Any] = {"low": low, "high": high, "fused": fused, "as_uint8": kernel is Kernel.UINT8}
        return importer.add(
            kind, node, name, quantization, layout, a=a.name, b=b.name, rounding=Rounding.FLOAT32, **fields
        )

    return make


def _exchanged(a: Value, b: Value) -> bool:
    """Whether onnxruntime exchanges the operands of a sum, whose float32 depends on their order: if neighbouring values
    of ``b`` meet one value of ``a``, or if it takes the values one by one."""
    pairs = zip(reversed(_shape(a) or (1,)), reversed(_shape(b) or (1,)), strict=False)
    return next((size == 1 for size, other in pairs if max(size, other) > 1), True)


def _codes(importer: Importer, node: Node, place: int) -> Tensor | QuantizedConstant:
    """Codes at a place of the inputs: a tensor's, or in operator form a constant's."""
    if node.operator_form and isinstance(importer.value(node, place), np.ndarray):
        return quantized_constant(importer, node, place, 0)
    return importer.codes(node, place)


@handles("com.microsoft.QLinearAdd 1", "com.microsoft.QLinearMul 1")
def qlinear_arithmetic(importer: Importer, node: Node) -> None:
    """A sum or product of integers."""
    kind = Add if node.kind.endswith("Add") else Multiply
    values = [_codes(importer, node, place) for place in (0, 3)]
    rank = max(len(_shape(value)) for value in values)
    a, b = (
        _operand(importer, node, value, node.inputs[place], rank) for value, place in zip(values, (0, 3), strict=True)
    )
    make = _arithmetic(importer, node, kind, a, b, exchanged=_exchanged(*values))
    importer.set_result(node, make, 6, stored(a))


def _shape(value: Value) -> tuple[int, ...]:
    """The shape of a value in the file's layout."""
    if isinstance(value, Dequantized):
        value = value.tensor
    if isinstance(value, QuantizedConstant):
        value = value.values
    if isinstance(value, Tensor):
        return value.file_shape
    return value.shape if isinstance(value, np.ndarray) else ()


@handles("Add 7 13 14", "Mul 7 13 14", "Sub 7 13 14")
def arithmetic(importer: Importer, node: Node) -> None:
    """A sum, product or difference of dequantized values."""
    kind = {"Add": Add, "Mul": Multiply, "Sub": Subtract}[node.kind]
    values = [importer.value(node, place) for place in (0, 1)]
    values = [
        value if isinstance(value, QuantizedConstant) else importer.quantized_input(node, place)
        for place, value in enumerate(values)
    ]
    rank = max(len(_shape(value)) for value in values)
    a, b = (_operand(importer, node, value, node.inputs[place], rank) for place, value in enumerate(values))
    importer.set_result(node, _arithmetic(importer, node, kind, a, b, exchanged=_exchanged(*values)))


@fuses("Relu 6 13 14", "Clip 6 11 12 13")
def clip(importer: Importer, node: Node) -> None:
    """A clamp, which is fused into the layer before it."""
    limits = clip_limits(importer, node) if node.kind == "Clip" else (0.0, math.inf)
    _clip(importer, node, 0, limits)


@fuses("Max 8 12 13", "Min 8 12 13")
def limit(importer: Importer, node: Node) -> None:
    """A clamp by constants of one value; what else is compared is real."""
    values = [importer.value(node, place) for place in range(len(node.inputs))]
    single = [place for place, value in enumerate(values) if not isinstance(value, np.ndarray)]
    given = [value for value in values if isinstance(value, np.ndarray)]
    alike = all(value.size == 1 and value.ndim <= 1 and not np.isnan(value).any() for value in given)
    if len(single) != 1 or not given or not alike:
        importer.import_real(node)
        return
    bounds = [float(value.reshape(-1)[0]) for value in given]
    low, high = (max(bounds), math.inf) if node.kind == "Max" else (-math.inf, min(bounds))
    _clip(importer, node, single[0], (low, high))


def _clip(importer: Importer, node: Node, place: int, limits: Limits) -> None:
    value = importer.value(node, place)
    if isinstance(value, Tensor) and value.dtype == "int8":
        only = importer.is_read_once(node.inputs[place])
        importer.values[node.outputs[0]] = importer.clip_codes(node, value, node.outputs[0], limits, only=only)
        return
    if isinstance(value, Deferred) and value.limits != UNLIMITED:
        # Limits of one clamp beyond the other's: the last counts.
        low, high = (float(np.clip(limit, *limits)) for limit in value.limits)
        limits = low, high
    if isinstance(value, Deferred):
        importer.values[node.outputs[0]] = Deferred(value.make, value.inherited, limits)
        return
    x = importer.quantized_input(node, place)
    quantization = quantization_of(x)
    importer.values[node.outputs[0]] = Deferred(
        lambda name, quantization, limits: importer.requantize(node, x, name, quantization, limits),
        quantization,
        limits,
    )


@handles(
    "com.microsoft.QLinearLeakyRelu 1",
    "LeakyRelu 6 16",
    "com.microsoft.QLinearSigmoid 1",
    "Sigmoid 6 13",
    "Tanh 6 13",
    "HardSwish 14 22",
    "HardSigmoid 6 22",
)
def table(importer: Importer, node: Node) -> None:
    """A function of one value."""
    x = importer.codes(node)
    kind = node.kind.removeprefix("com.microsoft.QLinear")
    alpha, beta = np.float32(node.get("alpha", 0.0)), np.float32(node.get("beta", 0.0))
    functions: dict[str, Callable[[Array], Array]] = {
        "LeakyRelu": lambda real: np.where(real >= 0, real, alpha * real),
        "Sigmoid": golden.float32_sigmoid,
        "Tanh": golden.float32_tanh,
        "HardSwish": lambda real: real * np.clip(real / np.float32(6) + np.float32(0.5), 0, 1).astype(np.float32),
        "HardSigmoid": lambda real: np.clip(alpha * real + beta, 0, 1).astype(np.float32),
    }

    def make(name: str, quantization: Quantization, limits: Limits) -> Tensor:
        values = _table(node, x, quantization, functions[kind])
        values = np.clip(values, *clamp(quantization, limits)).astype(np.int8)
        return importer.add(
            Table, node, name, quantization, lambda _: x.file_layout, input=x.name, table=values, function=kind.lower()
        )

    importer.set_result(node, make, 3, stored(x))


@handles("com.microsoft.QLinearSoftmax 1", "Softmax 1 11 13")
def softmax(importer: Importer, node: Node) -> None:
    """Softmax over an axis; before version 13, over the axis and all behind it. It is real where onnxruntime has no
    kernel of codes for it."""
    if not node.operator_form and importer.kernel(node) is Kernel.REAL:
        importer.import_real(node)
        return
    x = importer.codes(node)
    version = node.get("opset", 0) if node.operator_form else node.schema.version if node.schema else 0
    axis = _axis(node, len(x.file_shape))
    layout: Callable[[tuple[int, ...]], FileLayout | None] = lambda _: None  # noqa: E731
    require(version > 0, node, "it does not say by which opset it computes; export the model anew")
    if version < 13:
        x = importer.in_file_layout(node, x)
        shape = x.shape
        one = shape[0] == 1 and not importer.model.free
        require(axis > 0 or one, node, "it normalizes over the batch, which is not supported")
        shape = (shape[0], math.prod(shape[1:axis]), math.prod(shape[max(axis, 1) :]))
    else:
        require(axis > 0, node, "it normalizes over the batch, which is not supported")
        x, layout = importer.with_axis_last(node, x, axis)
        shape = x.shape

    def make(name: str, quantization: Quantization, limits: Limits) -> Tensor:
        if shape == x.shape:
            return importer.add(Softmax, node, name, quantization, layout, input=x.name, rounding=Rounding.FLOAT32)
        rows = [importer.name_of(f"{name}.{part}") for part in ("rows", "shares")]
        importer.add(Reshape, node, rows[0], quantization_of(x), shape=shape, input=x.name)
        importer.add(Softmax, node, rows[1], quantization, input=rows[0], rounding=Rounding.FLOAT32)
        return importer.add(Reshape, node, name, quantization, shape=x.shape, input=rows[1])

    importer.set_result(node, importer.with_clamp(node, make), 3, stored(x))


def _axis(node: Node, rank: int) -> int:
    """The attribute ``axis``, counted from the front."""
    axis = node.get("axis")
    require(axis is not None, node, "its attribute axis is missing; export the model anew")
    require(-rank <= axis < rank, node, f"its axis {axis} is none of {rank}")
    return int(axis % rank)


@handles("ArgMax 1 11 12 13")
def arg_max(importer: Importer, node: Node) -> None:
    """The position of the largest."""
    value = importer.value(node)
    coded = isinstance(value, Tensor) and value.dtype == "int8"
    x = importer.in_file_layout(node, value if coded else importer.quantized_input(node))  # type: ignore[arg-type]
    importer.values[node.outputs[0]] = importer.add(
        ArgMax, node, node.outputs[0], Quantization(1.0, 0, False), dtype="int32", input=x.name,
        axis=_axis(node, len(x.shape)), keep_dims=kept(node),
    )  # fmt: skip


@handles("com.microsoft.QLinearConcat 1", "Concat 4 11 13")
def concat(importer: Importer, node: Node) -> None:
    """Concatenates tensors, each requantized to the result's quantization."""
    places = range(2, len(node.inputs), 3) if node.operator_form else range(len(node.inputs))
    values = [importer.value(node, place) for place in places]
    # Integers in QDQ form stand for whatever is said behind.
    moved = not node.operator_form and all(isinstance(value, Tensor) for value in values)
    given = [
        value if moved or isinstance(value, QuantizedConstant) else _codes(importer, node, place)
        for value, place in zip(values, places, strict=True)
    ]
    ranks = {len(_shape(value)) for value in given}
    require(len(ranks) == 1, node, "its inputs have different numbers of axes, or there is none")
    rank = ranks.pop()
    sources = [
        _operand(importer, node, value, node.inputs[place], rank) for value, place in zip(given, places, strict=True)
    ]
    if moved:
        sources = [importer.restated(node, x, quantization_of(sources[0])) for x in sources]
    axis = _axis(node, rank)
    sources = [importer.as_image(node, x) if rank == 4 else importer.in_file_layout(node, x) for x in sources]
    graph_axis = (0, 3, 1, 2)[axis] if rank == 4 else axis

    def make(name: str, quantization: Quantization, limits: Limits) -> Tensor:
        joined = [
            x
            if quantization_of(x) == quantization
            else _requantized(importer, node, x, quantization, f"{name}.{place}")
            for place, x in enumerate(sources)
        ]
        layout = channels_first if rank == 4 else (lambda _: None)
        return importer.add(
            Concatenate, node, name, quantization, layout, sources=tuple(x.name for x in joined), axis=graph_axis
        )

    if moved:
        name = node.outputs[0]
        importer.values[name] = make(name, quantization_of(sources[0]), UNLIMITED)
        return
    importer.set_result(node, importer.with_clamp(node, make), 0, stored(sources[0]))


def _requantized(importer: Importer, node: Node, x: Tensor, quantization: Quantization, name: str) -> Tensor:
    values = _table(node, x, quantization, lambda real: real)
    maker = next((op for op in importer.ops if op.output == x.name), None)
    if isinstance(maker, Constant):
        codes = values[maker.values.astype(np.int64) + 128]
        return importer.add_constant(importer.name_of(name), codes, quantization, x.file_layout)
    fields: dict[str, Any] = {"input": x.name, "table": values, "function": "requantize"}
    return importer.add(Table, node, importer.name_of(name), quantization, lambda _: x.file_layout, **fields)


def _table(node: Node, x: Tensor, quantization: Quantization, function: Callable[[Array], Array]) -> Array:
    try:
        return golden.real_table((x.scale, x.zero_point), (quantization.scale, quantization.zero_point), function)
    except ValueError as error:
        raise GraphError(f"{node}: its scales do not fit together ({error}); quantize the model anew") from None
