"""A register slice: cuts a stream's paths in both directions."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, ShapeLike, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from weft.hw.delay import copied

__all__ = ["RegisterSlice"]


class RegisterSlice(wiring.Component):
    """Passes a stream on through registers: payload and valid forwards, ready backwards. One item per cycle, latency 1 cycle.

    Two places take items in turn, whether there is one or not. What enables a place and what chooses one are registers, so that
    ``o.ready`` reaches five registers, however wide the payload is.

    Parameters
    ----------
    shape : shape
        Of the payload.
    shares : int
        Of the payload's bits, equal ones: those registers are copied for each, which may lie far from the others on the chip. With several,
        no item may come in the first cycle after a reset.

    Members
    -------
    i : In(stream), o : Out(stream)
        The stream. ``i.ready`` and ``o.valid`` are registers, ``o.payload`` one of two.
    """

    def __init__(self, shape: ShapeLike, *, shares: int = 1):
        self.shape, self.shares = shape, shares
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        writing, reading, full = Signal(), Signal(), Signal()
        will_write, will_read, will_be_full = Signal(), Signal(), Signal()
        # The place that will take the next item in, a bit each; none while both are taken.
        will_open = Signal(2)
        arrives, leaves = self.i.valid & self.i.ready, self.o.valid & self.o.ready
        m.d.comb += [
            self.i.ready.eq(~full),
            will_write.eq(writing ^ arrives),
            will_read.eq(reading ^ leaves),
            will_be_full.eq(Mux(arrives, self.o.valid & ~leaves, full & ~leaves)),
            will_open.eq(Mux(will_be_full, 0, Mux(will_write, 0b10, 0b01))),
        ]
        m.d.sync += [writing.eq(will_write), reading.eq(will_read), full.eq(will_be_full)]
        m.d.sync += self.o.valid.eq(arrives | full | (self.o.valid & ~leaves))

        if self.shares == 1:
            open_places = Signal(2, init=1)
            m.d.sync += open_places.eq(will_open)
            controls = [Cat(open_places, reading)]
        else:
            controls = copied(m, platform, Cat(will_open, will_read), self.shares, name="control")
        given, wanted = Value.cast(self.i.payload), Value.cast(self.o.payload)
        share = -(-len(given) // self.shares)
        for index, control in enumerate(controls):
            own = slice(index * share, (index + 1) * share)
            places = [Signal(len(given[own]), name=f"place_{index}_{place}", reset_less=True) for place in range(2)]
            for place, content in enumerate(places):
                with m.If(control[place]):
                    m.d.sync += content.eq(given[own])
            m.d.comb += wanted[own].eq(Mux(control[2], *reversed(places)))
        return m
