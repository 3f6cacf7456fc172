"""What lets windows that slide over the columns be longer than the tile has rows."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

__all__ = ["Skip"]


class Skip(wiring.Component):
    """Samples on their way from a PE to the one below, some beats that slide later than without.

    Takes the place of the PE's register of the last such beat's sample, with the same latency.

    Parameters
    ----------
    depth : int
        Most beats, a power of two.

    Members
    -------
    slide, sample : In
        Those that the PE above takes.
    place : In
        Where the sample is kept that comes out as many beats later as it takes to come here again; for all beats of a
        layer the same number of places, in turn.
    direct : In(1)
        No beats later.
    o : Out
        The sample for the PE below.
    """

    def __init__(self, *, depth: int):
        self.depth = depth
        super().__init__(
            {
                "slide": In(1), "sample": In(signed(8)), "place": In(range(depth)), "direct": In(1),
                "o": Out(signed(8)),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        held = Signal.like(self.sample, reset_less=True)
        below = Signal.like(self.sample, reset_less=True)
        kept: Memory = Memory(shape=signed(8), depth=self.depth, init=[])
        m.submodules.kept = kept
        write, read = kept.write_port(), kept.read_port(domain="comb")
        m.d.comb += [
            write.en.eq(self.slide),
            write.addr.eq(self.place),
            write.data.eq(held),
            read.addr.eq(self.place),
            self.o.eq(below),
        ]
        with m.If(self.slide):
            m.d.sync += [held.eq(self.sample), below.eq(Mux(self.direct, held, read.data))]
        return m
