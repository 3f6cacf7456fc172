"""Placement: whether the device or the host runs each operator, when, and where its tensors stand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from sateen.compiler.chains import chained
from sateen.compiler.lowering import Lowered, LoweredGraph
from sateen.compiler.memory import Plan, plan
from sateen.compiler.schedule import Schedule, build_schedule
from sateen.compiler.stripes import Stripe, stripes
from sateen.errors import CompileError
from sateen.graph import Broadcast, Graph, Reshape, Transpose
from sateen.hw.spec.config import Config

__all__ = ["Placement", "place"]


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where and when each operator of a graph is computed."""

    graph: Graph
    device: Mapping[str, Lowered]
    """The device's operators, lowered, by their names."""
    stripes: Mapping[str, list[Stripe]]
    """Of these, the ones that are computed some rows at a time: those whose tensors do not fit the scratchpad, and
    others of their chains."""
    chains: tuple[tuple[str, ...], ...]
    """Names of layers that are computed in the same stripes, one behind the other."""
    refused: Mapping[str, str]
    """Why the host computes an operator that the device might have, by the operator's name."""
    schedule: Schedule
    memory: Plan


def place(lowered: LoweredGraph, config: Config) -> Placement:
    """Gives the device what it can compute, in a schedule in which all tensors fit the scratchpad.

    If they do not fit, tensors are read back to the host between phases. If that is not enough, the largest layers are
    computed in stripes, or by the host where they cannot be cut.
    """
    graph = lowered.graph
    device, refused = _assign(lowered)
    striped: dict[str, list[Stripe]] = {}
    spill = False
    while True:
        whole = [name for name in device if name not in striped]
        schedule = build_schedule(graph, whole, spill=spill)
        memory = plan(graph, schedule)
        if memory.peak <= config.scratchpad_bytes:
            placed = Placement(
                graph=graph, device=device, stripes=striped, chains=(), refused=refused, schedule=schedule,
                memory=memory,
            )  # fmt: skip
            return _with_chains(placed, config) if striped else placed
        if not spill:
            spill = True
            continue
        largest = max((op for op in graph.ops if op.name in whole), key=lambda op: memory.bytes_in_use[op.name])
        try:
            striped[largest.name] = stripes(largest, device[largest.name], config)
        except CompileError as error:
            if not isinstance(largest, Transpose):
                refused[largest.name] = str(error).removeprefix(f"{largest}: ")
            del device[largest.name]


def _with_chains(placed: Placement, config: Config) -> Placement:
    """Computes layers in chains where that moves fewer bytes."""
    chains = chained(placed.graph, placed.device, placed.stripes, config)
    stripes = {**placed.stripes, **{name: cut for chain in chains for name, cut in chain.items()}}
    whole = [name for name in placed.device if name not in stripes]
    behind = [name for chain in chains for name in list(chain)[1:]]
    schedule = build_schedule(placed.graph, whole, spill=True, behind=behind)
    memory = plan(placed.graph, schedule)
    if memory.peak > config.scratchpad_bytes:
        return placed
    names = tuple(tuple(chain) for chain in chains)
    return dataclasses.replace(placed, stripes=stripes, chains=names, schedule=schedule, memory=memory)


def _assign(lowered: LoweredGraph) -> tuple[dict[str, Lowered], dict[str, str]]:
    """The device's operators, and the host's with reasons. A Broadcast runs where the sum or product that reads it
    runs, a Transpose where its neighbours do."""
    device, refused = dict(lowered.lowered), dict(lowered.refused)
    broadcasts = {op.output: op.name for op in lowered.graph.ops if isinstance(op, Broadcast)}
    for op in lowered.graph.ops:
        read = [broadcasts[name] for name in op.inputs if name in broadcasts]
        reasons = [refused.pop(name) for name in read if name in refused]
        if reasons and op.name in device:
            del device[op.name]
            refused[op.name] = reasons[0]
        if op.name not in device:
            for name in read:
                device.pop(name, None)
    while found := _at_ends(lowered.graph, device):
        for name in found:
            del device[name]
    return device, refused


def _at_ends(graph: Graph, device: Mapping[str, Lowered]) -> list[str]:
    """Transpositions on the device that do not stand between its other operators: the host reads or writes their
    tensors anyway, and transposes for nothing."""
    buffers = {name: name for name in graph.tensors}
    for op in graph.ops:
        if isinstance(op, Reshape):
            buffers[op.output] = buffers[op.input]
    made = {op.output for op in graph.ops if op.name in device}
    read = {buffers[name] for op in graph.ops if op.name in device for name in op.inputs}
    return [
        op.name
        for op in graph.ops
        if isinstance(op, Transpose)
        and op.name in device
        and not (buffers[op.input] in made and op.output in read)
    ]
