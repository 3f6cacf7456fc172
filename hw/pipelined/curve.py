"""The logistic function and the hyperbolic tangent, as tflite-micro computes them on 16 bits."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from amaranth.hdl import Cat, Const, Module, Mux, Signal, signed
from amaranth.lib import data, wiring
from amaranth.lib.memory import Memory
from amaranth.lib.wiring import In, Out

from sateen.hw.multiply import Multiply
from sateen.hw.spec.recurrent import SIGMOIDS, SLOPE_BITS, VALUE_BITS
from sateen.hw.stream.delay import delayed
from sateen.hw.stream.view import view

__all__ = ["PLACE_BITS", "Curve"]

PLACE_BITS = 22
"""Width of a place."""
FRACTION_BITS = 9
"""Of a place in the table of the logistic function; the hyperbolic tangent has one less."""
ENTRY = data.StructLayout({"value": VALUE_BITS, "slope": SLOPE_BITS})
"""A value, and by how much the next one is larger."""
HALF = 1 << VALUE_BITS + FRACTION_BITS - 1
"""Half of the table's limit, with a fraction."""


class Curve(wiring.Component):
    """Interpolates in a table of the logistic function σ; the hyperbolic tangent is ``2·σ(2x) − 1``.

    One value per cycle, latency ``LATENCY`` = 8 cycles. Models: :func:`sateen.sim.golden.tanh_at`, and
    :func:`~sateen.sim.golden.wide_logistic`.

    Members
    -------
    tanh : In(1)
        Which function.
    i : In
        Where, in units of 2^-12 / 3. Of the logistic function less than 2^17 in magnitude.
    o : Out
        The value in units of 2^-15.
    """

    LATENCY = 3 + Multiply.LATENCY + 2

    def __init__(self) -> None:
        super().__init__({"tanh": In(1), "i": In(signed(PLACE_BITS)), "o": Out(signed(16))})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        entries = [{"value": here, "slope": there - here} for here, there in pairwise((*SIGMOIDS, SIGMOIDS[-1]))]
        rom: Any = Memory(shape=ENTRY, depth=len(entries), init=entries)
        m.submodules.rom = rom
        port = rom.read_port()
        m.submodules.multiply = multiply = Multiply(a_bits=FRACTION_BITS + 1, b_bits=SLOPE_BITS + 1)

        # Twice as far out with the hyperbolic tangent, so that the fraction has as many bits.
        size = Signal(PLACE_BITS + 1, reset_less=True)
        magnitude = Mux(self.i < 0, -self.i, self.i)[:PLACE_BITS]
        m.d.sync += size.eq(Mux(self.tanh, magnitude << 1, magnitude))
        index = size[FRACTION_BITS:]
        m.d.comb += port.addr.eq(Mux(index[8:].any(), 255, index[:8]))
        entry = view(ENTRY, name="entry")
        m.d.comb += entry.eq(delayed(m, port.data, name="entry"))
        m.d.comb += [
            multiply.a.eq(delayed(m, size[:FRACTION_BITS], 2, name="fraction")),
            multiply.b.eq(entry.slope),
        ]

        total = Signal(VALUE_BITS + FRACTION_BITS, reset_less=True)
        base = delayed(m, entry.value, Multiply.LATENCY, name="base")
        m.d.sync += total.eq(Cat(Const(0, FRACTION_BITS), base) + multiply.product)
        negative = delayed(m, self.i < 0, self.LATENCY - 1, name="negative")
        tanh = delayed(m, self.tanh, self.LATENCY - 1, name="tanh")
        # 1 − σ(x) or σ(x); σ(2x) less a half, of either sign. Halves are rounded up where x is not negative, else down.
        logistic = Mux(negative, 2 * HALF, 0) + (1 << FRACTION_BITS)
        hyperbolic = Mux(negative, HALF, -HALF) + (1 << FRACTION_BITS - 1)
        rounded, value = Signal(signed(20 + FRACTION_BITS), reset_less=True), Cat(total, 0).as_signed()
        m.d.sync += rounded.eq(Mux(negative, ~value, value) + Mux(tanh, hyperbolic, logistic))
        m.d.comb += self.o.eq(
            Mux(delayed(m, tanh, name="tanh_out"), rounded >> FRACTION_BITS, rounded >> FRACTION_BITS + 1)
        )
        return m
