"""Exact requantization, a bit at a time."""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Mux, Signal, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from weft.hw.requantize import SETTINGS, SMALL
from weft.hw.spec.descriptor import PARAMETER_BYTES, Rounding
from weft.hw.spec.timing import SERIAL_SHIFTS

__all__ = ["SerialRequantize"]

FACTOR_BITS = 31
"""Of a multiplier."""
STRIDE = 4
"""Places that a value is shifted right by in one cycle, where it goes farther than that."""


class SerialRequantize(wiring.Component):
    """As :class:`weft.hw.requantize.Requantize`, one value at a time, with one adder.

    ``done`` comes ``LATENCY`` = 44 cycles after the last of the parameters' bytes, or a cycle later for each place beyond
    :data:`~weft.hw.spec.timing.SERIAL_SHIFTS` that a value is shifted to the left.

    The product grows downwards into the register of the multiplier, whose bits it takes one by one; then it is shifted the rest of the way.

    Members
    -------
    settings : In
        Steady from the last byte until ``done``.
    valid : In(1), byte : In(8)
        The channel's parameters (:data:`weft.hw.requantize.CHANNEL`), byte by byte, the lowest first.
    i : In
        A sum, signed 32 bits: there in the cycle after the last byte.
    done : Out(1), o : Out
        The int8 result; the next value's parameters may come from the next cycle on.
    """

    LATENCY = 1 + FACTOR_BITS + SERIAL_SHIFTS + 2

    def __init__(self) -> None:
        super().__init__(
            {"settings": In(SETTINGS), "valid": In(1), "byte": In(8), "i": In(signed(32)), "done": Out(1), "o": Out(signed(8))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        # The product is high · 2^32 + low, in the end high · 2^31 and `low` less the multiplier's empty highest bit: its half is low[31].
        value, low, high, shift = (Signal(signed(32), name="value"), Signal(32), Signal(signed(32)), Signal(signed(8)))
        index, left = Signal(range(PARAMETER_BYTES)), Signal(range(max(FACTOR_BITS, SERIAL_SHIFTS)))
        twice, first, rest, over = Signal(), Signal(), Signal(), Signal()
        to_right, far, to_left, multiplies = Signal(), Signal(), Signal(), Signal()
        total, result = Signal(signed(33)), Signal(signed(SMALL + 1))
        half, negative = low[31], high[31]
        # The first step to the right, by one place, is where the first of two roundings happens.
        m.d.comb += total.eq(high + Mux(multiplies & low[0], value, 0) + (first & twice & half))
        with m.If(self.valid):
            m.d.sync += Cat(value, low, shift).eq(Cat(Cat(value, low, shift)[8:], self.byte))
        with m.If(to_right):
            m.d.sync += Cat(low, high).eq(Cat(low[1:], total))
        with m.Elif(far):
            m.d.sync += [half.eq(high[STRIDE - 1]), high.eq(high >> STRIDE)]
        with m.Elif(to_left):
            # The sign stays.
            m.d.sync += Cat(low, high[:31]).eq(Cat(low, high[:31]) << 1)
        with m.FSM():
            with m.State("parameters"):
                with m.If(self.valid):
                    m.d.sync += index.eq(index + 1)
                    with m.If(index == PARAMETER_BYTES - 1):
                        m.d.sync += index.eq(0)
                        m.next = "add"
            with m.State("add"):
                m.d.sync += [value.eq(value + self.i), high.eq(0), left.eq(FACTOR_BITS - 1), over.eq(0), rest.eq(0)]
                m.d.sync += twice.eq((self.settings.rounding == Rounding.DOUBLE) & (shift < 0))
                m.next = "multiply"
            with m.State("multiply"):
                m.d.comb += [multiplies.eq(1), to_right.eq(1)]
                m.d.sync += left.eq(left - 1)
                with m.If(left == 0):
                    m.d.sync += [left.eq(SERIAL_SHIFTS - 1), first.eq(1)]
                    m.next = "shift"
            with m.State("shift"):
                m.d.sync += first.eq(0)
                with m.If((shift < 0) & (first | (shift > -STRIDE))):
                    m.d.comb += to_right.eq(1)
                    m.d.sync += [shift.eq(shift + 1), rest.eq(~first & (rest | half))]
                with m.Elif(shift < 0):
                    m.d.comb += far.eq(1)
                    m.d.sync += [shift.eq(shift + STRIDE), rest.eq(rest | half | high[: STRIDE - 1].any())]
                with m.Elif(shift > 0):
                    m.d.comb += to_left.eq(1)
                    m.d.sync += [shift.eq(shift - 1), over.eq(over | (high[31] ^ high[30]))]
                with m.If(left != 0):
                    m.d.sync += left.eq(left - 1)
                with m.Elif((shift == 0) | (shift == 1) | (shift == -1)):
                    m.next = "limit"
            with m.State("limit"):
                up = half & (~twice | ~negative | rest)
                fits = (high[SMALL - 1 :] == negative.replicate(33 - SMALL)) & ~over
                limit = Cat((~negative).replicate(SMALL - 1), negative)
                m.d.sync += result.eq(Mux(fits, high[:SMALL], limit).as_signed() + (self.settings.zero_point + up))
                m.next = "clamp"
            with m.State("clamp"):
                below, above = self.settings.low, self.settings.high
                m.d.comb += [self.done.eq(1), self.o.eq(Mux(result < below, below, Mux(result > above, above, result)))]
                m.next = "parameters"
        return m
