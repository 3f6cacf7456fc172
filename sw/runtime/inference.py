"""Inference of one item: layers run on the device, other operators on the host."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np

from sateen.compiler import Layer, Model, Part, Step, Tile, runs
from sateen.graph import Array, Graph, Reshape
from sateen.hw.spec.counters import Counters
from sateen.hw.spec.wire import WAITED, WAITED_BYTES, Space
from sateen.runtime.link import Link, Operation, read, write
from sateen.runtime.position import Position
from sateen.runtime.shelf import Shelf
from sateen.runtime.slots import visits
from sateen.runtime.spill import Spill

__all__ = ["Inference", "Job", "Values", "part_records"]

ZERO = Counters(0, 0, 0, 0, 0, 0, 0)


TILES = 16
"""Tiles that the device computes without waiting for the host, where it needs nothing from there."""


Job = tuple[Part, Sequence[Operation], Sequence[Operation]]
"""Descriptors to run, and the operations before and after."""


class Runner(Protocol):
    """The part of a device that an inference uses."""

    link: Link
    shelf: Shelf | None

    def run_all(
        self, model: Model, jobs: Sequence[Job],
        following: Sequence[int] = (), leading: Sequence[Operation] = (),
    ) -> bytes:  # fmt: skip
        """Runs descriptors, several times without waiting for each, with operations before and after. Returns the bytes
        that those read, and before them what ``leading`` does. The segments ``following`` are needed next."""


class Values(dict[str, Array]):
    """Tensors of one item, [1, …], by name. If one is there, so are its Reshapes, and the tensor that it reshapes."""

    def __init__(self, graph: Graph, inputs: Mapping[str, Array]):
        super().__init__(inputs)
        self.tensors = graph.tensors
        self.groups: dict[str, list[str]] = {}
        for op in graph.ops:
            if isinstance(op, Reshape):
                group = self.groups.setdefault(op.input, [op.input])
                group.append(op.output)
                self.groups[op.output] = group

    def knows(self, name: str) -> bool:
        """Whether the tensor is there, or one that it reshapes."""
        return name in self or any(other in self for other in self.groups.get(name, ()))

    def __missing__(self, name: str) -> Array:
        source = next((other for other in self.groups.get(name, ()) if other in self), None)
        if source is None:
            raise KeyError(name)
        self[name] = value = self[source].reshape(1, *self.tensors[name].shape[1:])
        return value


class Inference:
    """Runs a model's items on a device, one by one; ``position`` is told which layers run."""

    def __init__(self, device: Runner, model: Model, position: Position | None = None):
        self.device, self.model = device, model
        self.position = Position(model, None) if position is None else position
        self.ops = {op.name: op for op in model.graph.ops}
        self.values = Values(model.graph, {})
        """The item's tensors that the host has."""
        groups = self.values.groups
        self.spill = (
            None if device.shelf is None else Spill(device.shelf, model, lambda name: groups.get(name, [name])[0])
        )
        """The item's tensors that are in SDRAM, if the device has any."""
        self.counters: dict[str, Counters] = {}
        """Counters of each layer, by its name."""
        self.waited = 0
        """Cycles of a profiled item in which the array waited for SDRAM."""
        self._since: int | None = None
        """Where that counter stood when the item began."""
        self._visits = [[part.segment for part in step] for step in visits(model)]
        self._following: list[int] = []
        """The segments that are needed behind the present step."""

    def run(
        self, inputs: Mapping[str, Array], *, layers: bool, profiled: bool
    ) -> tuple[dict[str, Array], list[Counters]]:
        """Runs one item.

        Parameters
        ----------
        inputs
            [1, …] each, in the shapes of the graph: those of the model, and its states.
        layers
            Stop after each layer of the device and read its result.
        profiled
            Read the counters.

        Returns
        -------
        The graph's results, or with ``layers`` all tensors; and with ``profiled`` the counters of each of the model's
        layers.
        """
        self.values, self.counters = Values(self.model.graph, inputs), {}
        self.waited, self._since = 0, None
        if self.spill is not None:
            self.spill.here.clear()
        for number, step in enumerate(self.model.steps):
            behind = (*self._visits[number + 1 :], *self._visits[: number + 1])
            self._following = list(dict.fromkeys(segment for step in behind for segment in step))
            if step.host:
                op = self.ops[step.host]
                self._fetch(op.inputs)
                self.values[op.output] = op.execute(self.model.graph.tensors, self.values)
            elif step.tiles:
                self._run_tiled(step, layers=layers, profiled=profiled)
            else:
                self._run_layers(step, layers=layers, profiled=profiled)
        graph = self.model.graph
        wanted = (*graph.sources, *(op.output for op in graph.ops)) if layers else graph.results
        self._fetch(wanted)
        counters = [self.counters[layer.name] for layer in self.model.layers] if profiled else []
        return {name: self.values[name] for name in wanted}, counters

    def _run_layers(self, step: Step, *, layers: bool, profiled: bool) -> None:
        before = [
            operation
            for name in step.writes
            for operation in self._bring(name, self.model.addresses[name], 0, self.model.size(name))
        ]
        step_layers = self.model.layers[step.first : step.first + step.count]
        groups = [[layer] for layer in step_layers] if layers else [step_layers]
        for index, group in enumerate(groups):
            self.position.begin(step.first + (index if layers else 0), len(group))
            reads = [group[-1].output] if layers else []
            kept = [name for name in step.reads if index == len(groups) - 1 and self._stays(name)]
            reads += [name for name in step.reads if index == len(groups) - 1 and name not in (*reads, *kept)]
            saved = [each for name in kept for each in self._save(name, self.model.addresses[name])]
            parts = runs([part for layer in group for part in layer.parts])
            records, data = self._run(parts, before, [*saved, *(self._read(name) for name in reads)], profiled=profiled)
            if self.spill is not None:
                for name in kept:
                    self.spill.note(name)
            before = []
            self._store(reads, data)
            for layer in group if profiled else ():
                places = [(part.segment, part.first + i) for part in layer.parts for i in range(part.count)]
                self.counters[layer.name] = sum((records[place] for place in places), ZERO)

    def _run_tiled(self, step: Step, *, layers: bool, profiled: bool) -> None:
        if self.spill is not None and not layers:
            return self._run_outside(step, self.spill, profiled=profiled)
        computed = self._layers(step)
        names = [name for name in self.ops[computed[0].name].inputs if name not in step.inside]
        self._fetch(names)
        sources = [self.values[name].tobytes() for name in names]
        kept = computed[-1].output in step.inside and not layers
        read_back = computed if layers else computed[-1:]
        results = {layer.output: bytearray(self.model.size(layer.output)) for layer in read_back}
        totals = {layer.name: ZERO for layer in computed}
        for index, tile in enumerate(step.tiles):
            self.position.begin(step.first, step.count, index / len(step.tiles))
            (first, size), address = tile.source, tile.pieces[0].source_address
            send = [
                write(Space.SCRATCHPAD, address + place * size, source[first : first + size])
                for place, source in enumerate(sources)
            ]
            pieces = [(piece, piece.parts) for piece in tile.pieces] if layers else [(tile.pieces[-1], tile.parts)]
            for layer, (piece, parts) in zip(read_back, pieces, strict=True):
                start, count = piece.target
                after = [] if kept else [read(Space.SCRATCHPAD, piece.address, count)]
                records, data = self._run(runs(parts), send, after, profiled=profiled)
                results[layer.output][start : start + len(data)] = data
                _count(totals, computed, tile, records)
                send = []
        self.counters |= totals
        for name, result in results.items() if not kept else ():
            self._store([name], bytes(result))

    def _run_outside(self, step: Step, spill: Spill, *, profiled: bool) -> None:
        """As :meth:`_run_tiled`, with inputs in SDRAM, and the result if another turn takes it."""
        computed, size = self._layers(step), Counters.LAYOUT.size
        output = computed[-1].output
        names = [name for name in self.ops[computed[0].name].inputs if name not in step.inside]
        place, kept = spill.place(output), output in step.inside
        self._put(names, spill)
        result, totals = bytearray(self.model.size(output)), {layer.name: ZERO for layer in computed}
        for index in range(0, len(step.tiles), TILES):
            tiles = step.tiles[index : index + TILES]
            self.position.begin(step.first, step.count, index / len(step.tiles))
            jobs = []
            for tile in tiles:
                parts, (start, count), address = runs(tile.parts), tile.target, tile.pieces[0].source_address
                bring = [
                    operation
                    for number, name in enumerate(names)
                    for operation in self._bring(name, address + number * tile.source[1], *tile.source)
                ]
                save = [] if kept else [read(Space.SCRATCHPAD, tile.address, count)]
                if place is not None and not kept:
                    save = spill.save(output, start, tile.address, count)
                for part in parts:
                    counted = [read(Space.COUNTERS, 0, part.count * size)] if profiled else []
                    jobs.append(
                        (part, bring if part is parts[0] else [], [*counted, *(save if part is parts[-1] else [])])
                    )
            more = (part.segment for tile in step.tiles[index + TILES :] for part in tile.parts)
            following = [*dict.fromkeys(more), *self._following]
            answer = self._run_all(jobs, following, profiled=profiled)
            for tile in tiles:
                for part in runs(tile.parts) if profiled else ():
                    data, answer = answer[: part.count * size], answer[part.count * size :]
                    _count(totals, computed, tile, part_records(part, data))
                if place is None and not kept:
                    start, count = tile.target
                    result[start : start + count], answer = answer[:count], answer[count:]
        self.counters |= totals
        if not kept and place is None:
            self._store([output], bytes(result))
        elif not kept:
            spill.note(output)

    def _layers(self, step: Step) -> Sequence[Layer]:
        return self.model.layers[step.first : step.first + step.count]

    def _bring(self, name: str, address: int, first: int, size: int) -> list[Operation]:
        """Puts bytes of a tensor into the scratchpad, from SDRAM if it is there."""
        if self.spill is not None and self.spill.has(name):
            return self.spill.bring(name, first, address, size)
        return [write(Space.SCRATCHPAD, address, self.values[name].tobytes()[first : first + size])]

    def _put(self, names: Sequence[str], spill: Spill) -> None:
        """Puts tensors of which parts are needed into SDRAM."""
        for name in names:
            place = spill.place(name)
            if place is not None and not spill.has(name):
                self.device.link.transaction([write(Space.SDRAM, place, self.values[name].tobytes())])
                spill.note(name)

    def _stays(self, name: str) -> bool:
        """Whether a result goes into SDRAM: the next that needs it is the device."""
        return self.spill is not None and self.spill.place(name) is not None

    def _save(self, name: str, address: int) -> list[Operation]:
        """Puts a result into SDRAM."""
        assert self.spill is not None
        return self.spill.save(name, 0, address, self.model.size(name))

    def _fetch(self, names: Sequence[str]) -> None:
        """Reads tensors that the host needs and does not have from SDRAM."""
        for name in names if self.spill is not None else ():
            place = self.spill.place(name) if self.spill else None
            if place is not None and self.spill and self.spill.has(name) and not self.values.knows(name):
                self._store([name], self.device.link.transaction([read(Space.SDRAM, place, self.model.size(name))]))

    def _run(
        self, parts: Sequence[Part], before: Sequence[Operation], after: Sequence[Operation], *, profiled: bool
    ) -> tuple[dict[tuple[int, int], Counters], bytes]:
        """Runs parts in order. Returns counters by (segment, descriptor), and what is read after the last part."""
        records: dict[tuple[int, int], Counters] = {}
        data = b""
        for index, part in enumerate(parts):
            size = part.count * Counters.LAYOUT.size if profiled else 0
            reads = [read(Space.COUNTERS, 0, size)] if size else []
            last = index == len(parts) - 1
            job = part, before if index == 0 else (), [*reads, *(after if last else ())]
            following = [*(each.segment for each in parts[index + 1 :]), *self._following]
            answer = self._run_all([job], following, profiled=profiled)
            records |= part_records(part, answer[:size])
            data = answer[size:]
        return records, data

    def _run_all(self, jobs: Sequence[Job], following: Sequence[int], *, profiled: bool) -> bytes:
        """Runs jobs, and returns what they read. With SDRAM, :attr:`waited` goes on if they are profiled."""
        if self.spill is None or not profiled:
            return self.device.run_all(self.model, jobs, following)
        ask = read(Space.CHECK, WAITED, WAITED_BYTES)
        first = [ask] if self._since is None else []
        *others, (part, before, after) = jobs
        answer = self.device.run_all(self.model, [*others, (part, before, [*after, ask])], following, first)
        if self._since is None:
            self._since, answer = int.from_bytes(answer[:WAITED_BYTES], "little"), answer[WAITED_BYTES:]
        self.waited = (int.from_bytes(answer[-WAITED_BYTES:], "little") - self._since) % (1 << 8 * WAITED_BYTES)
        return answer[:-WAITED_BYTES]

    def _read(self, name: str) -> Operation:
        return read(Space.SCRATCHPAD, self.model.addresses[name], self.model.size(name))

    def _store(self, names: Sequence[str], data: bytes) -> None:
        for name in names:
            size = self.model.size(name)
            self.values[name] = np.frombuffer(data[:size], np.int8).reshape(
                1, *self.model.graph.tensors[name].shape[1:]
            )
            data = data[size:]


def part_records(part: Part, data: bytes) -> dict[tuple[int, int], Counters]:
    """The counters of a part's descriptors, by (segment, descriptor); none if there are no data."""
    size = Counters.LAYOUT.size
    return {
        (part.segment, part.first + place): Counters.decode(data[place * size : (place + 1) * size])
        for place in range(len(data) // size)
    }


def _count(
    totals: dict[str, Counters], layers: Sequence[Layer], tile: Tile, records: Mapping[tuple[int, int], Counters]
) -> None:
    """Adds the counters of some descriptors to those of the layers whose rows they computed."""
    for layer, piece in zip(layers, tile.pieces, strict=True):
        places = [(part.segment, part.first + index) for part in piece.parts for index in range(part.count)]
        totals[layer.name] = sum((records[place] for place in places if place in records), totals[layer.name])
