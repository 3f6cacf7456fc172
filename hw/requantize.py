"""Exact requantization: a 32-bit sum becomes an int8 result."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Const, Module, Mux, ShapeLike, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.multiply import Multiply
from sateen.hw.spec.descriptor import Rounding
from sateen.hw.stream.delay import delayed

__all__ = ["CHANNEL", "SETTINGS", "Requantize", "excess"]

CHANNEL = data.StructLayout({"bias": signed(32), "multiplier": unsigned(32), "shift": signed(8)})
"""One output channel's parameters: multiplier 0 to 2^31 − 1, shift −31 to 30, down to −33 in a softmax; scale =
multiplier · 2^(shift − 31)."""

SETTINGS = data.StructLayout(
    {"zero_point": signed(8), "low": signed(8), "high": signed(8), "rounding": 2, "combine": 2, "quarters": 1}
)
"""A layer's settings: ``rounding`` is a :class:`sateen.hw.spec.descriptor.Rounding`. The output unit uses ``combine``,
a :class:`~sateen.hw.spec.combining.Combine`, and ``quarters`` before requantization."""

MORE_BITS = 2
"""By how many bits a result is longer before the zero point is added; a larger one is out of range with any zero
point."""
RESULT_BITS = 8 + MORE_BITS
"""Its bits, of an int8 result."""
ROUND_BIT = 31
"""The bit to which the first of two roundings rounds."""
EXCESS = 7
"""Most bits that a sum has beyond the 24 of a float32; −2^31 is one itself."""


def excess(value: Value) -> Value:
    """A signed 32-bit value's low bits beyond its first 24, as a mask."""
    magnitude = value[24:31] ^ value[31].replicate(EXCESS)
    return Cat(magnitude[n:].any() for n in range(EXCESS))


class Requantize(wiring.Component):
    """``clamp(round((sum + bias) · multiplier · 2^(shift − 31)) + zero_point, low, high)``.

    One value per cycle, latency ``LATENCY`` = 14 cycles, no back-pressure. Model:
    :func:`sateen.sim.golden.requantize`, with each :class:`~sateen.hw.spec.descriptor.Rounding`.

    The product of 63 bits is shifted right by 31 − shift, and half is added, so that ties go toward +∞. DOUBLE with a
    negative shift rounds twice: the product to a multiple of 2^31, then ties away from zero. There is no left shift
    before the multiplication, hence no overflow.

    FLOAT32 rounds the sum's low half before it is multiplied; a carry stays in that half, which has a bit for it. The
    product is not rounded: to 24 bits it only matters where that makes a tie of a value next to one, which is when the
    fraction is at most half a unit in the last of the 24 places from a half.

    Parameters
    ----------
    bits : int
        Of a result: 8 or 16. With 16 its range is all of them, and there is neither zero point nor clamp.
    float_rounding : bool
        It knows FLOAT32. Without, it must not be asked for.

    Members
    -------
    settings : In
        Steady while values are in flight.
    i : In
        A sum, signed 32 bits.
    channel : In
        Its channel's parameters.
    o : Out
        The result.
    """

    LATENCY = 2 + Multiply.LATENCY + 4 + 2 + 3

    def __init__(self, *, bits: int = 8, float_rounding: bool = True) -> None:
        self.bits, self.kept, self.float_rounding = bits, bits + MORE_BITS, float_rounding
        super().__init__(
            {"settings": In(SETTINGS), "i": In(signed(32)), "channel": In(CHANNEL), "o": Out(signed(bits))}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        stages = _Stages(m)
        shift, rounding = self.channel.shift, self.settings.rounding
        zero_point = self.settings.zero_point if self.bits == 8 else Const(0, signed(1))
        real = rounding == Rounding.FLOAT32 if self.float_rounding else Const(0, unsigned(1))
        value: Value = stages.then(self.i + self.channel.bias, signed(32))
        factor = stages.then(self.channel.multiplier[:31], unsigned(31))
        # The highest bit that is shifted out.
        place = stages.then((30 - shift)[:6], unsigned(6))
        twice = stages.then((rounding == Rounding.DOUBLE) & (shift < 0), unsigned(1))

        # Multipliers are far apart on the chip: nothing but wire is before them.
        dropped = excess(value) & real.replicate(EXCESS)
        last = dropped & ~(dropped >> 1) & value[1 : 1 + EXCESS]
        dropped = stages.then(dropped, unsigned(EXCESS))
        odd = stages.then(last[:4].any(), unsigned(1)) | stages.then(last[4:].any(), unsigned(1))
        value, factor = stages.then(value, signed(32)), stages.then(factor, unsigned(31))
        place, twice = stages.delay(place, 1 + Multiply.LATENCY + 4), stages.delay(twice, 2 + Multiply.LATENCY)
        product = self._multiply(stages, value, factor, (dropped, odd), twice)
        twice = stages.delay(twice, 5)
        tie = _Tie(stages, product, place) if self.float_rounding else None
        value, half, over, rest, negative = self._shift(stages, product, place)

        up, odd = (
            stages.then(half & (real | ~twice | ~negative | rest), unsigned(1)),
            stages.then(value[0], unsigned(1)),
        )
        near, whole = (stages.then(flag, unsigned(1)) for flag in (tie.near(half) if tie else (Const(0), Const(0))))
        limit = Cat((~negative).replicate(self.kept - 1), negative).as_signed()
        value = stages.then(Mux(over, limit, value), signed(self.kept))
        twofold = Cat(1, value).as_signed() + Cat(Mux(real & near & whole, odd, up), zero_point).as_signed()
        rounded = stages.then(twofold >> 1, signed(self.kept + 1))
        below, above = self.settings.low, self.settings.high
        if self.bits > 8:
            most = (1 << self.bits - 1) - 1
            below, above = Const(~most, signed(self.bits)), Const(most, signed(self.bits))
        clamped = Mux(rounded < below, below, Mux(above < rounded, above, rounded))
        m.d.comb += self.o.eq(stages.then(clamped, signed(self.bits)))
        return m

    def _multiply(
        self, stages: _Stages, value: Value, factor: Signal, rounding: tuple[Signal, Value], twice: Signal
    ) -> Value:
        """The 63-bit product, from four of 17 or 18 bits, ``Multiply.LATENCY + 4`` cycles later, those of the value's
        low half a cycle after the others. ``rounding`` marks the bits that are rounded off first, and says whether the
        last one that stays is set. ``twice`` comes three cycles before the product and adds 2^30 to it."""
        dropped, odd = rounding

        def multiply(name: str, a: Value, b: Value) -> Signal:
            stages.m.submodules[name] = multiply = Multiply(a_bits=18, b_bits=17)
            stages.m.d.comb += [multiply.a.eq(a), multiply.b.eq(b)]
            return stages.then(multiply.product, signed(34))

        above = value[16:].as_signed()
        middle, high = multiply("middle", above, factor[:16]), multiply("high", above, factor[16:])
        # Plus half of what is dropped, less one unless the last bit that stays is odd.
        low = (Cat(1, value[:16]) + Cat(odd, dropped[1:]))[1:]
        low = stages.then(Cat(low[:EXCESS] & ~dropped, low[EXCESS:]), unsigned(17))
        factor = stages.then(factor, unsigned(31))
        lowest, middle_too = multiply("lowest", low, factor[:16]), multiply("middle_too", low, factor[16:])

        upper = stages.then(middle + Cat(Const(0, 14), twice, Const(0, 1), high[:31]).as_signed(), signed(47))
        upper, lower = (
            stages.then(upper, signed(47)),
            stages.then(middle_too[:32] + lowest[16:32], unsigned(33)),
        )
        lowest = stages.delay(lowest[:16], 2)
        return Cat(lowest, stages.then(upper + lower, signed(47)))

    def _shift(self, stages: _Stages, product: Value, place: Signal) -> tuple[Value, ...]:
        """Shifts by bytes in the first cycle and by bits in the second.

        Two cycles later: the ``kept`` bits above ``place``; the bit at it; whether the value has more bits;
        whether any bit from :data:`ROUND_BIT` to below the place is set; whether the value is negative.
        """
        negative, kept = product[-1], self.kept
        size = kept + 8
        bits = Cat(product, negative.replicate(size))
        byte = place[3:]
        window = stages.then(Array(bits[8 * n : 8 * n + size] for n in range(8))[byte], unsigned(size))
        # Flags of the bits above and below each window.
        beyond = range(-(-(len(product) - size) // 8))
        above = {n: bits[8 * n + size : min(8 * n + size + 8, len(product))] for n in beyond}
        below = {n: bits[max(8 * n - 8, ROUND_BIT) : 8 * n] for n in range(4, 8)}
        above = {n: stages.then((some ^ negative.replicate(len(some))).any(), unsigned(1)) for n, some in above.items()}
        below = {n: stages.then(some.any(), unsigned(1)) for n, some in below.items()}
        byte, bit, negative = (
            stages.then(byte, unsigned(3)),
            stages.then(place[:3], unsigned(3)),
            stages.then(negative, unsigned(1)),
        )

        chosen = stages.then(Array(window[n : n + 1 + kept] for n in range(8))[bit], unsigned(1 + kept))
        more = Cat((byte <= n) & some for n, some in above.items()).any()
        more |= Cat((bit <= n) & (window[kept + n] ^ negative) for n in range(7)).any() | (
            window[kept + 7] ^ negative
        )
        # With two roundings the place is 31 or more: in the lowest window, that of byte 3, no bit from 31 on is below
        # it.
        rest = (
            Cat((byte >= n) & some for n, some in below.items()).any()
            | byte[2] & Cat((bit > n) & window[n] for n in range(7)).any()
        )
        more, rest, negative = (stages.then(flag, unsigned(1)) for flag in (more, rest, negative))
        return chosen[1:].as_signed(), chosen[0], more, rest, negative


class _Tie:
    """Whether a value is so near to a tie that rounding to 24 bits makes it one.

    The fraction, as it is if it is a half or more and inverted otherwise, must not exceed half a unit of the last of
    24 places, which follows from the product's leading one. It is at most 15 places above the byte of the place, and so
    is the unit's half in the window below that byte.
    """

    def __init__(self, stages: _Stages, product: Value, place: Signal):
        """With the product and the place of a :meth:`Requantize._shift`."""
        padded = Cat(Const(0, 24), product, product[-1].replicate(16))
        byte, bit = place[3:], place[:3]
        window = stages.then(Array(padded[8 * n : 8 * n + 40] for n in range(8))[byte], unsigned(40))
        # Flags of the bits below each window.
        lost = {n: stages.then(product[8 * n - 32 : 8 * n - 24].any(), unsigned(1)) for n in range(4, 8)}
        byte, bit = stages.then(byte, unsigned(3)), stages.then(bit, unsigned(3))
        negative = stages.then(product[-1], unsigned(1))

        top, whole, low = window[24:] ^ negative.replicate(16), window[16:24], window[:16]
        masks = [Cat(bit > n for n in range(7)), window[24:31]]
        self.zeros = stages.then(~(whole.any() | (masks[0] & masks[1]).any()), unsigned(1))
        self.ones = stages.then(whole.all() & (~masks[0] | masks[1]).all(), unsigned(1))
        self.low = stages.then(low, unsigned(16))
        self.unit = stages.then(Cat(top[n] & ~top[n + 1 :].any() for n in range(16)), unsigned(16))
        self.lost = stages.then(Cat((byte >= n) & flag for n, flag in lost.items()).any(), unsigned(1))

    def near(self, half: Value) -> tuple[Value, Value]:
        """The answer in two parts that both must be true, two cycles after the product; ``half`` is the bit at the
        place."""
        # low ≤ unit, or if inverted or with bits below it, low < unit.
        borrow = Cat(1, self.unit) + Cat(half & ~self.lost, self.low ^ half.replicate(16))
        return borrow[17], Mux(half, self.zeros, self.ones)


class _Stages:
    """Pipeline registers of an expression."""

    def __init__(self, m: Module):
        self.m = m

    def then(self, value: Value, shape: ShapeLike) -> Signal:
        """``value``, a cycle later."""
        register = Signal(shape, reset_less=True)
        self.m.d.sync += register.eq(value)
        return register

    def delay(self, value: Value, cycles: int) -> Signal:
        """``value``, ``cycles`` later."""
        return delayed(self.m, value, cycles, name="delayed")
