"""Placement: which operators the device computes, and which the host; when each runs, and where its tensors stand."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from sateen.compiler.lowering import Lowered, LoweredGraph
from sateen.compiler.memory import Plan, plan
from sateen.compiler.schedule import Schedule, schedule
from sateen.compiler.stripes import Stripe, stripes
from sateen.errors import CompileError
from sateen.graph import Broadcast, Graph
from sateen.hw.spec.config import Config

__all__ = ["Placement", "place"]


@dataclass(frozen=True, kw_only=True)
class Placement:
    """Where and when each operator of a graph is computed."""

    graph: Graph
    device: Mapping[str, Lowered]
    """The device's operators, by their names."""
    stripes: Mapping[str, list[Stripe]]
    """Those of them whose tensors do not fit the scratchpad, cut into rows."""
    refused: Mapping[str, str]
    """Operators that the host computes because the device cannot, by their names, each with the reason."""
    schedule: Schedule
    memory: Plan


def place(lowered: LoweredGraph, config: Config) -> Placement:
    """Gives the device what it can compute, in an order in which all tensors fit the scratchpad.

    What does not fit is read back to the host between layers; if that is not enough, the largest layers are computed in
    stripes, or by the host where they cannot be cut.
    """
    graph = lowered.graph
    device, refused = _together(lowered)
    cut: dict[str, list[Stripe]] = {}
    spill = False
    while True:
        whole = [name for name in device if name not in cut]
        order = schedule(graph, whole, spill=spill)
        memory = plan(graph, order)
        if memory.peak <= config.scratchpad_bytes:
            return Placement(graph=graph, device=device, stripes=cut, refused=refused, schedule=order, memory=memory)
        if not spill:
            spill = True
            continue
        largest = max((op for op in graph.ops if op.name in whole), key=lambda op: memory.used[op.name])
        try:
            cut[largest.name] = stripes(largest, device[largest.name], config)
        except CompileError as error:
            refused[largest.name] = str(error).removeprefix(f"{largest}: ")
            del device[largest.name]


def _together(lowered: LoweredGraph) -> tuple[dict[str, Lowered], dict[str, str]]:
    """The device's operators and the host's. A tensor that is repeated for a sum is repeated where the sum is computed."""
    device, refused = dict(lowered.lowered), dict(lowered.refused)
    repeats = {op.output: op.name for op in lowered.graph.ops if isinstance(op, Broadcast)}
    for op in lowered.graph.ops:
        own = [repeats[name] for name in op.inputs if name in repeats]
        reasons = [refused.pop(name) for name in own if name in refused]
        if reasons and op.name in device:
            del device[op.name]
            refused[op.name] = reasons[0]
        if op.name not in device:
            for name in own:
                device.pop(name, None)
    return device, refused
