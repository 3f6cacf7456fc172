"""Padding: which bytes of a beat lie outside the input."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.stream.delay import delayed

__all__ = ["Padding"]


class Padding(wiring.Component):
    """Replaces the bytes of a beat that lie outside the input by the padding value.

    Byte ``lane`` stays if ``0 ≤ row < height`` and ``0 ≤ x + lane < width``. One beat per cycle, no back-pressure. The
    beat is out one cycle after ``data``, which comes ``latency`` cycles after ``row`` and ``x``.

    Parameters
    ----------
    lanes : int
        Bytes of a beat.
    bits : int
        Width of ``x``.
    latency : int
        Cycles from the coordinates to ``data``, 3 or more.
    follows : bool
        ``value`` follows a beat on its way.

    Members
    -------
    row, x : In
        Coordinates of a beat.
    height, width, value : In
        Of the layer's input; steady while beats are under way, or with ``follows`` in the cycle of a beat's
        coordinates.
    data : In
        The bytes of the scratchpad.
    o : Out
        The beat.
    """

    def __init__(self, *, lanes: int, bits: int, latency: int, follows: bool = False):
        if latency < 3:
            raise ValueError(f"latency must be 3 or more, not {latency!r}")
        self.lanes, self.bits, self.latency, self.follows = lanes, bits, latency, follows
        beat = data.ArrayLayout(signed(8), lanes)
        super().__init__(
            {
                "row": In(signed(16)),
                "x": In(signed(bits)),
                "height": In(16),
                "width": In(bits - 1),
                "value": In(signed(8)),
                "data": In(beat),
                "o": Out(beat),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Lanes from `low` to `high` - 1 are inside. Both are clamped to a few bits before any lane compares.
        from_left, from_right, inside = Signal(signed(self.bits + 1)), Signal(signed(self.bits + 1)), Signal()
        low, high = Signal(range(self.lanes + 1)), Signal(range(self.lanes + 1))
        mask = Signal(self.lanes)

        def clamp(value: Signal) -> Value:
            return Mux(value < 0, 0, Mux(value > self.lanes, self.lanes, value))

        m.d.sync += [
            from_left.eq(-self.x),
            from_right.eq(self.width - self.x),
            inside.eq(self.row.as_unsigned() < self.height),
            low.eq(clamp(from_left)),
            high.eq(Mux(inside, clamp(from_right), 0)),
        ]
        for lane in range(self.lanes):
            m.d.sync += mask[lane].eq((low <= lane) & (lane < high))
        mask = delayed(m, mask, self.latency - 3, name="mask")
        value = delayed(m, self.value, self.latency, name="value") if self.follows else self.value
        for lane in range(self.lanes):
            m.d.comb += self.o[lane].eq(delayed(m, Mux(mask[lane], self.data[lane], value), name=f"lane_{lane}"))
        return m
