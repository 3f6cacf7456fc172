"""Inference of one item: layers run on the device, other operators on the host."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Protocol

import numpy as np

from sateen.compiler import Layer, Model, Part, Step, Tile, runs
from sateen.graph import Array
from sateen.graph.ops import Op
from sateen.hw.spec.counters import Counters
from sateen.hw.spec.wire import WAITED, WAITED_BYTES, Space
from sateen.runtime.link import Link, Operation, read, write
from sateen.runtime.position import Position
from sateen.runtime.slots import visits
from sateen.runtime.spill import Spill
from sateen.runtime.values import Values

if TYPE_CHECKING:
    from sateen.runtime.shelf import Shelf

__all__ = ["AT_ONCE", "Inference", "Job", "Runner", "part_records"]

ZERO = Counters(0, 0, 0, 0, 0, 0, 0)
AT_ONCE = 256
"""Parts that a device with SDRAM computes without waiting for the host, where it needs nothing from there."""
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


@dataclass(frozen=True, kw_only=True)
class _Waiting:
    """What is to run, and has not been sent yet."""

    step: Step
    share: float = 0.0
    """Of the step's work, what stands before."""
    jobs: Sequence[Job]
    following: Sequence[int]
    """The segments that are needed behind."""
    finish: Callable[[bytes], bytes]
    """Takes what the jobs read, and returns what others have read behind them."""


class Inference:
    """Runs a model's items on a device, one by one; ``position`` is told which layers run.

    With SDRAM the device waits for the host only where that computes something, or after :data:`AT_ONCE` parts.
    """

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
        self._waiting: list[_Waiting] = []
        self._profiled = False

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
        self._begin(inputs, profiled=profiled)
        for number in range(len(self.model.steps)):
            self._step(number, layers=layers)
        graph = self.model.graph
        wanted = (*graph.sources, *(op.output for op in graph.ops)) if layers else graph.results
        self._fetch(wanted)
        counters = [self.counters[layer.name] for layer in self.model.layers] if profiled else []
        return {name: self.values[name] for name in wanted}, counters

    def _begin(self, inputs: Mapping[str, Array], *, profiled: bool) -> None:
        """An item begins."""
        self.values, self.counters = Values(self.model.graph, inputs), {}
        self.waited, self._since = 0, None
        self._waiting, self._profiled = [], profiled
        if self.spill is not None:
            self.spill.here.clear()

    def _step(self, number: int, *, layers: bool) -> None:
        """Runs a step, now or later."""
        step = self.model.steps[number]
        behind = (*self._visits[number + 1 :], *self._visits[: number + 1])
        self._following = list(dict.fromkeys(segment for step in behind for segment in step))
        if step.host:
            op = self.ops[step.host]
            self._fetch(op.inputs)
            self.values[op.output] = self._computed(op)
        elif step.tiles:
            self._run_tiled(step, layers=layers)
        else:
            self._run_layers(step, layers=layers)

    def _computed(self, op: Op) -> Array:
        """What the host computes."""
        return op.execute(self.model.graph.tensors, self.values)

    def _run_layers(self, step: Step, *, layers: bool) -> None:
        before = [
            operation
            for name in step.writes
            for operation in self._bring(name, self.model.addresses[name], 0, self.model.size(name))
        ]
        step_layers = self.model.layers[step.first : step.first + step.count]
        groups = [[layer] for layer in step_layers] if layers else [step_layers]
        for index, group in enumerate(groups):
            reads = [group[-1].output] if layers else []
            kept = [name for name in step.reads if index == len(groups) - 1 and self._stays(name)]
            reads += [name for name in step.reads if index == len(groups) - 1 and name not in (*reads, *kept)]
            saved = [each for name in kept for each in self._save(name, self.model.addresses[name])]
            parts = runs([part for layer in group for part in layer.parts])
            jobs = self._jobs(parts, before, [*saved, *(self._read(name) for name in reads)])
            finish = partial(self._finish_layers, group, parts, reads)
            if self.spill is not None:
                for name in kept:
                    self.spill.note(name)
            before = []
            if self.spill is not None and not layers:
                self._later(_Waiting(step=step, jobs=jobs, following=self._following, finish=finish))
            else:
                self.position.begin(step.first + (index if layers else 0), len(group))
                finish(self._run(jobs))

    def _finish_layers(
        self, group: Sequence[Layer], parts: Sequence[Part], reads: Sequence[str], answer: bytes
    ) -> bytes:
        """Takes the counters of layers, and the tensors that are read behind them."""
        records, data = self._records(parts, answer)
        self._store(reads, data)
        for layer in group if self._profiled else ():
            places = [(part.segment, part.first + i) for part in layer.parts for i in range(part.count)]
            self.counters[layer.name] = sum((records[place] for place in places), ZERO)
        return data[sum(map(self.model.size, reads)) :]

    def _run_tiled(self, step: Step, *, layers: bool) -> None:
        if self.spill is not None and not layers:
            return self._run_outside(step, self.spill)
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
                jobs = self._jobs(runs(parts), send, after)
                records, data = self._records(runs(parts), self._run(jobs))
                results[layer.output][start : start + len(data)] = data
                _count(totals, computed, tile, records)
                send = []
        self.counters |= totals
        for name, result in results.items() if not kept else ():
            self._store([name], bytes(result))

    def _run_outside(self, step: Step, spill: Spill) -> None:
        """As :meth:`_run_tiled`, with inputs in SDRAM, and the result if another turn takes it."""
        computed = self._layers(step)
        output = computed[-1].output
        names = [name for name in self.ops[computed[0].name].inputs if name not in step.inside]
        place, kept = spill.place(output), output in step.inside
        self._put(names, spill)
        result, totals = bytearray(self.model.size(output)), {layer.name: ZERO for layer in computed}
        taken = None if kept or place is not None else result
        for index in range(0, len(step.tiles), AT_ONCE):
            tiles = step.tiles[index : index + AT_ONCE]
            jobs = []
            for tile in tiles:
                parts, (start, count), address = runs(tile.parts), tile.target, tile.pieces[0].source_address
                bring = [
                    operation
                    for number, name in enumerate(names)
                    for operation in self._bring(name, address + number * tile.source[1], *tile.source)
                ]
                save = [] if taken is None else [read(Space.SCRATCHPAD, tile.address, count)]
                if place is not None and not kept:
                    save = spill.save(output, start, tile.address, count)
                jobs += self._jobs(parts, bring, save)
            more = (part.segment for tile in step.tiles[index + AT_ONCE :] for part in tile.parts)
            following = [*dict.fromkeys(more), *self._following]
            finish = partial(self._finish_tiles, computed, tiles, totals, taken)
            share = index / len(step.tiles)
            self._later(_Waiting(step=step, share=share, jobs=jobs, following=following, finish=finish))
        if place is not None and not kept:
            spill.note(output)

    def _finish_tiles(
        self, computed: Sequence[Layer], tiles: Sequence[Tile], totals: dict[str, Counters], result: bytearray | None,
        answer: bytes,
    ) -> bytes:  # fmt: skip
        """Takes the counters of tiles, and the results that are read behind them, if any are."""
        for tile in tiles:
            records, answer = self._records(runs(tile.parts), answer)
            _count(totals, computed, tile, records)
            if result is not None:
                start, count = tile.target
                result[start : start + count], answer = answer[:count], answer[count:]
        self.counters |= totals
        if result is not None:
            self._store([computed[-1].output], bytes(result))
        return answer

    def _later(self, waiting: _Waiting) -> None:
        """Runs something, at the latest when the host needs what the device has."""
        self._waiting.append(waiting)
        if sum(len(each.jobs) for each in self._waiting) >= AT_ONCE:
            self._flush()

    def _flush(self) -> None:
        """Runs all that waits."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            first, last = waiting[0].step, waiting[-1].step
            layers = self.model.layers[first.first : last.first + last.count]
            done = waiting[0].share * sum(layer.predicted.cycles for layer in self._layers(first))
            total = sum(layer.predicted.cycles for layer in layers)
            self.position.begin(first.first, len(layers), done / max(1, total))
            jobs = [job for each in waiting for job in each.jobs]
            answer = self._run_all(jobs, waiting[-1].following)
            for each in waiting:
                answer = each.finish(answer)

    def _layers(self, step: Step) -> Sequence[Layer]:
        return self.model.layers[step.first : step.first + step.count]

    def _bring(self, name: str, address: int, first: int, size: int) -> list[Operation]:
        """Puts bytes of a tensor into the scratchpad, from SDRAM if it is there."""
        if self.spill is not None and self.spill.has(name):
            return self.spill.bring(name, first, address, size)
        self._know(name)
        return [write(Space.SCRATCHPAD, address, self.values[name].tobytes()[first : first + size])]

    def _know(self, name: str) -> None:
        """The host has a tensor, once what gives it has run."""
        if not self.values.knows(name):
            self._flush()

    def _put(self, names: Sequence[str], spill: Spill) -> None:
        """Puts tensors of which parts are needed into SDRAM."""
        for name in names:
            place = spill.place(name)
            if place is not None and not spill.has(name):
                self._know(name)
                self._send(write(Space.SDRAM, place, self.values[name].tobytes()))
                spill.note(name)

    def _send(self, operation: Operation) -> None:
        """Sends what the device needs before all that waits."""
        self.device.link.transaction([operation])

    def _stays(self, name: str) -> bool:
        """Whether a result goes into SDRAM: the next that needs it is the device."""
        return self.spill is not None and self.spill.place(name) is not None

    def _save(self, name: str, address: int) -> list[Operation]:
        """Puts a result into SDRAM."""
        assert self.spill is not None
        return self.spill.save(name, 0, address, self.model.size(name))

    def _fetch(self, names: Sequence[str]) -> None:
        """Reads tensors that the host needs and does not have from SDRAM."""
        self._flush()
        for name in names if self.spill is not None else ():
            place = self.spill.place(name) if self.spill else None
            if place is not None and self.spill and self.spill.has(name) and not self.values.knows(name):
                self._store([name], self.device.link.transaction([read(Space.SDRAM, place, self.model.size(name))]))

    def _jobs(self, parts: Sequence[Part], before: Sequence[Operation], after: Sequence[Operation]) -> list[Job]:
        """Runs of parts in order, with what is done before the first and after the last."""
        jobs: list[Job] = []
        for index, part in enumerate(parts):
            counted = [read(Space.COUNTERS, 0, part.count * Counters.LAYOUT.size)] if self._profiled else []
            last = index == len(parts) - 1
            jobs.append((part, before if index == 0 else (), [*counted, *(after if last else ())]))
        return jobs

    def _run(self, jobs: Sequence[Job]) -> bytes:
        """Runs jobs one by one, and returns what they read."""
        answer = b""
        for index, job in enumerate(jobs):
            following = [*(part.segment for part, _, _ in jobs[index + 1 :]), *self._following]
            answer += self._run_all([job], following)
        return answer

    def _records(self, parts: Sequence[Part], answer: bytes) -> tuple[dict[tuple[int, int], Counters], bytes]:
        """The counters of parts by (segment, descriptor), if they are read, and what is read behind them."""
        records: dict[tuple[int, int], Counters] = {}
        for part in parts if self._profiled else ():
            size = part.count * Counters.LAYOUT.size
            records |= part_records(part, answer[:size])
            answer = answer[size:]
        return records, answer

    def _run_all(self, jobs: Sequence[Job], following: Sequence[int]) -> bytes:
        """Runs jobs, and returns what they read. With SDRAM, :attr:`waited` goes on if the item is profiled."""
        if self.spill is None or not self._profiled:
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
