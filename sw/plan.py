"""The memory planner: where each tensor stands in the scratchpad, the memory of dead tensors being used again."""

from __future__ import annotations

import math
from collections.abc import Container, Mapping
from dataclasses import dataclass

from weft.errors import CompileError
from weft.graph import Graph
from weft.ops import Reshape
from weft.hw.spec.config import Config

__all__ = ["Plan", "plan"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Byte addresses of tensors, and what they take."""

    addresses: Mapping[str, int]
    """Byte address of each tensor that an operator on the device touches; tensors that a Reshape joins share theirs."""
    used: Mapping[str, int]
    """Bytes that live tensors take while each operator runs, by its name."""
    peak: int
    """Bytes of scratchpad that the model needs."""


@dataclass
class _Buffer:
    size: int
    first: int
    last: int
    address: int = 0


def plan(graph: Graph, config: Config, device: Container[str] | None = None) -> Plan:
    """Places every tensor that the device touches; the largest first, each at the lowest address that is free all its life.

    Parameters
    ----------
    device
        Names of the operators that run on the device; ``None``: all of them.

    Raises
    ------
    CompileError
        If the scratchpad is too small.
    """
    owner: dict[str, str] = {}
    buffers: dict[str, _Buffer] = {}
    touched: set[str] = set()

    def touch(name: str, step: int) -> None:
        key = owner.setdefault(name, name)
        size = math.prod(graph.tensors[name].shape[1:])
        buffer = buffers.setdefault(key, _Buffer(size, step, step))
        buffer.first, buffer.last = min(buffer.first, step), max(buffer.last, step)

    for name in graph.inputs:
        touch(name, -1)
    for step, op in enumerate(graph.ops):
        for name in op.inputs:
            touch(name, step)
        if isinstance(op, Reshape):
            owner[op.output] = owner[op.input]
        touch(op.output, step)
        if not isinstance(op, Reshape) and (device is None or op.name in device):
            touched.update(owner[name] for name in (*op.inputs, op.output))
    for name in graph.outputs:
        touch(name, len(graph.ops))

    buffers = {name: buffer for name, buffer in buffers.items() if name in touched}
    placed: list[_Buffer] = []
    for buffer in sorted(buffers.values(), key=lambda buffer: (-buffer.size, buffer.first)):
        alive = [other for other in placed if other.first <= buffer.last and buffer.first <= other.last]
        for other in sorted(alive, key=lambda other: other.address):
            if buffer.address + buffer.size <= other.address:
                break
            buffer.address = max(buffer.address, other.address + other.size)
        placed.append(buffer)

    used = {
        op.name: sum(buffer.size for buffer in placed if buffer.first <= step <= buffer.last)
        for step, op in enumerate(graph.ops)
    }
    peak = max((buffer.address + buffer.size for buffer in placed), default=0)
    if peak > config.scratchpad_bytes:
        worst = max(used, key=lambda name: used[name], default="input")
        raise CompileError(
            f"graph {graph.name!r} needs {peak} bytes of scratchpad, {peak - config.scratchpad_bytes} more than there are "
            f"(most in {worst!r}); raise scratchpad_bytes to {-(-peak // config.banks) * config.banks} or more"
        )
    return Plan(addresses={name: buffers[key].address for name, key in owner.items() if key in buffers}, used=used, peak=peak)
