"""Placement: whether the device or the host runs each operator, when, and where its tensors stand."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from sateen.compiler.chains import Standing, chained, cut_rows, largest
from sateen.compiler.lowering import Lowered, LoweredGraph
from sateen.compiler.memory import Plan, Staying, plan
from sateen.compiler.schedule import Schedule, build_schedule
from sateen.compiler.staying import Search
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
    staying: Mapping[str, Staying]
    """Tensors that stay in the scratchpad between phases, where others do not, by their names."""
    refused: Mapping[str, str]
    """Why the host computes an operator that the device might have, by the operator's name."""
    schedule: Schedule
    memory: Plan


def place(lowered: LoweredGraph, config: Config, *, staying: bool = True) -> Placement:
    """Gives the device what it can compute, in a schedule in which all tensors fit the scratchpad.

    If they do not fit, tensors are read back to the host between phases. If that is not enough, the largest layers are
    computed in stripes, or by the host where they cannot be cut. With ``staying``, tensors that fit beside stripes
    stay.
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
                graph=graph, device=device, stripes=striped, chains=(), staying={}, refused=refused,
                schedule=schedule, memory=memory,
            )  # fmt: skip
            placed = _with_chains(placed, config) if striped else placed
            return _with_tensors(placed, config) if staying else placed
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
    stripes, standing = dict(placed.stripes), Standing(room=range(config.scratchpad_bytes))
    for chain in chains:
        stripes |= _cut(placed, chain, config, standing)
    whole = [name for name in placed.device if name not in stripes]
    behind = [name for chain in chains for name in chain[1:]]
    schedule = build_schedule(placed.graph, whole, spill=True, behind=behind)
    memory = plan(placed.graph, schedule)
    if memory.peak > config.scratchpad_bytes:
        return placed
    return dataclasses.replace(placed, stripes=stripes, chains=tuple(chains), schedule=schedule, memory=memory)


def _cut(placed: Placement, names: Sequence[str], config: Config, standing: Standing) -> dict[str, list[Stripe]]:
    """The stripes of layers that are computed together."""
    kernels = [kernel for name in names if (kernel := placed.device[name].row_kernel) is not None]
    tiles = largest(kernels, config, standing)
    assert tiles is not None
    return dict(zip(names, cut_rows(kernels, tiles, standing), strict=True))


def _with_tensors(placed: Placement, config: Config) -> Placement:
    """Leaves tensors in the scratchpad where that moves fewer bytes."""
    search = Search(placed.graph, placed.device, placed.stripes, placed.chains, config)
    staying = search.find()
    if not staying:
        return placed
    stripes = dict(placed.stripes)
    for turn in search.turns:
        standing = search.standing(turn, staying)
        if turn.kernels and standing != Standing(room=range(config.scratchpad_bytes)):
            names = [op.name for op in search.layers(placed.graph.ops[turn.first].name)]
            stripes |= _cut(placed, names, config, standing)
    schedule = build_schedule(placed.graph, search.whole, spill=True, behind=search.behind, staying=staying)
    memory = plan(placed.graph, schedule, staying)
    return dataclasses.replace(placed, stripes=stripes, staying=staying, schedule=schedule, memory=memory)


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
