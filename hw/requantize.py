"""Exact requantization: a 32-bit sum becomes an int8 result."""

from __future__ import annotations

from amaranth.hdl import Array, Cat, Module, Mux, ShapeLike, Signal, Value, signed, unsigned
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.multiply import Multiply
from sateen.hw.spec.descriptor import Rounding
from sateen.hw.stream.delay import delayed

__all__ = ["CHANNEL", "SETTINGS", "Requantize"]

CHANNEL = data.StructLayout({"bias": signed(32), "multiplier": unsigned(32), "shift": signed(8)})
"""One output channel's parameters: multiplier 0 to 2^31 − 1, shift −31 to 30; scale = multiplier · 2^(shift − 31)."""

SETTINGS = data.StructLayout(
    {"zero_point": signed(8), "low": signed(8), "high": signed(8), "rounding": 1, "combine": 2, "quarters": 1}
)
"""A layer's settings: ``rounding`` is a :class:`sateen.hw.spec.descriptor.Rounding`. The output unit uses ``combine``,
a :class:`~sateen.hw.spec.descriptor.Combine`, and ``quarters`` before requantization."""

RESULT_BITS = 10
"""Bits of a result before the zero point is added; a larger result is out of range with any zero point."""
ROUND_BIT = 31
"""The bit to which the first of two roundings rounds."""


class Requantize(wiring.Component):
    """``clamp(round((sum + bias) · multiplier · 2^(shift − 31)) + zero_point, low, high)``.

    One value per cycle, latency ``LATENCY`` = 14 cycles, no back-pressure. Rounding as in TensorFlow Lite: DOUBLE is
    gemmlowp's saturating rounding doubling high multiplication followed by rounding division by a power of two; SINGLE
    rounds once. Model: :func:`sateen.sim.golden.requantize`.

    The product of 63 bits is shifted right by 31 − shift, and half is added, so that ties go toward +∞. DOUBLE with a
    negative shift rounds twice: the product to a multiple of 2^31, then ties away from zero. There is no left shift
    before the multiplication, hence no overflow.

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

    LATENCY = 2 + Multiply.LATENCY + 4 + 2 + 3

    def __init__(self) -> None:
        super().__init__({"settings": In(SETTINGS), "i": In(signed(32)), "channel": In(CHANNEL), "o": Out(signed(8))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        stages = _Stages(m)
        shift = self.channel.shift
        value: Value = stages.then(self.i + self.channel.bias, signed(32))
        factor = stages.then(self.channel.multiplier[:31], unsigned(31))
        # The highest bit that is shifted out.
        place = stages.then((30 - shift)[:6], unsigned(6))
        twice = stages.then((self.settings.rounding == Rounding.DOUBLE) & (shift < 0), unsigned(1))

        # Multipliers are far apart on the chip: nothing but wire is before them.
        value, factor = stages.then(value, signed(32)), stages.then(factor, unsigned(31))
        place, twice = stages.delay(place, 1 + Multiply.LATENCY + 4), stages.delay(twice, 1 + Multiply.LATENCY + 3)
        product = self._multiply(stages, value, factor, twice)
        twice = stages.delay(twice, 3)
        value, half, over, rest, negative = self._shift(stages, product, place)

        up = half & (~twice | ~negative | rest)
        limit = Cat((~negative).replicate(RESULT_BITS - 1), negative).as_signed()
        value, offset = (
            stages.then(Mux(over, limit, value), signed(RESULT_BITS)),
            stages.then(self.settings.zero_point + up, signed(9)),
        )
        value = stages.then(value + offset, signed(RESULT_BITS + 1))
        below, above = self.settings.low, self.settings.high
        value = stages.then(Mux(value < below, below, Mux(value > above, above, value)), signed(8))
        m.d.comb += self.o.eq(value)
        return m

    def _multiply(self, stages: _Stages, value: Value, factor: Signal, twice: Signal) -> Value:
        """The 63-bit product, from four of 17 bits, ``Multiply.LATENCY + 4`` cycles later. ``twice`` comes a cycle
        before the product and rounds it to a multiple of 2^31; the bits below stay."""
        halves = [(value[16:].as_signed(), value[:16]), (factor[16:], factor[:16])]
        products: list[Signal] = []
        for a in halves[0]:
            for b in halves[1]:
                multiply = Multiply(a_bits=17, b_bits=17)
                stages.m.submodules[f"product_{len(products)}"] = multiply
                stages.m.d.comb += [multiply.a.eq(a), multiply.b.eq(b)]
                products.append(stages.then(multiply.product, signed(34)))
        high, middle, middle_too, low = products
        middle, high, low = (
            stages.then(middle + middle_too, signed(35)),
            stages.then(high, signed(31)),
            stages.then(low, unsigned(32)),
        )
        middle, high, low = (
            stages.then(middle + low[16:], signed(35)),
            stages.then(high, signed(31)),
            stages.then(low[:16], unsigned(16)),
        )
        # From bit 31 on.
        first, second = Cat(middle[15], high).as_signed(), Cat(twice & middle[14], middle[16:]).as_signed()
        return Cat(stages.then(Cat(low, middle[:15]), unsigned(ROUND_BIT)), stages.then(first + second, signed(32)))

    def _shift(self, stages: _Stages, product: Value, place: Signal) -> tuple[Value, ...]:
        """Shifts by bytes in the first cycle and by bits in the second.

        Two cycles later: the ``RESULT_BITS`` bits above ``place``; the bit at it; whether the value has more bits;
        whether any bit from :data:`ROUND_BIT` to below the place is set; whether the value is negative.
        """
        negative, size = product[-1], RESULT_BITS + 8
        bits = Cat(product, negative.replicate(size))
        byte = place[3:]
        window = stages.then(Array(bits[8 * n : 8 * n + size] for n in range(8))[byte], unsigned(size))
        # Flags of the bits above and below each window.
        above = {n: bits[8 * n + size : min(8 * n + size + 8, len(product))] for n in range(6)}
        below = {n: bits[max(8 * n - 8, ROUND_BIT) : 8 * n] for n in range(4, 8)}
        above = {n: stages.then((some ^ negative.replicate(len(some))).any(), unsigned(1)) for n, some in above.items()}
        below = {n: stages.then(some.any(), unsigned(1)) for n, some in below.items()}
        byte, bit, negative = (
            stages.then(byte, unsigned(3)),
            stages.then(place[:3], unsigned(3)),
            stages.then(negative, unsigned(1)),
        )

        chosen = stages.then(Array(window[n : n + 1 + RESULT_BITS] for n in range(8))[bit], unsigned(1 + RESULT_BITS))
        more = Cat((byte <= n) & some for n, some in above.items()).any()
        more |= Cat((bit <= n) & (window[RESULT_BITS + n] ^ negative) for n in range(7)).any() | (
            window[RESULT_BITS + 7] ^ negative
        )
        # With two roundings the place is 31 or more: in the lowest window, that of byte 3, no bit from 31 on is below
        # it.
        rest = (
            Cat((byte >= n) & some for n, some in below.items()).any()
            | byte[2] & Cat((bit > n) & window[n] for n in range(7)).any()
        )
        more, rest, negative = (stages.then(flag, unsigned(1)) for flag in (more, rest, negative))
        return chosen[1:].as_signed(), chosen[0], more, rest, negative


class _Stages:
    """Pipeline registers of an expression."""

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
