"""Constant folding: the operators of ONNX files that compute shapes and constants."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.importer import Handler, Importer, Operator
from sateen.frontends.onnx.values import Deferred, Dequantized, QuantizedConstant
from sateen.graph import Array, GraphError, Tensor, require

__all__ = ["FOLDED", "Handler", "registers"]

CASTS = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64}
"""ONNX's numbers of the types to which constants are cast."""
CONSTANTS: dict[str, Any] = {
    "value": None, "value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64,
}  # fmt: skip
"""The attributes of a Constant that hold its values, and their types."""
LARGEST_SHAPE = 4096
"""Values of the largest constant that is computed with element by element; only shapes are."""
MOVING = ("Cast", "Concat", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
"""Operators whose result is no larger than their inputs."""


def _axes(node: Node, given: Array | None) -> tuple[int, ...]:
    return node.get("axes", ()) if given is None else tuple(int(axis) for axis in given.reshape(-1))


def _divide(node: Node, a: Array, b: Array) -> Array:
    if not np.issubdtype(a.dtype, np.integer):
        return a / b
    # Quotients of whole numbers are cut off, as in C; NumPy's are rounded down.
    return np.sign(a) * np.sign(b) * (np.abs(a) // np.abs(b))


def _slice(
    node: Node,
    x: Array,
    starts: Array | None = None,
    ends: Array | None = None,
    axes: Array | None = None,
    steps: Array | None = None,
) -> Array:
    if starts is None or ends is None:
        starts, ends = np.array(node.get("starts", ()), np.int64), np.array(node.get("ends", ()), np.int64)
        axes = np.array(node.get("axes", range(len(starts))))
    parts = [slice(None)] * x.ndim
    for place, (start, end) in enumerate(zip(starts.reshape(-1), ends.reshape(-1), strict=True)):
        axis = place if axes is None else int(axes.reshape(-1)[place])
        parts[axis] = slice(int(start), int(end), 1 if steps is None else int(steps.reshape(-1)[place]))
    return x[tuple(parts)]


def _cast(node: Node, x: Array) -> Array:
    node.ignore("saturate", "round_mode")  # Of types of 8 bits and fewer alone.
    require(node.get("to") in CASTS, node, f"it makes constants of type {node.get('to')}, which is not supported")
    return x.astype(CASTS[node.get("to")])


def _reshape(node: Node, x: Array, shape: Array) -> Array:
    sizes = [int(size) for size in shape.reshape(-1)]
    if not node.get("allowzero", 0):
        sizes = [x.shape[axis] if size == 0 and axis < x.ndim else size for axis, size in enumerate(sizes)]
    return x.reshape(sizes)


FOLDING: dict[str, Callable[..., Any]] = {
    "Add": lambda node, a, b: a + b,
    "Cast": _cast,
    "Concat": lambda node, *parts: np.concatenate(parts, axis=node.get("axis")),
    "Div": _divide,
    "Gather": lambda node, x, places: np.take(x, places, axis=node.get("axis")),
    "Identity": lambda node, x: x,
    "Mul": lambda node, a, b: a * b,
    "Reshape": _reshape,
    "Slice": _slice,
    "Squeeze": lambda node, x, axes=None: np.squeeze(x, _axes(node, axes) or None),
    "Sub": lambda node, a, b: a - b,
    "Transpose": lambda node, x: x.transpose(node.get("perm", tuple(reversed(range(x.ndim))))),
    "Unsqueeze": lambda node, x, axes=None: np.expand_dims(x, _axes(node, axes)),
}


def fold(importer: Importer, node: Node) -> bool:
    """Computes an operator on constants, or one that asks for a shape only. Returns whether it is such an operator."""
    if node.kind == "Constant":
        constants = [np.asarray(node.get(name), CONSTANTS[name]) for name in node.attributes if name in CONSTANTS]
        require(len(constants) == 1 and constants[0].dtype.kind in "biuf", node, "it holds no value that is known")
        importer.values[node.outputs[0]] = constants[0]
        return True
    if node.kind == "Shape":
        value = importer.value(node)
        value = value.tensor if isinstance(value, Dequantized) else value
        known = not isinstance(value, Deferred)
        require(known, node, f"the shape of {node.inputs[0]!r} is not known here; export the model with fixed shapes")
        value = value.values if isinstance(value, QuantizedConstant) else value
        shape = value.file_shape if isinstance(value, Tensor) else np.shape(value)  # type: ignore[arg-type]
        part = shape[node.get("start", 0) : node.get("end")]
        importer.values[node.outputs[0]] = np.array(part, np.int64)
        return True
    if (
        node.inputs
        and isinstance(importer.values.get(node.inputs[0]), QuantizedConstant)
        and node.kind in MOVING
        and node.kind != "Concat"
    ):
        importer.values[node.outputs[0]] = _fold_quantized(importer, node)
        return True
    known = all(isinstance(importer.values.get(name), np.ndarray) for name in node.inputs if name)
    if node.kind not in FOLDING or not node.has(0) or not known:
        return False
    given = [importer.constant(node, place) if node.has(place) else None for place in range(len(node.inputs))]
    small = node.kind in MOVING or all(array is None or array.size <= LARGEST_SHAPE for array in given)
    require(small, node, "its constants are larger than a shape could be")
    importer.values[node.outputs[0]] = _evaluated(node, given)
    return True


def _evaluated(node: Node, given: list[Array | None]) -> Array:
    try:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            return np.asarray(FOLDING[node.kind](node, *given))
    except (ValueError, TypeError, IndexError, ArithmeticError) as error:
        raise GraphError(
            f"{node}: it cannot be computed from its constants ({error}); export the model anew"
        ) from error


def _fold_quantized(importer: Importer, node: Node) -> QuantizedConstant:
    """A quantized constant in another shape, or with its axes in another order."""
    codes = importer.value(node)
    assert isinstance(codes, QuantizedConstant)
    if node.kind == "Transpose":
        axes = node.get("perm", tuple(reversed(range(codes.values.ndim))))
        good = codes.values.ndim > 0 and sorted(axes) == list(range(codes.values.ndim))
        require(good, node, f"its perm {axes} is no order of {codes.values.ndim} axes")
        return QuantizedConstant(
            codes.values.transpose(axes), codes.scales, codes.zero_points, axes.index(codes.axis % codes.values.ndim)
        )
    if node.kind == "Cast":
        node.ignore("saturate", "round_mode")
        require(
            node.get("to") == 1, node, "it changes what its values are; export the model without it, or split it off"
        )
        return codes
    require(len(codes.scales) == 1, node, "it moves constant codes with several scales, which is not supported")
    others = [importer.constant(node, place) if node.has(place) else None for place in range(1, len(node.inputs))]
    return QuantizedConstant(_evaluated(node, [codes.values, *others]), codes.scales, codes.zero_points, 0)


def registers(table: dict[str, Operator]) -> Callable[..., Callable[[Handler], Handler]]:
    """A decorator that registers a handler in a table under kinds of operators, each with the versions that it
    implements: ``"Relu 6 13 14"``. Operators on constants are folded instead."""

    def handles(*kinds: str) -> Callable[[Handler], Handler]:
        def register(function: Handler) -> Handler:
            def handle(importer: Importer, node: Node) -> None:
                if not fold(importer, node):
                    function(importer, node)

            for text in kinds:
                kind, *versions = text.split()
                table[kind] = Operator(handle, tuple(map(int, versions)))
            return function

        return register

    return handles


FOLDED: dict[str, Operator] = {}
"""Operators that are supported on constants alone."""


@registers(FOLDED)(
    "Constant 1 9 11 12 13 19 21 23 24 25", "Div 7 13 14", "Shape 1 13 15 19 21 23 24 25",
)  # fmt: skip
def compute(importer: Importer, node: Node) -> None:
    """Refuses an operator on what is no constant."""
    require(False, node, f"{node.kind} is supported of constants alone; export the model without it, or split it off")
