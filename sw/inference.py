"""One item's way through a model: layers on the device, operators on the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from weft.graph import Reshape
from weft.hw.spec.counters import Counters
from weft.hw.spec.wire import Space
from weft.link import Link, Operation, read, write
from weft.model import Layer, Model, Part, Step
from weft.ops import Array

__all__ = ["Inference"]

NOTHING = Counters(0, 0, 0, 0, 0, 0, 0)


class Runner(Protocol):
    """What an inference needs of a device."""

    link: Link

    def run(self, model: Model, part: Part, before: Sequence[Operation], after: Sequence[Operation]) -> bytes:
        """Runs descriptors, with operations before and after; the bytes that ``after`` reads."""


class Inference:
    """Runs a model's items on a device, one by one."""

    def __init__(self, device: Runner, model: Model):
        self.device, self.model = device, model
        self.ops = {op.name: op for op in model.graph.ops}
        self.values: dict[str, Array] = {}
        """What the host has of the item, [1, …]."""
        self.records: dict[int, dict[int, Counters]] = {}
        """Counters of each segment's descriptors."""

    def run(self, inputs: Mapping[str, Array], *, layers: bool, profiled: bool) -> tuple[dict[str, Array], list[Counters]]:
        """One item.

        Parameters
        ----------
        inputs
            [1, …] each, as the graph has them.
        layers
            Stop after each layer of the device and read its result.
        profiled
            Read the counters.

        Returns
        -------
        The outputs, and what else the host came to have; with ``layers`` all tensors. The counters of each of the model's layers, if
        asked for.
        """
        self.values, self.records = dict(inputs), {}
        for step in self.model.steps:
            if step.host:
                op = self.ops[step.host]
                self.values[op.output] = op.execute(self.model.graph.tensors, self.values)
            else:
                self._stretch(step, layers=layers, profiled=profiled)
        if layers:
            for op in self.model.graph.ops:
                if isinstance(op, Reshape) and op.output not in self.values:
                    self.values[op.output] = op.execute(self.model.graph.tensors, self.values)
        counters = [self._counters(layer) for layer in self.model.layers] if profiled else []
        return self.values, counters

    def _stretch(self, step: Step, *, layers: bool, profiled: bool) -> None:
        before = [write(Space.SCRATCHPAD, self.model.addresses[name], self.values[name].tobytes()) for name in step.writes]
        every = self.model.layers[step.first : step.first + step.count]
        groups = [[layer] for layer in every] if layers else [every] if every else []
        for index, group in enumerate(groups):
            last = index == len(groups) - 1
            reads = [group[-1].output] if layers else []
            reads += [name for name in step.reads if last and name not in reads]
            self._layers(group, before, reads, profiled=profiled)
            before = []
        if not groups:
            self._keep(step.reads, self.device.link.transaction([*before, *map(self._read, step.reads)]))

    def _layers(self, layers: Sequence[Layer], before: Sequence[Operation], reads: Sequence[str], *, profiled: bool) -> None:
        """Runs layers, segment by segment, and reads tensors after the last."""
        parts = _runs([part for layer in layers for part in layer.parts])
        for index, part in enumerate(parts):
            size = part.count * Counters.LAYOUT.size if profiled else 0
            after = [read(Space.COUNTERS, 0, size)] if size else []
            if index == len(parts) - 1:
                after += map(self._read, reads)
            answer = self.device.run(self.model, part, before, after)
            before = []
            if profiled:
                self.records.setdefault(part.segment, {}).update(enumerate(_decode(answer[:size]), part.first))
            if index == len(parts) - 1:
                self._keep(reads, answer[size:])

    def _read(self, name: str) -> Operation:
        return read(Space.SCRATCHPAD, self.model.addresses[name], self.model.size(name))

    def _keep(self, names: Sequence[str], data: bytes) -> None:
        for name in names:
            size = self.model.size(name)
            self.values[name] = np.frombuffer(data[:size], np.int8).reshape(1, *self.model.graph.tensors[name].shape[1:])
            data = data[size:]

    def _counters(self, layer: Layer) -> Counters:
        records = [self.records[part.segment][part.first + index] for part in layer.parts for index in range(part.count)]
        return sum(records, NOTHING)


def _runs(parts: Sequence[Part]) -> list[Part]:
    """Parts with those that follow each other in a segment made one."""
    runs: list[Part] = []
    for part in parts:
        if runs and (runs[-1].segment, runs[-1].first + runs[-1].count) == (part.segment, part.first):
            runs[-1] = Part(segment=part.segment, first=runs[-1].first, count=runs[-1].count + part.count)
        else:
            runs.append(part)
    return runs


def _decode(data: bytes) -> list[Counters]:
    size = Counters.LAYOUT.size
    return [Counters.decode(data[start : start + size]) for start in range(0, len(data), size)]
