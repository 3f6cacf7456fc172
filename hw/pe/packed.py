"""Two multiply-accumulators side by side on one hardware multiplier.

A multiplier of 18 × 18 bits takes two weights of neighbouring columns as one factor, 2^9 apart, and the activation that
they share as the other. Its product is that of both, which overlap: the last bits of one of them, made of LUTs, tell
them apart. After Xilinx, *Deep Learning with INT8 Optimization on Xilinx Devices* (WP486), where the factors are wide
enough for products that hardly overlap.
"""

from __future__ import annotations

from amaranth.hdl import Cat, Module, Signal, Value, signed
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from sateen.hw.multiply import WIDTH, Multiply, PartialProducts
from sateen.hw.pe import mac
from sateen.hw.pe.contract import PeSignature, forward
from sateen.hw.stream.delay import delayed

__all__ = ["Array", "Left", "PackedMultiply", "Right"]

SPACING = 9
"""Bits between the weights: the most with which any two of 8 bits fit a factor, and any two of 9 from -255 on."""


class PackedMultiply(wiring.Component):
    """``a · low`` and ``a · high``, signed, in one hardware multiplier.

    Two products per cycle: that of ``low`` ``LATENCY`` = 4 cycles after the factors, that of ``high`` a cycle later.

    Of ``a · low`` = carry · 2^9 + rest, with a rest of 9 bits, the multiplier adds the carry to ``a · high``. It lies
    within ±2^(``b_bits`` - 3). The last ``b_bits`` - 2 bits of ``a · high`` tell it, but for the two ends of that
    range. The upper end takes two negative factors, and the lower one does not.

    Parameters
    ----------
    b_bits : int
        Width of ``low`` and ``high``, 2 to 9. With 9 bits they are -255 or more.

    Members
    -------
    a : In
        8 bits, signed.
    low, high : In
        Signed.
    low_product, high_product : Out
        ``b_bits`` + 8 wide, at most 16.
    """

    LATENCY = Multiply.LATENCY + 1

    def __init__(self, *, b_bits: int = 8):
        if not 2 <= b_bits <= 9:
            raise ValueError(f"b_bits must be 2 to 9, not {b_bits!r}")
        self.b_bits, self.carry_bits = b_bits, max(1, b_bits - 2)
        factor, product = In(signed(b_bits)), Out(signed(8 + min(8, b_bits)))
        super().__init__(
            {"a": In(signed(8)), "low": factor, "high": factor, "low_product": product, "high_product": product}
        )

    def elaborate(self, platform: object) -> Module:
        m = Module()
        m.submodules.multiply = multiply = Multiply(a_bits=8, b_bits=min(WIDTH, SPACING + self.b_bits + 1))
        below, above = Signal(signed(SPACING)), Signal(signed(WIDTH - SPACING))
        m.d.comb += [
            below.eq(self.low),
            # A negative number below counts one less above.
            above.eq(self.high - self.low[-1]),
            multiply.a.eq(self.a),
            multiply.b.eq(Cat(below, above).as_signed()),
        ]
        positive = delayed(m, self.a[-1] & self.low[-1], self.LATENCY, name="positive")
        rest = delayed(m, multiply.product[:SPACING], name="rest")
        sum_bits = len(self.high_product)
        total = delayed(m, multiply.product[SPACING : SPACING + sum_bits].as_signed(), name="total")
        known = multiply.product[SPACING : SPACING + self.carry_bits] - self._last_bits(m)
        magnitude = delayed(m, known[: self.carry_bits], name="carry")
        carry = Cat(magnitude, magnitude[-1] & ~positive).as_signed()
        m.d.comb += [
            self.low_product.eq(Cat(rest, carry).as_signed()),
            self.high_product.eq(delayed(m, total - carry, name="high_product")),
        ]
        return m

    def _last_bits(self, m: Module) -> Value:
        """Those of ``a · high``, when the multiplier's product is there: partial products, the sum of the first two,
        that of all."""
        parts: list[Value] = []
        for low in range(0, self.carry_bits, 2):
            width = self.carry_bits - low
            if width == 1:
                part = self.a[low] & self.high[0]
            else:
                m.submodules[f"pair_{low}"] = pair = PartialProducts(b_bits=width, subtract=False)
                m.d.comb += [pair.b.eq(self.high[:width].as_signed()), pair.digits.eq(self.a[low : low + 2])]
                part = pair.o[:width]
            parts.append(delayed(m, part, name=f"part_{low}"))
        first, *others = [part << 2 * place for place, part in enumerate(parts)]
        total = first + others[0] if others else first
        total = delayed(m, total[: self.carry_bits], name="two_parts")
        for part in others[1:]:
            total = total + delayed(m, part, name="part")
        return delayed(m, total[: self.carry_bits], name="last_bits")


class Left(wiring.Component):
    """The left one of a pair, without a multiplier: it gives its weight, and takes its product. Contract:
    :class:`~sateen.hw.pe.contract.PeSignature`, with a latency of 7 cycles.

    Parameters
    ----------
    weight_bits : int
        Width of the weight, 2 to 9.
    sum_bits : int
        Width of a partial sum.

    Members
    -------
    current : Out
        The weight, two cycles after the activation that it is for.
    product : In
        Four cycles later.
    """

    def __init__(self, *, weight_bits: int = 8, sum_bits: int):
        signature = PeSignature(activation=signed(8), weight=signed(weight_bits), sum_bits=sum_bits)
        product = signed(8 + min(8, weight_bits))
        super().__init__({**signature.members, "current": Out(signed(weight_bits)), "product": In(product)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        forward(m, platform, self, "activation", "swap", "weight", "capture")
        # A cycle later than in other PEs, when the right one gets its weight.
        current = _held_weight(m, weight=self.weight_o, capture=self.capture_o.valid, swap=self.swap_o)
        m.d.comb += self.current.eq(current)
        m.d.comb += self.sum_o.eq(delayed(m, self.sum_i + self.product, name="sum"))
        return m


class Right(wiring.Component):
    """The right one of a pair, with the multiplier. Contract and parameters: as :class:`Left`.

    Members
    -------
    other : In
        The left one's weight, a cycle after the activation at this PE that it is for.
    product : Out
        The left one's product, four cycles after ``other``.
    """

    def __init__(self, *, weight_bits: int = 8, sum_bits: int):
        signature = PeSignature(activation=signed(8), weight=signed(weight_bits), sum_bits=sum_bits)
        product = signed(8 + min(8, weight_bits))
        super().__init__({**signature.members, "other": In(signed(weight_bits)), "product": Out(product)})

    def elaborate(self, platform: object) -> Module:
        m = Module()
        forward(m, platform, self, "activation", "swap", "weight", "capture")
        current = _held_weight(m, weight=self.weight_i, capture=self.capture_i.valid, swap=self.swap_i)
        m.submodules.multiply = multiply = PackedMultiply(b_bits=len(self.weight_i))
        m.d.comb += [
            multiply.a.eq(self.activation_o),
            multiply.low.eq(self.other),
            multiply.high.eq(current),
            self.product.eq(multiply.low_product),
            self.sum_o.eq(delayed(m, self.sum_i + multiply.high_product, name="sum")),
        ]
        return m


def _held_weight(m: Module, *, weight: Signal, capture: Value, swap: Value) -> Signal:
    """From the cycle after a swap on, the weight that was captured last before it."""
    following, current = (Signal.like(weight, name=name, reset_less=True) for name in ("following", "current"))
    with m.If(capture):
        m.d.sync += following.eq(weight)
    with m.If(swap):
        m.d.sync += current.eq(following)
    return current


class Array(mac.Array):
    """Pairs in the upper rows, two PEs on each multiplier, as many as there are for whole rows; in the others, MACs of
    LUTs, over which windows slide."""

    def pe(self, row: int, column: int) -> wiring.Component:  # type: ignore[override]
        if not self._multiplies(row):
            return mac.Mac(
                weight_bits=self.weight_bits, sum_bits=self.sum_bits, multiplier=False, slides=self.slides(row)
            )
        side = Right if column % 2 else Left
        return side(weight_bits=self.weight_bits, sum_bits=self.sum_bits)

    def latency(self, row: int) -> int:
        return self.kind.latency if self._multiplies(row) else mac.Mac.LATENCY[False]

    def join(self, m: Module, row: int, line: list[wiring.Component]) -> None:
        if self._multiplies(row):
            for left, right in zip(line[::2], line[1::2], strict=True):
                m.d.comb += [right.other.eq(left.current), left.product.eq(right.product)]
