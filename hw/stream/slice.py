"""A register slice: breaks a stream's combinational paths in both directions."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, ShapeLike, Signal, Value, ValueLike
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.spec.timing import FANOUT

__all__ = ["SEGMENT_BITS", "RegisterSlice", "segments"]

SEGMENT_BITS = 8 * FANOUT
"""Bits of a payload that share their control registers."""


class RegisterSlice(wiring.Component):
    """Passes a stream on through registers: payload and valid forwards, ready backwards. One item per cycle, latency 1
    cycle.

    Two places take items alternately. Registers enable the places and select the one that is read, so that ``o.ready``
    reaches five registers however wide the payload is.

    A wide payload is spread over the chip: each :data:`SEGMENT_BITS` of it have such registers of their own.

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
        # A place holds an item only while `o.valid`. So `o.ready`, which may come late in a cycle, counts by itself.
        m.d.comb += [self.i.ready.eq(~full), will_be_full.eq(Mux(arrives, self.o.valid, full) & ~self.o.ready)]
        m.d.sync += [full.eq(will_be_full), self.o.valid.eq(arrives | full | (self.o.valid & ~self.o.ready))]
        for segment, (given, wanted) in enumerate(segments(self.i.payload, self.o.payload)):
            # The place that takes the next item, one-hot; none while both are taken.
            open_places = Signal(2, init=1, name=f"open_{segment}")
            writing, will_write, reading = (
                Signal(name=f"{name}_{segment}") for name in ("writing", "will_write", "reading")
            )
            m.d.comb += will_write.eq(writing ^ arrives)
            m.d.sync += [writing.eq(will_write), reading.eq(reading ^ leaves)]
            places = [Signal(len(given), name=f"place_{segment}_{place}", reset_less=True) for place in range(2)]
            for place, content in enumerate(places):
                with m.If(open_places[place]):
                    m.d.sync += content.eq(given)
                m.d.sync += open_places[place].eq(~will_be_full & (will_write == place))
            m.d.comb += wanted.eq(Mux(reading, *reversed(places)))
        return m


def segments(*payloads: ValueLike) -> list[tuple[Value, ...]]:
    """Payloads of equal width cut into segments of about :data:`SEGMENT_BITS`, segment by segment."""
    values = [Value.cast(payload) for payload in payloads]
    width = len(values[0])
    size = -(-width // max(1, width // SEGMENT_BITS)) if width else 1
    return [tuple(value[start : start + size] for value in values) for start in range(0, width, size)]
