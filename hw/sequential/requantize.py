"""Exact requantization, a few bits at a time."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.requantize import CHANNEL, SETTINGS, SMALL
from sateen.hw.spec.descriptor import Rounding
from sateen.hw.spec.timing import SERIAL_SHIFTS

__all__ = ["SerialRequantize"]

DIGITS = 16
"""Of a multiplier, in radix 4."""
FAR = 8
"""Places that a product is shifted right by in one cycle, as long as it goes that far."""


class SerialRequantize(wiring.Component):
    """As :class:`sateen.hw.requantize.Requantize`, one value at a time, with one adder.

    ``ready`` comes back ``LATENCY`` = 26 cycles after ``start``, or a cycle later for each place beyond
    :data:`~sateen.hw.spec.timing.SERIAL_SHIFTS` that a value is shifted to the left.

    The product grows downwards into the register of the multiplier, of which it takes a digit from −2 to 2 in each
    cycle (Booth, radix 4); then it is shifted the rest of the way, by 8, 2 or 1 places to the right, or by one to the
    left.

    Members
    -------
    settings : In
        Steady from ``start`` until ``ready``.
    valid : In(1), byte : In(8)
        A channel's parameters (:data:`sateen.hw.requantize.CHANNEL`), byte by byte, the lowest first; those of the next
        value may come while one is under way.
    i : In
        A sum, signed 32 bits.
    start : In(1)
        Takes the last parameters and ``i``; while ``ready``.
    ending : Out(1), ready : Out(1), o : Out
        ``ready`` comes next; it is there, with the int8 result of the last start.
    """

    LATENCY = 1 + DIGITS + SERIAL_SHIFTS + 2

    def __init__(self) -> None:
        super().__init__(
            {
                "settings": In(SETTINGS),
                "valid": In(1),
                "byte": In(8),
                "i": In(signed(32)),
                "start": In(1),
                "ending": Out(1),
                "ready": Out(1),
                "o": Out(signed(8)),
            }
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # Twice the value is multiplied: the product is high · 2^31 + low / 2, its half is low[31].
        channel, shift = Signal(CHANNEL), Signal(signed(8))
        value, low, high = Signal(signed(32)), Signal(32), Signal(signed(33))
        left, before, multiplies = Signal(range(DIGITS)), Signal(), Signal()
        twice, first, rest, over = Signal(), Signal(), Signal(), Signal()
        to_right, to_left = Signal(data.StructLayout({"one": 1, "two": 1, "far": 1})), Signal()
        half, negative = low[31], high[-1]
        total = self._total(m, Mux(multiplies, Cat(low[:2], before), 0), value, high, carry=first & twice & half)
        with m.If(self.valid):
            m.d.sync += channel.eq(Cat(channel.as_value()[8:], self.byte))
        with m.If(self.start):
            m.d.sync += [
                value.eq(channel.bias + self.i),
                low.eq(channel.multiplier),
                high.eq(0),
                shift.eq(channel.shift),
            ]
        with m.Elif(to_right.two):
            m.d.sync += Cat(low, high).eq(Cat(low[2:], total))
        with m.Elif(to_right.one):
            m.d.sync += Cat(low, high).eq(Cat(low[1:], total))
        with m.Elif(to_right.far):
            m.d.sync += [half.eq(high[FAR - 1]), high.eq(high >> FAR)]
        with m.Elif(to_left):
            # The sign stays.
            m.d.sync += Cat(low, high[:-1]).eq(Cat(low, high[:-1]) << 1)

        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.ready.eq(1)
                m.d.sync += [left.eq(DIGITS - 1), before.eq(0), over.eq(0), rest.eq(0)]
                m.d.sync += twice.eq((self.settings.rounding == Rounding.DOUBLE) & (channel.shift < 0))
                with m.If(self.start):
                    m.next = "multiply"
            with m.State("multiply"):
                m.d.comb += [multiplies.eq(1), to_right.two.eq(1)]
                m.d.sync += [left.eq(left - 1), before.eq(low[1])]
                with m.If(left == 0):
                    m.d.sync += [left.eq(SERIAL_SHIFTS - 1), first.eq(1)]
                    m.next = "shift"
            with m.State("shift"):
                m.d.sync += first.eq(0)
                # Where the first of two roundings happens, what is below counts no more.
                with m.If((shift < 0) & (first | (shift == -1))):
                    m.d.comb += to_right.one.eq(1)
                    m.d.sync += [shift.eq(shift + 1), rest.eq(~first & (rest | half))]
                with m.Elif((shift < 0) & (shift > -FAR)):
                    m.d.comb += to_right.two.eq(1)
                    m.d.sync += [shift.eq(shift + 2), rest.eq(rest | half | high[0])]
                with m.Elif(shift < 0):
                    m.d.comb += to_right.far.eq(1)
                    m.d.sync += [shift.eq(shift + FAR), rest.eq(rest | half | high[: FAR - 1].any())]
                with m.Elif(shift > 0):
                    m.d.comb += to_left.eq(1)
                    m.d.sync += [shift.eq(shift - 1), over.eq(over | (high[-1] ^ high[-2]))]
                with m.If(left != 0):
                    m.d.sync += left.eq(left - 1)
                with m.Elif(shift <= 1):
                    m.next = "limit"
            self._limit(m, high, half & (~twice | ~negative | rest), over)
        return m

    def _total(self, m: Module, digit: Value, value: Signal, high: Signal, *, carry: Value) -> Signal:
        """``high`` and twice the value times a digit: two bits of the multiplier and, at last, the one before them."""
        one, two, negative = digit[0] ^ digit[2], Signal(), digit[1]
        total, addend = Signal(signed(35)), Signal(signed(34))
        m.d.comb += [
            two.eq((digit == 0b010) | (digit == 0b101)),
            addend.eq(Mux(one, value << 1, 0) | Mux(two, value << 2, 0)),
            total.eq(high + (addend.as_unsigned() ^ negative.replicate(34)).as_signed() + (negative | carry)),
        ]
        return total

    def _limit(self, m: Module, high: Signal, up: Value, over: Signal) -> None:
        """The last two cycles: what is far out of range is brought nearer; then the zero point is added, and all is
        clamped."""
        negative, result = high[-1], Signal(signed(SMALL + 1))
        below, above = self.settings.low, self.settings.high
        with m.State("limit"):
            fits = (high[SMALL - 1 :] == negative.replicate(len(high) - SMALL + 1)) & ~over
            limit = Cat((~negative).replicate(SMALL - 1), negative)
            m.d.sync += result.eq(Mux(fits, high[:SMALL], limit).as_signed() + (self.settings.zero_point + up))
            m.next = "clamp"
        with m.State("clamp"):
            m.d.comb += self.ending.eq(1)
            m.d.sync += self.o.eq(Mux(result < below, below, Mux(result > above, above, result)))
            m.next = "idle"
