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
    """Tensors that the host sends before."""
    reads: tuple[str, ...] = ()
    """Tensors that the host reads back after."""


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
        elif not (isinstance(op, Reshape) and scheduler.is_nothing(op)):
            scheduler.flush()
            scheduler.turns.append(Turn(ops=(place,), host=True))
            scheduler.have(op.output)
    scheduler.flush()
    return Schedule(turns=tuple(scheduler.turns), owner=scheduler.owner, spill=spill)


class _Scheduler:
    def __init__(self, graph: Graph, device: Collection[str], spill: bool):
        self.graph, self.device, self.spill = graph, device, spill
        self.turns: list[Turn] = []
        self.stretch: list[int] = []
        self.owner = {name: name for name in graph.tensors}
        self.members: dict[str, list[str]] = {}
        for op in graph.ops:
            if isinstance(op, Reshape):
                self.owner[op.output] = self.owner[op.input]
        for name, key in self.owner.items():
            self.members.setdefault(key, []).append(name)
        computed = [op for op in graph.ops if op.name in device]
        self.touched = {self.owner[name] for op in computed for name in (*op.inputs, op.output)}
        others = [op for op in graph.ops if op.name not in device and not isinstance(op, Reshape)]
        self.wanted = {name for op in others for name in op.inputs} | set(graph.outputs)
        """Tensors that the host reads."""
        self.last_use = {
            self.owner[name]: place for place, op in enumerate(graph.ops) if op.name in device for name in op.inputs
        }
        self.here: dict[str, str] = {}
        """Of each group of tensors that share memory one that the host has."""
        self.held: set[str] = set()
        """Groups that stand in the device's memory."""
        for name in graph.inputs:
            self.have(name)

    def have(self, name: str) -> None:
        """The host has a tensor's values, newly."""
        self.here[self.owner[name]] = name
        self.held.discard(self.owner[name])

    def is_nothing(self, op: Reshape) -> bool:
        """Whether a Reshape takes no work: memory is shared, and the host does not want its result of what it has
        itself."""
        key = self.owner[op.output]
        return key in self.touched and not (key in self.here and self._wanted_from(op.output))

    def _wanted_from(self, name: str) -> bool:
        later = (op.output for op in self.graph.ops if isinstance(op, Reshape) and op.input == name)
        return name in self.wanted or any(self._wanted_from(other) for other in later)

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
            made.append(self.owner[op.output])
        reads: list[str] = []
        for key in made:
            names = [name for name in self.members[key] if name in self.wanted]
            if not names and self.spill and self.last_use.get(key, -1) > self.stretch[-1]:
                names = [key]
            reads += names
        writes = [self.here[key] for key in dict.fromkeys(needed)]
        self.turns.append(Turn(ops=tuple(self.stretch), writes=tuple(writes), reads=tuple(reads)))
        self.held = set() if self.spill else self.held | set(made) | set(needed)
        self.here.update((self.owner[name], name) for name in reads)
        self.stretch = []
