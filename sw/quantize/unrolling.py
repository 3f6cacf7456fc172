"""ONNX's recurrent layers, LSTM, GRU and RNN, as the layers of each of their steps.

A step's input stands beside the hidden state of the step before, so that one matrix product with the weights of both
gives each gate: its sum is rounded once. What the steps make by the same operator shares one range (:attr:`Unrolled
.shared`), so the steps have the same weights, scales and tables, and a device holds them once. In the file, sequences
are by time, [T, N, …]; here the values of each step are [N, …], so tensors by time exist as lists of steps only, which
the operators behind a layer take apart.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from sateen.graph import Array, GraphError, require
from sateen.quantize.cells import CELLS, Cell, Emit

__all__ = ["LONGEST", "Unrolled", "unrolled"]

LONGEST = 128
"""Steps of all recurrent layers of a model, at most: each is some ten layers of the compiled model."""
EXPORT = "export the model with batch_first=True and a last step, a sequence or a final state as its result"


@dataclass(frozen=True)
class Unrolled:
    """A model without recurrent layers."""

    model: Any
    """A ModelProto."""
    shared: tuple[tuple[str, ...], ...] = ()
    """Groups of real tensors that shall have one range."""
    factors: frozenset[str] = frozenset()
    """Real tensors whose scales shall be powers of two: the products of such codes are exact in float32, so that the
    device has tables for them."""


@dataclass(frozen=True)
class _Steps:
    """A tensor of the file that is none here: values of steps and directions, [N, H] each by name."""

    axes: str
    """The file's axes: T for time, D for directions, N for the batch, H for the values."""
    values: tuple[tuple[str, ...], ...]
    """By steps, then by directions; one step where there is no axis T."""
    size: int
    """Values of one direction."""


@dataclass
class _Unroller:
    """Copies a graph, operator by operator."""

    onnx: Any
    graph: Any
    shapes: Mapping[str, tuple[int, ...]]
    """The file's tensors whose shapes are known, for one item."""
    nodes: list[Any] = field(default_factory=list)
    constants: dict[str, Array] = field(default_factory=dict)
    made: dict[str, Array] = field(default_factory=dict)
    """New constants."""
    steps: dict[str, _Steps] = field(default_factory=dict)
    groups: dict[str, list[str]] = field(default_factory=dict)
    multiplied: set[str] = field(default_factory=set)
    """Tensors that a product reads."""
    names: set[str] = field(default_factory=set)
    """The new tensors'."""
    makers: dict[str, Any] = field(default_factory=dict)
    total: int = 0
    """Steps so far."""

    def run(self) -> None:
        self.constants = {each.name: self.onnx.numpy_helper.to_array(each) for each in self.graph.initializer}
        self.makers = {name: node for node in self.graph.node for name in node.output}
        for node in self.graph.node:
            if node.op_type == "Constant" and len(node.attribute) == 1 and node.attribute[0].name == "value":
                self.constants[node.output[0]] = self.onnx.numpy_helper.to_array(node.attribute[0].t)
            if node.op_type in CELLS and not node.domain:
                self._layer(node)
            elif any(name in self.steps for name in node.input):
                self._follow(node)
            else:
                self.nodes.append(node)
        for output in self.graph.output:
            left = self.steps.get(output.name)
            require(left is None, f"output {output.name!r}", f"it is by time or by direction; {EXPORT}")

    # Recurrent layers.

    def _layer(self, node: Any) -> None:
        who = f"operator {node.name!r} ({node.op_type})"
        cell = Cell.of(self.onnx, node, who, self._constant)
        inputs = self._inputs(node, who, cell)
        self.total += len(inputs) * cell.directions
        require(
            self.total <= LONGEST, who,
            f"the model's recurrent layers have {self.total} steps up to here, and at most {LONGEST} are unrolled; use "
            "a shorter sequence, or quantize it in TensorFlow Lite, whose layer takes any",
        )  # fmt: skip
        base = node.name or next(name for name in node.output if name)
        ends: list[tuple[str, ...]] = []
        every: list[list[str]] = [[] for _ in inputs]
        for direction in range(cell.directions):
            order = range(len(inputs)) if cell.forward(direction) else range(len(inputs) - 1, -1, -1)
            state: tuple[str, ...] = ()
            for step in order:
                emit = _Emitter(self, f"{base}.{direction}", str(step))
                state = CELLS[cell.kind](cell, direction, emit, inputs[step], state)
                every[step].append(state[0])
            ends.append(state)
        results = [_Steps("TDNH" if not cell.layout else "NTDH", tuple(map(tuple, every)), cell.size)]
        results += [
            _Steps("DNH" if not cell.layout else "NDH", (tuple(end[place] for end in ends),), cell.size)
            for place in range(len(ends[0]))
        ]  # fmt: skip
        self.steps |= {name: result for name, result in zip(node.output, results, strict=False) if name}

    def _inputs(self, node: Any, who: str, cell: Cell) -> list[str]:
        """The values of each step."""
        name = node.input[0]
        if name in self.steps:
            found = self.steps[name]
            require(found.axes == "TNH" and not cell.layout, who, f"its input's axes are {found.axes}; {EXPORT}")
            return [values[0] for values in found.values]
        source = name
        if not cell.layout:
            maker = self.makers.get(name)
            turned = maker is not None and maker.op_type == "Transpose" and _attribute(maker, "perm") == [1, 0, 2]
            require(turned, who, f"its input {name!r} is by time, and no Transpose has made it so; {EXPORT}")
            assert maker is not None
            source = maker.input[0]
        shape = self.shapes.get(source, ())
        known = len(shape) == 3 and shape[0] == 1 and shape[1] > 0 and shape[2] == cell.inputs
        require(known, who, f"the number of its steps is not known from {source!r} of {list(shape)}; export it fixed")
        return [
            self.add("Gather", [source, self.constant(f"{source}.place{step}", np.asarray(step, np.int64))],
                     f"{source}.step{step}", axis=1)
            for step in range(shape[1])
        ]  # fmt: skip

    def _constant(self, name: str) -> Array | None:
        """The value of a constant, or of what follows from shapes alone, zeros as they are."""
        if name in self.constants:
            return self.constants[name]
        node = self.makers.get(name)
        if node is None or node.op_type == "Shape" or not node.input:
            return None
        if node.op_type == "ConstantOfShape":
            value = _attribute(node, "value")
            filled = 0.0 if value is None else self.onnx.numpy_helper.to_array(value).reshape(-1)[0]
            return np.full(1, filled, np.float32) if filled == 0 else None
        if node.op_type in ("Expand", "Unsqueeze", "Concat", "Identity"):
            # All zeros stay that, whatever their shape.
            parts = [self._constant(each) for each in node.input[: 1 if node.op_type != "Concat" else None]]
            return None if any(part is None or part.any() for part in parts) else np.zeros(1, np.float32)
        return None

    # What stands behind them.

    def _follow(self, node: Any) -> None:
        """An operator on a tensor by time: one that takes steps out, or brings them into another order."""
        name, who = node.input[0], f"operator {node.name!r} ({node.op_type})"
        found = self.steps.get(name)
        handler = getattr(self, f"_{node.op_type.lower()}", None)
        if found is None or handler is None or any(each in self.steps for each in node.input[1:]):
            raise GraphError(f"{who}: it computes with the result of a recurrent layer by time; {EXPORT}")
        result = handler(node, who, found)
        if "T" not in result.axes and "D" not in result.axes:
            # It is a tensor as others are.
            self.nodes.append(
                self.onnx.helper.make_node("Identity", [result.values[0][0]], [node.output[0]], f"{node.name}.same")
            )
        else:
            self.steps[node.output[0]] = result
            if result.axes == "NTH":
                self._sequence(node, result)

    def _identity(self, node: Any, who: str, found: _Steps) -> _Steps:
        return found

    _dropout = _identity

    def _axes(self, node: Any) -> list[int]:
        listed = _attribute(node, "axes")
        if listed is None and len(node.input) > 1:
            listed = self.constants.get(node.input[1], np.zeros(0)).reshape(-1).tolist()
        return list(listed or [])

    def _squeeze(self, node: Any, who: str, found: _Steps) -> _Steps:
        axes = sorted(axis % len(found.axes) for axis in self._axes(node))
        good = [found.axes[axis] for axis in axes] == ["D"] and len(found.values[0]) == 1
        require(good, who, f"it takes other axes away than that of the only direction; {EXPORT}")
        return replace(found, axes=found.axes.replace("D", ""))

    def _transpose(self, node: Any, who: str, found: _Steps) -> _Steps:
        order = _attribute(node, "perm") or list(range(len(found.axes)))[::-1]
        return replace(found, axes="".join(found.axes[axis] for axis in order))

    def _reshape(self, node: Any, who: str, found: _Steps) -> _Steps:
        """Directions beside each other."""
        shape, count = self._constant(node.input[1]), len(found.values[0])
        joined = found.axes.replace("DH", "H")
        good = shape is not None and shape.size == len(joined) and joined != found.axes
        good = good and shape is not None and shape.reshape(-1)[-1] in (-1, count * found.size)
        require(good, who, f"it does more than bringing the directions beside each other; {EXPORT}")
        values = [
            (values[0] if count == 1 else
             self._shared("Concat", list(values), f"{node.output[0]}.{step}", node.output[0], axis=1),)
            for step, values in enumerate(found.values)
        ]  # fmt: skip
        return _Steps(joined, tuple(values), count * found.size)

    def _gather(self, node: Any, who: str, found: _Steps) -> _Steps:
        """One step or one direction."""
        axis, place = (_attribute(node, "axis") or 0) % len(found.axes), self._constant(node.input[1])
        good = place is not None and place.ndim == 0 and found.axes[axis] in "TD"
        require(bool(good), who, f"it takes more than one step or direction; {EXPORT}")
        assert place is not None
        kind, index = found.axes[axis], int(place)
        axes = found.axes.replace(kind, "")
        if kind == "T":
            return replace(found, axes=axes, values=(found.values[index],))
        return replace(found, axes=axes, values=tuple((values[index],) for values in found.values))

    def _sequence(self, node: Any, found: _Steps) -> None:
        """The whole sequence, [N, T, H], as a tensor."""
        name = node.output[0]
        shape = self.constant(f"{name}.row", np.asarray([0, 1, found.size], np.int64))
        rows = [
            self._shared("Reshape", [values[0], shape], f"{name}.row{step}", f"{name}.row")
            for step, values in enumerate(found.values)
        ]
        self.nodes.append(self.onnx.helper.make_node("Concat", rows, [name], f"{name}.joined", axis=1))
        del self.steps[name]

    # Making operators.

    def _shared(self, kind: str, inputs: list[str], name: str, group: str, **attributes: Any) -> str:
        self.groups.setdefault(group, []).append(name)
        return self.add(kind, inputs, name, **attributes)

    def add(self, kind: str, inputs: Sequence[str], name: str, **attributes: Any) -> str:
        """Appends an operator, unless it is there; the name of its result."""
        if name not in self.names:
            self.names.add(name)
            self.nodes.append(self.onnx.helper.make_node(kind, list(inputs), [name], name, **attributes))
        return name

    def constant(self, name: str, values: Array) -> str:
        """Adds a constant, unless it is there; its name."""
        self.made.setdefault(name, values)
        return name


@dataclass(frozen=True)
class _Emitter(Emit):
    """Appends the operators of one step."""

    unroller: _Unroller
    base: str
    step: str

    def __call__(self, kind: str, role: str, *inputs: str, **attributes: Any) -> str:
        name, group = f"{self.base}.{role}.{self.step}", f"{self.base}.{role}"
        if kind == "Mul":
            self.unroller.multiplied.update(inputs)
        return self.unroller._shared(kind, list(inputs), name, group, **attributes)

    def constant(self, role: str, values: Array) -> str:
        return self.unroller.constant(f"{self.base}.{role}", values)


def _attribute(node: Any, name: str) -> Any:
    """An attribute's value, ``None`` if the file leaves it out."""
    for each in node.attribute:
        if each.name == name:
            return {2: each.i, 7: list(each.ints), 4: each.t}.get(each.type)
    return None


def unrolled(onnx: Any, model: Any, item_shape: tuple[int, ...]) -> Unrolled:
    """A ModelProto without recurrent layers, for items of a shape; the model itself if it has none.

    Raises
    ------
    GraphError
        If a recurrent layer is of a kind that is not known here, is too long, or is used by time in other ways than to
        take steps out or to bring the batch in front.
    """
    if not any(node.op_type in CELLS and not node.domain for node in model.graph.node):
        return Unrolled(model)
    copy = type(model)()
    copy.CopyFrom(model)
    for entry in copy.graph.input:
        if entry.name not in {each.name for each in copy.graph.initializer}:
            for axis, size in zip(entry.type.tensor_type.shape.dim, (1, *item_shape), strict=False):
                axis.dim_value = size
    inferred = onnx.shape_inference.infer_shapes(copy)
    shapes = {
        value.name: tuple(axis.dim_value for axis in value.type.tensor_type.shape.dim)
        for value in (*inferred.graph.value_info, *inferred.graph.input)
    }
    unroller = _Unroller(onnx=onnx, graph=model.graph, shapes=shapes)
    unroller.run()
    made = type(model)()
    made.CopyFrom(model)
    del made.graph.node[:]
    del made.graph.value_info[:]
    made.graph.node.extend(_needed(unroller.nodes, [output.name for output in model.graph.output]))
    made.graph.initializer.extend(
        onnx.numpy_helper.from_array(values, name) for name, values in unroller.made.items()
    )  # fmt: skip
    groups = tuple(map(tuple, unroller.groups.values()))
    factors = (name for names in groups if unroller.multiplied & {*names} for name in names)
    return Unrolled(made, groups, frozenset(factors))


def _needed(nodes: Sequence[Any], outputs: Sequence[str]) -> list[Any]:
    """The operators on which the outputs depend."""
    wanted, kept = set(outputs), []
    for node in reversed(nodes):
        if wanted & set(node.output):
            wanted |= set(node.input)
            kept.append(node)
    return kept[::-1]
