"""The cycle counters of a sequential engine, each of whose cycles has a single cause."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.enum import Enum
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from sateen.hw.spec.counters import RECORD_WORDS

__all__ = ["Cause", "SequentialCounters"]


class Cause(Enum, shape=3):
    """The cause of a cycle: the number of its word in :class:`sateen.hw.spec.counters.Counters`."""

    BUSY = 1
    WEIGHTS = 2
    ACTIVATIONS = 3
    ACCUMULATORS = 4
    OUTPUT = 5
    LINK = 6


ORDER = (Cause.ACTIVATIONS, Cause.BUSY, Cause.WEIGHTS, Cause.ACCUMULATORS, Cause.OUTPUT, Cause.LINK)
"""The order in which a record is written: the cycles of writing belong to the next record's ACTIVATIONS."""


class SequentialCounters(wiring.Component):
    """Counts the cycles of each cause, and writes a record per descriptor.

    A record takes ``len(Cause) + 1`` cycles from ``finished`` on; no other cause than ACTIVATIONS may come meanwhile.

    Members
    -------
    cause : In(Cause)
        The cause of this cycle.
    finished : In(stream)
        A descriptor has ended; its number in the run. Taken with the record's last word.
    address, data, enable : Out
        To the memory of the records, in words.
    """

    def __init__(self, *, descriptors: int):
        super().__init__(
            {
                "cause": In(Cause, init=Cause.ACTIVATIONS),  # type: ignore[call-arg]
                "finished": In(stream.Signature(8)),
                "address": Out(ceil_log2(descriptors * RECORD_WORDS)),
                "data": Out(32),
                "enable": Out(1),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        counts = {cause: Signal(32, name=cause.name.lower()) for cause in Cause}
        word, cycles = Signal(range(len(ORDER) + 1)), Signal(32)
        last = word == len(ORDER)
        m.d.comb += [
            self.enable.eq(self.finished.valid),
            self.finished.ready.eq(last),
            # The first word is the sum of the others except the link's.
            self.data.eq(Array([*(counts[cause] for cause in ORDER), cycles])[word]),
            self.address.eq(Cat(Array([*(cause.value for cause in ORDER), 0])[word], self.finished.payload)),
        ]
        with m.If(self.finished.valid):
            m.d.sync += word.eq(word + 1)
            with m.If(word < ORDER.index(Cause.LINK)):
                m.d.sync += cycles.eq(cycles + self.data)
            with m.If(last):
                m.d.sync += [word.eq(0), cycles.eq(0)]
        for place, cause in enumerate(ORDER):
            with m.If(self.finished.valid & (word == place)):
                m.d.sync += counts[cause].eq(self.cause == cause)
            with m.Elif(self.cause == cause):
                m.d.sync += counts[cause].eq(counts[cause] + 1)
        # The cycles of writing a run's last record are not counted.
        with m.If(self.cause == Cause.LINK):
            m.d.sync += counts[Cause.ACTIVATIONS].eq(0)
        return m
