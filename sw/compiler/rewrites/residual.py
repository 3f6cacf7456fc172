"""Sums of a convolution's result and another tensor, computed where the results leave: residual connections."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Callable
from typing import Any

from sateen.compiler.rewrites.base import Rewritten
from sateen.graph import Add, Conv2D, Graph, Op, ResidualConv2D
from sateen.hw.spec.config import Config
from sateen.hw.spec.parameters import TABLE_ENTRIES

__all__ = ["join_sums", "part_sums"]

LAYER_CYCLES = 100
"""That a sum takes as a layer besides its lines and tables."""
LAST_POSITIONS = 64
"""Whose results leave behind the last beat: blocks as short as that cost next to nothing."""


def part_sums(given: Rewritten, config: Config, combine: bool) -> Rewritten:
    """The inverse of :func:`join_sums`, for the graph of a compiled model: another device may lack the unit."""
    graph = given.graph
    joined = [op for op in graph.ops if isinstance(op, ResidualConv2D)]
    if not joined:
        return given
    ops: list[Op] = []
    for op in graph.ops:
        ops += [op.convolution, op.sum] if isinstance(op, ResidualConv2D) else [op]
    tensors = graph.tensors | {op.between.name: op.between for op in joined}
    return dataclasses.replace(given, graph=dataclasses.replace(graph, tensors=tensors, ops=ops))


def join_sums(given: Rewritten, config: Config, is_lowered: Callable[[Op, Graph], bool]) -> Rewritten:
    """Replaces a :class:`Conv2D` and the :class:`Add` that alone reads its result by a :class:`ResidualConv2D`, where
    the device adds residual tensors and that takes fewer cycles. ``is_lowered`` says whether it computes an operator:
    it may lack tables for the sum, or room for them beside the weights.

    The unit needs whole tensors in the scratchpad: whoever asks for this must see whether they have room.
    """
    graph = given.graph
    if not config.residual:
        return given
    made = {op.output: op for op in graph.ops if type(op) is Conv2D}
    readers = Counter(name for op in graph.ops for name in op.inputs)
    joined: dict[str, ResidualConv2D] = {}
    for op in graph.ops:
        if type(op) is not Add or op.a == op.b:
            continue
        halves = [made[name] for name in op.inputs if name in made and readers[name] == 1 and name not in graph.results]
        # Of two convolutions, the one with more weights has more time for the other's results.
        for half in sorted(halves, key=lambda half: -half.weights.size):
            both = _joined(half, op, graph)
            if _pays(half, op, graph, config) and is_lowered(both, graph):
                joined[op.name] = both
                break
    if not joined:
        return given
    gone = {op.between.name for op in joined.values()}
    ops = [joined.get(op.name, op) for op in graph.ops if op.output not in gone]
    tensors = {name: tensor for name, tensor in graph.tensors.items() if name not in gone}
    return dataclasses.replace(given, graph=dataclasses.replace(graph, tensors=tensors, ops=ops))


def _joined(half: Conv2D, op: Add, graph: Graph) -> ResidualConv2D:
    fields: dict[str, Any] = {field.name: getattr(half, field.name) for field in dataclasses.fields(half)}
    return ResidualConv2D(**{**fields, "output": op.output, "between": graph.tensors[half.output], "sum": op})


def _pays(half: Conv2D, op: Add, graph: Graph, config: Config) -> bool:
    """Whether both at once take fewer cycles than one after the other."""
    a, b, y = (graph.tensors[name] for name in (*op.inputs, op.output))
    if a.shape != b.shape or any(tensor.dtype != "int8" for tensor in (a, b, y, graph.tensors[half.input])):
        return False
    outputs, rows, size, channels = half.weights.shape
    groups, positions = -(-outputs // config.cols), math.prod(y.shape[1:3])
    beats = rows * math.ceil(size * channels / config.tile_depth)
    pace = config.drain_groups * (config.lanes // config.residual)
    lines = 2 * math.ceil(math.prod(y.shape[1:]) / min(config.cols, config.beat_bytes))
    together = groups * positions * max(0, pace - beats) + min(positions, LAST_POSITIONS) * pace
    return together < lines + TABLE_ENTRIES + LAYER_CYCLES
