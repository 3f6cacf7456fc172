"""The quantized graph of tensors and operators, which every front end makes and the compiler takes."""

from __future__ import annotations

import dataclasses
import os
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from sateen import archive
from sateen.errors import SateenWarning
from sateen.graph.ops import (
    OPS,
    Array,
    Conv2D,
    FullyConnected,
    GraphError,
    MaxPool2D,
    Op,
    Reshape,
    Tensor,
    one_line,
    require,
)
from sateen.records import RecordError, read, short

__all__ = ["Conv2D", "FullyConnected", "Graph", "GraphError", "MaxPool2D", "Op", "Reshape", "Tensor", "run", "tell"]


@dataclass(frozen=True, kw_only=True, eq=False)
class Graph:
    """A quantized model: tensors by name, and operators in an order of execution.

    Raises
    ------
    GraphError
        If a tensor is unknown, is read before it is computed, is computed twice, or does not fit an operator, or if a
        state has a batch or another type than what replaces it.
    """

    name: str
    tensors: dict[str, Tensor]
    ops: Sequence[Op]
    inputs: Sequence[str]
    outputs: Sequence[str]
    states: Mapping[str, str] = field(default_factory=dict)
    """Tensors that live from one item to the next, [1, …]: read like inputs, and then replaced by the tensors that they
    are mapped to here. Items are steps of a stream in a graph that has any."""
    notes: Sequence[str] = ()
    """What the front end that read a model's file warned of: above all where an interpreter's results may differ. Who
    reads a file of the graph, or of a model compiled from it, is warned, too."""

    FORMAT = "sateen.graph/1"

    def __post_init__(self) -> None:
        who = f"graph {self.name!r}"
        require(len(self.inputs) > 0 and len(self.outputs) > 0, who, "name at least one input and one output")
        for key, tensor in self.tensors.items():
            require(key == tensor.name, tensor, f"it stands under the name {key!r}; use its own")
        for name in self.inputs:
            require(name in self.tensors, who, f"its input {name!r} is no tensor; add it to tensors")
        for name, count in Counter(op.name for op in self.ops).items():
            require(bool(name), who, "an operator has no name; give it one")
            require(count == 1, who, f"{count} operators are named {name!r}; name each differently")
        made = set(self.sources)
        require(len(made) == len(self.sources), who, "an input or state is named twice; name each once")
        for op in self.ops:
            for name in (*op.inputs, op.output):
                require(name in self.tensors, op, f"its tensor {name!r} is unknown; add it to tensors")
            for name in op.inputs:
                require(name in made, op, f"its input {name!r} is not made yet; put the operator that makes it before")
            require(op.output not in made, op, f"its output {op.output!r} is made already; give it a tensor of its own")
            made.add(op.output)
            op.check_types(self.tensors)
            shape, output = op.infer(self.tensors), self.tensors[op.output]
            require(shape == output.shape, op, f"its result is {shape}, but {output} is {output.shape}")
        for name in self.outputs:
            require(name in made, who, f"no operator makes its output {name!r}")
        self._check_states(made)

    def _check_states(self, made: set[str]) -> None:
        for name, following in self.states.items():
            require(following in made, self.tensors[name], f"nothing makes {following!r}, which replaces this state")
            state, new = self.tensors[name], self.tensors[following]
            good = state.shape == new.shape and state.dtype == new.dtype and state.quantization == new.quantization
            require(good, state, f"it is a state, so {new}, which replaces it, must have its shape, type and scale")
            require(state.shape[0] == 1, state, f"it is a state, so its batch must be 1, not {state.shape[0]}")

    @property
    def sources(self) -> tuple[str, ...]:
        """What stands there before the first operator: inputs and states."""
        return (*self.inputs, *self.states)

    @property
    def results(self) -> tuple[str, ...]:
        """What is wanted behind the last operator: outputs, and what replaces states."""
        return tuple(dict.fromkeys((*self.outputs, *self.states.values())))

    def first_states(self) -> dict[str, Array]:
        """The states before a stream's first item: codes of zero."""
        tensors = {name: self.tensors[name] for name in self.states}
        return {
            name: np.full(tensor.shape, tensor.zero_point, tensor.dtype) for name, tensor in tensors.items()
        }  # fmt: skip

    @property
    def macs(self) -> dict[str, int]:
        """Multiply-accumulates of each operator, by its name, for the tensors' shapes, batch included."""
        return {op.name: op.macs(self.tensors) for op in self.ops}

    def to_document(self) -> dict[str, Any]:
        """The graph as a document of :mod:`sateen.archive`."""
        document: dict[str, Any] = {
            "name": self.name,
            "tensors": [_fields(tensor) for tensor in self.tensors.values()],
            "ops": [{"op": type(op).__name__, **_fields(op)} for op in self.ops],
            "inputs": list(self.inputs),
            "outputs": list(self.outputs),
        }
        document |= {"states": dict(self.states)} if self.states else {}
        return document | ({"notes": list(self.notes)} if self.notes else {})

    @classmethod
    def from_document(cls, document: Mapping[str, Any]) -> Graph:
        """The inverse of :meth:`to_document`; :class:`GraphError` if the document describes no graph."""
        try:
            parts = read(_Document, document, "the graph")
            ops = [_op(fields, place) for place, fields in enumerate(parts.ops)]
        except RecordError as error:
            raise GraphError(f"the document describes no graph: {error}; make it with Graph.to_document") from error
        tensors = {tensor.name: tensor for tensor in parts.tensors}
        return cls(
            name=parts.name, tensors=tensors, ops=ops, inputs=list(parts.inputs), outputs=list(parts.outputs),
            states=parts.states, notes=parts.notes,
        )  # fmt: skip

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the graph to an ``.npz`` file."""
        archive.save(path, self.to_document(), format=self.FORMAT)

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Graph:
        """Reads a file that :meth:`save` wrote, with a :class:`~sateen.errors.SateenWarning` for each of its notes;
        :class:`~sateen.archive.ArchiveError` if it is damaged or something else."""
        graph = cls.from_document(archive.load(path, format=cls.FORMAT, remedy=archive.MAKE_AGAIN))
        tell(graph, stacklevel=3)
        return graph


def tell(graph: Graph, *, stacklevel: int = 2) -> None:
    """Warns of a graph's notes; ``stacklevel`` is that of :func:`warnings.warn`, of this function's caller's line."""
    for note in graph.notes:
        warnings.warn(one_line(note), SateenWarning, stacklevel=stacklevel)


def _fields(record: Any) -> dict[str, Any]:
    fields = {field.name: getattr(record, field.name) for field in dataclasses.fields(record)}
    for name in ("terms", "file_layout", "between", "sum"):
        if fields.get(name) is not None:
            fields[name] = dataclasses.asdict(fields[name])
    return fields


@dataclass(frozen=True, kw_only=True)
class _Document:
    """A graph as files have it."""

    name: str
    tensors: tuple[Tensor, ...]
    ops: tuple[dict[str, Any], ...]
    """Their fields; ``op`` is the class."""
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    states: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def _op(fields: dict[str, Any], place: int) -> Op:
    kind = fields.get("op")
    if not isinstance(kind, str) or kind not in OPS:
        raise RecordError(f"operator {place} is of no known kind, {short(kind)}")
    fields = {name: value for name, value in fields.items() if name != "op"}
    return read(OPS[kind], fields, f"operator {place} ({kind})")


def run(
    graph: Graph,
    inputs: Mapping[str, Array] | Array,
    *,
    layers: bool = False,
    states: dict[str, Array] | None = None,
) -> dict[str, Array]:
    """The graph's outputs by the golden model, bit for bit those of the device.

    Parameters
    ----------
    inputs
        int8 arrays (float32 for a real input) by name, or the array itself if there is one input, with any number of
        items along the first axis. For a graph with states they are the steps of a stream.
    layers
        Return every tensor, inputs and states included, instead of the outputs only.
    states
        The states before the first item, which become those behind the last. ``None``: those of
        :meth:`Graph.first_states`.

    Raises
    ------
    GraphError
        If an input is missing, unknown, or of another type or shape.
    """
    given = dict(inputs) if isinstance(inputs, Mapping) else {graph.inputs[0]: inputs}
    require(
        set(given) == set(graph.inputs), f"graph {graph.name!r}", f"give inputs {list(graph.inputs)}, not {list(given)}"
    )
    for name, value in given.items():
        shape, dtype = graph.tensors[name].shape[1:], graph.tensors[name].dtype
        require(
            value.dtype == dtype and value.shape[1:] == shape,
            graph.tensors[name],
            f"give {dtype} values of shape (N, {', '.join(map(str, shape))}), not {value.dtype} of {value.shape}",
        )
    values = _stream(graph, given, states) if graph.states else _computed(graph, given)
    return values if layers else {name: values[name] for name in graph.outputs}


def _computed(graph: Graph, values: dict[str, Array]) -> dict[str, Array]:
    """All tensors."""
    for op in graph.ops:
        values[op.output] = op.execute(graph.tensors, values)
    return values


def _stream(graph: Graph, given: Mapping[str, Array], states: dict[str, Array] | None) -> dict[str, Array]:
    """All tensors of all items, one after the other."""
    states = graph.first_states() if states is None else states
    items = []
    for item in range(len(next(iter(given.values())))):
        single = {name: values[item : item + 1] for name, values in given.items()}
        items.append(_computed(graph, {**single, **states}))
        states.update({name: items[-1][following] for name, following in graph.states.items()})
    return {name: np.concatenate([values[name] for values in items]) for name in items[0]}
