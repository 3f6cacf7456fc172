"""Constant folding: the operators of ONNX files that compute shapes and constants."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.importer import Handler, Importer, Operator
from sateen.frontends.onnx.values import Deferred, Dequantized, QuantizedConstant, real_values
from sateen.graph import Array, GraphError, Tensor, require

__all__ = ["FOLDED", "Handler", "clip_limits", "quantized", "registers"]

CASTS = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 9: np.bool_, 11: np.float64}
"""ONNX's numbers of the types to which constants are cast."""
CONSTANTS: dict[str, Any] = {
    "value": None, "value_float": np.float32, "value_floats": np.float32, "value_int": np.int64, "value_ints": np.int64,
}  # fmt: skip
"""The attributes of a Constant that hold its values, and their types."""
LARGEST_COMPUTED = 1 << 24
"""Values of the largest constant that is computed element by element."""
MOVING = ("Cast", "Concat", "Flatten", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
"""Operators whose result is no larger than their inputs."""


SHAPED = ("Expand", "Reshape", "Resize")
"""Operators that take a shape."""


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


def _clip(node: Node, x: Array, low: Array | None = None, high: Array | None = None) -> Array:
    limits = [node.get(name) if given is None else given.reshape(()) for given, name in ((low, "min"), (high, "max"))]
    for limit, function in zip(limits, (np.maximum, np.minimum), strict=True):
        x = x if limit is None else function(x, np.asarray(limit, x.dtype))
    return x


def _flatten(node: Node, x: Array) -> Array:
    axis = node.get("axis")
    return x.reshape(math.prod(x.shape[:axis]), -1) if x.size else x.reshape(0, 0)


FOLDING: dict[str, Callable[..., Any]] = {
    "Abs": lambda node, x: np.abs(x),
    "Add": lambda node, a, b: a + b,
    "Cast": _cast,
    "Clip": _clip,
    "Concat": lambda node, *parts: np.concatenate(parts, axis=node.get("axis")),
    "Div": _divide,
    "Flatten": _flatten,
    "Gather": lambda node, x, places: np.take(x, places, axis=node.get("axis")),
    "Identity": lambda node, x: x,
    "Max": lambda node, *parts: functools.reduce(np.maximum, parts),
    "Min": lambda node, *parts: functools.reduce(np.minimum, parts),
    "Mul": lambda node, a, b: a * b,
    "Neg": lambda node, x: -x,
    "Pow": lambda node, a, b: np.power(a, b).astype(a.dtype),
    "Reciprocal": lambda node, x: 1 / x,
    "Relu": lambda node, x: np.maximum(x, 0),
    "Reshape": _reshape,
    "Slice": _slice,
    "Sqrt": lambda node, x: np.sqrt(x),
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
        value = importer.real(node) if isinstance(value, Deferred) else value
        value = value.values if isinstance(value, QuantizedConstant) else value
        shape = value.file_shape if isinstance(value, Tensor) else np.shape(value)
        part = slice(node.get("start", 0), node.get("end"))
        importer.values[node.outputs[0]] = np.array(shape[part], np.int64)
        if importer.free and isinstance(value, Tensor):
            _note_two(importer, node, np.array((2, *shape[1:])[part], np.int64))
        return True
    if (
        node.inputs
        and isinstance(importer.values.get(node.inputs[0]), QuantizedConstant)
        and node.kind in MOVING
        and node.kind != "Concat"
    ):
        importer.values[node.outputs[0]] = _fold_quantized(importer, node)
        return True
    known = all(isinstance(importer.values.get(name), np.ndarray | QuantizedConstant) for name in node.inputs if name)
    if node.kind not in FOLDING or not node.has(0) or not known:
        return False
    given = [_constant(importer, node, place) if node.has(place) else None for place in range(len(node.inputs))]
    if node.kind not in MOVING:
        _check_size(node, [array.shape for array in given if array is not None])
    importer.values[node.outputs[0]] = _evaluated(node, given)
    two = [importer.of_two.get(name) for name in node.inputs]
    if any(value is not None for value in two):
        pairs = zip(two, given, strict=True)
        try:
            _note_two(importer, node, _evaluated(node, [one if other is None else other for other, one in pairs]))
        except GraphError:
            _note_two(importer, node, np.zeros(0))
    return True


def _note_two(importer: Importer, node: Node, values: Array) -> None:
    """Notes what a constant would be for two items of a free batch, if that is something else."""
    name = node.outputs[0]
    if not np.array_equal(values, np.asarray(importer.values[name])):
        importer.of_two[name] = values


def _check_two(importer: Importer, node: Node) -> None:
    """Notes an operator that takes how many items there are for something else than the batch of a shape."""
    for name in node.inputs:
        one, two = importer.values.get(name), importer.of_two.get(name)
        if isinstance(one, np.ndarray) and two is not None:
            shape = node.kind in SHAPED and one.ndim == 1 and one.shape == two.shape
            importer.takes_one(
                node, where=not (shape and one.size and two[0] == 2 * one[0] and (two[1:] == one[1:]).all())
            )


def _constant(importer: Importer, node: Node, place: int) -> Array:
    """A constant input's values, the real ones if it is quantized."""
    value = importer.value(node, place)
    return real_values(value) if isinstance(value, QuantizedConstant) else importer.constant(node, place)


def _check_size(node: Node, shapes: list[tuple[int, ...]]) -> None:
    """Raises :class:`GraphError` if the result of an operator on constants of these shapes is too large."""
    rank = max(map(len, shapes))
    sizes = [max(shape[-place] if place <= len(shape) else 1 for shape in shapes) for place in range(1, rank + 1)]
    good = math.prod(sizes) <= LARGEST_COMPUTED
    require(good, node, f"it computes {math.prod(sizes):,} constants, more than {LARGEST_COMPUTED:,}")


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
    others = [importer.constant(node, place) if node.has(place) else None for place in range(1, len(node.inputs))]
    values = _evaluated(node, [codes.values, *others])
    if len(codes.scales) == 1:
        return QuantizedConstant(values, codes.scales, codes.zero_points, 0)
    # Which of the scales belongs to each code, before and after.
    shape = [1] * codes.values.ndim
    shape[codes.axis] = -1
    which = np.broadcast_to(np.arange(len(codes.scales)).reshape(shape), codes.values.shape)
    which = _evaluated(node, [which, *others])
    for axis in range(which.ndim):
        along = np.take(np.moveaxis(which, axis, -1).reshape(-1, which.shape[axis]), 0, axis=0) if which.size else which
        expanded = along.reshape([-1 if place == axis else 1 for place in range(which.ndim)])
        if which.size and (which == expanded).all():
            points = codes.zero_points if len(codes.zero_points) == 1 else codes.zero_points[along]
            return QuantizedConstant(values, codes.scales[along], points, axis)
    raise GraphError(f"{node}: its constant's scales are along no axis behind it; quantize the constant behind it")


def clip_limits(importer: Importer, node: Node) -> tuple[float, float]:
    """The limits of a Clip, of its input's type."""
    limits = []
    for place, name in ((1, "min"), (2, "max")):
        value = importer.constant(node, place, np.array(node.get(name, math.inf if name == "max" else -math.inf)))
        require(value.size == 1 and not np.isnan(value).any(), node, "its limits must be single numbers")
        limits.append(float(value.reshape(-1)[0]))
    # The greatest counts where the least is above it.
    return min(limits), limits[1]


def quantized(importer: Importer, node: Node, stored: str) -> Array:
    """The codes that a QuantizeLinear makes of a constant, as onnxruntime computes them: a quotient in float32, rounded
    half to even. ``stored`` is their type if no zero point says it."""
    value = importer.value(node)
    values = real_values(value) if isinstance(value, QuantizedConstant) else value
    good = isinstance(values, np.ndarray) and values.dtype == np.float32 and not np.isnan(values).any()
    require(good, node, f"its constant {node.inputs[0]!r} is not float32, or not a number; export the model in float32")
    assert isinstance(values, np.ndarray)
    scales, points = importer.scales(node, 1), importer.constant(node, 2, np.zeros(1, stored)).reshape(-1)
    known = points.dtype in (np.int8, np.uint8) and len(points) in (1, len(scales))
    require(known, node, f"its zero points are {len(points)} of {points.dtype}; quantize to 8 bits")
    require(bool((scales > 0).all() and np.isfinite(scales).all()), node, "its scales must be finite and above 0")
    axis = node.get("axis", 1)
    fits = len(scales) == 1 or -values.ndim <= axis < values.ndim and len(scales) == values.shape[axis]
    require(fits, node, f"its {len(scales)} scales do not fit axis {axis} of {values.shape}")
    shape = [1] * values.ndim
    if len(scales) > 1:
        shape[axis] = -1
    scales, points = (array.reshape(shape if array.size > 1 else ()) for array in (scales, points))
    range_ = np.iinfo(points.dtype)
    with np.errstate(over="ignore"):
        steps = np.rint(values / scales).astype(np.float64) + points
    return np.asarray(np.clip(steps, range_.min, range_.max).astype(points.dtype))


def registers(table: dict[str, Operator], *, fused: bool = False) -> Callable[..., Callable[[Handler], Handler]]:
    """A decorator that registers a handler in a table under kinds of operators, each with the versions that it
    implements: ``"Relu 6 13 14"``. Operators on constants are folded instead. ``fused``: see :class:`Operator`."""

    def handles(*kinds: str) -> Callable[[Handler], Handler]:
        def register(function: Handler) -> Handler:
            def handle(importer: Importer, node: Node) -> None:
                if not fold(importer, node):
                    function(importer, node)
                    _check_two(importer, node)

            for text in kinds:
                kind, *versions = text.split()
                table[kind] = Operator(handle, tuple(map(int, versions)), fused)
            return function

        return register

    return handles


FOLDED: dict[str, Operator] = {}
"""Operators that are supported on constants alone."""


@registers(FOLDED)(
    "Constant 1 9 11 12 13 19 21 23 24 25", "Shape 1 13 15 19 21 23 24 25",
)  # fmt: skip
def compute(importer: Importer, node: Node) -> None:
    """Refuses an operator on what is no constant."""
    require(False, node, f"{node.kind} is supported of constants alone; export the model without it, or split it off")
