"""One step of ONNX's recurrent layers, as operators that the quantization knows."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from sateen.graph import Array, require

__all__ = ["CELLS", "Cell", "Emit"]

GATES = {"LSTM": 4, "GRU": 3, "RNN": 1}
ACTIVATIONS = {"LSTM": ["sigmoid", "tanh", "tanh"], "GRU": ["sigmoid", "tanh"], "RNN": ["tanh"]}
"""What each kind has where the file states none, by direction."""
DIRECTIONS = ("forward", "reverse", "bidirectional")
IGNORED = ("hidden_size", "activation_alpha", "activation_beta", "output_sequence")
"""Attributes that follow from the weights, or that the activations here do not have."""


class Emit(Protocol):
    """Makes the operators of one step."""

    def __call__(self, kind: str, role: str, *inputs: str, **attributes: Any) -> str:
        """Adds an operator under a role, which is the same in all steps; the name of its result."""

    def constant(self, role: str, values: Array) -> str:
        """Adds a constant, which all steps share; its name."""


@dataclass(frozen=True, kw_only=True)
class Cell:
    """A recurrent layer."""

    kind: str
    weights: Array
    """[directions, gates · size, inputs]."""
    recurrent: Array
    """[directions, gates · size, size]."""
    bias: Array
    """[directions, 2 · gates · size]: of the input's products, then of the hidden state's."""
    direction: str
    layout: int
    """1 if the batch is the first axis of input and results."""
    activation: str
    """An RNN's, ``Tanh`` or ``Relu``."""
    before_reset: bool
    """Whether a GRU's reset gate multiplies products, not the hidden state."""

    @property
    def directions(self) -> int:
        """1 or 2."""
        return len(self.weights)

    @property
    def size(self) -> int:
        """Values of the hidden state."""
        return self.recurrent.shape[2]

    @property
    def inputs(self) -> int:
        """Values of a step's input."""
        return self.weights.shape[2]

    def forward(self, direction: int) -> bool:
        """Whether a direction begins with the first step."""
        return direction == 0 and self.direction != "reverse"

    def gate(self, direction: int, place: int) -> tuple[Array, Array, Array, Array]:
        """Weights of the input and of the hidden state of a gate, and the biases of both."""
        rows, count = slice(place * self.size, (place + 1) * self.size), GATES[self.kind] * self.size
        bias = self.bias[direction]
        return self.weights[direction][rows], self.recurrent[direction][rows], bias[rows], bias[count:][rows]

    @classmethod
    def of(cls, onnx: Any, node: Any, who: str, constant: Callable[[str], Array | None]) -> Cell:
        """The layer of a NodeProto; :class:`~sateen.graph.GraphError` if it is of a kind that is not known here."""
        found = {each.name: onnx.helper.get_attribute_value(each) for each in node.attribute}
        direction = found.pop("direction", b"forward").decode()
        require(direction in DIRECTIONS, who, f"its direction {direction!r} is none of {', '.join(DIRECTIONS)}")
        count = 1 + (direction == "bidirectional")
        stated = [each.decode().lower() for each in found.pop("activations", [])]
        usual = ACTIVATIONS[node.op_type] * count
        good = not stated or stated == usual or (node.op_type == "RNN" and stated == ["relu"] * count)
        require(good, who, f"its activations {', '.join(stated)} are not supported; use {', '.join(usual)}")
        layout, reset = int(found.pop("layout", 0)), bool(found.pop("linear_before_reset", 0))
        for name, value in found.items():
            unused = name in IGNORED or not value
            require(unused, who, f"its attribute {name} = {value} is not supported; export the model without it")
        gates = GATES[node.op_type]
        arrays = [constant(name) if name else None for name in node.input[1:4]]
        arrays += [None] * (3 - len(arrays))
        weights, recurrent, bias = arrays
        known = weights is not None and recurrent is not None and (bias is not None or not any(node.input[3:4]))
        require(known, who, "its weights and biases must be constants")
        assert weights is not None and recurrent is not None
        size = recurrent.shape[-1]
        fits = weights.ndim == 3 and weights.shape[:2] == (count, gates * size) == recurrent.shape[:2]
        bias = np.zeros((count, 2 * gates * size), np.float32) if bias is None else bias
        require(fits and bias.shape == (count, 2 * gates * size), who, "its weights and biases do not fit each other")
        _check_optional(node, who, constant)
        return cls(
            kind=node.op_type, weights=weights, recurrent=recurrent, bias=bias, direction=direction, layout=layout,
            activation="Relu" if stated[:1] == ["relu"] else "Tanh", before_reset=reset,
        )  # fmt: skip


def _check_optional(node: Any, who: str, constant: Callable[[str], Array | None]) -> None:
    """Checks the inputs that a layer may lack."""
    given = {place: name for place, name in enumerate(node.input) if name}
    require(4 not in given, who, "its sequences have lengths of their own (sequence_lens); give all the same")
    require(7 not in given, who, "peephole weights are not supported; export the model without them")
    for place in (5, 6):
        value = constant(given[place]) if place in given else None
        zero = place not in given or (value is not None and not value.any())
        require(zero, who, f"its state before the first step, {given.get(place)!r}, must be zeros; export it without")


def _product(emit: Emit, role: str, z: str, parts: list[Array], bias: Array, first: bool) -> str:
    """A matrix product with weights beside each other."""
    # The first step has no hidden state, so its weights are others.
    name = f"{role}.first" if first else role
    weights = emit.constant(f"{name}.weights", np.ascontiguousarray(np.concatenate(parts, axis=1)))
    return emit("Gemm", role, z, weights, emit.constant(f"{role}.bias", bias), transB=1)


def _beside(emit: Emit, x: str, state: tuple[str, ...]) -> str:
    return emit("Concat", "joined", x, state[0], axis=1) if state else x


def _gated(cell: Cell, direction: int, emit: Emit, role: str, place: int, z: str, first: bool) -> str:
    """A gate's sum: the products of the step's input and of the hidden state, if there is one."""
    w, r, bias, other = cell.gate(direction, place)
    return _product(emit, role, z, [w] if first else [w, r], bias + other, first)


def _rnn(cell: Cell, direction: int, emit: Emit, x: str, state: tuple[str, ...]) -> tuple[str, ...]:
    """h = f(x·W + h·R + b)."""
    first, z = not state, _beside(emit, x, state)
    return (emit(cell.activation, "hidden", _gated(cell, direction, emit, "sum", 0, z, first)),)


def _lstm(cell: Cell, direction: int, emit: Emit, x: str, state: tuple[str, ...]) -> tuple[str, ...]:
    """c = f·c + i·g, h = o·tanh(c), with gates in the order i, o, f, g."""
    first, z = not state, _beside(emit, x, state)

    def gate(role: str, place: int, kind: str = "Sigmoid") -> str:
        return emit(kind, role, _gated(cell, direction, emit, f"{role}.sum", place, z, first))

    added = emit("Mul", "added", gate("input", 0), gate("new", 3, "Tanh"))
    cells = added if first else emit("Add", "cell", emit("Mul", "kept", gate("forget", 2), state[1]), added)
    return emit("Mul", "hidden", gate("output", 1), emit("Tanh", "squashed", cells)), cells


def _gru(cell: Cell, direction: int, emit: Emit, x: str, state: tuple[str, ...]) -> tuple[str, ...]:
    """h = n + z·(h − n), with gates in the order z, r, n."""
    first, joined = not state, _beside(emit, x, state)
    update = emit("Sigmoid", "update", _gated(cell, direction, emit, "update.sum", 0, joined, first))
    w, r, bias, other = cell.gate(direction, 2)
    if first and not cell.before_reset:
        total = _product(emit, "new.sum", x, [w], bias + other, True)
    else:
        reset = emit("Sigmoid", "reset", _gated(cell, direction, emit, "reset.sum", 1, joined, first))
        if cell.before_reset:
            inputs = _product(emit, "new.input", x, [w], bias, False)
            if first:
                product = emit("Mul", "new.kept", reset, emit.constant("new.first", other[None]))
            else:
                hidden = _product(emit, "new.hidden", state[0], [r], other, False)
                product = emit("Mul", "new.kept", reset, hidden)
            total = emit("Add", "new.sum", inputs, product)
        else:
            kept = emit("Mul", "kept", reset, state[0])
            beside = emit("Concat", "new.joined", x, kept, axis=1)
            total = _product(emit, "new.sum", beside, [w, r], bias + other, False)
    new = emit("Tanh", "new", total)
    if first:
        return (emit("Sub", "hidden", new, emit("Mul", "moved", update, new)),)
    moved = emit("Mul", "moved", update, emit("Sub", "difference", state[0], new))
    return (emit("Add", "hidden", new, moved),)


Step = Callable[[Cell, int, Emit, str, tuple[str, ...]], tuple[str, ...]]
CELLS: dict[str, Step] = {"LSTM": _lstm, "GRU": _gru, "RNN": _rnn}
"""A step of each kind of layer: from the step's input and the state before it, of which there is none at first, to the
state behind it, which begins with the hidden one."""
