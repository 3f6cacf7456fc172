"""A register slice: cuts a stream's paths in both directions."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, ShapeLike, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RegisterSlice"]


class RegisterSlice(wiring.Component):
    """Passes a stream on through registers: payload and valid forwards, ready backwards. One item per cycle, latency 1 cycle.

    Two places take items in turn, whether there is one or not. What enables a place and what chooses one are registers, so that
    ``o.ready`` reaches five registers, however wide the payload is.

    Members
    -------
    i : In(stream), o : Out(stream)
        The stream. ``i.ready`` and ``o.valid`` are registers, ``o.payload`` one of two.
    """

    def __init__(self, shape: ShapeLike):
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        places = [Signal(self.shape, name=f"place_{place}", reset_less=True) for place in range(2)]
        # The place that takes the next item in, a bit each; none while both are taken.
        open_places, writing, reading, full = Signal(2, init=1), Signal(), Signal(), Signal()
        will_write, will_be_full = Signal(), Signal()
        arrives, leaves = self.i.valid & self.i.ready, self.o.valid & self.o.ready
        m.d.comb += [
            self.i.ready.eq(~full),
            Value.cast(self.o.payload).eq(Mux(reading, *(Value.cast(place) for place in reversed(places)))),
            will_write.eq(writing ^ arrives),
            will_be_full.eq(Mux(arrives, self.o.valid & ~leaves, full & ~leaves)),
        ]
        for place, content in enumerate(places):
            with m.If(open_places[place]):
                m.d.sync += content.eq(self.i.payload)
            m.d.sync += open_places[place].eq(~will_be_full & (will_write == place))
        m.d.sync += [writing.eq(will_write), reading.eq(reading ^ leaves), full.eq(will_be_full)]
        m.d.sync += self.o.valid.eq(arrives | full | (self.o.valid & ~leaves))
        return m
