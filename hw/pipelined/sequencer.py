"""The sequencer runs a program of descriptors; the counters record where its cycles went."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, Signal, Value
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sateen.hw.host import RUN, descriptor_address
from sateen.hw.spec.counters import RECORD_WORDS
from sateen.hw.spec.descriptor import DESCRIPTOR_WORDS, SECTIONS
from sateen.hw.stream.fetch import Fetch
from sateen.hw.stream.view import view

__all__ = ["CauseCounters", "Sequencer"]

CAUSES = ("busy", "weights", "activations", "accumulators", "output")


class Sequencer(wiring.Component):
    """Reads the descriptors of a run and hands their sections to the units.

    One word per cycle. The sections are taken in the order weights, activations, output, each when its unit is free.
    The activation unit starts when the output section is taken, that is, when all results of the descriptor before are
    written. So weights are prefetched during the layer before, and a layer may read what any earlier layer wrote.

    Parameters
    ----------
    descriptors : int
        Capacity of the program memory.
    read_latency : int
        Of the program memory, cycles.

    Members
    -------
    run : In(stream)
        ``first`` descriptor and their ``count``; taken while no program runs.
    busy : Out(1)
        A program runs: from the cycle after ``run`` until the last descriptor's last result is written.
    address : Out, reading : Out(1), data : In
        To and from the program memory, in words.
    weights, activations, output : Out(stream)
        To the units.
    done : In(1)
        A descriptor's last result has been written.
    finished : Out(stream), always ready
        Pulses at the end of each descriptor with its place in the run, from 0.
    """

    def __init__(self, *, descriptors: int, read_latency: int):
        self.read_latency = read_latency
        address = ceil_log2(descriptors * DESCRIPTOR_WORDS)
        super().__init__(
            {
                "run": In(stream.Signature(RUN)),
                "busy": Out(1),
                "address": Out(address),
                "reading": Out(1),
                "data": In(32),
                **{section: Out(stream.Signature(32)) for section in SECTIONS},
                "done": In(1),
                "finished": Out(stream.Signature(8, always_ready=True)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.fetch = fetch = Fetch(
            address=len(self.address), data_shape=32, tag=data.StructLayout({"section": 2}), latency=self.read_latency
        )
        unit_of = [index for index, words in enumerate(SECTIONS.values()) for _ in range(words)]
        unit_of += [len(SECTIONS)] * (DESCRIPTOR_WORDS - len(unit_of))

        address, word, to_fetch = Signal(len(self.address)), Signal(range(DESCRIPTOR_WORDS)), Signal(8)
        to_finish, place = Signal(8), Signal(8)
        run = self.run.payload
        m.d.comb += [
            self.busy.eq(to_finish != 0),
            self.run.ready.eq(~self.busy),
            fetch.i.valid.eq(to_fetch != 0),
            fetch.i.payload.address.eq(address),
            fetch.i.payload.tag.section.eq(Array(unit_of)[word]),
            self.address.eq(fetch.address),
            self.reading.eq(fetch.reading),
            fetch.data.eq(self.data),
            self.finished.valid.eq(self.done),
            self.finished.payload.eq(place),
        ]
        with m.If(self.run.valid & self.run.ready):
            m.d.sync += [address.eq(descriptor_address(run.first)), word.eq(0), place.eq(0)]
            m.d.sync += [to_fetch.eq(run.count), to_finish.eq(run.count)]
        with m.If(fetch.i.valid & fetch.i.ready):
            m.d.sync += [address.eq(address + 1), word.eq(word + 1)]
            with m.If(word == DESCRIPTOR_WORDS - 1):
                m.d.sync += [word.eq(0), to_fetch.eq(to_fetch - 1)]
        with m.If(self.done):
            m.d.sync += [to_finish.eq(to_finish - 1), place.eq(place + 1)]

        m.d.comb += fetch.o.ready.eq(1)
        for index, section in enumerate(SECTIONS):
            port = getattr(self, section)
            m.d.comb += port.payload.eq(fetch.o.payload.data)
            with m.If(fetch.o.payload.tag.section == index):
                m.d.comb += [port.valid.eq(fetch.o.valid), fetch.o.ready.eq(port.ready)]
        return m


class CauseCounters(wiring.Component):
    """Attributes each cycle of a program to one cause, and writes a record per descriptor.

    A record (:class:`sateen.hw.spec.counters.Counters`) is written one word a cycle, beginning three cycles after
    ``finished``.

    With ``overlap`` beats of a descriptor are taken while results of the one before are under way: then a descriptor's
    cycles begin after the last beat of the one before and end with its own last beat, those of a run's last one with
    its last result. Where two last beats are less than ten cycles apart, these cycles are the second one's.

    Parameters
    ----------
    descriptors : int
        Capacity of the program memory.
    overlap : bool
        Descriptors may overlap.

    Members
    -------
    begin : In(1), count : In
        A run begins, with its number of descriptors; only with ``overlap``, like the following.
    behind : In(1)
        The activation unit waits for results of the descriptor before; counts as ``output``.
    busy : In(1)
        A program runs.
    computing, waiting : In(1)
        From the tile: it computes; a beat waits for its weights.
    ending : In(1)
        The tile takes the descriptor's last beat.
    starved : In(1)
        The activation unit waits for accumulators.
    finished : In(stream), always ready
        A descriptor has ended; its number in the run.
    address, data, enable : Out
        To the memory of the records, in words.
    """

    def __init__(self, *, descriptors: int, overlap: bool = False):
        self.descriptors, self.overlap = descriptors, overlap
        super().__init__(
            {
                **({"begin": In(1), "count": In(8), "behind": In(1)} if overlap else {}),
                "busy": In(1),
                "computing": In(1),
                "waiting": In(1),
                "ending": In(1),
                "starved": In(1),
                "finished": In(stream.Signature(8, always_ready=True)),
                "address": Out(ceil_log2(descriptors * RECORD_WORDS)),
                "data": Out(32),
                "enable": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # All inputs are registered, so that the tile's handshake ends here.
        inputs = ("busy", "computing", "waiting", "ending", "starved", *(["behind"] if self.overlap else []))
        registered = view(data.StructLayout({name: 1 for name in (*inputs, "finished")}))
        place, drained, ended = Signal(8), Signal(), Signal()
        for name in inputs:
            m.d.sync += registered[name].eq(getattr(self, name))
        if self.overlap:
            run_ends, final = Signal(), Signal(8)
            with m.If(self.begin):
                m.d.sync += final.eq(self.count - 1)
            m.d.comb += run_ends.eq(self.finished.valid & (self.finished.payload == final))
            m.d.sync += registered.finished.eq(run_ends)
        else:
            m.d.sync += [
                registered.finished.eq(self.finished.valid),
                place.eq(Mux(self.finished.valid, self.finished.payload, place)),
            ]

        counts = {name: Signal(32, name=name) for name in ("cycles", *CAUSES, "link")}
        cause = {name: Signal(name=f"is_{name}") for name in CAUSES}
        idle = ~registered.computing & ~registered.waiting
        m.d.comb += [
            cause["busy"].eq(registered.computing),
            cause["weights"].eq(~registered.computing & registered.waiting),
        ]
        on_the_way, drains = drained, registered.ending
        if self.overlap:
            last = self._last(m, registered)
            on_the_way, drains = drained | registered.behind, registered.ending & last
        m.d.comb += [
            cause["output"].eq(idle & on_the_way),
            cause["accumulators"].eq(idle & ~on_the_way & registered.starved),
            cause["activations"].eq(idle & ~on_the_way & ~registered.starved),
        ]
        with m.If(drains):
            m.d.sync += drained.eq(1)
        with m.If(registered.finished):
            m.d.sync += drained.eq(0)
        # The descriptor's last cycle has been counted.
        if not self.overlap:
            m.d.sync += ended.eq(registered.finished)

        for name, count in counts.items():
            here = ~registered.busy if name == "link" else registered.busy & (cause.get(name, 1))
            m.d.sync += count.eq(Mux(ended, 0, count) + here)
        left, record = Signal(range(RECORD_WORDS + 1)), Signal(8)
        if self.overlap:
            ends = (registered.ending & ~last) | registered.finished
            m.d.sync += ended.eq(self._ends(m, ends, place, ended=ended, writing=left != 0))
        self._write(m, list(counts.values()), place, left, record, ended=ended)
        return m

    def _write(
        self, m: Module, counts: list[Signal], place: Signal, left: Signal, record: Signal, *, ended: Signal
    ) -> None:
        """Writes a record when a descriptor has ended, a word each cycle; ``left`` are those to come."""
        snapshot = [Signal(32, name=f"snapshot_{i}", reset_less=True) for i in range(RECORD_WORDS)]
        columns = [*counts, *[None] * (RECORD_WORDS - len(counts))]
        with m.If(ended):
            m.d.sync += [left.eq(RECORD_WORDS), record.eq(place)]
            m.d.sync += [word.eq(0 if count is None else count) for word, count in zip(snapshot, columns, strict=True)]
        with m.Elif(left != 0):
            m.d.sync += left.eq(left - 1)
            m.d.sync += [word.eq(after) for word, after in zip(snapshot, snapshot[1:], strict=False)]
        m.d.comb += [
            self.enable.eq(left != 0),
            self.data.eq(snapshot[0]),
            self.address.eq(Cat((RECORD_WORDS - left)[: ceil_log2(RECORD_WORDS)], record)),
        ]

    def _last(self, m: Module, registered: data.View) -> Value:
        """Whether the next last beat is that of a run's last descriptor."""
        to_end = Signal(8)
        with m.If(self.begin):
            m.d.sync += to_end.eq(self.count)
        with m.Elif(registered.ending):
            m.d.sync += to_end.eq(to_end - 1)
        return to_end == 1

    def _ends(self, m: Module, ends: Value, place: Signal, *, ended: Signal, writing: Value) -> Value:
        """Whether a record begins: it waits until the one before is written. Counts the records of a run."""
        waits, begins = Signal(), Signal()
        m.d.comb += begins.eq((ends | waits) & ~ended & ~writing)
        m.d.sync += waits.eq((ends | waits) & ~begins)
        with m.If(self.begin):
            m.d.sync += place.eq(0)
        with m.Elif(ended):
            m.d.sync += place.eq(place + 1)
        return begins
