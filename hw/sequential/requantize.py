"""Exact requantization, a few bits per cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.requantize import CHANNEL, RESULT_BITS, SETTINGS
from sateen.hw.spec.descriptor import Rounding
from sateen.hw.spec.timing import SERIAL_SHIFTS
from sateen.hw.stream.view import view

__all__ = ["SerialRequantize"]

DIGITS = 16
"""Digits of a multiplier in radix 4."""
FAR = 8
"""Places of the widest shift in one cycle."""


class SerialRequantize(wiring.Component):
    """As :class:`sateen.hw.requantize.Requantize`, one value at a time, with one adder.

    ``ready`` returns ``LATENCY`` = 26 cycles after ``start``, and a cycle later for each place beyond
    :data:`~sateen.hw.spec.timing.SERIAL_SHIFTS` that a value is shifted to the left.

    Each cycle uses a digit of the multiplier, from −2 to 2 (Booth, radix 4), and the product grows downwards into the
    multiplier's register. Then the product is shifted into place, by 8, 2 or 1 places to the right or by one to the
    left.

    Members
    -------
    settings : In
        Steady from ``start`` until ``ready``.
    valid : In(1), byte : In(8)
        A channel's parameters (:data:`sateen.hw.requantize.CHANNEL`), byte by byte, lowest first; those of the next
        value may arrive while one is under way.
    i : In
        A sum, signed 32 bits.
    start : In(1)
        Takes the last parameters and ``i``; only while ``ready``.
    ending : Out(1), ready : Out(1), o : Out
        ``ready`` comes in the next cycle; it is there, with the int8 result of the last start.
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
        channel, shift = view(CHANNEL), Signal(signed(8))
        value, product = Signal(signed(32)), _Product()
        left, before, multiplies = Signal(range(DIGITS)), Signal(), Signal()
        twice, first, rest, over = Signal(), Signal(), Signal(), Signal()
        high, half = product.high, product.half
        digit = Mux(multiplies, Cat(product.low[:2], before), 0)
        total = self._total(m, digit, value, high, carry=first & twice & half)
        with m.If(self.valid):
            m.d.sync += channel.eq(Cat(channel.as_value()[8:], self.byte))
        with m.If(self.start):
            m.d.sync += [value.eq(channel.bias + self.i), shift.eq(channel.shift)]
        product.move(m, start=self.start, multiplier=channel.multiplier, total=total)

        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.ready.eq(1)
                m.d.sync += [left.eq(DIGITS - 1), before.eq(0), over.eq(0), rest.eq(0)]
                m.d.sync += twice.eq((self.settings.rounding == Rounding.DOUBLE) & (channel.shift < 0))
                with m.If(self.start):
                    m.next = "multiply"
            with m.State("multiply"):
                m.d.comb += [multiplies.eq(1), product.right_2.eq(1)]
                m.d.sync += [left.eq(left - 1), before.eq(product.low[1])]
                with m.If(left == 0):
                    m.d.sync += [left.eq(SERIAL_SHIFTS - 1), first.eq(1)]
                    m.next = "shift"
            with m.State("shift"):
                m.d.sync += first.eq(0)
                # After the first of two roundings, the bits below no longer count.
                with m.If((shift < 0) & (first | (shift == -1))):
                    m.d.comb += product.right_1.eq(1)
                    m.d.sync += [shift.eq(shift + 1), rest.eq(~first & (rest | half))]
                with m.Elif((shift < 0) & (shift > -FAR)):
                    m.d.comb += product.right_2.eq(1)
                    m.d.sync += [shift.eq(shift + 2), rest.eq(rest | half | high[0])]
                with m.Elif(shift < 0):
                    m.d.comb += product.right_far.eq(1)
                    m.d.sync += [shift.eq(shift + FAR), rest.eq(rest | half | high[: FAR - 1].any())]
                with m.Elif(shift > 0):
                    m.d.comb += product.left_1.eq(1)
                    m.d.sync += [shift.eq(shift - 1), over.eq(over | (high[-1] ^ high[-2]))]
                with m.If(left != 0):
                    m.d.sync += left.eq(left - 1)
                with m.Elif(shift <= 1):
                    m.next = "limit"
            self._limit(m, high, half & (~twice | ~high[-1] | rest), over)
        return m

    def _total(self, m: Module, digit: Value, value: Signal, high: Signal, *, carry: Value) -> Signal:
        """``high`` plus twice the value times a digit: two bits of the multiplier and above them the bit before."""
        one, two, negative = digit[0] ^ digit[2], Signal(), digit[1]
        total, addend = Signal(signed(35)), Signal(signed(34))
        m.d.comb += [
            two.eq((digit == 0b010) | (digit == 0b101)),
            addend.eq(Mux(one, value << 1, 0) | Mux(two, value << 2, 0)),
            total.eq(high + (addend.as_unsigned() ^ negative.replicate(34)).as_signed() + (negative | carry)),
        ]
        return total

    def _limit(self, m: Module, high: Signal, up: Value, over: Signal) -> None:
        """The last two cycles: limits the value to :data:`~sateen.hw.requantize.RESULT_BITS` and adds the zero point;
        then clamps the result."""
        negative, result = high[-1], Signal(signed(RESULT_BITS + 1))
        below, above = self.settings.low, self.settings.high
        with m.State("limit"):
            fits = (high[RESULT_BITS - 1 :] == negative.replicate(len(high) - RESULT_BITS + 1)) & ~over
            limit = Cat((~negative).replicate(RESULT_BITS - 1), negative)
            m.d.sync += result.eq(Mux(fits, high[:RESULT_BITS], limit).as_signed() + (self.settings.zero_point + up))
            m.next = "clamp"
        with m.State("clamp"):
            m.d.comb += self.ending.eq(1)
            m.d.sync += self.o.eq(Mux(result < below, below, Mux(result > above, above, result)))
            m.next = "idle"


class _Product:
    """The product of twice the value: ``high · 2^31 + low / 2``. It grows downwards as ``low``, at first the
    multiplier, is used up, and is shifted in the same registers."""

    def __init__(self) -> None:
        self.low, self.high = Signal(32), Signal(signed(33))
        self.right_1, self.right_2, self.right_far, self.left_1 = (
            Signal(name=name) for name in ("right_1", "right_2", "right_far", "left_1")
        )
        """Shifts by 1, 2 or :data:`FAR` places to the right, or by 1 to the left; at most one of them."""

    @property
    def half(self) -> Value:
        """The bit below ``high``."""
        return self.low[31]

    def move(self, m: Module, *, start: Value, multiplier: Value, total: Value) -> None:
        """Starts with a multiplier, or shifts; ``total`` replaces ``high`` in shifts by 1 and 2 to the right."""
        low, high = self.low, self.high
        with m.If(start):
            m.d.sync += [low.eq(multiplier), high.eq(0)]
        with m.Elif(self.right_2):
            m.d.sync += Cat(low, high).eq(Cat(low[2:], total))
        with m.Elif(self.right_1):
            m.d.sync += Cat(low, high).eq(Cat(low[1:], total))
        with m.Elif(self.right_far):
            m.d.sync += [self.half.eq(high[FAR - 1]), high.eq(high >> FAR)]
        with m.Elif(self.left_1):
            # The sign stays.
            m.d.sync += Cat(low, high[:-1]).eq(Cat(low, high[:-1]) << 1)
