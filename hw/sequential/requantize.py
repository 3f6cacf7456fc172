"""Exact requantization, a few bits per cycle."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.requantize import CHANNEL, EXCESS, RESULT_BITS, SETTINGS, excess
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

    With FLOAT32 the multiplier must be a multiple of 2^7: in the first cycle, whose digit is 0, the value is rounded to
    24 bits. At the end the fraction stands in the multiplier's register, where values next to ties are told.

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
        value, product = Signal(signed(33)), _Product()
        left, before, multiplies, rounds = Signal(range(DIGITS)), Signal(), Signal(), Signal()
        twice, first, rest, over = Signal(), Signal(), Signal(), Signal()
        high, low, half, real = product.high, product.low, product.half, self.settings.rounding == Rounding.FLOAT32
        digit = Mux(multiplies, Cat(low[:2], before), 0)
        total = self._total(m, digit, value, high, rounds, carry=first & twice & half)
        with m.If(self.valid):
            m.d.sync += channel.eq(Cat(channel.as_value()[8:], self.byte))
        with m.If(self.start):
            m.d.sync += [value.eq((channel.bias + self.i)[:32].as_signed()), shift.eq(channel.shift)]
        with m.Elif(rounds):
            m.d.sync += value.eq(Cat(total[1 : 1 + EXCESS] & ~excess(value), total[1 + EXCESS :]))
        product.move(m, start=self.start, multiplier=channel.multiplier, total=total, rounds=rounds)

        with m.FSM():
            with m.State("idle"):
                m.d.comb += self.ready.eq(1)
                m.d.sync += [left.eq(DIGITS - 1), before.eq(0), over.eq(0), rest.eq(0)]
                m.d.sync += twice.eq((self.settings.rounding == Rounding.DOUBLE) & (channel.shift < 0))
                with m.If(self.start):
                    m.next = "multiply"
            with m.State("multiply"):
                m.d.comb += [multiplies.eq(1), product.right_2.eq(1), rounds.eq(real & (left == DIGITS - 1))]
                m.d.sync += [left.eq(left - 1), before.eq(low[1])]
                with m.If(left == 0):
                    m.d.sync += [left.eq(SERIAL_SHIFTS - 1), first.eq(1)]
                    m.next = "shift"
            with m.State("shift"):
                m.d.sync += first.eq(0)
                # After the first of two roundings, the bits below no longer count.
                with m.If((shift < 0) & (first | (shift == -1))):
                    m.d.comb += product.right_1.eq(1)
                    m.d.sync += [shift.eq(shift + 1), rest.eq(~first & (rest | Mux(real, low[0], half)))]
                with m.Elif((shift < 0) & (shift > -FAR)):
                    m.d.comb += product.right_2.eq(1)
                    m.d.sync += [shift.eq(shift + 2), rest.eq(rest | Mux(real, low[:2].any(), half | high[0]))]
                with m.Elif(shift < 0):
                    m.d.comb += product.right_far.eq(1)
                    lost = Mux(real, low[:FAR].any(), half | high[: FAR - 1].any())
                    m.d.sync += [shift.eq(shift + FAR), rest.eq(rest | lost)]
                with m.Elif(shift > 0):
                    m.d.comb += product.left_1.eq(1)
                    m.d.sync += [shift.eq(shift - 1), over.eq(over | (high[-1] ^ high[-2]))]
                with m.If(left != 0):
                    m.d.sync += left.eq(left - 1)
                with m.Elif(shift <= 1):
                    m.next = "limit"
            up = Mux(real, Mux(product.near_tie(rest), high[0], half), half & (~twice | ~high[-1] | rest))
            self._limit(m, high, up, over)
        return m

    def _total(self, m: Module, digit: Value, value: Signal, high: Signal, rounds: Signal, *, carry: Value) -> Signal:
        """``high`` plus twice the value times a digit: two bits of the multiplier and above them the bit before.

        Where it ``rounds``, digit and ``high`` being 0: twice the value and half of the bits beyond 24, or one less if
        the last bit that stays is even. Those bits still have to be cleared.
        """
        dropped = excess(value) & rounds.replicate(EXCESS)
        odd = (dropped & ~(dropped >> 1) & value[1 : 1 + EXCESS]).any()
        one, two, negative = digit[0] ^ digit[2], Signal(), digit[1]
        total, addend = Signal(signed(35)), Signal(signed(35))
        m.d.comb += [
            two.eq((digit == 0b010) | (digit == 0b101)),
            addend.eq(Mux(one | rounds, value << 1, 0) | Mux(two, value << 2, 0)),
            total.eq(
                (high | Cat(odd, dropped[1:]))
                + (addend.as_unsigned() ^ negative.replicate(35)).as_signed()
                + (negative | carry | odd)
            ),
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

    def near_tie(self, lost: Value) -> Value:
        """Whether rounding to 24 bits makes a tie of the value, whose places from ``high`` downwards count; ``lost``
        says whether any of the others is set. As in :class:`sateen.hw.requantize.Requantize`."""
        places = self.high[: RESULT_BITS - 2] ^ self.high[-1].replicate(RESULT_BITS - 2)
        magnitude, fraction, lower = Cat(1, places), self.low[16:31], self.low[7:16]
        unit = Cat(magnitude[n] & ~magnitude[n + 1 :].any() for n in range(len(magnitude)))
        exact = self.half & ~(lost | self.low[:7].any())
        borrow = Cat(1, unit) + Cat(exact, lower ^ self.half.replicate(len(lower)))
        return borrow[-1] & Mux(self.half, ~fraction.any(), fraction.all())

    def move(self, m: Module, *, start: Value, multiplier: Value, total: Value, rounds: Value) -> None:
        """Starts with a multiplier, or shifts; ``total`` replaces ``high`` in shifts by 1 and 2 to the right, unless it
        ``rounds`` the value."""
        low, high = self.low, self.high
        with m.If(start):
            m.d.sync += [low.eq(multiplier), high.eq(0)]
        with m.Elif(rounds):
            m.d.sync += [low.eq(low >> 2), high.eq(0)]
        with m.Elif(self.right_2):
            m.d.sync += Cat(low, high).eq(Cat(low[2:], total))
        with m.Elif(self.right_1):
            m.d.sync += Cat(low, high).eq(Cat(low[1:], total))
        with m.Elif(self.right_far):
            m.d.sync += Cat(low, high).eq(Cat(low[FAR:], high).as_signed())
        with m.Elif(self.left_1):
            # The sign stays.
            m.d.sync += Cat(low, high[:-1]).eq(Cat(low, high[:-1]) << 1)
