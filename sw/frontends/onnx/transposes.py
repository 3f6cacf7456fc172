"""How onnxruntime moves Transposes towards each other, until they are merged or cancel (``TransposeOptimizer``)."""

from __future__ import annotations

from sateen.frontends.onnx.parts import DEQUANTIZE, Part, Parts

__all__ = ["move_transposes"]

TRANSPOSE = "Transpose"
CROSSED = {
    "Abs", "Add", "ArgMax", "ArgMin", "Cast", "Ceil", "Celu", "Clip", "Concat", "DequantizeLinear", "Div", "Equal",
    "Erf", "Exp", "Floor", "Gelu", "Greater", "HardSigmoid", "HardSwish", "Identity", "LeakyRelu", "Less", "Log",
    "LogSoftmax", "Max", "Mean", "Min", "Mul", "Neg", "Not", "Pad", "Pow", "PRelu", "QuantizeLinear", "Reciprocal",
    "ReduceMax", "ReduceMean", "ReduceMin", "ReduceSum", "Relu", "Selu", "Sigmoid", "Sign", "Slice", "Softmax",
    "Softplus", "Softsign", "Sqrt", "Squeeze", "Sub", "Sum", "Tanh", "Tile", "Unsqueeze", "Where",
}  # fmt: skip
"""Operators across which a Transpose moves, towards another one."""
OTHERS = {TRANSPOSE, "MaxPool", "Reshape", "Shape", "Split"}
"""Other operators behind a Transpose that do not hold it up where it has several readers."""


def move_transposes(parts: Parts) -> None:
    """Moves each Transpose from which a way leads to another one behind the operators on it."""
    waiting, leading = [part.inputs[0] for part in parts.parts if part.kind == TRANSPOSE], set[str]()
    while waiting:
        name = waiting.pop()
        maker = parts.makers.get(name)
        if name not in leading and maker is not None and maker.kind in CROSSED:
            waiting += maker.inputs
        leading.add(name)
    for part in parts.ordered():
        for first in [parts.makers.get(name) for name in part.inputs]:
            if first is None or first.kind != TRANSPOSE:
                continue
            if part.kind == TRANSPOSE:
                _join(parts, first, part)
            elif part.kind in CROSSED and leading & {*part.outputs} and _is_crossed(parts, part, first):
                _cross(parts, part, first)
            else:
                continue
            break


def _is_crossed(parts: Parts, part: Part, first: Part) -> bool:
    """Whether a Transpose moves across an operator: no other tensor has to be transposed for it."""
    readers = parts.readers.get(first.output, [])
    if first.output in parts.outputs or any(reader.kind not in CROSSED | OTHERS for reader in readers):
        return False
    makers = [parts.makers.get(name) for name in part.inputs if name and name not in parts.constants]
    moved = [maker for maker in makers if maker is not None and maker.kind == TRANSPOSE]
    free = all(maker in moved or maker is not None and _is_constant(parts, maker) for maker in makers)
    return (
        first in moved
        and free
        and len(part.outputs) == 1
        and all(each.attributes == first.attributes for each in moved)
    )


def _is_constant(parts: Parts, part: Part) -> bool:
    return part.kind == DEQUANTIZE and part.inputs[0] in parts.constants


def _cross(parts: Parts, part: Part, first: Part) -> None:
    """Moves a Transpose across an operator."""
    for place, name in enumerate(part.inputs):
        maker = parts.makers.get(name)
        if maker is not None and maker.kind == TRANSPOSE:
            _skip(parts, part, place, maker)
    name, moved = part.output, parts.name(part.output, "moved")
    part.outputs = (moved,)
    parts.makers[moved] = part
    parts.put(Part(TRANSPOSE, first.version, [moved], (name,), attributes=first.attributes))


def _skip(parts: Parts, part: Part, place: int, first: Part) -> None:
    """Gives an operator what a Transpose before it reads."""
    parts.read(part, place, first.inputs[0])
    if not parts.is_needed(first):
        parts.remove(first)


def _join(parts: Parts, first: Part, second: Part) -> None:
    """Makes one of two Transposes, or none if the second undoes the first."""
    orders = [part.attributes.get("perm", ()) for part in (first, second)]
    _skip(parts, second, 0, first)
    # Without its order each is the reverse one.
    order = tuple(orders[0][axis] for axis in orders[1]) if all(orders) else ()
    second.attributes = {"perm": order} if order else second.attributes
    undone = order == tuple(range(len(order))) if all(orders) else not any(orders)
    if undone and second.output not in parts.outputs:
        for reader, place in parts.places(second.output):
            parts.read(reader, place, second.inputs[0])
        parts.remove(second)
