"""ONNX's operators on constants: shapes that a model computes, although they are known."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from sateen.frontends.onnx.file import Node
from sateen.frontends.onnx.importer import Codes, Handler, Importer, Pending, Real, Value
from sateen.graph import Array, GraphError, Tensor, require

__all__ = ["Handler", "compute", "fold", "registers"]

MOST = 4096
"""Values of a constant that others are computed with element by element: it is a shape."""
MOVING = ("Cast", "Concat", "Identity", "Reshape", "Slice", "Squeeze", "Transpose", "Unsqueeze")
"""Operators whose result is no larger than what they are given."""


def _axes(node: Node, given: tuple[Array, ...]) -> tuple[int, ...]:
    return (
        node.get("axes", ()) or tuple(int(axis) for axis in given[0].reshape(-1))
        if given or node.get("axes", ())
        else ()
    )


def _slice(
    node: Node, x: Array, starts: Array, ends: Array, axes: Array | None = None, steps: Array | None = None
) -> Array:
    parts = [slice(None)] * x.ndim
    for place, (start, end) in enumerate(zip(starts.reshape(-1), ends.reshape(-1), strict=True)):
        axis = place if axes is None else int(axes.reshape(-1)[place])
        parts[axis] = slice(int(start), int(end), 1 if steps is None else int(steps.reshape(-1)[place]))
    return x[tuple(parts)]


FOLDING: dict[str, Callable[..., Any]] = {
    "Add": lambda node, a, b: a + b,
    "Cast": lambda node, x: x.astype(np.float32 if node.get("to", 7) == 1 else np.int64),
    "Concat": lambda node, *parts: np.concatenate(parts, axis=node.get("axis", 0)),
    "Div": lambda node, a, b: a // b if np.issubdtype(a.dtype, np.integer) else a / b,
    "Gather": lambda node, x, places: np.take(x, places, axis=node.get("axis", 0)),
    "Identity": lambda node, x: x,
    "Mul": lambda node, a, b: a * b,
    "Reshape": lambda node, x, shape: x.reshape(tuple(int(size) for size in shape.reshape(-1))),
    "Slice": _slice,
    "Squeeze": lambda node, x, *axes: np.squeeze(x, _axes(node, axes) or None),
    "Sub": lambda node, a, b: a - b,
    "Transpose": lambda node, x: x.transpose(node.get("perm", tuple(reversed(range(x.ndim))))),
    "Unsqueeze": lambda node, x, *axes: np.expand_dims(x, _axes(node, axes)),
}


def fold(m: Importer, node: Node) -> bool:
    """Computes an operator of constants, or one that asks for a shape alone; whether it was one."""
    if node.kind == "Constant":
        held = [np.asarray(value) for name, value in node.attributes.items() if name.startswith("value")]
        require(len(held) == 1 and held[0].dtype.kind in "biuf", node, "it holds no value that is known")
        m.values[node.outputs[0]] = held[0]
        return True
    if node.kind == "Shape":
        read = m.value(node)
        value = read.tensor if isinstance(read, Real) else read
        known = not isinstance(value, Pending)
        require(known, node, f"the shape of {node.inputs[0]!r} is not known here; export the model with fixed shapes")
        value = value.values if isinstance(value, Codes) else value
        shape = value.file_shape if isinstance(value, Tensor) else np.shape(value)  # type: ignore[arg-type]
        m.values[node.outputs[0]] = np.array(shape, np.int64)
        return True
    if (
        node.inputs
        and isinstance(m.values.get(node.inputs[0]), Codes)
        and node.kind in MOVING
        and node.kind != "Concat"
    ):
        m.values[node.outputs[0]] = _moved(node, m.value(node), m)
        return True
    given = [array for name in node.inputs if isinstance(array := m.values.get(name), np.ndarray)]
    if node.kind not in FOLDING or not given or len(given) < sum(map(bool, node.inputs)):
        return False
    small = node.kind in MOVING or all(array.size <= MOST for array in given)
    require(small, node, "its constants are larger than a shape could be")
    try:
        with np.errstate(divide="raise", over="raise", invalid="raise"):
            m.values[node.outputs[0]] = np.asarray(FOLDING[node.kind](node, *given))
    except (ValueError, TypeError, IndexError, ArithmeticError) as error:
        raise GraphError(
            f"{node}: it cannot be computed from its constants ({error}); export the model anew"
        ) from error
    return True


def _moved(node: Node, codes: Value, m: Importer) -> Codes:
    """Constant codes in another shape, or with their axes in another order."""
    assert isinstance(codes, Codes)
    if node.kind == "Transpose":
        axes = node.get("perm", tuple(reversed(range(codes.values.ndim))))
        good = codes.values.ndim > 0 and sorted(axes) == list(range(codes.values.ndim))
        require(good, node, f"its perm {axes} is no order of {codes.values.ndim} axes")
        return Codes(
            codes.values.transpose(axes), codes.scales, codes.zero_points, axes.index(codes.axis % codes.values.ndim)
        )
    if node.kind == "Cast":
        require(
            node.get("to", 0) == 1, node, "it changes what its values are; export the model without it, or split it off"
        )
        return codes
    require(len(codes.scales) == 1, node, "it moves constant codes with several scales, which is not supported")
    others = [m.constant(node, place) for place in range(1, len(node.inputs))]
    try:
        return Codes(np.asarray(FOLDING[node.kind](node, codes.values, *others)), codes.scales, codes.zero_points, 0)
    except (ValueError, TypeError, IndexError, ArithmeticError) as error:
        raise GraphError(
            f"{node}: it cannot be computed from its constants ({error}); export the model anew"
        ) from error


def compute(m: Importer, node: Node) -> None:
    """An operator that is known of constants alone."""
    require(
        fold(m, node),
        node,
        f"{node.kind} is supported of constants alone; export the model without it, or split it off",
    )


def registers(table: dict[str, Handler]) -> Callable[..., Callable[[Handler], Handler]]:
    """A decorator that enters functions in a table, by the kinds of operators they are for; of constants alone those
    are computed."""

    def handles(*kinds: str) -> Callable[[Handler], Handler]:
        def register(function: Handler) -> Handler:
            def handle(m: Importer, node: Node) -> None:
                if not fold(m, node):
                    function(m, node)

            table.update(dict.fromkeys(kinds, handle))
            return function

        return register

    return handles
