"""The schedule of an inference: which consecutive layers the device runs, and what the host does between them."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sateen.graph import Graph, Op, Reshape

__all__ = ["DevicePhase", "HostPhase", "Schedule", "build_schedule"]


@dataclass(frozen=True, kw_only=True)
class DevicePhase:
    """Consecutive layers that the device runs without the host."""

    ops: tuple[int, ...]
    """Indices of the graph's operators."""
    writes: tuple[str, ...]
    """Buffers that the host writes to the device before."""
    reads: tuple[str, ...]
    """Buffers that the host reads back after."""


@dataclass(frozen=True, kw_only=True)
class HostPhase:
    """One operator that the host runs, or feeds to the device stripe by stripe, then with the others of its chain. The
    host has its inputs, and its output or the chain's."""

    op: int
    """Index of the graph's operator."""


@dataclass(frozen=True, kw_only=True)
class Schedule:
    """All phases in order, and which tensors share memory."""

    phases: tuple[DevicePhase | HostPhase, ...]
    buffer_of: dict[str, str]
    """The buffer of each tensor. A tensor and all Reshapes of it share one, which is named after that tensor."""
    spill: bool
    """Nothing stays on the device from phase to phase, but what has a place for that."""


def build_schedule(
    graph: Graph,
    device: Collection[str],
    *,
    spill: bool = False,
    behind: Collection[str] = (),
    staying: Collection[str] = (),
) -> Schedule:
    """The schedule of a graph.

    Parameters
    ----------
    device
        Names of the operators that run on the device, whole.
    spill
        Read back what a later phase of the device needs, and write it again then. The device's memory is free between
        phases.
    behind
        Names of the operators of chains behind their first ones, with which they are computed.
    staying
        Tensors that stay on the device nevertheless, from the phase that computes them on.
    """
    scheduler = _Scheduler(graph, device, spill, staying)
    for index, op in enumerate(graph.ops):
        if op.name in device:
            scheduler.layers.append(index)
        elif not isinstance(op, Reshape) and op.name not in behind:
            scheduler.end_device_phase()
            scheduler.phases.append(HostPhase(op=index))
    scheduler.end_device_phase()
    return Schedule(phases=tuple(scheduler.phases), buffer_of=scheduler.buffer_of, spill=spill)


class _Scheduler:
    """Reshapes take no phase: whoever has a buffer has all its tensors."""

    def __init__(self, graph: Graph, device: Collection[str], spill: bool, staying: Collection[str]):
        self.graph, self.spill, self.staying = graph, spill, frozenset(staying)
        self.phases: list[DevicePhase | HostPhase] = []
        self.layers: list[int] = []
        """Operators of the device phase that is being built."""
        self.buffer_of = {name: name for name in graph.tensors}
        for op in graph.ops:
            if isinstance(op, Reshape):
                self.buffer_of[op.output] = self.buffer_of[op.input]
        host_ops = [op for op in graph.ops if op.name not in device and not isinstance(op, Reshape)]
        host_tensors = (*(name for op in host_ops for name in op.inputs), *graph.results)
        self.host_buffers = {self.buffer_of[name] for name in host_tensors}
        """Buffers that the host needs."""
        self.last_use = {
            self.buffer_of[name]: index for index, op in enumerate(graph.ops) if op.name in device for name in op.inputs
        }
        """The last operator on the device that reads each buffer."""
        self.resident: set[str] = set(self.staying)
        """Buffers in the device's memory, once they are computed. The host has all others that are."""

    def end_device_phase(self) -> None:
        """Ends a device phase: the host writes the inputs that are not resident, and reads what others need."""
        if not self.layers:
            return
        computed: list[str] = []
        missing: list[str] = []
        for index in self.layers:
            op: Op = self.graph.ops[index]
            inputs = [self.buffer_of[name] for name in op.inputs]
            missing += [name for name in inputs if name not in computed and name not in self.resident]
            computed.append(op.output)
        writes = tuple(dict.fromkeys(missing))
        spilled = {name for name, last in self.last_use.items() if last > self.layers[-1]} if self.spill else set()
        reads = tuple(name for name in computed if name in (self.host_buffers | spilled) - self.staying)
        self.phases.append(DevicePhase(ops=tuple(self.layers), writes=writes, reads=reads))
        self.resident = set(self.staying) if self.spill else self.resident | set(computed) | set(missing)
        self.layers = []
