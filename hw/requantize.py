"""Exact requantization: a 32-bit sum becomes an int8 result."""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, ShapeLike, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from weft.hw.delay import delayed
from weft.hw.multiply import Multiply
from weft.hw.spec.descriptor import Rounding

__all__ = ["CHANNEL", "SETTINGS", "Requantize"]

CHANNEL = data.StructLayout({"bias": signed(32), "multiplier": unsigned(32), "shift": signed(8)})
"""One output channel's parameters: multiplier 0 to 2^31 − 1, shift −31 to 30; its scale is multiplier · 2^(shift − 31).

With a positive shift the multiplier is 0 or at least 2^30, as all that make them from a scale keep it.
"""

SETTINGS = data.StructLayout({"zero_point": signed(8), "low": signed(8), "high": signed(8), "rounding": 1, "combine": 2})
"""A layer's settings; ``rounding`` is of :class:`weft.hw.spec.descriptor.Rounding`, ``combine`` of
:class:`~weft.hw.spec.descriptor.Combine`: that happens before."""


class Requantize(wiring.Component):
    """``clamp(round((sum + bias) · multiplier · 2^(shift − 31)) + zero_point, low, high)``.

    One value per cycle, latency ``LATENCY`` = 17 cycles, no back-pressure. Rounding as in TensorFlow Lite: DOUBLE is gemmlowp's
    saturating rounding doubling high multiplication and rounding division by a power of two; SINGLE rounds once. Model:
    :func:`weft.sim.golden.requantize`.

    With p the product, the first rounding is ``(p + 2^30) >> 31``, ties toward +∞; it is left out in SINGLE mode when a right shift by n
    follows. That shift adds half and, in DOUBLE mode, takes 1 from a negative value first, so that ties go away from zero. A left
    shift wraps in DOUBLE mode, as TensorFlow Lite's int32 does, and saturates in SINGLE mode, whose 64-bit result is then clamped anyway.

    Members
    -------
    settings : In
        Steady while values are in flight.
    i : In
        A sum, signed 32 bits.
    channel : In
        Its channel's parameters.
    o : Out
        The int8 result.
    """

    LATENCY = 10 + Multiply.LATENCY + 4

    def __init__(self) -> None:
        super().__init__({"settings": In(SETTINGS), "i": In(signed(32)), "channel": In(CHANNEL), "o": Out(signed(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        single = self.settings.rounding == Rounding.SINGLE
        stages = _Stages(m)
        shift = self.channel.shift
        left = stages.then(Mux(shift > 0, shift[:5], 0), unsigned(5))
        right = stages.then(Mux(shift < 0, (-shift)[:5], 0), unsigned(5))
        factor = stages.then(self.channel.multiplier[:31], unsigned(31))
        value = stages.then(self.i + self.channel.bias, signed(32))

        # Left, by eights and then by ones; each is brought into range when it is used.
        for low, most in ((3, 24), (0, 7)):
            places = Cat(Const(0, low), left[low:])
            lost = Cat((places > place) & (value[30 - place] ^ value[31]) for place in range(most)).any()
            shifted = stages.then((value << places)[:32], signed(32))
            over, negative = stages.then(single & lost, unsigned(1)), stages.then(value[31], unsigned(1))
            value = Mux(over, Cat((~negative).replicate(31), negative).as_signed(), shifted)
            left, right, factor = (
                stages.then(left[:low], unsigned(low)),
                stages.then(right, unsigned(5)),
                stages.then(factor, unsigned(31)),
            )

        # Multipliers are far apart on the chip: nothing but the way lies before them.
        value, right, factor = (
            stages.then(value, signed(32)),
            stages.then(right, unsigned(5)),
            stages.then(factor, unsigned(31)),
        )
        product = self._multiply(m, stages, value, factor)
        right = stages.delay(right, Multiply.LATENCY + 4)
        # The product's high part, with the first rounding.
        nudge = product[30] & ~(single & (right != 0))
        value, right = stages.then(product[31:].as_signed() + nudge, signed(33)), stages.then(right, unsigned(5))

        # Right, by eights and then by ones. `half` is the highest bit shifted out, `rest` tells whether any below it is set.
        fraction = (Cat(Const(0, 24), value).as_signed() >> Cat(Const(0, 3), right[3:])).as_unsigned()
        value, half, rest, right = (
            stages.then(fraction[24:].as_signed(), signed(33)),
            stages.then(fraction[23], unsigned(1)),
            stages.then(fraction[:23].any(), unsigned(1)),
            stages.then(right[:3], unsigned(3)),
        )
        fraction = (Cat(Const(0, 7), half, value).as_signed() >> right).as_unsigned()
        value, half, rest = (
            stages.then(fraction[8:].as_signed(), signed(33)),
            stages.then(fraction[7], unsigned(1)),
            stages.then(rest | fraction[:7].any(), unsigned(1)),
        )

        # What leaves 10 bits is out of range whatever the zero point is; so the last adder is short.
        small = Mux(value > 511, 511, Mux(value < -512, -512, value))
        up = half & (single | ~value[-1] | rest)
        value, offset = stages.then(small, signed(10)), stages.then(self.settings.zero_point + up, signed(9))
        value = stages.then(value + offset, signed(11))
        below, above = self.settings.low, self.settings.high
        value = stages.then(Mux(value < below, below, Mux(value > above, above, value)), signed(8))
        m.d.comb += self.o.eq(value)
        return m

    def _multiply(self, m: Module, stages: _Stages, value: Signal, factor: Signal) -> Value:
        """The 63-bit product, from four of 17 bits, ``Multiply.LATENCY + 4`` cycles later."""
        halves = [(value[16:].as_signed(), value[:16]), (factor[16:], factor[:16])]
        products = []
        for a in halves[0]:
            for b in halves[1]:
                multiply = Multiply(a_bits=17, b_bits=17)
                m.submodules += multiply
                m.d.comb += [multiply.a.eq(a), multiply.b.eq(b)]
                products.append(stages.then(multiply.product, signed(34)))
        high, middle, middle_too, low = products
        middle, high, low = (
            stages.then(middle + middle_too, signed(35)),
            stages.then(high, signed(32)),
            stages.then(low, unsigned(32)),
        )
        middle, high, low = (
            stages.then(middle + low[16:], signed(35)),
            stages.then(high, signed(32)),
            stages.then(low[:16], unsigned(16)),
        )
        high, low = stages.then(high + (middle >> 16), signed(32)), stages.then(Cat(low, middle[:16]), unsigned(32))
        return Cat(low, high)


class _Stages:
    """Registers, made in passing."""

    def __init__(self, m: Module):
        self.m = m

    def then(self, value: Value, shape: ShapeLike) -> Signal:
        """``value``, a cycle later."""
        register = Signal(shape, reset_less=True)
        self.m.d.sync += register.eq(value)
        return register

    def delay(self, value: Signal, cycles: int) -> Signal:
        """``value``, ``cycles`` later."""
        return delayed(self.m, value, cycles, name="delayed")
