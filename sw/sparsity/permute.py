"""The order of channels: those that a sparse layer reads are put where the rows of the array see them with the fewest
conflicts.

The layer that makes the channels has its filters in that order then, and all that read them their weights. Nothing else
changes: sums have the same terms. Channels that must stay in order are those of the model's inputs and outputs, and of
operators for which it matters.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from numpy.typing import NDArray

from sateen.graph import (
    Add,
    AveragePool2D,
    Conv2D,
    DepthwiseConv2D,
    FullyConnected,
    Graph,
    MaxPool2D,
    Mean,
    Multiply,
    Op,
    Pad,
    Requantize,
    Reshape,
    Resize,
    Slice,
    Subtract,
    Table,
    Weighted,
)
from sateen.hw.spec.config import Config
from sateen.sparsity.columns import GAMMA, arrange, group_columns, structured_groups
from sateen.sparsity.packing import pack

__all__ = ["permute_channels"]

SPARSE = 0.6
"""Share of weights that are not zero from which on an order is not looked for."""

Order = NDArray[np.int64]
EACH_CHANNEL = (Add, AveragePool2D, MaxPool2D, Multiply, Requantize, Resize, Subtract, Table)
"""Operators that take each channel by itself, whatever its number."""


def permute_channels(graph: Graph, config: Config) -> tuple[Graph, dict[str, str]]:
    """The graph with channels in a better order; and of each sparse layer, by its name, what became of its input's
    channels.

    Inputs and outputs are the same; tensors between have their channels in another order, which they say.
    """
    tied = _Tied(graph)
    orders: dict[str, Order] = {}
    notes: dict[str, str] = {}
    readers: dict[str, list[Conv2D | FullyConnected]] = {}
    for op in graph.ops:
        if isinstance(op, (Conv2D, FullyConnected)) and np.count_nonzero(op.weights) < SPARSE * op.weights.size:
            readers.setdefault(tied.of(op.input), []).append(op)
    for key, ops in readers.items():
        if key in tied.pinned:
            notes |= {op.name: f"its input's channels stay in order: {tied.pinned[key]}" for op in ops}
            continue
        order = _best_order(graph, ops, tied.channels[key], config)
        if order is None:
            notes |= {op.name: "no order of its input's channels is better" for op in ops}
        else:
            orders[key] = order
            notes |= {op.name: "its input's channels are permuted" for op in ops}
    made = [
        _reordered(op, orders.get(tied.of(op.output)), orders.get(tied.of(op.inputs[0])) if op.inputs else None)
        for op in graph.ops
    ]
    tensors = {
        name: dataclasses.replace(tensor, channel_order=tuple(orders[key].tolist()))
        if (key := tied.of(name)) in orders
        else tensor
        for name, tensor in graph.tensors.items()
    }
    return dataclasses.replace(graph, tensors=tensors, ops=made), notes


class _Tied:
    """Tensors whose channels have one order, because operators tie them; and those classes of them that must stay as
    they are."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self._above: dict[str, str] = {name: name for name in graph.tensors}
        self.channels = {name: tensor.shape[-1] for name, tensor in graph.tensors.items()}
        """Of a class, by its name: numbers that are in order; longer axes have several of them side by side."""
        self.pinned: dict[str, str] = {}
        pins = [(name, "it is the model's input") for name in graph.inputs] + [
            (name, "it is the model's output") for name in graph.outputs
        ]
        for op in graph.ops:
            if self._each_channel(op):
                for name in op.inputs:
                    self._tie(name, op.output)
            elif not isinstance(op, (Conv2D, FullyConnected)) or op.terms is not None:
                pins += [(name, f"{op} depends on it") for name in (*op.inputs, op.output)]
        for name, why in pins:
            self.pinned.setdefault(self.of(name), why)

    def of(self, name: str) -> str:
        """The class's name."""
        while self._above[name] != name:
            name = self._above[name]
        return name

    def _tie(self, one: str, other: str) -> None:
        one, other = self.of(one), self.of(other)
        if one != other:
            self._above[other] = one
            self.channels[one] = math.gcd(self.channels[one], self.channels[other])

    def _each_channel(self, op: Op) -> bool:
        shapes = [self.graph.tensors[name].shape for name in (*op.inputs, op.output)]
        if isinstance(op, DepthwiseConv2D):
            return op.terms is None and shapes[0][-1] == shapes[-1][-1]
        if isinstance(op, Reshape):
            return shapes[1][-1] % shapes[0][-1] == 0
        if isinstance(op, Mean):
            return len(shapes[0]) - 1 not in op.axes and shapes[0][-1] == shapes[1][-1]
        if isinstance(op, (Pad, Slice)):
            return shapes[0][-1] == shapes[1][-1]
        return isinstance(op, EACH_CHANNEL) and len({shape[-1] for shape in shapes}) == 1


def _best_order(graph: Graph, ops: list[Conv2D | FullyConnected], channels: int, config: Config) -> Order | None:
    """The order in which layers take the fewest tiles, each as often as it has results; ``None``: the one that is."""
    if channels <= config.tile_depth:
        return None
    wide = [op.weights.reshape(len(op.weights), -1, channels) for op in ops]
    matrix = np.concatenate([weights.reshape(-1, channels) for weights in wide])
    neighbours = structured_groups(matrix)
    tried = [] if neighbours is None else [neighbours]
    tried += [group_columns(matrix, alpha=config.combine, gamma=gamma) for gamma in (0.0, GAMMA)]

    def tiles(order: Order | None) -> int:
        total = 0
        for op, weights in zip(ops, wide, strict=True):
            steps = op.weights.shape[1] if isinstance(op, Conv2D) else 1
            rows = (weights if order is None else weights[..., order]).reshape(len(weights), steps, -1)
            packing = pack(np.ascontiguousarray(rows), config) if rows.dtype == np.int8 else None
            positions = math.prod(graph.tensors[op.output].shape[1:-1])
            total += positions * steps * (packing.windows.tiles if packing else -(-rows.shape[-1] // config.tile_depth))
        return total

    orders = [arrange(matrix, groups, rows=config.tile_depth, combine=config.combine) for groups in tried]
    best = min(orders, key=tiles)
    return best if tiles(best) < tiles(None) else None


def _reordered(op: Op, output: Order | None, source: Order | None) -> Op:
    """An operator that reads channels in one order and makes them in another."""
    if not isinstance(op, Weighted):
        return op
    weights = op.weights
    if source is not None and not isinstance(op, DepthwiseConv2D):
        weights = weights.reshape(len(weights), -1, len(source))[..., source].reshape(weights.shape)
    if output is None:
        return op if weights is op.weights else dataclasses.replace(op, weights=weights)
    copies = len(weights) // len(output)
    index = (np.arange(copies)[:, None] * len(output) + output).ravel()
    return dataclasses.replace(
        op, weights=weights[index], bias=op.bias[index], multiplier=op.multiplier[index], shift=op.shift[index]
    )
