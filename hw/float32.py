"""Arithmetic of float32 as IEEE 754 rounds it, to even: a fused multiplication and addition, quotients and roots.

Numbers are zero or normal, finite; what becomes smaller than that is zero. Users see to it that it does not matter.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value, signed
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.multiply import Multiply
from sateen.hw.spec.timing import FUSED_CYCLES, QUOTIENT_CYCLES
from sateen.hw.stream.delay import delayed

__all__ = ["BIAS", "FRACTION_BITS", "MANTISSA_BITS", "NUMBER", "ONE", "Fused", "Quotient", "number"]

EXPONENT_BITS, FRACTION_BITS, BIAS = 8, 23, 127
MANTISSA_BITS = FRACTION_BITS + 1
ONE = BIAS << FRACTION_BITS
"""The bits of 1."""
NUMBER = data.StructLayout({"mantissa": MANTISSA_BITS, "exponent": EXPONENT_BITS, "sign": 1})
"""``mantissa · 2^(exponent − 150)``. A factor may have any mantissa; otherwise its highest bit is set, or the number is
zero and so are mantissa and exponent."""
WIDE = signed(EXPONENT_BITS + 2)
"""Of exponents that are not yet those of a result."""
HALF = MANTISSA_BITS // 2
PRODUCT_BITS = 2 * MANTISSA_BITS
GUARD_BITS = 4
"""Bits of a sum below those of a product; the lowest says whether any is lost. Two would do: more is lost only where
the sum is about as large as its larger term."""
SUM_BITS = 1 + PRODUCT_BITS + GUARD_BITS
PLACES_BITS = 6
NORMALIZING = ((32,), (16,), (8, 4), (2, 1))
"""By how many places a sum is shifted in each cycle, if so many of its highest bits are zero."""


def number(bits: Value, *, negative: Value | None = None) -> Value:
    """:data:`NUMBER` of a float32, or if ``negative`` its opposite."""
    exponent, sign = bits[FRACTION_BITS:-1], bits[-1]
    return Cat(bits[:FRACTION_BITS], exponent.any(), exponent, sign if negative is None else sign ^ negative)


class Fused(wiring.Component):
    """``a · b + c``, rounded once. One result per cycle, latency ``LATENCY`` = 13 cycles; four multipliers.

    Members
    -------
    a, b, c : In
        :data:`NUMBER`.
    o : Out
        The bits of a float32, which must be below infinity. A sum of zero is +0.
    """

    LATENCY = Multiply.LATENCY + 6 + len(NORMALIZING)

    def __init__(self) -> None:
        assert self.LATENCY == FUSED_CYCLES
        super().__init__({"a": In(NUMBER), "b": In(NUMBER), "c": In(NUMBER), "o": Out(32)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        product = self._product(m)
        both, swap, exponent, places = self._apart(m)
        addend = delayed(m, Cat(Const(0, MANTISSA_BITS), self.c.mantissa), both, name="addend")
        larger, smaller, lost = self._aligned(m, product, addend, swap, places)

        # Which one is larger is not known where exponents are equal.
        signs = delayed(m, Cat(self.a.sign ^ self.b.sign, self.c.sign), both, name="signs")
        sign = delayed(m, Mux(swap, signs[1], signs[0]), 2, name="sign")
        subtracts = delayed(m, signs[0] ^ signs[1], 2, name="subtracts")
        first, second = Cat(Const(0, GUARD_BITS), larger), Cat(lost, smaller)
        total = Mux(subtracts, first - second, first + second)[: SUM_BITS + 1]
        back = (second - first)[:SUM_BITS]
        negative = subtracts & total[-1]
        total = delayed(m, Mux(negative, back, total[:SUM_BITS]), name="total")
        sign = delayed(m, sign ^ negative, name="signed")
        exponent = delayed(m, exponent + 1, 3, name="exponent")
        m.d.sync += self.o.eq(self._rounded(m, total, sign, exponent))
        return m

    def _product(self, m: Module) -> Value:
        """Of both mantissas, from four parts."""
        halves = [(each[:HALF], each[HALF:]) for each in (self.a.mantissa, self.b.mantissa)]
        parts = []
        for index, (a, b) in enumerate((a, b) for a in halves[0] for b in halves[1]):
            m.submodules[f"part_{index}"] = part = Multiply(a_bits=HALF + 1, b_bits=HALF + 1)
            m.d.comb += [part.a.eq(Cat(a, 0)), part.b.eq(Cat(b, 0))]
            parts.append(part.product.as_unsigned()[: 2 * HALF])
        middle = delayed(m, parts[1] + parts[2], name="middle")
        outer = delayed(m, Cat(parts[0], parts[3]), name="outer")
        return delayed(m, (outer + (middle << HALF))[:PRODUCT_BITS], name="product")

    def _apart(self, m: Module) -> tuple[int, Value, Value, Value]:
        """The cycles until the product is there; then whether the addend's exponent is the larger one, that exponent,
        and by how much both differ."""
        both = Multiply.LATENCY + 2
        zero = delayed(m, ~self.a.exponent.any() | ~self.b.exponent.any(), name="zero")
        of_product = delayed(m, (self.a.exponent + self.b.exponent - (BIAS - 1)).as_signed(), name="of_product")
        of_addend = delayed(m, self.c.exponent, name="of_addend")
        swap = delayed(m, zero | (of_product < of_addend), name="swap")
        larger = delayed(m, Mux(zero | (of_product < of_addend), of_addend, of_product), both - 1, name="larger")
        difference = delayed(m, (of_product - of_addend).as_signed(), name="difference")
        distance = Mux(swap, -difference, difference)[: len(difference)]
        capped = distance[:PLACES_BITS] | distance[PLACES_BITS:].any().replicate(PLACES_BITS)
        exponent = Signal(WIDE)
        m.d.comb += exponent.eq(larger)
        return both, delayed(m, swap, both - 2, name="swaps"), exponent, delayed(m, capped, both - 2, name="places")

    def _aligned(
        self, m: Module, product: Value, addend: Value, swap: Value, places: Value
    ) -> tuple[Value, Value, Value]:
        """The term with the larger exponent; the other one in its place, with guard bits; and whether any bit of it is
        lost. Two cycles."""
        larger = delayed(m, Mux(swap, addend, product), 2, name="larger_term")
        smaller: Value = Cat(Const(0, GUARD_BITS - 1), Mux(swap, product, addend))
        lost: Value = Const(0, 1)
        for cycle in range(2):
            for _ in range(PLACES_BITS // 2):
                count = 1 << len(places) - 1
                lost |= places[-1] & smaller[:count].any()
                smaller, places = Mux(places[-1], smaller[count:], smaller)[: len(smaller)], places[:-1]
            smaller, lost = (
                delayed(m, value, name=f"{name}_{cycle}") for name, value in (("smaller", smaller), ("lost", lost))
            )
            places = delayed(m, places, name=f"places_{cycle}") if cycle == 0 else places
        return larger, smaller, lost

    def _rounded(self, m: Module, total: Value, sign: Value, exponent: Value) -> Value:
        """The bits of a float32, from a sum whose highest bit has this exponent; after as many cycles as
        :data:`NORMALIZING` says."""
        for cycle, counts in enumerate(NORMALIZING):
            for count in counts:
                empty = ~total[SUM_BITS - count :].any()
                total = Mux(empty, total << count, total)[:SUM_BITS]
                exponent = (exponent - Mux(empty, count, 0))[: len(exponent)].as_signed()
            total, sign, exponent = (
                delayed(m, value, name=f"{name}_{cycle}")
                for name, value in (("normal", total), ("sign_of_normal", sign), ("exponent_of_normal", exponent))
            )
        low = SUM_BITS - MANTISSA_BITS
        up = total[low - 1] & (total[: low - 1].any() | total[low])
        packed = Cat(total[low:-1], exponent[:EXPONENT_BITS]) + up
        return Mux(total[-1] & (exponent > 0), Cat(packed[:31], sign), 0)


class Quotient(wiring.Component):
    """A quotient or a square root of positive numbers, a bit a cycle, rounded once. A result
    ``QUOTIENT_CYCLES`` = 28 cycles after ``start``, which comes when the one before is there; it stays.

    Parameters
    ----------
    bits : int
        Of the dividend's mantissa, 25 or more.

    Members
    -------
    start : In(1), root : In(1)
        The dividend's root is wanted, in place of its quotient.
    mantissa : In(bits), exponent : In
        The dividend ``mantissa · 2^(exponent − bits − 126)``; the mantissa's highest bit is set, or the result is 0.
        That of a root has 24 bits, the others are 0.
    divisor : In
        Of a quotient: the bits of a float32.
    o : Out
        The bits of a float32, which must be normal or zero.
    """

    DIGITS = MANTISSA_BITS + 2

    def __init__(self, *, bits: int):
        assert self.DIGITS + 2 == QUOTIENT_CYCLES
        self.bits = bits
        super().__init__(
            {
                "start": In(1), "root": In(1), "mantissa": In(bits), "exponent": In(WIDE), "divisor": In(32),
                "o": Out(32),
            }
        )  # fmt: skip

    def elaborate(self, platform: object) -> Module:
        m = Module()
        divisor, digits = Signal(MANTISSA_BITS, reset_less=True), Signal(self.DIGITS, reset_less=True)
        rest, bits = Signal(self.DIGITS + 1, reset_less=True), Signal(self.bits + 1, reset_less=True)
        roots, zero, exponent = Signal(reset_less=True), Signal(reset_less=True), Signal(WIDE, reset_less=True)

        # A root takes two bits of the number for each of its own.
        given = Mux(roots, Cat(bits[-2:], rest), Cat(bits[-1], rest))[: self.DIGITS + 3]
        taken = Mux(roots, Cat(Const(1, 2), digits), divisor)
        difference = given - taken
        fits = ~difference[-1]
        m.d.sync += [
            rest.eq(Mux(fits, difference, given)),
            digits.eq(Cat(fits, digits)),
            bits.eq(Mux(roots, bits << 2, bits << 1)),
        ]
        with m.If(self.start):
            even = self.exponent[0]
            m.d.sync += [
                roots.eq(self.root),
                zero.eq(~self.mantissa[-1]),
                divisor.eq(Cat(self.divisor[:FRACTION_BITS], 1)),
                digits.eq(0),
                rest.eq(Mux(self.root, 0, self.mantissa[self.bits - FRACTION_BITS :])),
                bits.eq(
                    Mux(
                        self.root,
                        Mux(even, self.mantissa, self.mantissa << 1),
                        Cat(Const(0, MANTISSA_BITS), self.mantissa[: self.bits - FRACTION_BITS]),
                    )
                ),
                exponent.eq(
                    Mux(
                        self.root,
                        (self.exponent + BIAS) >> 1,
                        self.exponent - self.divisor[FRACTION_BITS:-1] + BIAS,
                    )
                ),
            ]
        # The first digit of a quotient may be zero.
        whole = digits[-1]
        fraction = Mux(whole, digits[2:-1], digits[1:-2])
        up = Mux(whole, digits[1] & (digits[0] | rest.any() | digits[2]), digits[0] & (rest.any() | digits[1]))
        packed = Cat(fraction, (exponent - ~whole)[:EXPONENT_BITS]) + up
        with m.If(delayed(m, self.start, self.DIGITS + 1, name="started", reset=True)):
            m.d.sync += self.o.eq(Mux(zero, 0, packed[:31]))
        return m
