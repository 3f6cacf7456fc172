"""Reordering of channels, so that the rows of the array see the channels of a sparse layer's input with the fewest
conflicts.

The layer that computes the channels gets its filters in the new order, and every layer that reads them its weights.
Nothing else changes: sums have the same terms. Channels of the model's inputs and outputs, and of operators that depend
on the order, stay as they are.
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
    FloatAveragePool2D,
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
"""From this share of nonzero weights on, no order is searched for."""

Order = NDArray[np.int64]
EACH_CHANNEL = (
    Add, AveragePool2D, FloatAveragePool2D, MaxPool2D, Multiply, Requantize, Resize, Subtract, Table,
)  # fmt: skip
"""Operators that treat each channel alike."""


def permute_channels(graph: Graph, config: Config) -> tuple[Graph, dict[str, str]]:
    """The graph with channels in a better order, and for each sparse layer, by its name, a note on its input's
    channels.

    Inputs and outputs are the same. Tensors in between record their order (``Tensor.channel_order``).
    """
    classes = _ChannelClasses(graph)
    orders: dict[str, Order] = {}
    notes: dict[str, str] = {}
    readers: dict[str, list[Conv2D | FullyConnected]] = {}
    for op in graph.ops:
        if isinstance(op, (Conv2D, FullyConnected)) and np.count_nonzero(op.weights) < SPARSE * op.weights.size:
            readers.setdefault(classes.of(op.input), []).append(op)
    for key, ops in readers.items():
        if key in classes.pinned:
            notes |= {op.name: f"its input's channels stay in order: {classes.pinned[key]}" for op in ops}
            continue
        order = _best_order(graph, ops, classes.channels[key], config)
        if order is None:
            notes |= {op.name: "no order of its input's channels is better" for op in ops}
        else:
            orders[key] = order
            notes |= {op.name: "its input's channels are permuted" for op in ops}
    made = [
        _reordered(op, orders.get(classes.of(op.output)), orders.get(classes.of(op.inputs[0])) if op.inputs else None)
        for op in graph.ops
    ]
    tensors = {
        name: dataclasses.replace(tensor, channel_order=tuple(orders[key].tolist()))
        if (key := classes.of(name)) in orders
        else tensor
        for name, tensor in graph.tensors.items()
    }
    return dataclasses.replace(graph, tensors=tensors, ops=made), notes


class _ChannelClasses:
    """Classes of tensors whose channels must have the same order, because operators tie them, and the classes whose
    order must not change."""

    def __init__(self, graph: Graph):
        self.graph = graph
        self._above: dict[str, str] = {name: name for name in graph.tensors}
        self.channels = {name: tensor.shape[-1] for name, tensor in graph.tensors.items()}
        """Per class, the number of channels to order; longer axes hold them several times, one copy after another."""
        self.pinned: dict[str, str] = {}
        pins = [(name, "it is the model's input") for name in graph.inputs] + [
            (name, "it is the model's output") for name in graph.outputs
        ]
        pins += [(name, "it is a state of the model") for pair in graph.states.items() for name in pair]
        for op in graph.ops:
            if self._each_channel(op):
                for name in op.inputs:
                    self._tie(name, op.output)
            elif not isinstance(op, (Conv2D, FullyConnected)) or op.terms is not None:
                pins += [(name, f"{op} depends on it") for name in (*op.inputs, op.output)]
        for name, why in pins:
            self.pinned.setdefault(self.of(name), why)

    def of(self, name: str) -> str:
        """The name of the class of a tensor."""
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
    """The order in which the layers take the fewest tiles, weighted by their output positions; ``None`` for the present
    order."""
    if channels <= config.tile_depth:
        return None
    kernels = [op.weights.reshape(len(op.weights), -1, channels) for op in ops]
    matrix = np.concatenate([weights.reshape(-1, channels) for weights in kernels])
    neighbours = structured_groups(matrix)
    tried = [] if neighbours is None else [neighbours]
    tried += [group_columns(matrix, alpha=config.combine, gamma=gamma) for gamma in (0.0, GAMMA)]

    def tiles(order: Order | None) -> int:
        total = 0
        for op, weights in zip(ops, kernels, strict=True):
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
    """The operator, reading channels in the order ``source`` and computing them in the order ``output``."""
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
