"""A register slice: cuts a stream's paths in both directions."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, ShapeLike, Signal, Value, ValueLike
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.spec.timing import TOGETHER

__all__ = ["SHARE", "RegisterSlice", "shares"]

SHARE = 8 * TOGETHER
"""Bits of a payload that one register's choice reaches."""


class RegisterSlice(wiring.Component):
    """Passes a stream on through registers: payload and valid forwards, ready backwards. One item per cycle, latency 1
    cycle.

    Two places take items in turn, whether there is one or not. What enables a place and what chooses one are registers,
    so that ``o.ready`` reaches five registers, however wide the payload is.

    Payloads of many bits lie all over the chip: each :data:`SHARE` of them have those registers on their own.

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
        full, will_be_full = Signal(), Signal()
        arrives, leaves = self.i.valid & self.i.ready, self.o.valid & self.o.ready
        m.d.comb += [self.i.ready.eq(~full), will_be_full.eq(Mux(arrives, self.o.valid & ~leaves, full & ~leaves))]
        m.d.sync += [full.eq(will_be_full), self.o.valid.eq(arrives | full | (self.o.valid & ~leaves))]
        for share, (given, wanted) in enumerate(shares(self.i.payload, self.o.payload)):
            # The place that takes the next item in, a bit each; none while both are taken.
            open_places = Signal(2, init=1, name=f"open_{share}")
            writing, will_write, reading = (
                Signal(name=f"{name}_{share}") for name in ("writing", "will_write", "reading")
            )
            m.d.comb += will_write.eq(writing ^ arrives)
            m.d.sync += [writing.eq(will_write), reading.eq(reading ^ leaves)]
            places = [Signal(len(given), name=f"place_{share}_{place}", reset_less=True) for place in range(2)]
            for place, content in enumerate(places):
                with m.If(open_places[place]):
                    m.d.sync += content.eq(given)
                m.d.sync += open_places[place].eq(~will_be_full & (will_write == place))
            m.d.comb += wanted.eq(Mux(reading, *reversed(places)))
        return m


def shares(*payloads: ValueLike) -> list[tuple[Value, ...]]:
    """Payloads of the same width in pieces of about :data:`SHARE` bits, those of a piece together."""
    values = [Value.cast(payload) for payload in payloads]
    width = len(values[0])
    size = -(-width // max(1, width // SHARE)) if width else 1
    return [tuple(value[start : start + size] for value in values) for start in range(0, width, size)]
