"""The memory planner: where each tensor stands in the scratchpad, the memory of dead tensors being used again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from sateen.compiler.schedule import Schedule, schedule
from sateen.graph import Graph, Reshape

__all__ = ["Plan", "plan"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Byte addresses of tensors, and what they take."""

    addresses: Mapping[str, int]
    """Byte address of each tensor that stands in the scratchpad; tensors that a Reshape joins share theirs."""
    lives: Mapping[str, tuple[tuple[int, int], ...]]
    """When each of them is needed: places of the graph's operators, first and last of each time. Of those that share
    memory the first."""
    used: Mapping[str, int]
    """Bytes that live tensors take while each operator runs, by its name."""
    peak: int
    """Bytes of scratchpad that the model needs."""


@dataclass
class _Buffer:
    size: int
    lives: list[tuple[int, int]] = field(default_factory=list)
    """Places of the operators between which it is needed, both included."""
    address: int = 0

    def meets(self, other: _Buffer) -> bool:
        """Whether both are needed at one time."""
        return any(first <= end and begin <= last for first, last in self.lives for begin, end in other.lives)

    def alive(self, step: int) -> bool:
        """Whether it is needed while an operator runs."""
        return any(first <= step <= last for first, last in self.lives)


def plan(graph: Graph, order: Schedule | None = None) -> Plan:
    """Places every tensor that the device touches; the largest first, each at the lowest address that is free all its
    life.

    Parameters
    ----------
    order
        Who does what; ``None``: the device everything.
    """
    if order is None:
        order = schedule(graph, [op.name for op in graph.ops if not isinstance(op, Reshape)])
    buffers = _buffers(graph, order)
    placed: list[_Buffer] = []
    for buffer in sorted(buffers.values(), key=lambda buffer: (-buffer.size, buffer.lives[0])):
        alive = [other for other in placed if other.meets(buffer)]
        for other in sorted(alive, key=lambda other: other.address):
            if buffer.address + buffer.size <= other.address:
                break
            buffer.address = max(buffer.address, other.address + other.size)
        placed.append(buffer)
    used = {op.name: sum(buffer.size for buffer in placed if buffer.alive(step)) for step, op in enumerate(graph.ops)}
    return Plan(
        addresses={name: buffers[key].address for name, key in order.owner.items() if key in buffers},
        lives={key: tuple(buffer.lives) for key, buffer in buffers.items()},
        used=used,
        peak=max((buffer.address + buffer.size for buffer in placed), default=0),
    )


def _buffers(graph: Graph, order: Schedule) -> dict[str, _Buffer]:
    buffers: dict[str, _Buffer] = {}
    for turn in order.turns:
        if turn.host:
            continue
        # When each group is first and last needed in this turn.
        touched: dict[str, list[int]] = {}
        for name in turn.writes:
            touched.setdefault(order.owner[name], []).append(turn.ops[0])
        for place in turn.ops:
            for name in (*graph.ops[place].inputs, graph.ops[place].output):
                touched.setdefault(order.owner[name], []).append(place)
        for name in turn.reads:
            touched.setdefault(order.owner[name], []).append(turn.ops[-1])
        for key, places in touched.items():
            buffer = buffers.setdefault(key, _Buffer(math.prod(graph.tensors[key].shape[1:])))
            buffer.lives.append((min(places), max(places)))
    if not order.spill:
        for buffer in buffers.values():
            buffer.lives = [(buffer.lives[0][0], buffer.lives[-1][1])]
    return buffers
