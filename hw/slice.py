"""A register slice: cuts a stream's paths in both directions."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, ShapeLike, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

__all__ = ["RegisterSlice"]


class RegisterSlice(wiring.Component):
    """Passes a stream on through registers: payload and valid forwards, ready backwards. One item per cycle, latency 1 cycle.

    Members
    -------
    i : In(stream), o : Out(stream)
        The stream. ``i.ready`` and ``o.valid`` are registers.
    """

    def __init__(self, shape: ShapeLike):
        self.shape = shape
        super().__init__({"i": In(stream.Signature(shape)), "o": Out(stream.Signature(shape))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # An item that arrives while the output is stalled waits in `spare`.
        spare, output, full = Signal(self.shape, reset_less=True), Signal(self.shape, reset_less=True), Signal()
        arrives, free = self.i.valid & self.i.ready, ~self.o.valid | self.o.ready
        m.d.comb += [self.i.ready.eq(~full), self.o.payload.eq(output)]
        with m.If(~full):
            m.d.sync += spare.eq(self.i.payload)
        with m.If(free):
            m.d.sync += [output.eq(Mux(full, spare, self.i.payload)), self.o.valid.eq(full | self.i.valid), full.eq(0)]
        with m.Elif(arrives):
            m.d.sync += full.eq(1)
        return m
