"""ONNX's operators on real numbers, which the host computes: what comes before the first quantization of a model or
behind the last, and what stands between quantized layers and is not quantized itself.

Their results are onnxruntime's to the accuracy of float32, and equal where an operation is rounded once.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.folding import clip_limits, registers
from sateen.frontends.onnx.importer import Importer, Operator
from sateen.frontends.onnx.moves import BOOL, FLOAT, INT32, INT64, pieces
from sateen.frontends.onnx.normalization import REAL_NORMALIZATIONS
from sateen.frontends.onnx.pools import kept
from sateen.frontends.onnx.products import REAL_PRODUCTS
from sateen.frontends.onnx.real_layers import REAL_LAYERS
from sateen.frontends.onnx.resizing import REAL_RESIZES
from sateen.frontends.onnx.transposed import REAL_TRANSPOSED
from sateen.frontends.onnx.values import REAL, Deferred, QuantizedConstant, channels_first, plain, real_values
from sateen.graph import (
    ArgMax,
    Array,
    Cast,
    Concatenate,
    Dequantize,
    FileLayout,
    RealBinary,
    RealReduce,
    RealSoftmax,
    RealTop,
    RealUnary,
    Reshape,
    Slice,
    Tensor,
    require,
)

__all__ = ["REALS"]

REALS: dict[str, Operator] = {**REAL_LAYERS, **REAL_NORMALIZATIONS, **REAL_PRODUCTS, **REAL_RESIZES, **REAL_TRANSPOSED}
"""How each kind of operator is imported on real numbers, beside those of :data:`REAL_MOVES`."""
handles = registers(REALS)

UNARY = {
    "Abs 6 13": "abs",
    "Ceil 6 13": "ceil",
    "Cos 7 22": "cos",
    "Erf 9 13": "erf",
    "Exp 6 13": "exp",
    "Floor 6 13": "floor",
    "HardSwish 14 22": "hard_swish",
    "Log 6 13": "log",
    "Mish 18 22": "mish",
    "Neg 6 13": "negate",
    "Reciprocal 6 13": "reciprocal",
    "Relu 6 13 14": "relu",
    "Round 11 22": "round",
    "Sigmoid 6 13": "sigmoid",
    "Sign 9 13": "sign",
    "Sin 7 22": "sin",
    "Softplus 1 22": "softplus",
    "Softsign 1 22": "softsign",
    "Sqrt 6 13": "sqrt",
    "Tanh 6 13": "tanh",
    "com.microsoft.Gelu 1": "gelu",
}
"""Operators, with their versions, and the functions that they compute."""
PARAMETERS = {
    "Elu 6 22": ("elu", ("alpha",)),
    "HardSigmoid 6 22": ("hard_sigmoid", ("alpha", "beta")),
    "LeakyRelu 6 16": ("leaky_relu", ("alpha",)),
    "Selu 6 22": ("selu", ("alpha", "gamma")),
}
"""The same of functions with parameters."""
BINARY = {
    "Add 7 13 14": "add",
    "Div 7 13 14": "divide",
    "Max 8 12 13": "maximum",
    "Min 8 12 13": "minimum",
    "Mul 7 13 14": "multiply",
    "PRelu 7 9 16": "prelu",
    "Pow 7 12 13 15": "power",
    "Sub 7 13 14": "subtract",
    "Sum 8 13": "add",
}
REDUCTIONS = {
    "ReduceL1 1 11 13 18": "l1",
    "ReduceL2 1 11 13 18": "l2",
    "ReduceLogSumExp 1 11 13 18": "log_sum_exp",
    "ReduceMax 1 11 12 13 18 20": "maximum",
    "ReduceMean 1 11 13 18": "mean",
    "ReduceMin 1 11 12 13 18 20": "minimum",
    "ReduceProd 1 11 13 18": "product",
    "ReduceSum 1 11 13": "sum",
    "ReduceSumSquare 1 11 13 18": "sum_square",
}


def _functions(table: dict[str, str]) -> dict[str, str]:
    """By operators' kinds, without versions."""
    return {key.split()[0]: function for key, function in table.items()}


def add_unary(importer: Importer, node: Node, function: str, *parameters: float) -> None:
    """Appends a function of each value."""
    x = importer.real(node)
    fields: dict[str, Any] = {"input": x.name, "function": function, "parameters": parameters}
    name = importer.real_name(node)
    result = importer.add(RealUnary, node, name, REAL, lambda _: x.file_layout, dtype="float32", **fields)
    importer.set_real(node, result)


@handles(*UNARY)
def unary(importer: Importer, node: Node) -> None:
    """A function of each value."""
    add_unary(importer, node, _functions(UNARY)[node.kind])


@handles(*PARAMETERS)
def with_parameters(importer: Importer, node: Node) -> None:
    """A function with parameters, of each value."""
    function, names = next(value for key, value in PARAMETERS.items() if key.split()[0] == node.kind)
    add_unary(importer, node, function, *(float(node.get(name)) for name in names))


@handles("Gelu 20")
def gelu(importer: Importer, node: Node) -> None:
    """GELU, exact or by tanh."""
    kind = node.get("approximate", "none")
    require(kind in ("none", "tanh"), node, f"its approximation {kind!r} is not known; use none or tanh")
    add_unary(importer, node, "gelu_tanh" if kind == "tanh" else "gelu")


@handles("Swish 24")
def swish(importer: Importer, node: Node) -> None:
    """x · sigmoid(alpha · x)."""
    alpha = float(node.get("alpha", 1.0))
    require(alpha == 1, node, f"its alpha {alpha:g} must be 1; export the model as Sigmoid and Mul")
    add_unary(importer, node, "swish")


@handles("Clip 6 11 12 13")
def clip(importer: Importer, node: Node) -> None:
    """A clamp."""
    add_unary(importer, node, "clip", *clip_limits(importer, node))


@handles("Cast 6 9 13 19 21 23 24 25 28")
def cast(importer: Importer, node: Node) -> None:
    """Numbers as another type: integers and truth values stand for themselves, real numbers are truncated, and what is
    not 0 is true."""
    node.ignore("saturate", "round_mode")  # Of types of 8 bits and fewer that are float.
    x, name, to = importer.value(node), importer.real_name(node), node.get("to")
    x = x if isinstance(x, Tensor) and x.dtype != "float32" else importer.real(node)
    kinds = {FLOAT: "float32", INT32: "int32", BOOL: "bool"}
    if x.dtype != "float32":
        # Real numbers may be beyond the integers that there are here.
        kinds[INT64] = "int32"
    kind = kinds.get(to, "")
    require(kind != "", node, f"to type {to}, it changes what its values are; export the model in float32 or INT32")
    x = importer.restated(node, x, plain(x.unsigned)) if x.dtype == "int8" else x
    fields: dict[str, Any] = {"dtype": kind, "input": x.name}
    if kind == x.dtype:
        made = importer.add(Reshape, node, name, REAL, lambda _: x.file_layout, shape=x.shape, **fields)
    else:
        decoded = kind == "float32" and x.dtype in ("int8", "int32")
        made = importer.add(Dequantize if decoded else Cast, node, name, REAL, lambda _: x.file_layout, **fields)
    importer.set_real(node, made)


def operand(importer: Importer, node: Node, place: int) -> Tensor | Array:
    """An input as a real tensor, or as a constant's values in the file's layout."""
    value = importer.value(node, place)
    if isinstance(value, QuantizedConstant):
        return real_values(value)
    if not isinstance(value, np.ndarray):
        return importer.real(node, place)
    require(value.dtype == np.float32, node, f"its constant {node.inputs[place]!r} is {value.dtype}, not float32")
    return value


def add_binary(
    importer: Importer, node: Node, function: str, a: Tensor | Array, b: Tensor | Array, name: str
) -> Tensor:
    """Appends a function of each pair of values; shapes broadcast as in the file."""
    tensors = [value for value in (a, b) if isinstance(value, Tensor)]
    alike = len({(x.shape, x.file_layout) for x in tensors}) == 1
    if alike and all(isinstance(value, Tensor) or value.size == 1 for value in (a, b)):
        # No value moves, whatever the layout.
        rank, layout = len(tensors[0].shape), tensors[0].file_layout
        arrays = [value if isinstance(value, Tensor) else value.reshape([1] * rank) for value in (a, b)]
        fits = all(isinstance(value, Tensor) or value.ndim <= rank for value in (a, b))
        require(fits, node, "its constant has more axes than what it is combined with; export the model without them")
        return _combine(importer, node, function, arrays, name, lambda _: layout)
    rank = max(len(value.file_shape) if isinstance(value, Tensor) else value.ndim for value in (a, b))
    aligned: list[Tensor | Array] = []
    for value in (a, b):
        if isinstance(value, Tensor):
            value = importer.with_rank(node, value, rank)
            aligned.append(importer.as_image(node, value) if rank == 4 else importer.in_file_layout(node, value))
        else:
            value = value.reshape((1,) * (rank - value.ndim) + value.shape)
            require(value.shape[0] == 1, node, f"its constant of {value.shape} does not broadcast over the batch")
            aligned.append(value.transpose(0, 2, 3, 1) if rank == 4 else value)
    return _combine(importer, node, function, aligned, name, channels_first if rank == 4 else lambda _: None)


def _combine(
    importer: Importer, node: Node, function: str, values: list[Tensor | Array], name: str,
    layout: Callable[[tuple[int, ...]], FileLayout | None],
) -> Tensor:  # fmt: skip
    names = []
    for field, value in zip("ab", values, strict=True):
        if not isinstance(value, Tensor):
            constant = importer.name_of(f"{name}.{field}")
            value = importer.add_constant(constant, np.ascontiguousarray(value), REAL, None)
        names.append(value.name)
    fields: dict[str, Any] = {"a": names[0], "b": names[1], "function": function}
    return importer.add(RealBinary, node, name, REAL, layout, dtype="float32", **fields)


@handles(*BINARY)
def binary(importer: Importer, node: Node) -> None:
    """A function of pairs of values, one after the other if there are more than two inputs."""
    if node.kind in ("Add", "Sub") and _add_bias(importer, node):
        return
    require(len(node.inputs) > 0, node, "it has no input; export the model anew")
    result, places = operand(importer, node, 0), range(1, len(node.inputs))
    for place in places:
        name = importer.real_name(node)
        name = name if place == places[-1] else importer.name_of(f"{name}.{place}")
        result = add_binary(importer, node, _functions(BINARY)[node.kind], result, operand(importer, node, place), name)
    if len(places) == 0 and isinstance(result, Tensor):
        # Of one input.
        result = importer.add(
            Reshape, node, importer.real_name(node), REAL, lambda _: result.file_layout,
            shape=result.shape, input=result.name,
        )  # fmt: skip
    assert isinstance(result, Tensor)
    importer.set_real(node, result)


def _add_bias(importer: Importer, node: Node) -> bool:
    """Makes a constant that is added to a layer's result the layer's bias. Returns whether it could."""
    if node.outputs[0] in importer.values:
        return False
    a, b = (importer.value(node, place) for place in (0, 1))
    if node.kind == "Sub":
        b = -real_values(b) if isinstance(b, QuantizedConstant) else -b if isinstance(b, np.ndarray) else b
    for layer, bias in ((a, b), (b, a)) if node.kind == "Add" else ((a, b),):
        if isinstance(layer, Deferred) and layer.biased and isinstance(bias, QuantizedConstant | np.ndarray):
            made = layer.biased(bias)
            if made is not None:
                importer.values[node.outputs[0]] = made
                return True
    return False


@handles(*REDUCTIONS)
def reduce(importer: Importer, node: Node) -> None:
    """A sum over axes, or one of its relatives."""
    x = importer.real(node)
    rank = len(x.file_shape)
    axes = importer.integers(node, 1) if node.has(1) else tuple(node.get("axes", ()))
    if not axes and node.get("noop_with_empty_axes", 0):
        result = importer.add(
            Reshape, node, importer.real_name(node), REAL, lambda _: x.file_layout, shape=x.shape, input=x.name
        )
        importer.set_real(node, result)
        return
    keep = kept(node)
    axes = axes or tuple(range(rank))
    good = all(-rank <= axis < rank for axis in axes) and len({axis % rank for axis in axes}) == len(axes)
    require(good, node, f"its axes {axes} are no different ones of {rank}")
    wanted = {axis % rank for axis in axes}
    require(0 not in wanted, node, f"its axes {tuple(sorted(wanted))} contain the batch, which must stay")
    x, order = importer.in_order(node, x)
    here = tuple(sorted(order[axis] for axis in wanted))
    left = [axis for axis in range(rank) if keep or axis not in wanted]
    ranked = sorted(order[axis] for axis in left)
    places = tuple(ranked.index(order[axis]) for axis in left)

    def layout(shape: tuple[int, ...]) -> FileLayout:
        return FileLayout(shape, places, tuple(shape[place] for place in places))

    function = _functions(REDUCTIONS)[node.kind]
    fields: dict[str, Any] = {"input": x.name, "function": function, "axes": here, "keep_dims": keep}
    result = importer.add(RealReduce, node, importer.real_name(node), REAL, layout, dtype="float32", **fields)
    importer.set_real(node, result)


@handles("Softmax 1 11 13", "LogSoftmax 1 11 13")
def softmax(importer: Importer, node: Node) -> None:
    """Softmax along an axis, or its logarithm; before version 13, over the axis and all behind it."""
    x, name, log = importer.real(node), importer.real_name(node), node.kind == "LogSoftmax"
    axis = _axis(node, len(x.file_shape))
    if node.schema is not None and node.schema.version < 13 and axis < len(x.file_shape) - 1:
        x = importer.in_file_layout(node, x)
        rows = (*x.shape[:axis], math.prod(x.shape[axis:]))
        flat = importer.add(Reshape, node, importer.name_of(f"{name}.rows"), REAL, shape=rows, input=x.name)
        shares = importer.add(
            RealSoftmax, node, importer.name_of(f"{name}.shares"), REAL, dtype="float32", input=flat.name, axis=axis,
            log=log,
        )  # fmt: skip
        importer.set_real(node, importer.add(Reshape, node, name, REAL, shape=x.shape, input=shares.name))
        return
    x, order = importer.in_order(node, x)
    fields: dict[str, Any] = {"input": x.name, "axis": order[axis], "log": log}
    result = importer.add(RealSoftmax, node, name, REAL, lambda _: x.file_layout, dtype="float32", **fields)
    importer.set_real(node, result)


def _axis(node: Node, rank: int) -> int:
    """The attribute ``axis`` of the file's layout, counted from the front."""
    axis = node.get("axis")
    require(axis is not None and -rank <= axis < rank, node, f"its axis {axis} is none of {rank}")
    axis = int(axis % rank)
    require(axis > 0, node, "its axis is the batch, which must stay by itself")
    return axis


@handles("ArgMax 1 11 12 13", "ArgMin 1 11 12 13")
def arg_max(importer: Importer, node: Node) -> None:
    """The position of the largest value, or of the smallest."""
    x = importer.in_file_layout(node, importer.real(node))
    axis, keep, name = _axis(node, len(x.shape)), kept(node), node.outputs[0]
    if node.kind == "ArgMin":
        fields: dict[str, Any] = {"input": x.name, "function": "negate"}
        x = importer.add(RealUnary, node, importer.name_of(f"{name}.negated"), REAL, dtype="float32", **fields)
    importer.values[name] = importer.add(
        ArgMax, node, name, REAL, dtype="int32", input=x.name, axis=axis, keep_dims=keep
    )


@handles("TopK 10 11 24")
def top_k(importer: Importer, node: Node) -> None:
    """The largest values along an axis, or the smallest, and where they are."""
    x = importer.in_file_layout(node, importer.real(node))
    axis, count, largest = _axis(node, len(x.shape)), importer.integers(node, 1), bool(node.get("largest", 1))
    require(len(count) == 1, node, f"its k must be one number, not {count}")
    node.ignore("sorted")  # Sorted values are right in any order.
    for place, name in enumerate(node.outputs):
        if name:
            result = importer.add(
                RealTop, node, importer.real_name(node, place), REAL, dtype="int32" if place else "float32",
                input=x.name, axis=axis, count=count[0], largest=largest, places=bool(place),
            )  # fmt: skip
            importer.values[name] = result


@handles("Concat 4 11 13")
def concat(importer: Importer, node: Node) -> None:
    """Joins real values, constants among them."""
    values = [operand(importer, node, place) for place in range(len(node.inputs))]
    ranks = {len(value.file_shape) if isinstance(value, Tensor) else value.ndim for value in values}
    require(len(ranks) == 1, node, "its inputs have different numbers of axes")
    rank, name = ranks.pop(), importer.real_name(node)
    axis, sources = _axis(node, rank), []
    for place, value in enumerate(values):
        if not isinstance(value, Tensor):
            require(value.shape[:1] == (1,), node, f"its constant of {value.shape} does not broadcast over the batch")
            value = importer.add_constant(importer.name_of(f"{name}.{place}"), value, REAL, None)
        sources.append(importer.as_image(node, value) if rank == 4 else importer.in_file_layout(node, value))
    result = importer.add(
        Concatenate, node, name, REAL, channels_first if rank == 4 else lambda _: None,
        sources=tuple(x.name for x in sources), axis=(0, 3, 1, 2)[axis] if rank == 4 else axis,
    )  # fmt: skip
    importer.set_real(node, result)


@handles("Split 2 11 13 18")
def split(importer: Importer, node: Node) -> None:
    """Real values in pieces, one output each."""
    x = importer.in_file_layout(node, importer.real(node))
    for place, part in enumerate(pieces(importer, node, x.shape)):
        require(part[0] == (0, x.shape[0], 1), node, "it splits the batch, which is not supported")
        fields: dict[str, Any] = {"input": x.name, "ranges": tuple(part[1:])}
        result = importer.add(Slice, node, importer.real_name(node, place), REAL, **fields)
        importer.set_real(node, result, place)
