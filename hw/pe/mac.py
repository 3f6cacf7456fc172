"""The parallel multiply-accumulator."""

from __future__ import annotations

from amaranth.hdl import Module, Mux, Signal, signed
from amaranth.lib import wiring

from weft.hw.delay import delayed
from weft.hw.multiply import LogicMultiply, Multiply
from weft.hw.pe.contract import PeArray, PeSignature, pass_on
from weft.hw.spec.pe import PE_KINDS

__all__ = ["Array", "Mac"]


class Mac(wiring.Component):
    """One int8 product per cycle, of an activation or a sample, added to the partial sum.

    Contract: :class:`~weft.hw.pe.contract.PeSignature`.

    Latency 6 cycles: one of the factors, chosen here and far from their multiplier, four registers of the product, one of the sum.

    Parameters
    ----------
    weight_bits : int
        Width of the weight, 2 to 8.
    sum_bits : int
        Width of a partial sum.
    multiplier : bool
        Use a hardware multiplier; else the product is made of adders.
    """

    def __init__(self, *, weight_bits: int = 8, sum_bits: int, multiplier: bool = True):
        self.multiplier = multiplier
        super().__init__(PeSignature(activation=signed(8), weight=signed(weight_bits), sum_bits=sum_bits, sample=signed(8)))

    def elaborate(self, platform: object) -> Module:
        m = Module()
        bits = len(self.weight_i)
        m.submodules.multiply = multiply = Multiply(a_bits=8, b_bits=bits) if self.multiplier else LogicMultiply(b_bits=bits)
        pass_on(m, self, "activation", "slide", "swap", "weight", "capture")
        following = Signal.like(self.weight_i, reset_less=True)
        with m.If(self.capture_i.valid):
            m.d.sync += following.eq(self.weight_i)
        current = Signal.like(following, reset_less=True)
        with m.If(self.swap_i):
            m.d.sync += current.eq(following)
        held, below = Signal.like(self.sample_i, reset_less=True), Signal.like(self.sample_i, reset_less=True)
        with m.If(self.slide_i):
            m.d.sync += [held.eq(self.sample_i), below.eq(held)]
        m.d.comb += [
            self.sample_o.eq(below),
            multiply.a.eq(delayed(m, Mux(self.slide_i, self.sample_i, self.activation_i), name="chosen")),
            multiply.b.eq(current),
        ]

        # One register between a hardware multiplier and the adder, too.
        product = delayed(m, multiply.product, PE_KINDS["mac"].latency - 2 - multiply.LATENCY, name="product")
        m.d.comb += self.sum_o.eq(delayed(m, self.sum_i + product, name="sum"))
        return m


class Array(PeArray):
    """Whole columns have hardware multipliers, as far as those reach."""

    def pe(self, row: int, column: int) -> Mac:
        return Mac(weight_bits=self.weight_bits, sum_bits=self.sum_bits, multiplier=column * self.rows + row < self.multipliers)
