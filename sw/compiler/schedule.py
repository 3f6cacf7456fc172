"""Who does what, in order: a graph's operators as stretches of layers on the device and single ones on the host."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sateen.graph import Graph, Op, Reshape

__all__ = ["Schedule", "Turn", "schedule"]


@dataclass(frozen=True, kw_only=True)
class Turn:
    """Consecutive layers on the device, or one operator that the host runs or feeds to the device piece by piece."""

    ops: tuple[int, ...]
    """Places in the graph's operators."""
    host: bool = False
    """The host has the inputs, and has the output then."""
    writes: tuple[str, ...] = ()
    """Tensors that the host sends before: of those that share memory the first, whichever of them the host has."""
    reads: tuple[str, ...] = ()
    """Tensors that the host reads back after; it has all then that share their memory."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """All turns, and which tensors share memory."""

    turns: tuple[Turn, ...]
    owner: dict[str, str]
    """Of each tensor the first of those that Reshapes make of one another."""
    spill: bool
    """Nothing stays on the device from turn to turn."""


def schedule(graph: Graph, device: Collection[str], *, spill: bool = False) -> Schedule:
    """The turns of an inference.

    Parameters
    ----------
    device
        Names of the operators that run on the device, whole.
    spill
        What outlives a turn of the device goes to the host and comes back, so that the device's memory is free between.
    """
    scheduler = _Scheduler(graph, device, spill)
    for place, op in enumerate(graph.ops):
        if op.name in device:
            scheduler.stretch.append(place)
        elif not isinstance(op, Reshape):
            scheduler.flush()
            scheduler.turns.append(Turn(ops=(place,), host=True))
    scheduler.flush()
    return Schedule(turns=tuple(scheduler.turns), owner=scheduler.owner, spill=spill)


class _Scheduler:
    """Reshapes take no turn: who has one tensor of a group has them all."""

    def __init__(self, graph: Graph, device: Collection[str], spill: bool):
        self.graph, self.spill = graph, spill
        self.turns: list[Turn] = []
        self.stretch: list[int] = []
        self.owner = {name: name for name in graph.tensors}
        for op in graph.ops:
            if isinstance(op, Reshape):
                self.owner[op.output] = self.owner[op.input]
        others = [op for op in graph.ops if op.name not in device and not isinstance(op, Reshape)]
        self.wanted = {self.owner[name] for name in (*(name for op in others for name in op.inputs), *graph.outputs)}
        """Groups that the host reads."""
        self.last_use = {
            self.owner[name]: place for place, op in enumerate(graph.ops) if op.name in device for name in op.inputs
        }
        self.held: set[str] = set()
        """Groups that stand in the device's memory; the host has all others that are made."""

    def flush(self) -> None:
        """Ends a stretch of layers: what it needs that is not there is sent before, what others need is read after."""
        if not self.stretch:
            return
        made: list[str] = []
        needed: list[str] = []
        for place in self.stretch:
            op: Op = self.graph.ops[place]
            needed += [
                key for key in (self.owner[name] for name in op.inputs) if key not in made and key not in self.held
            ]
            made.append(op.output)
        writes = tuple(dict.fromkeys(needed))
        outlive = {key for key, place in self.last_use.items() if place > self.stretch[-1]} if self.spill else set()
        reads = tuple(key for key in made if key in self.wanted | outlive)
        self.turns.append(Turn(ops=tuple(self.stretch), writes=writes, reads=reads))
        self.held = set() if self.spill else self.held | set(made) | set(needed)
        self.stretch = []
