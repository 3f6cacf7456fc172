"""Who does what, in order: a graph's operators as stretches of layers on the device and single ones on the host."""

from __future__ import annotations

from collections.abc import Container, Mapping

from weft.graph import Graph, Op, Reshape
from weft.model import Step

__all__ = ["steps"]


def steps(graph: Graph, device: Container[str], reasons: Mapping[str, str], addresses: Mapping[str, int]) -> tuple[Step, ...]:
    """The steps of an inference.

    Parameters
    ----------
    device
        Names of the operators that run on the device.
    reasons
        Why others run on the host, by their names, if it is not their nature.
    addresses
        Where tensors stand that the device touches. A Reshape between such is nothing at all.
    """
    planner = _Planner(graph, device, addresses)
    for op in graph.ops:
        if op.name in device:
            planner.layer(op)
        elif isinstance(op, Reshape) and op.output in addresses and not (op.input in planner.here and planner.wanted(op.output)):
            continue
        else:
            planner.host(op, reasons.get(op.name, ""))
    planner.finish()
    return tuple(planner.steps)


class _Planner:
    def __init__(self, graph: Graph, device: Container[str], addresses: Mapping[str, int]):
        self.graph, self.addresses = graph, addresses
        self.steps: list[Step] = []
        self.here = set(graph.inputs)
        """Tensors whose values the host has."""
        self.unsent = [name for name in graph.inputs if name in addresses]
        self.first = self.count = 0
        host = [op for op in graph.ops if op.name not in device and not (isinstance(op, Reshape) and op.output in addresses)]
        self.read = {name for op in host for name in op.inputs} | set(graph.outputs)
        """Tensors that the host wants."""

    def wanted(self, name: str) -> bool:
        """Whether the host reads a tensor, now or under the name that another Reshape gives it."""
        later = (op.output for op in self.graph.ops if isinstance(op, Reshape) and op.input == name)
        return name in self.read or any(self.wanted(other) for other in later)

    def layer(self, op: Op) -> None:
        """Appends a layer of the device."""
        self.count += 1

    def host(self, op: Op, reason: str) -> None:
        """Appends an operator of the host, and before it the device's layers so far, with what the host wants of theirs."""
        missing = [name for name in op.inputs if name not in self.here]
        self.flush(missing)
        self.steps.append(Step(host=op.name, reason=reason))
        self.here.add(op.output)
        if op.output in self.addresses and not isinstance(op, Reshape):
            self.unsent.append(op.output)

    def flush(self, reads: list[str]) -> None:
        """Ends a stretch of the device's layers; what is read stays in the scratchpad until it has been."""
        if self.count or reads:
            self.steps.append(
                Step(first=self.first, count=self.count, writes=tuple(self.unsent if self.count else ()), reads=tuple(dict.fromkeys(reads)))
            )
            if self.count:
                self.unsent = []
            self.first, self.count = self.first + self.count, 0
            self.here.update(reads)

    def finish(self) -> None:
        """Ends the last stretch."""
        self.flush([name for name in self.graph.outputs if name not in self.here])
