"""A register slice: cuts a stream's paths in both directions."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, ShapeLike, Signal, Value
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RegisterSlice"]


class RegisterSlice(wiring.Component):
    """Passes a stream on through registers: payload and valid forwards, ready backwards. One item per cycle, latency 1 cycle.

    Two places take items in turn, whether there is one or not. What enables a place and what chooses one are registers, so that
    ``o.ready`` reaches four registers, however wide the payload is.

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
        writing, reading, full = Signal(), Signal(), Signal()
        arrives, leaves = self.i.valid & self.i.ready, self.o.valid & self.o.ready
        m.d.comb += [
            self.i.ready.eq(~full),
            Value.cast(self.o.payload).eq(Mux(reading, *(Value.cast(place) for place in reversed(places)))),
        ]
        for place, content in enumerate(places):
            with m.If(~full & (writing == place)):
                m.d.sync += content.eq(self.i.payload)
        m.d.sync += [writing.eq(writing ^ arrives), reading.eq(reading ^ leaves)]
        with m.If(arrives & ~leaves):
            m.d.sync += [full.eq(self.o.valid), self.o.valid.eq(1)]
        with m.Elif(leaves & ~arrives):
            m.d.sync += [full.eq(0), self.o.valid.eq(full)]
        return m
