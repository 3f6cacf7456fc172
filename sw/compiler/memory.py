"""The memory planner: the address of each tensor in the scratchpad. Dead tensors give their memory to others."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from sateen.compiler.schedule import DevicePhase, Schedule, build_schedule
from sateen.graph import Graph, Reshape, ResidualConv2D
from sateen.hw.spec.residual import RESIDUAL_UNIT

__all__ = ["Plan", "Staying", "plan"]


@dataclass(frozen=True, kw_only=True)
class Staying:
    """The place of a tensor that stays in the scratchpad from one turn of the device to another."""

    address: int
    live: tuple[int, int]
    """The first and last operator between which it does, as indices."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Where tensors stand in the scratchpad, and how much of it they take."""

    addresses: Mapping[str, int]
    """Byte address of each tensor that stands in the scratchpad. The tensors of a buffer share theirs."""
    live_ranges: Mapping[str, tuple[tuple[int, int], ...]]
    """When each buffer is needed: the first and last operator, as indices, of each of its live ranges."""
    bytes_in_use: Mapping[str, int]
    """Bytes that live tensors take while an operator runs, by the operator's name."""
    peak: int
    """Bytes of scratchpad that the model needs."""


@dataclass
class _Buffer:
    size: int
    live_ranges: list[tuple[int, int]] = field(default_factory=list)
    """First and last operator, both included."""
    address: int = 0

    def overlaps(self, other: _Buffer) -> bool:
        """Whether both are live at one time."""
        return any(
            first <= other_last and other_first <= last
            for first, last in self.live_ranges
            for other_first, other_last in other.live_ranges
        )

    def is_live(self, op: int) -> bool:
        """Whether it is needed while an operator runs."""
        return any(first <= op <= last for first, last in self.live_ranges)


def plan(graph: Graph, schedule: Schedule | None = None, staying: Mapping[str, Staying] | None = None) -> Plan:
    """Places every tensor that the device touches: the largest first, each at the lowest address that is free
    throughout its live ranges.

    Parameters
    ----------
    schedule
        The phases; ``None``: the device runs every operator.
    staying
        Tensors that have their places already, by name.
    """
    staying = staying or {}
    if schedule is None:
        schedule = build_schedule(graph, [op.name for op in graph.ops if not isinstance(op, Reshape)])
    buffers = _buffers(graph, schedule)
    for name, each in staying.items():
        buffers[name] = _Buffer(math.prod(graph.tensors[name].shape[1:]), [each.live], each.address)
    placed = [buffers[name] for name in staying]
    others = [buffer for name, buffer in buffers.items() if name not in staying]
    for buffer in sorted(others, key=lambda buffer: (-buffer.size, buffer.live_ranges[0])):
        neighbours = [other for other in placed if other.overlaps(buffer)]
        for other in sorted(neighbours, key=lambda other: other.address):
            if buffer.address + buffer.size <= other.address:
                break
            buffer.address = max(buffer.address, other.address + other.size)
        placed.append(buffer)
    return Plan(
        addresses={name: buffers[key].address for name, key in schedule.buffer_of.items() if key in buffers},
        live_ranges={key: tuple(buffer.live_ranges) for key, buffer in buffers.items()},
        bytes_in_use={
            op.name: sum(buffer.size for buffer in placed if buffer.is_live(index))
            for index, op in enumerate(graph.ops)
        },
        peak=max((buffer.address + buffer.size for buffer in placed), default=0),
    )


def _buffers(graph: Graph, schedule: Schedule) -> dict[str, _Buffer]:
    buffers: dict[str, _Buffer] = {}
    # Then all begin at multiples of these bytes.
    unit = RESIDUAL_UNIT if any(isinstance(op, ResidualConv2D) for op in graph.ops) else 1
    for phase in schedule.phases:
        if not isinstance(phase, DevicePhase):
            continue
        # The operators of this phase during which each buffer is needed.
        uses: dict[str, list[int]] = {}
        for name in phase.writes:
            uses.setdefault(schedule.buffer_of[name], []).append(phase.ops[0])
        for index in phase.ops:
            for name in (*graph.ops[index].inputs, graph.ops[index].output):
                uses.setdefault(schedule.buffer_of[name], []).append(index)
        for name in phase.reads:
            uses.setdefault(schedule.buffer_of[name], []).append(phase.ops[-1])
        for key, indices in uses.items():
            size = -(-math.prod(graph.tensors[key].shape[1:]) // unit) * unit
            buffer = buffers.setdefault(key, _Buffer(size))
            buffer.live_ranges.append((min(indices), max(indices)))
    if not schedule.spill:
        for buffer in buffers.values():
            buffer.live_ranges = [(buffer.live_ranges[0][0], buffer.live_ranges[-1][1])]
    return buffers
